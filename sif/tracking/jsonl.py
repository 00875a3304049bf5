"""metrics.jsonl: one JSON object per logged step, {"stage", "step", metric: value, ...}.

Every line is flushed when it is logged, so a killed job loses none. A resumed job cuts the file
back to the length its checkpoint remembers, so each step stands in it once. It warns of lines that
are not those that were logged.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sif.errors import TrackingError
from sif.tracking.base import Status, Tracker, TrackerState

_log = logging.getLogger(__name__)
_OFFSET, _DIGEST = "jsonl_offset", "jsonl_sha256"


class JsonlTracker(Tracker):
    """Appends logged steps to a file; the run folder holds all else that is logged anyway."""

    def __init__(self, path: Path, state: TrackerState | None = None) -> None:
        """Opens the file in a folder that exists; the state of a job that is resumed cuts it back.

        Raises:
            TrackingError: The file cannot be opened, or is shorter than the state says.
        """
        try:
            file = open(path, "r+b" if state else "wb")  # noqa: SIM115 (kept open)
        except OSError as error:
            raise TrackingError(f"{path}: cannot be opened: {error.strerror}") from error
        offset = int(state[_OFFSET]) if state else 0
        length = os.fstat(file.fileno()).st_size
        if length < offset:
            file.close()
            raise TrackingError(
                f"{path}: expected at least {offset} bytes to resume, found {length}"
            )
        self._sha = hashlib.sha256(file.read(offset) if state else b"")
        if state and state.get(_DIGEST, self._sha.hexdigest()) != self._sha.hexdigest():
            _log.warning("%s: damaged: some of its lines are not those that were logged", path)
        file.truncate(offset)
        file.seek(offset)
        self._file: IO[bytes] = file
        self._stage = "run"

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Appends one line; NaN and infinity, which JSON lacks, become null.

        Raises:
            TrackingError: The disk is full.
        """
        values = {name: float(value) for name, value in metrics.items()}
        line = {"stage": self._stage, "step": step} | {
            name: value if math.isfinite(value) else None for name, value in values.items()
        }
        data = json.dumps(line).encode() + b"\n"
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise TrackingError(f"{self._file.name}: cannot be written: {error.strerror}") from None
        self._sha.update(data)

    def child(self, name: str, *path: str) -> Tracker:
        """Writes to the same file under another stage."""
        other = copy.copy(self)
        other._stage = name
        return other

    def state(self) -> TrackerState:
        """The length of the file in bytes, and the digest of its content."""
        return {_OFFSET: self._file.tell(), _DIGEST: self._sha.hexdigest()}

    def close(self, status: Status = "FINISHED") -> None:
        """Closes the file when the whole job ends; the end of one stage leaves it open."""
        if self._stage == "run":
            with contextlib.suppress(OSError):  # a line that could not be flushed has been told of
                self._file.close()
