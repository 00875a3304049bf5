"""The progress of a trial, which also nodes of a cluster tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["finished", "failed", "pending", "refused"]


@dataclass(frozen=True)
class State:
    """The progress of a trial.

    Attributes:
        status: "pending": not begun, or interrupted.
        reason: Of a failure or a refusal.
        peak_memory_mb: Most memory that its process had at once, in the sitting in which it ended;
            None: not known here.
    """

    status: Status
    reason: str = ""
    peak_memory_mb: float | None = field(default=None, compare=False)
