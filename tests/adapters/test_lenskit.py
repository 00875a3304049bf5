"""The scorer inside LensKit's pipelines: trained by them, folding in, batches, copies."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.errors import CheckpointError, DataError

pytest.importorskip("lenskit")

from lenskit import batch
from lenskit.data import Dataset, ItemList, RecQuery, from_interactions_df
from lenskit.pipeline import Pipeline, predict_pipeline, topn_pipeline
from lenskit.training import TrainingOptions

from sif.adapters.lenskit import SIFConfig, SIFScorer

QUICK = {
    "train.epochs": 60, "train.patience": 60, "train.dimension": 8, "train.l2": [0.003],
    "search.epochs": 4, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


def dataset(frame: pd.DataFrame) -> Dataset:
    """Ids are whole numbers here, as in most of LensKit's data."""
    numbers = frame[["user", "item"]].apply(lambda column: column.str[1:].astype(int))
    renamed = numbers.rename(columns={"user": "user_id", "item": "item_id"})
    return from_interactions_df(renamed.assign(rating=frame.get("rating", 1.0)))


@pytest.fixture(scope="module")
def data(frame: pd.DataFrame) -> Dataset:
    return dataset(frame)


@pytest.fixture(scope="module")
def pipeline(data: Dataset) -> Pipeline:
    made = topn_pipeline(SIFScorer(settings=QUICK, threads=1), n=3)
    made.train(data)
    return made


def scorer(pipeline: Pipeline) -> SIFScorer:
    found = pipeline.component("scorer")
    assert isinstance(found, SIFScorer)
    return found


def test_a_pipeline_trains_it_and_recommends_by_taste(pipeline: Pipeline, data: Dataset) -> None:
    lists = batch.recommend(pipeline, data.users.ids(), n_jobs=1)
    assert len(lists) == data.user_count
    right = [item % 2 == key.user_id % 2 for key, items in lists for item in items.ids()[:1]]
    assert np.mean(right) >= 0.9
    user = int(data.users.ids()[4])
    ids = pipeline.run("recommender", query=user).ids()
    assert ids.tolist() == [
        int(i) for i in scorer(pipeline).recommender_.recommend(user, 3, as_arrays=True)[0]
    ]


