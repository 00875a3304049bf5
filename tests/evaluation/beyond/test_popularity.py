"""Novelty and popularity of lists against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sif.data.interactions import Interactions, Vocabulary
from sif.errors import DataError, ShapeError
from sif.evaluation.beyond import Popularity, average_popularity, long_tail, novelty

POPULARITY = Popularity(np.array([8, 4, 2, 1, 0]), n_users=8)


def rows(pairs: list[tuple[int, ...]], fields: tuple[str, ...] = ("user", "item")) -> Interactions:
    sizes = (3, 4, 2)
    vocabularies = tuple(
        Vocabulary(np.array([f"{name}{n}" for n in range(size)]))
        for name, size in zip(fields, sizes, strict=False)
    )
    return Interactions(np.array(pairs, dtype=np.int64), fields, vocabularies)


def test_self_information_in_bits() -> None:
    # 1, 1/2, 1/4, 1/8 of the users have the items; the last one counts as if one user had it.
    assert novelty([[0, 1, 2]], POPULARITY).tolist() == [1.0]
    assert novelty([[3, 4]], POPULARITY).tolist() == [3.0]
    assert novelty([[2, -1, -1], [-1, -1, -1]], POPULARITY).tolist() == [2.0, 0.0]


def test_mean_number_of_users() -> None:
    found = average_popularity([[0, 3], [4, 2], [1, -1]], POPULARITY)
    assert found.tolist() == [4.5, 1.0, 4.0]


def test_the_head_has_just_enough_interactions() -> None:
    # 15 interactions: 8 + 4 are exactly 80 %, so the head is two items; of 81 % it is three.
    assert POPULARITY.tail(0.8).tolist() == [False, False, True, True, True]
    assert POPULARITY.tail(0.81).tolist() == [False, False, False, True, True]
    assert POPULARITY.tail(1.0).tolist() == [False, False, False, False, True]
    assert long_tail([[0, 1, 2, 4], [3, -1, -1, -1]], POPULARITY).tolist() == [0.5, 1.0]


def test_of_equal_items_the_first_is_in_the_head() -> None:
    assert Popularity(np.array([1, 1]), 2).tail(0.5).tolist() == [False, True]


@pytest.mark.parametrize("head", [0.0, -1.0, 1.5, math.nan])
def test_a_head_is_a_share(head: float) -> None:
    with pytest.raises(DataError, match="head: expected a share above 0, at most 1"):
        long_tail([[0]], POPULARITY, head)


def test_popularity_counts_a_pair_once_and_users_with_rows() -> None:
    train = rows([(0, 1, 0), (0, 1, 1), (2, 1, 0)], ("user", "item", "hour"))
    valid = rows([(0, 3, 0)], ("user", "item", "hour"))
    found = Popularity.of((train, valid), train.sizes)
    assert found.counts.tolist() == [0, 2, 0, 1]
    assert found.n_users == 2


def test_without_parts_nobody_has_anything() -> None:
    found = Popularity.of((), (3, 2))
    assert (found.counts.tolist(), found.n_users) == ([0, 0], 0)
    assert novelty([[0, 1]], found).tolist() == [0.0]


@pytest.mark.parametrize("lists", [[1, 2], [[0.5]], [[5]], [[-2]]])
def test_other_lists_are_refused(lists: list[object]) -> None:
    with pytest.raises(ShapeError, match="lists: expected"):
        novelty(lists, POPULARITY)
