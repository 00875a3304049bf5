"""The table: trainings by cell and seed, and what it answers."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sif.bench.tabular.records import Means, deviation
from sif.config import did_you_mean
from sif.core.genotype import Genotype
from sif.errors import NotInTableError
from sif.spaces.notation import notation

PARTS = ("valid", "test")


@dataclass(frozen=True)
class CellTraining:
    """One row.

    Attributes:
        cell: The cells on one line, as `sif.spaces.notation.notation` writes them.
        seed: Of split, weights and batches.
        valid: Error on validation after each epoch (images: percent).
        test: Error on test, of the epoch that was best on validation.
        best_epoch: Its number, from 1.
        parameters: Numbers that were trained.
        seconds: CPU seconds of the training, validations included; one thread.
    """

    cell: str
    seed: int
    valid: tuple[float, ...]
    test: float
    best_epoch: int
    parameters: int
    seconds: float

    def best(self, epochs: int) -> float:
        """Lowest error on validation of the first epochs."""
        return min(self.valid[:epochs])


@dataclass(frozen=True)
class CellEntry(Means):
    """A cell, for one seed or over all it has.

    Attributes:
        cell: On one line.
        seeds: Of its trainings.
        epochs: Length of the trainings.
        seconds: CPU seconds of one, mean over seeds.
        parameters: Numbers that were trained.
    """

    cell: str
    seeds: tuple[int, ...]
    epochs: int
    seconds: float
    parameters: int


@dataclass(frozen=True, eq=False)
class CellTable:
    """All trainings, indexed.

    Attributes:
        trainings: Every row.
        metadata: Recipe and machine.

    Examples:
        >>> from sif.bench import cells as cellbench
        >>> table = cellbench.shipped("images")
        >>> len(table.cells)
        729
        >>> table.regret(table.best().cell)
        0.0
    """

    trainings: tuple[CellTraining, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def _rows(self) -> dict[str, dict[int, CellTraining]]:
        found: dict[str, dict[int, CellTraining]] = {}
        for row in self.trainings:
            found.setdefault(row.cell, {})[row.seed] = row
        return found

    @property
    def cells(self) -> tuple[str, ...]:
        """All cells."""
        return tuple(self._rows)

    @functools.cached_property
    def epochs(self) -> int:
        """Length of a whole training."""
        return max(len(row.valid) for row in self.trainings)

    def query(
        self, cell: Genotype | str, seed: int | None = None, epochs: int | None = None
    ) -> CellEntry:
        """The trainings of a cell.

        Args:
            cell: A genotype of the space, or the cells on one line.
            seed: Of one training; None: means over all, with deviations.
            epochs: Length up to which a training is looked at: `valid` and `seconds` are those of
                its beginning, `test` is of the whole; None: the whole.

        Raises:
            NotInTableError: No such training; the message names what is missing.
        """
        length = self.epochs if epochs is None else epochs
        if not 1 <= length <= self.epochs:
            raise NotInTableError(f"epochs: expected 1 to {self.epochs}, found {length}")
        name = notation(cell) if isinstance(cell, Genotype) else cell
        if name not in self._rows:
            near = did_you_mean(name, self._rows)
            raise NotInTableError(f"cell: expected one that was trained, found {name!r}{near}")
        rows = self._rows[name]
        if seed is not None and seed not in rows:
            known = " or ".join(map(str, sorted(rows)))
            raise NotInTableError(f"seed: expected {known}, found {seed}")
        return _entry(list(rows.values()) if seed is None else [rows[seed]], length)

    @functools.cached_property
    def _least(self) -> dict[str, CellEntry]:
        entries = [self.query(cell) for cell in self.cells]
        most = max(len(one.seeds) for one in entries)
        whole = [one for one in entries if len(one.seeds) == most]
        return {part: min(whole, key=lambda one: float(getattr(one, part))) for part in PARTS}

    def best(self, part: str = "test") -> CellEntry:
        """The cell of least mean error on a part, among those with the most seeds."""
        if part not in PARTS:
            raise NotInTableError(f"part: expected {' or '.join(PARTS)}, found {part!r}")
        return self._least[part]

    def regret(self, cell: Genotype | str, part: str = "test") -> float:
        """Mean error of a cell less that of the best one; errors as of `query` and `best`."""
        best, own = self.best(part), self.query(cell)
        return float(getattr(own, part)) - float(getattr(best, part))


def _entry(rows: list[CellTraining], epochs: int) -> CellEntry:
    valid, test = [row.best(epochs) for row in rows], [row.test for row in rows]
    return CellEntry(
        statistics.fmean(valid), statistics.fmean(test), deviation(valid), deviation(test),
        rows[0].cell, tuple(row.seed for row in rows), epochs,
        statistics.fmean(row.seconds * epochs / len(row.valid) for row in rows),
        rows[0].parameters,
    )  # fmt: skip
