"""Business rules and re-ranking of a question: fields of its body, as steps of the library."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json

from sif.evaluation.beyond.calibration import ALPHA
from sif.evaluation.beyond.popularity import HEAD
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.reranking import (
    AtMost,
    Boost,
    Bury,
    Calibrated,
    MeanPopularity,
    Mmr,
    Never,
    Pin,
    Step,
    TailShare,
)
from sif.recommender.reranking.features import table_of
from sif.recommender.reranking.rerank import pool_size
from sif.recommender.reranking.step import checked_steps
from sif.serving.forms import MOST_ITEMS, Body, Id, Ids, Refused

MOST_STEPS = 20
"""Steps of a question."""
MOST_POOL = 1_000
"""Candidates of a question with steps."""
MOST_RERANKED = 1_000
"""Questions with steps in a request."""
MOST_LABELS = 100
"""Labels of an item that a body gives."""
MOST_WORK = 10_000_000
"""Items of an answer times candidates times categories, of a calibrated answer."""
KEPT = 16
"""Lists of steps that stay made: shops send the same ones again and again."""

Label = str | int | float | bool
Labels = Annotated[list[Label], Field(max_length=MOST_LABELS, fail_fast=True)]


Table = str | Annotated[dict[str, Label | Labels], Field(min_length=1, max_length=MOST_ITEMS)]
"""Name of a column of the model's features of items; or a label, or several, by item id."""
_TABLE = "name of a column of the model's features of items; or item ids with a label or several"


class PinRule(Body):
    """Puts an item at a place of the list."""

    step: Literal["pin"] = Field(description="name of the step")
    item: Id = Field(description="an item")
    place: int = Field(1, ge=1, le=MOST_ITEMS, description="from 1")


class BoostRule(Body):
    """Raises or lowers the scores of items, and sorts by them."""

    step: Literal["boost"] = Field(description="name of the step")
    items: Ids = Field(description="item ids")
    factor: float = Field(1.0, ge=0, description="of the score; above 1 raises it")
    offset: float = Field(0.0, description="added to the score")


class BuryRule(Body):
    """Puts items last."""

    step: Literal["bury"] = Field(description="name of the step")
    items: Ids = Field(description="item ids")


class NeverRule(Body):
    """Leaves items out, whatever other steps say."""

    step: Literal["never"] = Field(description="name of the step")
    items: Ids = Field(description="item ids")


class AtMostRule(Body):
    """At most so many items of each category."""

    step: Literal["at_most"] = Field(description="name of the step")
    count: int = Field(ge=1, le=MOST_ITEMS, description="items of a category, at most")
    categories: Table = Field(description=_TABLE)


class MmrRule(Body):
    """Each place gets a good item that is unlike those above it."""

    step: Literal["mmr"] = Field(description="name of the step")
    strength: float = Field(0.3, ge=0, le=1, description="0: the order stays; 1: variety alone")
    features: Table | None = Field(
        None, description=f"{_TABLE}; left out: the model's vectors tell how alike items are"
    )


class CalibratedRule(Body):
    """Brings the categories of the list near those of the history."""

    step: Literal["calibrated"] = Field(description="name of the step")
    categories: Table = Field(description=_TABLE)
    strength: float = Field(0.5, ge=0, le=1, description="0: the order stays; 1: shares alone")
    alpha: float = Field(
        ALPHA, gt=0, lt=1, description="share of the history's distribution in that of the list"
    )


class TailShareRule(Body):
    """At least a share of the list is of the long tail."""

    step: Literal["tail_share"] = Field(description="name of the step")
    least: float = Field(ge=0, le=1, description="share of the list")
    head: float = Field(HEAD, gt=0, le=1, description="share of interactions of popular items")


class MeanPopularityRule(Body):
    """On average at most a share of the users has an item of the list."""

    step: Literal["mean_popularity"] = Field(description="name of the step")
    most: float = Field(ge=0, le=1, description="share of the users")


Rule = Annotated[
    PinRule | BoostRule | BuryRule | NeverRule | AtMostRule | MmrRule | CalibratedRule
    | TailShareRule | MeanPopularityRule,
    Field(discriminator="step"),
]  # fmt: skip
RULES: tuple[type[Body], ...] = (
    PinRule, BoostRule, BuryRule, NeverRule, AtMostRule, MmrRule, CalibratedRule, TailShareRule,
    MeanPopularityRule,
)  # fmt: skip
Rules = Annotated[list[Rule], Field(max_length=MOST_STEPS, fail_fast=True)]

STEPS: dict[str, type[Step]] = {
    "pin": Pin, "boost": Boost, "bury": Bury, "never": Never, "at_most": AtMost, "mmr": Mmr,
    "calibrated": Calibrated, "tail_share": TailShare, "mean_popularity": MeanPopularity,
}  # fmt: skip
"""Name of a step to what makes it, of whose arguments its fields have the names."""


def steps_of(rules: Sequence[Body]) -> tuple[Step, ...]:
    """The steps that rules name.

    Args:
        rules: Of a question.

    Raises:
        ConfigError: A wrong order, or two pins at one place.
    """
    given = [{name: getattr(rule, name) for name in type(rule).model_fields} for rule in rules]
    return checked_steps([STEPS[values.pop("step")](**values) for values in given])


def key_of(rules: Sequence[Body]) -> bytes:
    """A key that only the same rules in the same order have."""
    return hashlib.sha256(to_json(list(rules))).digest()


def pool_of(n: int, pool: int | None) -> int:
    """Candidates of a question with rules, as the library takes them.

    Args:
        n: Items that are asked for.
        pool: That the question names; None: none.

    Raises:
        Refused: Too many.
        ConfigError: Fewer than items are asked for.
    """
    found = pool_size(n, pool)
    if found > MOST_POOL:
        told = "" if pool is not None else f", 10 for each of {n:,} items: name a smaller pool"
        raise Refused(
            422,
            f"pool: expected at most {MOST_POOL:,} candidates with rerank, found {found:,}{told}",
        )
    return found


class KeptSteps:
    """The steps of the latest rules, which keep what they make of a model's features."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Step, ...]] = OrderedDict()

    def of(self, rules: Sequence[Body]) -> tuple[Step, ...]:
        """The steps of some rules; errors as of `steps_of`."""
        key = key_of(rules)
        if key not in self._kept:
            self._kept[key] = steps_of(rules)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def refuse_costly(steps: Sequence[Step], server: IndexedRecommender, n: int, pool: int) -> None:
    """Refuses what would keep all others waiting.

    Args:
        steps: Of a question.
        server: Of the model.
        n: Items of the answer.
        pool: Candidates.

    Raises:
        Refused: Calibration of too many categories.
    """
    for step in steps:
        if not isinstance(step, Calibrated):
            continue
        width = table_of(step.categories, server.model).matrix.shape[1]
        if n * pool * width > MOST_WORK:
            raise Refused(
                422, f"calibrated: expected n times pool times categories of at most "
                f"{MOST_WORK:,}, found {n:,} x {pool:,} x {width:,}: ask for less",
            )  # fmt: skip
