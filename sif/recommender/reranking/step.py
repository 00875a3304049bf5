"""A step of re-ranking, and what it may ask about."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ConfigError
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.reranking.candidates import Candidates
from sif.retrieval.engine import Top
from sif.utils.argument_types import shown

Mask = NDArray[np.bool_]
Best = Callable[[int, Mask | None], Top]
"""The k best items of some users among allowed ones (n_items,); None: among all."""


@dataclass(frozen=True, eq=False)
class Request:
    """The question that candidates answer.

    Attributes:
        server: Of the model.
        k: Items that are asked for.
        histories: CSR (b, n_items), what each user has; values do not count.
        excluded: CSR (b, n_items), items that a user does not get; None: there are none.
        allowed: bool (n_items,), items that anybody may get; None: all.
        best: Finds the best items of the users.
    """

    server: IndexedRecommender
    k: int
    histories: sparse.csr_array
    excluded: sparse.csr_array | None
    allowed: Mask | None
    best: Best

    def may_have(self, item: int) -> Mask:
        """Users (b,) who may get an item."""
        users = self.histories.shape[0]
        if self.allowed is not None and not self.allowed[item]:
            return np.zeros(users, np.bool_)
        if self.excluded is None:
            return np.ones(users, np.bool_)
        had = np.zeros(users, np.bool_)
        rows = np.repeat(np.arange(users), np.diff(self.excluded.indptr))
        had[rows[self.excluded.indices == item]] = True  # stored zeros count too
        return ~had

    def scores_of(self, item: int) -> NDArray[np.float32]:
        """Scores (b,) of an item; minus infinity of one that the model never recommends."""
        alone = np.zeros(self.server.engine.n_items, np.bool_)
        alone[item] = True
        found = self.best(1, alone)
        return np.where(found.items[:, 0] == item, found.scores[:, 0], np.float32(-np.inf))


class Step(ABC):
    """Reorders candidates, takes some out, or puts one in; steps are applied one after the other.

    Attributes:
        reads_weights_alone: Whether the order of before is lost, as of steps that sort by weights.
    """

    reads_weights_alone: ClassVar[bool] = False

    @abstractmethod
    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates after the step.

        Raises:
            UnknownIdError: An item that the model does not have.
            ConfigError: Features that the model does not have.
        """

    def narrowed(self, allowed: Mask | None, server: IndexedRecommender) -> Mask | None:
        """Items (n_items,) that may become candidates at all, of those that might before."""
        return allowed


def checked_steps(steps: Any) -> tuple[Step, ...]:
    """Steps as a tuple; a single one is one of them.

    Raises:
        ConfigError: Something else, a step that sorts by scores behind one that orders, or two
            pins at one place.
    """
    listed = (steps,) if isinstance(steps, Step) else steps
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ConfigError(f"rerank: expected steps such as [Mmr(0.3)], found {shown(steps)}")
    before = ""
    for step in listed:
        if not isinstance(step, Step):
            raise ConfigError(f"rerank: expected steps such as Mmr(0.3), found {shown(step)}")
        name = type(step).__name__
        if step.reads_weights_alone and before:
            raise ConfigError(f"rerank: expected {name} before {before}, whose order it would undo")
        before = before if step.reads_weights_alone else before or name
    places = [place for step in listed if (place := getattr(step, "place", None)) is not None]
    if twice := {place for place in places if places.count(place) > 1}:
        raise ConfigError(f"rerank: expected one pin at place {min(twice)}, found several")
    return tuple(listed)


def number_from(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:  # fmt: skip
    """A finite number of a range, ends included.

    Raises:
        ConfigError: Another value, NaN among them.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high:
        return float(value)
    wanted = "a finite number"
    if math.isfinite(low):
        wanted = f"a number from {low:g} to {high:g}"
        if math.isinf(high):
            wanted = f"a finite number of at least {low:g}"
    raise ConfigError(f"{name}: expected {wanted}, found {shown(value)}")
