"""The recommender inside Cornac's experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.errors import DataError

QUICK = {
    "train.epochs": 60, "train.patience": 60, "train.dimension": 8, "train.l2": [0.003],
    "search.epochs": 4, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


@pytest.fixture
def cornac() -> Any:
    """Imported by the tests alone: it brings statistics and figures, which take a second."""
    return pytest.importorskip("cornac")


@pytest.fixture
def SIFCornac(cornac: Any) -> Any:
    from sif.adapters.cornac import SIFCornac

    return SIFCornac


def triples(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    ratings = frame["rating"] if "rating" in frame else [1.0] * len(frame)
    return list(zip(frame.user, frame.item, ratings, strict=True))


def averages(experiment: Any) -> dict[str, dict[str, float]]:
    return {result.model_name: dict(result.metric_avg_results) for result in experiment.result}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_experiment_fits_ranks_and_saves(
    cornac: Any, SIFCornac: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    split = cornac.eval_methods.RatioSplit(
        triples(frame), test_size=0.2, val_size=0.1, seed=1, exclude_unknowns=True
    )
    models = [cornac.models.MostPop(), SIFCornac(settings=QUICK, threads=1)]
    metrics = [cornac.metrics.NDCG(k=5), cornac.metrics.Recall(k=5)]
    experiment = cornac.Experiment(split, models, metrics, save_dir=str(tmp_path))
    experiment.run()
    found = averages(experiment)
    assert found["SIF"]["NDCG@5"] > found["MostPop"]["NDCG@5"] + 0.1
    (own,) = [model for model in experiment.models if model.name == "SIF"]
    loaded = SIFCornac.load(str(tmp_path / "SIF"))
    for user in range(4):
        np.testing.assert_array_equal(loaded.rank(user)[0], own.rank(user)[0])


def test_ratings_are_in_their_units(
    cornac: Any, SIFCornac: Any, rated_frame: pd.DataFrame, tmp_path: Path
) -> None:
    split = cornac.eval_methods.RatioSplit(triples(rated_frame), test_size=0.2, seed=1)
    model = SIFCornac(objective="rating", settings=QUICK, threads=1)
    experiment = cornac.Experiment(
        split, [cornac.models.GlobalAvg(), model], [cornac.metrics.MAE()], save_dir=str(tmp_path)
    )
    experiment.run()
    found = averages(experiment)
    assert found["SIF"]["MAE"] < 0.5 < 1 < found["GlobalAvg"]["MAE"]
    assert 1 <= model.rate(0, 1) <= 5


def test_a_fitted_recommender_is_taken_as_it_is(
    cornac: Any, SIFCornac: Any, make: Any, frame: pd.DataFrame
) -> None:
    recommender = make("max")
    extra = [*triples(frame), ("stranger", "i1", 1.0), ("u1", "fresh", 1.0)]
    data = cornac.data.Dataset.from_uir(extra)
    model = SIFCornac(recommender=recommender).fit(data)
    assert model.fitted_ is recommender
    user, item = data.uid_map["u3"], data.iid_map["i4"]
    assert model.score(user, item) == pytest.approx(float(recommender.predict("u3", "i4")), 1e-4)
    assert model.score(user).shape == (data.num_items,)
    assert model.score(user)[data.iid_map["fresh"]] == model.score(user).min()
    for unknown in ((data.uid_map["stranger"], None), (user, data.iid_map["fresh"]),
                    (data.num_users, None), (user, data.num_items)):  # fmt: skip
        with pytest.raises(cornac.exception.ScoreException):
            model.score(*unknown)


def test_clones_take_new_arguments_and_copies_answer_alike(
    cornac: Any, SIFCornac: Any, make: Any, frame: pd.DataFrame
) -> None:
    clone = SIFCornac(settings=QUICK, seed=3).clone({"space": "sif"})
    assert (clone.space, clone.seed, clone.settings, clone.fitted_) == ("sif", 3, QUICK, None)
    recommender = make("multiply")
    model = SIFCornac(recommender=recommender).fit(cornac.data.Dataset.from_uir(triples(frame)))
    assert model.clone().recommender is not None
    with pytest.raises(DataError, match="expected a fitted one, found one before fit"):
        SIFCornac()._fitted()


def test_what_is_not_trainable_is_left(cornac: Any, SIFCornac: Any, frame: pd.DataFrame) -> None:
    data = cornac.data.Dataset.from_uir(triples(frame))
    model = SIFCornac(settings=QUICK, threads=1).fit(data)
    first, model.trainable = model.fitted_, False
    with pytest.warns(UserWarning, match="already fitted"):
        model.fit(data)
    assert model.fitted_ is first
