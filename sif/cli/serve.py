"""`sif serve`: its arguments as options of a server."""

from __future__ import annotations

import argparse
import logging
import sys

from sif.errors import ConfigError
from sif.serving.server import Options, is_loopback, serve
from sif.utils.cores import usable_cores


def run(values: argparse.Namespace) -> None:
    """Serves until a signal ends it.

    Raises:
        SifError: Bad input.
    """
    for name, least in (
        ("port", 0),
        ("max_body", 1),
        ("queue", 1),
        ("batch", 1),
        ("threads", 1),
        ("watch", 0),
    ):
        if (found := getattr(values, name)) < least:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option}: expected at least {least}, found {found}")
    if values.port > 65535:
        raise ConfigError(f"--port: expected at most 65535, found {values.port}")
    if values.threads > usable_cores():
        raise ConfigError(
            f"--threads: expected at most {usable_cores()}, the cores here, found {values.threads}"
        )
    _log_to_stderr()
    options = Options(
        values.host, values.port, values.unknown, values.journal, values.watch,
        values.allow_reload, values.max_body, values.queue, values.batch, values.grace,
        values.threads, values.precision,
    )  # fmt: skip

    def tell(line: str) -> None:
        print(line, flush=True)
        if not is_loopback(values.host):
            logging.getLogger("sif.serving").warning(
                "warning: other machines may reach %s, and nobody is asked who he is; put a proxy "
                "in front",
                values.host,
            )

    serve(values.folder, options, tell)


def _log_to_stderr() -> None:
    """Reloads and faults are told on standard error; of the rest of sif only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("sif").addHandler(handler)
    logging.getLogger("sif").setLevel(logging.WARNING)
    logging.getLogger("sif.serving").setLevel(logging.INFO)
    logging.getLogger("uvicorn").addHandler(handler)
