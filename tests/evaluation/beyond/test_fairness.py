"""The gap between groups of users: by hand, and how often it is found where there is none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sif.errors import DataError, ShapeError
from sif.evaluation.beyond import group_gap
from sif.evaluation.beyond.fairness import _resampled_means


def test_hand_computed_gap() -> None:
    found = group_gap([0.0, 0.2, 0.6, 0.8, 0.5], ["a", "a", "b", "b", "c"], seed=1)
    assert found.gap == pytest.approx(0.6)
    assert (found.best, found.worst) == ("b", "a")
    assert found.means == pytest.approx({"a": 0.1, "b": 0.7, "c": 0.5})
    # Resampled means are .0, .1 or .2 of "a", .6, .7 or .8 of "b", .5 of "c".
    assert found.low == pytest.approx(0.4)
    assert found.high == pytest.approx(0.8)


def test_the_interval_is_seeded_and_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["x", "y"], [300, 200])
    values = rng.normal(0.3, 0.1, 500) + 0.1 * (groups == "y")
    found = group_gap(values, groups, seed=4)
    assert found == group_gap(values, groups, seed=4)
    assert found.low < 0.1 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 * (1 / 300 + 1 / 200) ** 0.5,
                                                   rel=0.15)  # fmt: skip
    assert found.p == pytest.approx(1 / 2001)


def test_without_a_difference_p_is_evenly_spread() -> None:
    rng = np.random.default_rng(7)
    found = [
        group_gap(rng.random(40), np.arange(40) % 3, seed=n, n=99).p for n in range(200)
    ]  # fmt: skip
    assert 0.02 <= np.mean(np.array(found) <= 0.1) <= 0.19


def test_the_normal_limit_is_that_of_resamples_and_shuffles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(9)
    groups = np.repeat([0, 1, 2], [1100, 1300, 1000])
    values = rng.random(3400) + 0.02 * (groups == 1)
    limit = group_gap(values, groups, seed=2)
    monkeypatch.setattr("sif.evaluation.beyond.fairness.MANY", 10**9)
    drawn = group_gap(values, groups, seed=2)
    assert limit.gap == drawn.gap
    assert (limit.low, limit.high) == pytest.approx((drawn.low, drawn.high), abs=0.003)
    assert limit.p == pytest.approx(drawn.p, abs=0.04)


def test_bad_groups_are_refused() -> None:
    with pytest.raises(DataError, match="groups: expected at least two, found 1"):
        group_gap([1.0, 2.0], ["a", "a"], seed=0)
    with pytest.raises(ShapeError, match=r"groups: expected \(2,\), one per value, found \(1,\)"):
        group_gap([1.0, 2.0], ["a"], seed=0)
    with pytest.raises(DataError, match="values: expected finite numbers"):
        group_gap([1.0, np.nan], ["a", "b"], seed=0)


def test_resamples_are_those_of_every_way_to_draw() -> None:
    """Of three users all 27 draws with replacement are as likely."""
    values = np.array([0.0, 1.0, 5.0])
    means = _resampled_means(values, np.random.default_rng(0), 54_000)
    ways = np.array(list(itertools.product(values, repeat=3))).mean(axis=1)
    found, expected = (np.unique(one.round(9), return_counts=True) for one in (means, ways))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1] / 54_000, expected[1] / 27, atol=0.01)
