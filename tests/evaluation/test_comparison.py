"""The comparison must be right in both directions and the rival chosen on validation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sif.errors import DataError
from sif.evaluation.comparison import Comparison, compare, counted, holm, one_verdict, verdict
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import paired_bootstrap


def ranked(values: np.ndarray, users: np.ndarray | None = None) -> Evaluation:
    users = np.arange(len(values)) if users is None else users
    return Evaluation({"ndcg@10": float(values.mean())}, users, {"ndcg@10": values}, 0)


def rated(squared: np.ndarray, count: np.ndarray, deviation: float = 2.0) -> Evaluation:
    rmse = float(np.sqrt(squared.sum() / count.sum()))
    # Absolute errors of their own, so that one cannot stand in for the other.
    absolute = squared / 3 + 0.5
    mae = float(absolute.sum() / count.sum())
    metrics = {"rmse": rmse, "rmse_std": rmse / deviation, "mae": mae}
    per_user = {"squared_error": squared, "absolute_error": absolute, "count": count}
    return Evaluation(metrics, np.arange(len(count)), per_user, 0)


NOISE = np.random.default_rng(0).normal(0.5, 0.1, 200)


@pytest.mark.parametrize(
    ("gap", "outcome"), [(0.05, "better"), (-0.05, "worse"), (0.0, "undecided")]
)
def test_outcome_follows_the_interval(gap: float, outcome: str) -> None:
    jitter = np.random.default_rng(1).normal(0.0, 0.05, 200)
    jitter -= jitter.mean()
    result = compare(ranked(NOISE + gap + jitter), ranked(NOISE), "ndcg@10", seed=0)
    assert result.outcome == outcome
    expected = paired_bootstrap(gap + jitter, np.zeros(200), 0)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))


def test_lower_is_better_turns_the_outcome() -> None:
    count = np.full(50, 4.0)
    small, large = rated(np.linspace(1, 2, 50), count), rated(np.linspace(2, 3, 50), count)
    for metric in ("rmse", "rmse_std", "mae"):
        assert compare(small, large, metric, seed=0).outcome == "better"
        assert compare(large, small, metric, seed=0).outcome == "worse"
        assert compare(small, small, metric, seed=0).outcome == "undecided"


def test_differences_are_those_of_the_metrics() -> None:
    count = np.arange(1.0, 51)
    a, b = rated(np.linspace(1, 2, 50), count), rated(np.linspace(3, 1, 50), count)
    for metric in ("rmse", "rmse_std", "mae"):
        found = compare(a, b, metric, seed=0)
        assert found.difference == pytest.approx(a.metrics[metric] - b.metrics[metric])
        assert found.low < found.difference < found.high


def test_refuses_other_users_ratings_and_metrics() -> None:
    ours = ranked(NOISE)
    with pytest.raises(DataError, match="same users"):
        compare(ours, ranked(NOISE, np.arange(200) + 1), "ndcg@10", seed=0)
    with pytest.raises(DataError, match="coverage@10"):
        compare(ours, ours, "coverage@10", seed=0)
    ones = np.ones(5)
    with pytest.raises(DataError, match="same ratings"):
        compare(rated(ones, ones), rated(ones, 2 * ones), "rmse", seed=0)


def test_the_rival_is_the_best_on_validation_not_on_test() -> None:
    baselines = {"lucky": ranked(NOISE + 0.2), "sound": ranked(NOISE)}
    valid = {"lucky": 0.3, "sound": 0.4, "not evaluated": 0.9}
    result = verdict("sif", ranked(NOISE + 0.1), baselines, valid, "ndcg@10")
    assert result.against == "sound"
    assert result.comparison is not None
    assert result.comparison.outcome == "better"
    assert result.text.startswith("sif is better than sound")
    assert "\n" not in result.text
    assert f"{NOISE.mean():.4f}" in result.text


def test_the_rival_for_errors_has_the_lowest() -> None:
    count = np.full(9, 2.0)
    baselines = {name: rated(np.full(9, 2.0), count) for name in ("a", "b", "c")}
    result = verdict(
        "sif", rated(np.full(9, 3.0), count), baselines, {"a": 3, "b": 1, "c": 2}, "rmse"
    )
    assert result.against == "b"
    assert "worse than b" in result.text


def test_ties_on_validation_do_not_depend_on_the_order() -> None:
    baselines = {"b": ranked(NOISE), "a": ranked(NOISE)}
    assert verdict("x", ranked(NOISE), baselines, {"a": 1, "b": 1}, "ndcg@10").against == "a"


def test_no_baseline_and_no_validation() -> None:
    empty = verdict("sif", ranked(NOISE), {}, {}, "ndcg@10")
    assert (empty.against, empty.comparison) == (None, None)
    assert "no baseline" in empty.text
    with pytest.raises(DataError, match="als"):
        verdict("sif", ranked(NOISE), {"als": ranked(NOISE)}, {}, "ndcg@10")


def test_there_is_no_verdict_against_ourselves() -> None:
    found = verdict("ours", ranked(NOISE), {}, {}, "ndcg@10", itself=["fixed-multiply"])
    assert (found.against, found.comparison) == (None, None)
    assert found.text == (
        "no verdict: ours is fixed-multiply itself, and no other baseline was trained"
    )


def test_one_user_and_metrics_that_are_not_finite_have_no_interval() -> None:
    one, other = ranked(np.array([0.4])), ranked(np.array([0.3]))
    found = verdict("ours", one, {"ease": other}, {"ease": 0.1}, "ndcg@10")
    assert found.text == (
        "undecided: one user: ours against ease, the baseline that validation ranks best: test "
        "ndcg@10 0.4000 against 0.3000, difference +0.1000 (no interval: one user)"
    )
    assert found.no_interval == "one user" and found.comparison is not None
    wrong = ranked(np.array([0.4, np.nan, np.inf]))
    found = verdict("x", wrong, {"b": wrong, "a": wrong}, {"a": np.nan, "b": 0.1}, "ndcg@10")
    assert found.against == "b" and found.comparison is not None
    assert found.comparison.outcome == "undecided"
    assert found.text.startswith("undecided: ndcg@10 is not finite: x against b")


@pytest.mark.parametrize(("metric", "text"), [
    ("rmse", "rmse 0.2500 against 0.2000, difference +0.0500 (95 % interval over 9 users +0.0100"),
    ("error", "error 0.25 against 0.20, difference +0.05 (95 % interval over 9 users +0.01 to"),
])  # fmt: skip
def test_digits_are_those_of_the_metric(metric: str, text: str) -> None:
    found = Comparison(0.05, 0.01, 0.09, "worse").told(metric, 0.25, 0.2, "9 users")
    assert found.startswith(text)


def test_units_are_counted_in_words() -> None:
    assert [counted(n, "users") for n in (0, 1, 2)] == ["0 users", "one user", "2 users"]
    assert counted(1, "texts of 32 words") == "one text of 32 words"


def test_p_values_are_those_of_students_test_and_correct_each_other() -> None:
    draws = np.random.default_rng(3)
    gap = draws.normal(0.01, 0.06, 300)
    found = compare(ranked(NOISE[:1] + gap), ranked(np.full(300, NOISE[0])), "ndcg@10", seed=0)
    assert found.p == pytest.approx(stats.ttest_1samp(gap, 0.0).pvalue, abs=0.004)
    # Hand-computed: .01 * 3, then max(.03, .02 * 2), then max(.04, .5).
    assert holm([0.5, 0.01, 0.02]) == pytest.approx([0.5, 0.03, 0.04])
    assert holm([0.03, 0.03]) == pytest.approx([0.06, 0.06]) and holm([]) == []


def test_one_of_two_comparisons_needs_more_to_stand() -> None:
    draws = np.random.default_rng(5).normal(0.0, 1.0, 300)
    gap = 0.0073 + 0.06 * (draws - draws.mean()) / draws.std()  # 2.1 standard errors
    alone = one_verdict(
        "ours", ranked(0.5 + gap), "other", ranked(np.full(300, 0.5)), "ndcg@10", "a rival: test"
    )
    assert alone.comparison is not None and alone.comparison.outcome == "better"
    assert 0.025 < alone.comparison.p < 0.05
    stands, open_ = alone.among(alone.comparison.p, 2), alone.among(2 * alone.comparison.p, 2)
    assert stands.comparison == alone.comparison and "ours is better than other" in stands.text
    assert open_.comparison is not None and open_.comparison.outcome == "undecided"
    assert "ours is undecided against other" in open_.text and "(Holm)" in open_.text
