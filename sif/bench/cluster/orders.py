"""Words between home, where a bench was begun, and the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sif.bench.cluster.files import Content, Files, Sent
from sif.bench.state import State


@dataclass(frozen=True)
class Order:
    """A trial for a node. All paths are absolute, and the same at home and on nodes.

    Attributes:
        name: Of the trial.
        command: Does it at home; a node puts its own interpreter in the first place.
        folder: Working directory.
        environment: Variables of home that jobs read.
        version: Of sif at home.
        cores: Threads of the process.
        run: Run folder.
        log: File at home that gets the output.
        mark: A file at home, and its text: a node that reads it shares the folder with home.
        begun: Whether the run folder is there already.
        store: MLflow's store, if it is one of home alone.
        inputs: Files that the job reads.
        sent: What nodes without these files, or without the run folder, get, by path.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    version: str
    cores: int
    run: Path
    log: Path
    mark: tuple[Path, str]
    begun: bool
    store: str
    inputs: tuple[Content, ...]
    sent: Mapping[Path, Sent] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A node's answer to an order.

    Attributes:
        state: Of the trial.
        lacking: Paths that must be sent first; where there are any, nothing has run.
        files: The run folder of a node that does not share it.
    """

    state: State = field(default_factory=lambda: State("pending"))
    lacking: tuple[Path, ...] = ()
    files: Files | None = None


class Home(Protocol):
    """The part of home that nodes can reach."""

    def begin(self, name: str) -> bool:
        """Tells that a trial begins; False: it must not."""
        ...

    def tell(self, log: Path, text: bytes) -> bool:
        """Appends output to a log at home; False: the trial must stop."""
        ...

    def end(self, name: str) -> None:
        """Tells that a trial has ended."""
        ...

    def fetch(self, data: Any) -> Files:
        """Content that home has put into the cluster."""
        ...