@pytest.mark.parametrize("place", ["user_items", "history_items", "session_items"])
def test_a_stranger_is_folded_in_from_the_query(pipeline: Pipeline, place: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the older name
        query = RecQuery(user_id=999, **{place: ItemList(item_ids=[1, 3, 5])})
    found = pipeline.run("recommender", query=query, n=4)
    ids, scores = scorer(pipeline).recommender_.recommend_new(["1", "3", "5"], 4, as_arrays=True)
    assert found.ids().tolist() == [int(i) for i in ids]
    np.testing.assert_allclose(found.scores(), scores, rtol=1e-5)
    assert int(ids[0]) % 2 == 1


def test_items_of_a_history_that_nobody_knows_are_left_out(pipeline: Pipeline) -> None:
    # The scorer alone: LensKit's own choice of candidates refuses such a history.
    items = ItemList(item_ids=[7, 8])
    both = [scorer(pipeline)(RecQuery(history_items=ItemList(item_ids=has)), items).scores()
            for has in ([1, 3, 77], [1, 3])]  # fmt: skip
    np.testing.assert_array_equal(both[0], both[1])
    assert both[0][0] > both[0][1]


def test_what_is_unknown_has_no_score(pipeline: Pipeline) -> None:
    items = ItemList(item_ids=[2, 77, 4])
    known = scorer(pipeline)(RecQuery(user_id=2), items)
    assert known.ids().tolist() == [2, 77, 4]
    assert np.isnan(known.scores()).tolist() == [False, True, False]
    for query in (RecQuery(), 999, RecQuery(history_items=ItemList(item_ids=[77]))):
        assert np.isnan(scorer(pipeline)(query, items).scores()).all()
    assert len(scorer(pipeline)(2, ItemList())) == 0


def test_ratings_are_predicted_in_their_units(rated_frame: pd.DataFrame) -> None:
    data = dataset(rated_frame)
    made = predict_pipeline(
        SIFScorer(objective="rating", settings=QUICK, threads=1), fallback=False
    )
    made.train(data)
    found = made.run("rating-predictor", query=2, items=ItemList(item_ids=[4, 5])).scores()
    assert found[0] > 4 and found[1] < 2
    history = ItemList(item_ids=[0, 1, 2], rating=[5.0, 1.0, 5.0])
    new = RecQuery(history_items=history)
    good, bad = made.run("rating-predictor", query=new, items=ItemList(item_ids=[4, 5])).scores()
    assert good > bad + 1
    unrated = RecQuery(history_items=ItemList(item_ids=[0, 2]))
    found = made.run("rating-predictor", query=unrated, items=ItemList(item_ids=[4])).scores()
    assert np.isnan(found).all()


def test_training_again_is_skipped_or_done_as_asked(data: Dataset) -> None:
    made = SIFScorer(settings=QUICK, threads=1)
    made.train(data, TrainingOptions(rng=3))
    first = made.recommender_
    before = pickle.dumps(made)
    made.train(data, TrainingOptions(retrain=False))
    assert made.recommender_ is first and pickle.dumps(made) == before
    made.train(data, TrainingOptions(rng=3))
    assert made.recommender_ is not first
    items = ItemList(item_ids=data.items.ids())
    again = pickle.loads(before)(4, items).scores()
    np.testing.assert_allclose(made(4, items).scores(), again, rtol=1e-5)


def test_a_fitted_recommender_is_served_as_it_is(make: Any, tmp_path: Path) -> None:
    recommender = make("max")
    frame = pd.DataFrame({"user_id": ["u1", "u2"], "item_id": ["i1", "fresh"]})
    data = from_interactions_df(frame)
    given = SIFScorer.of(recommender)
    recommender.save(tmp_path)
    loaded = SIFScorer(folder=str(tmp_path))
    items = ItemList(item_ids=["i1", "fresh", "i6"])
    for one in (given, loaded):
        made = topn_pipeline(one)
        made.train(data)
        scores = made.run("scorer", query="u1", items=items).scores()
        assert np.isnan(scores).tolist() == [False, True, False]
        expected = recommender.predict(["u1", "u1"], ["i1", "i6"])
        np.testing.assert_allclose(scores[[0, 2]], expected, rtol=1e-4, atol=1e-6)
    assert given.recommender_ is recommender
    with pytest.raises(CheckpointError, match="cannot be read"):
        SIFScorer(folder=str(tmp_path / "absent")).train(data)


def test_its_configuration_goes_round() -> None:
    config = SIFConfig(objective="rating", settings={"train.epochs": 5}, seed=7)
    made = SIFScorer(config)
    assert SIFScorer(SIFScorer.validate_config(made.dump_config())).config == config
    with pytest.raises(ValueError, match="unknown"):
        SIFScorer(unknown=1)


def test_a_pipeline_of_a_configuration_file_is_the_same(
    pipeline: Pipeline, data: Dataset, tmp_path: Path
) -> None:
    file = tmp_path / "pipeline.json"
    file.write_text(pipeline.config.model_dump_json(exclude_none=True))
    again = Pipeline.load_config(file)
    assert scorer(again).config == scorer(pipeline).config
    again.train(data)
    for user in (3, 4):
        lists = [one.run("recommender", query=user) for one in (again, pipeline)]
        assert lists[0].ids().tolist() == lists[1].ids().tolist()


def test_a_configuration_written_by_hand(make: Any, tmp_path: Path) -> None:
    make("max").save(tmp_path)
    text = f"""
meta: {{name: shop}}
options: {{base: std:topn, default_length: 2}}
components:
  scorer:
    class: sif.adapters.lenskit:SIFScorer
    config: {{folder: {tmp_path}, user_embeddings: true}}
"""
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    made = Pipeline.load_config(file)
    made.train(from_interactions_df(pd.DataFrame({"user_id": ["u1"] * 6,
               "item_id": [f"i{n}" for n in range(6)]})))  # fmt: skip
    assert scorer(made).config.user_embeddings is True
    assert len(made.run("recommender", query=RecQuery(history_items=ItemList(["i1"])))) == 2


@pytest.mark.parametrize(("how", "folded"), [("prefer", False), (True, True), (False, True)])
def test_known_users_are_scored_as_configured(make: Any, how: Any, folded: bool) -> None:
    recommender = make("max")
    one = SIFScorer.of(recommender)
    one.config.user_embeddings = how
    items, has = ItemList(item_ids=["i4", "i5"]), ["i1", "i3"]
    known = recommender.predict(["u2", "u2"], ["i4", "i5"])
    ids, scores = recommender.recommend_new(has, 50, exclude_seen=False, as_arrays=True)
    new = [dict(zip(ids, scores, strict=True))[item] for item in ("i4", "i5")]
    found = one(RecQuery(user_id="u2", history_items=ItemList(item_ids=has)), items).scores()
    np.testing.assert_allclose(found, new if folded else known, rtol=1e-4, atol=1e-6)
    bare = one(RecQuery(user_id="u2"), items).scores()
    if how is False:
        assert np.isnan(bare).all()
    else:
        np.testing.assert_allclose(bare, known, rtol=1e-4, atol=1e-6)


def walks() -> pd.DataFrame:
    """Every user walks around one of four circles of 10 items; rows are in another order."""
    rows = [(u, 10 * (u % 4) + (u + k) % 10, 1_000_000 + 60 * k + u) for u in range(120)
            for k in range(6)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return frame.sample(frac=1, random_state=0)


@pytest.mark.slow
def test_times_of_data_and_of_histories_tell_the_order() -> None:
    """It searches an interaction function and an item-item model, which takes seconds."""
    settings = {"search.epochs": 2, "train.epochs": 2, "train.l2": [1.0]}
    made = topn_pipeline(SIFScorer(settings=settings, threads=1), n=1)
    data = from_interactions_df(walks())
    made.train(data)
    recommender = scorer(made).recommender_
    assert recommender.model_.reads_order
    history = ItemList(item_ids=[3, 1, 2], timestamp=[300, 100, 200])
    for query in (RecQuery(history_items=history), RecQuery(user_id=999, history_items=history)):
        assert made.run("recommender", query=query).ids().tolist() == [4]
    timeless = ItemList(item_ids=[3, 1], timestamp=[300.0, np.nan])
    with pytest.raises(DataError, match="history: timestamp 2: expected"):
        scorer(made)(RecQuery(history_items=timeless), ItemList(item_ids=[4]))
    untimed = RecQuery(history_items=ItemList(item_ids=[3, 1, 2]))
    expected = recommender.recommend_new(["3", "1", "2"], 1, as_arrays=True)[0]
    assert made.run("recommender", query=untimed).ids().tolist() == [int(expected[0])]
    scorer(made).config.user_embeddings = False  # by the history that LensKit looks up
    known = recommender.recommend(["5", "6"], 1, as_arrays=True)[0][:, 0]
    found = [made.run("recommender", query=user).ids()[0] for user in (5, 6)]
    assert found == known.astype(int).tolist()
