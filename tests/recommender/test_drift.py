"""The record of what was folded in: counts, figures from before the learning, and a fresh fit."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sif import Recommender
from sif.errors import ConfigError, DataError
from sif.recommender.drift import Interval, drift_of, ndcg
from sif.recommender.folding import JUDGED, Folding


def circles(users: int, per_user: int, seed: int, first: int = 0) -> pd.DataFrame:
    """Users of two circles of ten items, of which each has some."""
    draws = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"i{10 * (user % 2) + item}")
        for user in range(first, first + users)
        for item in draws.permutation(10)[:per_user]
    ]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    settings = {"train.epochs": 3, "search.epochs": 1}
    made = Recommender(budget="2s", dimension=4, threads=1, baselines=[], settings=settings)
    return made.fit(circles(60, 6, 0))


@pytest.fixture
def model(fitted: Recommender) -> Recommender:
    return copy.copy(fitted)


def test_nothing_has_drifted_after_a_fit(model: Recommender) -> None:
    drift = model.drift()
    assert not drift.fit_again and drift.rows == 0 and math.isnan(drift.first.mean)
    assert str(drift).startswith("Fit again: no; ") and drift.at_fit is not None


def test_rows_are_counted_and_predicted_before_they_are_learned(model: Recommender) -> None:
    new = circles(60, 9, 1)
    few, others = new[new.user.isin([f"u{n}" for n in range(20)])], new.iloc[180:]
    had = circles(60, 6, 0).groupby("user").item.agg(set)
    expected = []
    for user in sorted(few.user.unique()):
        fresh = set(few.item[few.user == user]) - had[user]
        best = model.recommend(user, 10, as_arrays=True)[0].tolist()
        gains = [1 / math.log2(place + 2) for place in range(10)]
        found = sum(gain for gain, item in zip(gains, best, strict=False) if item in fresh)
        expected.append(found / sum(gains[: len(fresh)]))
    model.partial_fit(few)
    assert model.fitted_model().folding.first.tolist() == pytest.approx(expected, rel=1e-5)
    model.fold_in(others)
    drift = model.drift()
    assert drift.rows == len(new) and drift.first.count > 30
    assert drift.rows_share == pytest.approx(len(new) / model.fitted_model().seen.nnz)
    assert drift.fit_again and "of the rows were folded in" in drift.reason


def test_users_without_training_are_a_reason(model: Recommender) -> None:
    model.partial_fit(circles(40, 1, 2, first=1000))
    drift = model.drift()
    assert drift.users_share == pytest.approx(0.4) and drift.first.count == 0
    assert drift.reason == "40 % of the users were in no training, more than 30 %"


def test_a_record_is_saved_with_the_model(model: Recommender, tmp_path: Path) -> None:
    model.partial_fit(circles(60, 9, 1))
    model.save(tmp_path)
    again, before = Recommender.load(tmp_path).drift(), model.drift()
    assert again.to_frame().equals(before.to_frame()) and str(again) == str(before)


def test_worse_predictions_than_at_first_are_a_reason(model: Recommender) -> None:
    good, bad = np.full(200, 0.5, np.float32), np.full(200, 0.2, np.float32)
    good[::2], bad[::2] = 0.7, 0.4
    served = model.fitted_model()
    for latest, fit_again in ((bad, True), (good, False)):
        vars(served)["folding"] = Folding(1, good, latest)
        assert drift_of(served).fit_again == fit_again
    vars(served)["folding"] = Folding()


def test_the_first_judgments_stay_and_the_latest_move_on() -> None:
    record, none = Folding(), np.zeros((0, 2), np.int64)
    for number in range(3 * JUDGED // 100):
        record = record.after(100, np.full(100, number, np.float32), none)
    assert record.rows == 3 * JUDGED and len(record.first) == len(record.latest) == JUDGED
    assert record.first.max() == JUDGED / 100 - 1 and record.latest.min() == 2 * JUDGED / 100


def test_ndcg_by_hand() -> None:
    truth = sparse.csr_array(np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.float32))
    best = np.array([[0, 1, 2], [0, 1, 2], [0, 3, -1]])
    expected = [1.5 / (1 + 1 / math.log2(3)), 1 / math.log2(3)]
    assert ndcg(best, truth).tolist() == pytest.approx(expected, rel=1e-6)


def test_an_interval_needs_some_judgments() -> None:
    assert str(Interval.of(np.zeros(0))) == "none was judged"
    assert math.isnan(Interval.of(np.ones(29)).low)
    half = 1.96 * math.sqrt(100 * 0.25 / 99) / 10
    found = Interval.of(np.repeat([0.0, 1.0], 50))
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_a_fresh_fit_is_judged_on_what_neither_has(model: Recommender) -> None:
    """The whole path in one small fit: every held pair is new to both models."""
    with pytest.raises(DataError, match="expected 30 users or more with recent rows"):
        model.drift(fit=True)
    model.partial_fit(circles(60, 9, 1))
    drift = model.drift(fit=True, budget="1s")
    assert drift.gain is not None and drift.folded is not None and drift.fresh is not None
    assert drift.gain.count == drift.folded.count == 60
    assert drift.gain.mean == pytest.approx(drift.fresh.mean - drift.folded.mean, abs=1e-6)
    assert drift.fit_again == (drift.gain.low > 0)


def test_ratings_are_judged_by_their_errors() -> None:
    draws = np.random.default_rng(0)
    rows = circles(40, 6, 0).assign(rating=lambda f: draws.integers(1, 6, len(f)))
    settings = {"train.epochs": 2, "search.epochs": 1}
    model = Recommender(
        "rating", budget="1s", dimension=4, threads=1, baselines=[], settings=settings
    ).fit(rows)  # fmt: skip
    model.partial_fit(circles(40, 9, 1).assign(rating=3.0))
    drift = model.drift()
    assert drift.metric == "rmse" and drift.first.count == 32
    assert 0 < drift.first.low < drift.first.mean < drift.first.high
    with pytest.raises(ConfigError, match="expected a model of rankings"):
        model.drift(fit=True)
