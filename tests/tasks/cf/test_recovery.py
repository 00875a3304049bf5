"""What counts as recovered: time scales, operations, and how many of the best items agree."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Split, Vocabulary, make_split, planted
from sif.data.interactions.planted_films import HistoryTruth, planted_films
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.interaction.design import plain_product
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.sequences import Decay
from sif.tasks.cf.recovery import BEST, TrueScores, agreement, half_lives_found, recovery


def films(kind: str = "two-scales") -> tuple[HistoryTruth, Split]:
    made, truth = planted_films(60, 80, kind=kind, length=12, seed=1)
    dataset: Any = SimpleNamespace(name="films", interactions=made, official_parts=None, notes=[])
    return truth, make_split(dataset, "last-item", 0)


def read(*half_lives: float) -> Genotype:
    return given_genotype([Decay(0.5 ** (1 / one)) for one in half_lives])


class Backwards:
    """Scores that rank the other way round."""

    def __init__(self, scorer: TrueScores) -> None:
        self.scorer = scorer

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return -self.scorer.scores(users)


def test_each_half_life_has_to_be_near_the_planted_one() -> None:
    truth, split = films()
    few, long = truth.half_lives
    oracle = TrueScores(truth, split.train)

    def recovered(*half_lives: float) -> bool:
        return recovery(truth, read(*half_lives), oracle, split).recovered

    assert recovered(few, long) and recovered(1.9 * few, long / 1.9) and recovered(long, few)
    assert not recovered(2.1 * few, long)
    assert not recovered(few, long / 2.1)
    assert not recovered(few) and not recovered(few, few, long) and not recovered()
    found = recovery(truth, read(few, long), Backwards(oracle), split)
    assert not found.recovered and found.agreement < 0.2
    assert not recovery(truth, plain_product(("user", "item")), oracle, split).recovered


def test_a_set_is_recovered_by_what_reads_no_order() -> None:
    truth, split = films("set")
    oracle = TrueScores(truth, split.train)
    for design in (genotype_of(ItemItem()), plain_product(("user", "item")), given_genotype(())):
        assert recovery(truth, design, oracle, split).recovered
    found = recovery(truth, read(3.0), oracle, split)
    assert not found.recovered and "no time scale (3 found)" in found.judged


def test_an_endless_scale_is_none_of_a_finite_half_life_and_can_be_written() -> None:
    truth, split = films()
    few, _ = truth.half_lives
    design = given_genotype([Decay(0.5 ** (1 / few)), Decay(1.0)])
    assert half_lives_found(design) == (pytest.approx(few), np.inf)
    found = recovery(truth, design, TrueScores(truth, split.train), split)
    assert not found.recovered
    assert found.document()["found"][1] is None and found.best is not None
    assert 0 < found.best < 1


def test_an_operation_has_to_be_the_planted_one() -> None:
    made, truth = planted(30, 60, kind="clicks", density=0.2, operation="max", seed=1)
    dataset: Any = SimpleNamespace(name="clicks", interactions=made, official_parts=None, notes=[])
    split = make_split(dataset, "ranking-per-user", 0)
    oracle = TrueScores(truth, split.train)
    product = plain_product(("user", "item"))
    largest = replace(product, blocks={**product.blocks, "operation": ((0, "max"),)})
    found = recovery(truth, largest, oracle, split)
    assert (found.recovered, found.found, found.planted) == (True, "max", "max")
    assert found.agreement == 1 and "max(user, item)" in found.truth
    assert not recovery(truth, largest, Backwards(oracle), split).recovered
    assert not recovery(truth, product, oracle, split).recovered
    assert recovery(truth, genotype_of(ItemItem()), oracle, split).found == "none"


def test_agreement_is_of_the_best_items_that_users_do_not_have() -> None:
    names = Vocabulary(np.arange(2)), Vocabulary(np.arange(30))
    known = Interactions(np.array([[0, 29], [1, 0]]), ("user", "item"), names)
    ascending: Any = SimpleNamespace(scores=lambda users: np.tile(np.arange(30.0), (len(users), 1)))
    shifted: Any = SimpleNamespace(
        scores=lambda users: np.tile(np.roll(np.arange(30.0), 5), (len(users), 1))
    )
    users = np.array([0, 1])
    assert agreement(ascending, ascending, known, users) == 1
    # User 0: 9 to 28 against 4 and 5 to 4 + 19, and so on, counted by hand.
    best = [set(range(9, 29)), set(range(10, 30))]
    mine = []
    for has in (29, 0):
        order = [i for i in np.argsort(-np.roll(np.arange(30.0), 5)) if i != has]
        mine.append(set(order[:BEST]))
    expected = np.mean([len(one & other) / BEST for one, other in zip(best, mine, strict=True)])
    assert agreement(ascending, shifted, known, users) == pytest.approx(float(expected))
