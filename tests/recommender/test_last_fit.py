"""The last fit of a recommender: of all rows, while its report is of before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.config import load_config
from sif.errors import ConfigError, DivergedError
from sif.problems.budget import TimeBudget, fitting, whole_epochs
from sif.problems.interactions import InteractionProblem
from sif.problems.refit import Refit
from sif.recommender.recommender import Recommender

Board = Callable[..., pd.DataFrame]
QUICK: dict[str, Any] = {
    "train": {"epochs": 20, "patience": 20, "dimension": 8, "l2": [0.003], "lr": 0.05},
    "search": {
        "epochs": 3,
        "dimension": 4,
        "stages": ["encoding", "operation", "weighting"],
    },
}


def quick(**settings: Any) -> Recommender:
    return Recommender(threads=1, baselines=["popularity"], settings={**QUICK, **settings})


def users_vectors(model: Recommender) -> np.ndarray:
    table: np.ndarray = model.model_.network.tables.embeddings[0].detach().numpy()
    return table


def figures(model: Recommender) -> pd.DataFrame:
    return model.report().to_frame().drop(columns="seconds")


def test_all_rows_are_served_and_the_report_is_of_before(
    checkerboard: Board, tmp_path: Path
) -> None:
    frame = checkerboard(40, 20)
    once, again = quick().fit(frame, refit="none"), quick().fit(frame)
    pd.testing.assert_frame_equal(figures(once), figures(again))
    assert once.report().verdict == again.report().verdict
    assert once.validation_metrics_ == again.validation_metrics_
    assert not np.array_equal(users_vectors(once), users_vectors(again))
    assert (once.model_.fitted_on, again.model_.fitted_on) == ("train", "all")
    last = repr(again.report()).splitlines()[-1]
    assert last.startswith("last fit: after these figures were measured, the served function was")
    assert f"all {len(frame):,} rows" in last
    assert "last fit: none; served as it was fitted on " in repr(once.report())
    again.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert loaded.model_.fitted_on == "all" and repr(loaded.report()) == repr(again.report())


def test_rows_of_validation_alone_are_trained_in_the_end(checkerboard: Board) -> None:
    frame = checkerboard(40, 20, rare=True)
    held = frame["item"].eq("rare") | frame["user"].eq("late")
    once, again = (
        quick().fit(frame[~held], frame[held], refit=refit) for refit in ("none", "valid")
    )
    assert all(len(rows) for rows in once.model_.untrained)
    assert not any(len(rows) for rows in again.model_.untrained)
    assert "rare" in set(again.recommend("late", n=30)["item"])
    assert "rare" not in set(once.recommend("late", n=30)["item"])


def test_ratings_are_of_the_scale_of_all_rows(checkerboard: Board) -> None:
    frame = checkerboard(40, 20, rated=True)
    settings = {"threads": 1, "baselines": [], "settings": QUICK}
    model = Recommender("rating", **settings).fit(frame)
    assert model.model_.scale.mean == pytest.approx(frame["rating"].mean())
    once = Recommender("rating", **settings).fit(frame, refit="none")
    assert once.model_.scale.mean != model.model_.scale.mean


def test_the_setting_rules_unless_the_argument_does(checkerboard: Board) -> None:
    frame = checkerboard(40, 20)
    assert quick(refit="none").fit(frame).model_.fitted_on == "train"
    assert quick(refit="valid").fit(frame, refit="none").model_.fitted_on == "train"
    with pytest.raises(
        ConfigError, match=r"^refit: expected one of none, valid, all, found 'valdi'"
    ):
        quick().fit(frame, refit="valdi")


def test_a_last_fit_without_time_is_left_out_and_told(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Refit, "seconds", lambda *_: 1e9)
    with caplog.at_level(logging.WARNING, "sif"):
        functions = {"search": {"stages": QUICK["search"]["stages"]}}
        model = Recommender(budget=3, baselines=[], threads=1, settings=functions)
        model.fit(checkerboard(40, 20))
    assert "last fit: none, expected 1000000000.0 s for it, found " in caplog.text
    assert "last fit: none, expected" in repr(model.report())
    assert model.model_.fitted_on == "train"


def test_a_last_fit_that_diverges_costs_no_model(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*_: Any) -> Any:
        raise DivergedError("training diverged in epoch 1")

    monkeypatch.setattr(InteractionProblem, "train_again", diverged)
    model = quick().fit(checkerboard(40, 20))
    assert "last fit: none, training diverged in epoch 1; served" in repr(model.report())
    assert len(model.recommend("u1", n=3)) == 3


def test_time_is_kept_for_the_last_fit() -> None:
    section: Any = load_config("cf").train  # type: ignore[attr-defined]
    whole = whole_epochs(section)
    # A training that just fits alone is shortened so that a last fit of a strength fits as well.
    assert fitting(section, 1.0, whole) is section
    shorter = fitting(section, 1.0, whole, again=1.1)
    assert whole_epochs(shorter) + 1.1 * shorter.epochs <= whole
    assert fitting(section, 1.0, whole + 1.1 * section.epochs, again=1.1) is section


def test_a_stage_ends_earlier_for_what_it_reserves() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    budget = TimeBudget(100.0, clock, clock)
    with budget.stage("training", 0.5) as seconds:
        budget.reserve(20.0)
        clock.now = seconds - 21.0
        assert not budget.out_of_time()
        clock.now = seconds - 19.0
        assert budget.out_of_time()
