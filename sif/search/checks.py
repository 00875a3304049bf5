"""Checks that end a search: numbers that are not finite, and gates that do not fit the space."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sif.core.gates import Block, Gates, Selection
from sif.core.method import ArchReport
from sif.errors import ConfigError, DivergedError, NotNumberError, ShapeError

Judge = Callable[[Gates], Mapping[str, float]]
"""Metrics of a selection on validation; the first decides, the lower the better."""


def refuse_report(report: ArchReport, epoch: int, lr: float) -> None:
    """Raises DivergedError where the loss of an architecture step is not finite or a score NaN."""
    tables = [table for blocks in report.scores.values() for table in blocks.values()]
    if not math.isfinite(report.loss) or any(bool(t.isnan().any()) for t in tables):
        raise DivergedError(
            f"search diverged in epoch {epoch}: an architecture step: expected finite numbers, "
            f"found loss {report.loss} and derivatives that are not finite; lower search.lr={lr:g}"
        )


def refuse_divergence(entry: Mapping[str, Any], epoch: int, lr: float) -> None:
    """Raises DivergedError where a loss is no finite number."""
    for name in ("loss", "valid_loss"):
        if entry[name] is not None and not math.isfinite(entry[name]):
            raise DivergedError(
                f"search diverged in epoch {epoch}: {name}: expected a finite number, "
                f"found {entry[name]}; lower search.lr={lr:g}"
            )


def judged(judge: Judge, gates: Gates, epoch: int, lr: float) -> dict[str, float]:
    """The judgment of a selection; DivergedError where its scores are not numbers."""
    try:
        return dict(judge(gates))
    except NotNumberError as error:
        raise DivergedError(
            f"search diverged in epoch {epoch}: {error}; lower search.lr={lr:g}"
        ) from None


def refuse_illegal(given: Gates | Selection, blocks: Sequence[Block], method: str) -> None:
    """Raises ConfigError, one line that names the method, if its gates do not fit the blocks."""
    try:
        given.check(blocks)
    except ShapeError as error:
        raise ConfigError(f"method {method}: {error}") from None
