"""Interactions, items and users that a server took in, in a file of JSON lines: they survive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sif.errors import CheckpointError
from sif.serving.questions import Change

_CHANGE: TypeAdapter[Change] = TypeAdapter(Change)


class Journal:
    """A file that only grows; somebody may move it away once a model was fitted with its rows.

    Args:
        path: Is made where it is missing; its folder exists.

    Raises:
        CheckpointError: It is no file, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.append(())

    def append(self, events: Sequence[Change]) -> None:
        """Adds events, items or users, which are on the disk afterwards, all of them or none.

        Raises:
            CheckpointError: The write failed.
        """
        lines = "".join(f"{_line(event)}\n" for event in events).encode()
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write(file, lines)
            finally:
                os.close(file)
        except OSError as error:
            raise CheckpointError(f"{self.path}: journal: {error.strerror}") from None

    def batches(self) -> Iterator[list[Change]]:
        """Runs of events, items or users that have the same fields, in their order.

        A last line without its end is what a crash left of a write that nobody was told of; it is
        cut off.

        Raises:
            CheckpointError: A line is no event.
        """
        run: list[Change] = []
        for event in self._events():
            if run and run[0].columns != event.columns:
                yield run
                run = []
            run.append(event)
        if run:
            yield run

    def _events(self) -> Iterator[Change]:
        try:
            with self.path.open("rb") as file:
                place = 0
                for number, line in enumerate(file, start=1):
                    if not line.endswith(b"\n"):
                        os.truncate(self.path, place)
                        return
                    place += len(line)
                    yield self._event(line, number)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckpointError(f"{self.path}: journal: {error.strerror}") from None

    def _event(self, line: bytes, number: int) -> Change:
        try:
            return _CHANGE.validate_json(line)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise CheckpointError(
                f"{self.path}: line {number}: expected an event, found another ({reason})"
            ) from None


def _line(event: Change) -> str:
    return event.model_dump_json(include=set(event.columns), exclude_none=True)


def _write(file: int, lines: bytes) -> None:
    """Writes all bytes and waits for the disk; what a failed write has left is cut off."""
    before = os.fstat(file).st_size
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise
