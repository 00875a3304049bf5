"""The choice of the served model: means, paired standard errors, and the order of simplicity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.errors import DataError
from sif.evaluation.choice import MARGIN, Choice, chosen

ORDER = ("popular", "linear", "factors", "searched")


def merits(**values: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(one) for name, one in values.items()}


def test_the_simplest_within_a_quarter_of_a_standard_error_of_the_best() -> None:
    assert MARGIN == 0.25
    found = merits(searched=[0.5, 0.5, 0.5, 0.5], linear=[0.7, 0.2, 0.6, 0.4])
    # Gaps -.2, .3, -.1, .1: mean .025, deviation .2217, standard error .1109, a quarter .0277.
    choice = chosen(found, ORDER)
    assert (choice.name, choice.leader) == ("linear", "searched")
    assert choice.behind == pytest.approx(0.025)
    assert choice.error == pytest.approx(math.sqrt(0.1475 / 3) / 2)


def test_a_simpler_one_further_behind_is_left_where_a_wider_interval_would_take_it() -> None:
    found = merits(searched=[0.505, 0.505, 0.505, 0.505], linear=[0.7, 0.2, 0.6, 0.4])
    # A mean of .03: more than a quarter of the error, and far within one.
    assert chosen(found, ORDER) == Choice("searched", "searched")
    assert chosen(found, ORDER, 1.0).name == "linear"


def test_the_leader_is_served_where_it_is_the_simplest() -> None:
    found = merits(popular=[0.5, 0.6, 0.1], factors=[0.4, 0.7, 0.0])
    assert chosen(found, ORDER) == Choice("popular", "popular")


def test_of_several_within_reach_the_simplest() -> None:
    found = merits(
        searched=[0.5, 0.5, 0.5, 0.5], factors=[0.7, 0.3, 0.7, 0.2],
        linear=[0.7, 0.2, 0.6, 0.4], popular=[0.1, 0.1, 0.1, 0.2],
    )  # fmt: skip
    assert chosen(found, ORDER).name == "linear"
    assert chosen(dict(reversed(found.items())), ORDER) == chosen(found, ORDER)


def test_errors_are_of_the_same_users_and_not_of_each_alone() -> None:
    users = np.linspace(0, 1, 50)  # differ much more than the models do
    found = {"searched": users + 0.01, "popular": users}
    assert chosen(found, ORDER) == Choice("searched", "searched")
    jitter = np.where(np.arange(50) % 2, 0.5, -0.5)  # an error of .0714
    assert chosen({"searched": users + 0.01, "popular": users + jitter}, ORDER).name == "popular"


def test_equal_models_are_the_simpler_one() -> None:
    assert chosen(merits(searched=[0.3, 0.1], popular=[0.3, 0.1]), ORDER).name == "popular"


def test_a_single_user_excuses_nothing() -> None:
    assert chosen(merits(searched=[0.31], popular=[0.3]), ORDER).name == "searched"


def test_other_users_are_refused() -> None:
    with pytest.raises(DataError, match="expected the models judged on the same users"):
        chosen(merits(searched=[0.3, 0.1], popular=[0.3]), ORDER)
    with pytest.raises(DataError):
        chosen({}, ORDER)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=2, max_size=12))
def test_nobody_better_is_simpler(rows: list[tuple[float, ...]]) -> None:
    columns = np.array(rows).T
    found = dict(zip(ORDER, columns, strict=True))
    choice = chosen(found, ORDER)
    assert found[choice.leader].mean() == max(one.mean() for one in found.values())
    assert choice.behind <= MARGIN * choice.error or choice.name == choice.leader
    simpler = ORDER[: ORDER.index(choice.name)]
    for name in simpler:
        gaps = found[choice.leader] - found[name]
        assert gaps.mean() > MARGIN * gaps.std(ddof=1) / math.sqrt(len(gaps))
