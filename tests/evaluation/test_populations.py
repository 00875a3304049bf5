"""Users of validation and test side by side, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary
from sif.evaluation.populations import FACTOR, FEW, Population, Populations


def interactions(users: list[int]) -> Interactions:
    ids = np.stack([np.array(users, dtype=np.int64), np.arange(len(users))], axis=1)
    return Interactions(ids, ("user", "item"), (Vocabulary(range(9)), Vocabulary(range(50))))


def population(new_rows: float = 0.0, median: float = 10.0) -> Population:
    return Population(100, round(100 * new_rows), new_rows, median)


def test_a_population_by_hand() -> None:
    fitted = interactions([0] * 5 + [1] * 2 + [2])
    # Users 0, 1, 2 are known by 5, 2 and 1 rows, 3 and 4 are new.
    found = Population.of((fitted,), interactions([0, 0, 1, 2, 3, 3, 3, 4]))
    assert found == Population(users=5, new_users=2, new_row_share=0.5, known_median=2.0)
    assert Population.of((fitted,), interactions([3])) == Population(1, 1, 1.0, 0.0)


@pytest.mark.parametrize(
    ("valid", "test", "differ"),
    [
        (0.3, 0.3, 0),
        (0.30, 0.44, 0),
        (0.30, 0.46, 1),  # new rows
        (0.85, 0.71, 1),  # known rows
        (0.0, 0.07, 0),  # few
        (0.0, 0.08, 1),
        (0.08, 0.0, 1),
    ],
)
def test_shares_of_new_users_differ_by_more_than_a_factor(
    valid: float, test: float, differ: int
) -> None:
    found = Populations(population(valid), population(test))
    assert len(found.differences) == differ
    assert bool(found.told) == bool(differ)
    assert found.document()["differences"] == list(found.differences)
    if differ:
        assert f"{valid:.1%} and {test:.1%} of their rows are of new users" in found.told


def test_activities_differ_by_more_than_a_factor() -> None:
    assert not Populations(population(median=10), population(median=10 * FACTOR)).differences
    (told,) = Populations(population(median=129), population(median=68)).differences
    assert told == "known users have a median of 129 and 68 rows"
    assert not Populations(population(median=0), population(median=10)).differences
    both = Populations(population(0.1, 10), population(0.6, 30))
    assert len(both.differences) == 2 and "\n" not in both.told
    assert 0 < FEW * FACTOR < 0.08
