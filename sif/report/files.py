"""The files of a run folder as a page reads them, without what is missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sif.config.files import parse_yaml
from sif.errors import DataError, SifError, first_line
from sif.utils.checkpoint import read_json, with_nan

PAGE, RECORD = "report.html", "report.json"
VERSION = 1
"""Of the content of `RECORD`."""
LINES = 20_000
"""Lines of metrics.jsonl and of the log that are read, at most."""

Document = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The content of a run folder.

    Attributes:
        folder: Of the run.
        config: Settings, nested.
        metrics: Content of metrics.json; empty: the run has not finished.
        figures: Content of plots/figures.json, NaN where a number was not finite.
        record: Content of report.json.
        environment: Content of environment.json.
        genotype: Content of genotype.json.
        steps: Objects of metrics.jsonl.
        log: Lines of log.txt.
        missing: What is missing or damaged, a line each.
    """

    folder: Path
    config: Document
    metrics: Document = field(default_factory=dict)
    figures: Document = field(default_factory=dict)
    record: Document = field(default_factory=dict)
    environment: Document = field(default_factory=dict)
    genotype: Document = field(default_factory=dict)
    steps: tuple[Document, ...] = ()
    log: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Reads a run folder.

        Raises:
            DataError: There is no config.yaml, or it cannot be read.
        """
        config = _config(folder / "config.yaml")
        missing: list[str] = []

        def document(name: str) -> Document:
            return _document(folder / name, name, missing)

        metrics = document("metrics.json")
        figures, record = document("plots/figures.json"), document(RECORD)
        environment, genotype = document("environment.json"), document("genotype.json")
        if metrics.get("moments"):  # whose own folders have all but the metrics
            missing.clear()
        if metrics and record.get("version", VERSION) != VERSION:
            missing.append(f"{RECORD}: another version wrote it")
            record = {}
        return cls(
            folder, config, metrics, figures, record, environment, genotype,
            _lines(folder / "metrics.jsonl"), _log(folder / "log.txt"), tuple(missing),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def task(self) -> str:
        """Of the job."""
        return str(self.config.get("task", "?"))

    @property
    def finished(self) -> bool:
        """True if the job came to its end."""
        return bool(self.metrics)

    @property
    def ours(self) -> str:
        """Name of the compared model."""
        return str(self.record.get("ours", "searched"))

    @property
    def moments(self) -> list[Document]:
        """Of a rolling evaluation, which has a run folder for each; none of a run of one split."""
        return [one for one in self.metrics.get("moments") or [] if isinstance(one, Mapping)]

    @property
    def models(self) -> list[Document]:
        """Of the comparison, as report.json has them."""
        return list(self.record.get("models") or [])

    @property
    def data(self) -> str:
        """Name of the data, without the folders of a file."""
        return str(self.metrics.get("dataset") or Path(str(self.config.get("dataset", "?"))).name)


def _config(path: Path) -> Document:
    try:
        read = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}") from None
    except SifError as error:
        raise DataError(str(error)) from None
    if not isinstance(read, Mapping):
        raise DataError(f"{path}: expected settings, found {type(read).__name__}")
    return read


def _document(path: Path, name: str, missing: list[str]) -> Document:
    """A JSON object with NaN for numbers that were not finite; empty where there is none."""
    if not path.is_file():
        missing.append(f"{name}: not there")
        return {}
    try:
        read = read_json(path)
        if not isinstance(read, Mapping):
            raise DataError(f"{path}: expected an object, found {type(read).__name__}")
        found: Document = with_nan(read)
    except (DataError, AttributeError, TypeError):
        missing.append(f"{name}: damaged")
        return {}
    return found


def _lines(path: Path) -> tuple[Document, ...]:
    """The objects of a file of JSON lines, without a last one that a kill has cut."""
    found = []
    for line in _text(path).splitlines()[:LINES]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, Mapping):
            found.append(entry)
    return tuple(found)


def _log(path: Path) -> tuple[str, ...]:
    return tuple(_text(path).splitlines()[-LINES:])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
