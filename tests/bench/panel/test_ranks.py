"""Ranks over data sets: against tables of the paper, scipy, and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sif.bench.panel.ranks import (
    FEWEST,
    RESAMPLES,
    UserSums,
    critical_difference,
    friedman,
    rank,
    resampled_ranks,
)
from sif.errors import DataError

# Demšar 2006, table 5 a: critical values of the two-tailed Nemenyi test at .05, by models.
TABLE = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize(("models", "value"), TABLE.items())
def test_the_critical_difference_is_that_of_the_papers_table(models: int, value: float) -> None:
    width = critical_difference(models, 20)
    assert width == pytest.approx(value * math.sqrt(models * (models + 1) / 120), abs=6e-4)


def test_under_the_fewest_data_sets_nearly_nothing_differs() -> None:
    assert critical_difference(8, FEWEST - 1) == pytest.approx(5.2, abs=0.06)


def test_the_test_of_friedman_is_corrected_by_iman_and_davenport() -> None:
    # By hand: 3 models over 4 data sets, average ranks 5/4, 2 and 11/4, so that chi2 is
    # 12 * 4 / (3 * 4) * (9/16 + 9/16) = 4.5 and F = 3 * 4.5 / (8 - 4.5), with 2 and 6 degrees.
    table = [[1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 3, 2]]
    assert friedman(table) == pytest.approx(stats.f.sf(13.5 / 3.5, 2, 6), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_corrected_as_scipy_does(seed: int) -> None:
    draws = np.random.default_rng(seed).integers(0, 4, (7, 5))
    table = stats.rankdata(draws, axis=1)
    chi2 = stats.friedmanchisquare(*table.T).statistic
    expected = stats.f.sf(6 * chi2 / (7 * 4 - chi2), 4, 24)
    assert friedman(table) == pytest.approx(expected, rel=1e-9)


def test_the_test_of_friedman_at_its_ends() -> None:
    assert friedman(np.full((5, 3), 2.0)) == 1.0
    assert friedman(np.tile([1.0, 2.0, 3.0], (6, 1))) == 0.0
    # Two models, each ahead twice: chi2 0.
    assert friedman([[1, 2], [2, 1], [1, 2], [2, 1]]) == 1.0


def merits(rows: list[list[float]], names: str = "abc") -> pd.DataFrame:
    return pd.DataFrame(rows, index=[f"d{n}" for n in range(len(rows))], columns=list(names))


def test_average_ranks_have_the_intervals_of_nemenyi() -> None:
    table = merits([[3, 2, 1], [3, 2, 1], [1, 2, 3], [3, 1, 1], [2, 2, 1]])
    found = rank(table, {})
    by_name = {one.name: one for one in found.models}
    assert by_name["a"].ranks == (1, 1, 3, 1, 1.5)
    assert by_name["b"].ranks == (2, 2, 2, 2.5, 1.5)
    assert by_name["c"].ranks == (3, 3, 1, 2.5, 3)
    assert [one.name for one in found.models] == ["a", "b", "c"]
    assert by_name["a"].mean == 1.5
    half = critical_difference(3, 5) / 2
    assert (by_name["a"].low, by_name["a"].high) == pytest.approx((1.5 - half, 1.5 + half))
    assert "Nemenyi, critical difference 1.48 (3 models, 5 data sets, 5 %)" in found.meaning


def test_models_that_a_data_set_lacks_are_left_out() -> None:
    found = rank(merits([[3, 2, np.nan]] * 5), {})
    assert [one.name for one in found.models] == ["a", "b"]
    assert found.left_out == ("c",)
    assert rank(merits([[3, np.nan, np.nan]]), {}).models == ()
    assert rank(pd.DataFrame(), {}).models == ()


def test_without_values_of_users_there_is_no_interval() -> None:
    found = rank(merits([[3, 2, 1]]), {})
    assert found.meaning == "no interval: no values by user of d0"
    assert math.isnan(found.models[0].low)


def sums(above: list[list[float]], below: list[float] | None = None) -> UserSums:
    values = np.array(above, dtype=float)
    ones = np.ones(len(values)) if below is None else np.array(below, dtype=float)
    return UserSums(np.arange(len(values)), values, ones)


def test_under_five_data_sets_users_are_drawn_again() -> None:
    # The first model is ahead for every user, the others are ahead of each other for one of two.
    one = sums([[3, 2, 1], [3, 1, 2]])
    found = rank(merits([[3, 1.5, 1.5], [3, 1.5, 1.5]]), {"d0": [one], "d1": [one]})
    first, second, third = found.models
    assert (first.name, first.mean, first.low, first.high) == ("a", 1.0, 1.0, 1.0)
    assert (second.mean, second.low, second.high) == (2.5, 2.0, 3.0)
    assert (third.low, third.high) == (2.0, 3.0)
    assert found.meaning.startswith("bars: 95 % bootstrap over users")


def test_drawn_ranks_are_as_likely_as_the_draws() -> None:
    # Two users: both drawn once (tie) with chance 1/2, one of them twice with 1/4 each.
    drawn = resampled_ranks([sums([[1, 0], [0, 1]])], [0, 1], seed=3)
    assert drawn.shape == (RESAMPLES, 2)
    shares = [float((drawn[:, 0] == value).mean()) for value in (1.0, 1.5, 2.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_a_user_is_drawn_with_all_seeds_and_models() -> None:
    # Of two seeds with the same users each model has one: drawn alike, they always tie.
    two = [sums([[1, 0], [5, 0]]), sums([[0, 1], [0, 5]])]
    assert (resampled_ranks(two, [0, 1], seed=0) == 1.5).all()
    # Errors over ratings: a user with many ratings weighs by them.
    uneven = sums([[-8, -6], [-1, -2]], [4, 1])
    drawn = resampled_ranks([uneven], [0, 1], seed=0)
    both = drawn[np.isclose(drawn[:, 0], 2.0)]
    assert len(both) > 0.6 * RESAMPLES  # -9/5 against -8/5, and -8/4 against -6/4
    left = UserSums(np.array([7]), np.array([[1.0, 2.0]]), np.ones(1))
    assert (resampled_ranks([left], [1, 0], seed=0)[:, 0] == 1).all()
    with pytest.raises(DataError, match="expected users, found none"):
        resampled_ranks([UserSums(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))], [0, 1], 0)
