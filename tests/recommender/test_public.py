"""The public manners of the recommender: frames, names of arguments, scikit-learn, former names."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import sif
from sif.errors import CheckpointError, ConfigError, NotFittedError, UnknownIdError
from sif.recommender import Recommender
from sif.recommender.arguments import OTHER_NAMES
from sif.utils import checkpoint

Board = Callable[..., pd.DataFrame]
USERS, ITEMS = 40, 20
QUICK: dict[str, Any] = {
    "train": {"epochs": 60, "patience": 60, "dimension": 8, "l2": [0.003], "lr": 0.05},
    "search": {"epochs": 4, "dimension": 4},
}


@pytest.fixture(scope="module")
def board(checkerboard: Board) -> Board:
    return partial(checkerboard, USERS, ITEMS)


@pytest.fixture(scope="module")
def liked(board: Board) -> Recommender:
    frame = board().assign(title=lambda f: "Item " + f.item.str[1:])
    return Recommender(threads=1, settings=QUICK).fit(frame)


# Frames


def test_several_users_get_a_frame_whose_rows_are_the_arrays(liked: Recommender) -> None:
    names = ["u3", "u8", "u0"]
    frame = liked.recommend(pd.Series(names), n=4)
    items, scores = liked.recommend(names, n=4, as_arrays=True)
    assert frame.columns.tolist() == ["user", "item", "score", "rank", "title"]
    assert frame["user"].tolist() == np.repeat(names, 4).tolist()
    assert frame["item"].tolist() == items.ravel().tolist()
    np.testing.assert_array_equal(frame["score"], scores.ravel())
    assert frame["rank"].tolist() == [1, 2, 3, 4] * 3
    assert frame["title"].tolist() == ["Item " + item[1:] for item in items.ravel()]


def test_a_single_user_gets_the_same_without_its_column(liked: Recommender) -> None:
    one, several = liked.recommend("u3", n=5), liked.recommend(["u3", "u8"], n=5)
    expected = several[several.user == "u3"].drop(columns="user").reset_index(drop=True)
    pd.testing.assert_frame_equal(one, expected, rtol=1e-5, atol=1e-6)


def test_answers_are_as_long_as_there_is_something_left(liked: Recommender, board: Board) -> None:
    frame = liked.recommend(["u0", "u1"], n=2 * ITEMS)
    seen = board().groupby("user").item.nunique()
    assert frame.user.value_counts().to_dict() == {u: ITEMS - seen[u] for u in ("u0", "u1")}
    assert (frame["item"] != "").all() and np.isfinite(frame["score"]).all()


def test_frames_of_neighbors_and_reasons(liked: Recommender) -> None:
    near = liked.similar_items(["i1", "i2"], n=3)
    assert near.columns.tolist() == ["similar_to", "item", "score", "rank", "title"]
    assert near["similar_to"].tolist() == ["i1"] * 3 + ["i2"] * 3
    assert not set(near["item"][:3]) & {"i1"}
    rest = liked.similar_items("i1", n=ITEMS, exclude_items=near["item"][:3])
    assert set(rest["item"]).isdisjoint(near["item"][:3]) and len(rest) == ITEMS - 4
    people = liked.similar_users("u1", n=2)
    assert people.columns.tolist() == ["user", "score", "rank"]
    without = liked.similar_users("u1", n=USERS, exclude_users=["u3"])
    assert "u3" not in set(without["user"])
    reasons = liked.explain("u6", "i2", n=2)
    assert reasons["score"].is_monotonic_decreasing and reasons["rank"].tolist() == [1, 2]
    assert liked.rank("u1", ["i2", "i1"])["rank"].tolist() == [1, 2]
    assert liked.rank(["u1"], []).columns.tolist() == ["user", "item", "score", "rank", "title"]


# Names of arguments


def test_one_word_for_each_argument() -> None:
    words = {"self", "cls", "as_arrays", "data", "valid", "folder", "unknown", "n", "users",
             "items", "user", "item", "history", "ratings", "context", "exclude_seen",
             "exclude_items", "exclude_users", "deep", "parameters", "refit", "rerank", "pool",
             "where",
              "item_features", "user_features", "features", "warm_start", "fit", "budget",
              "version", "keep", "precision"}  # fmt: skip
    for name, method in inspect.getmembers(Recommender, callable):
        if not name.startswith("_"):
            assert set(inspect.signature(method).parameters) <= words, name
    assert set(OTHER_NAMES) <= words


def test_names_of_implicit_are_the_same_arguments(liked: Recommender) -> None:
    same: Callable[..., None] = partial(pd.testing.assert_frame_equal)
    same(
        liked.recommend(userid="u1", N=3, filter_already_liked_items=False, filter_items=["i1"]),
        liked.recommend("u1", n=3, exclude_seen=False, exclude_items=["i1"]),
    )
    same(liked.similar_items(itemid="i1", N=2), liked.similar_items("i1", n=2))
    same(liked.similar_users(userid="u1", N=2), liked.similar_users("u1", 2))
    same(liked.explain(userid="u1", itemid="i2", N=2), liked.explain("u1", "i2", 2))
    with pytest.raises(ConfigError, match=r"^recommend: n: expected once, found again as N"):
        liked.recommend("u1", n=3, N=4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'Q'"):
        liked.recommend("u1", Q=4)


def test_names_that_only_implicit_has_say_what_to_do(liked: Recommender) -> None:
    matrix = sparse.csr_array((1, 20))
    for ask in (
        lambda: liked.recommend(userid="u1", user_items=matrix, N=3),
        lambda: liked.recommend("u1", recalculate_user=True),
        lambda: liked.explain("u1", user_items=matrix, itemid="i2"),
        lambda: liked.similar_items("i1", item_users=matrix),
    ):
        with pytest.raises(ConfigError, match=r"^\w+: \w+: .* leave it out"):
            ask()
    for learn in (Recommender().fit, liked.partial_fit, liked.fold_in):
        with pytest.raises(
            ConfigError, match=r"^\w+: item_users: rows are users, .*item_users\.T$"
        ):
            learn(item_users=matrix)
    frame = pd.DataFrame({"user": ["new"], "item": ["i1"]})
    assert len(copy.copy(liked).fold_in(user_items=frame).recommend("new", N=3)) == 3


def test_several_ids_come_in_any_container(liked: Recommender) -> None:
    names = ["u1", "u2"]
    frame = pd.DataFrame({"user": names, "age": [1, 2]})
    expected = liked.recommend(names, n=2)
    for users in (
        frame["user"],
        frame[["user"]],
        np.array(names),
        frame["user"].array,
        iter(names),
    ):
        pd.testing.assert_frame_equal(liked.recommend(users, n=2), expected)
    with pytest.raises(ConfigError, match=r"^users: .*found DataFrame of shape \(2, 2\)"):
        liked.recommend(frame)


def test_tensors_are_arrays_of_ids(board: Board) -> None:
    frame = board().apply(lambda column: column.str[1:].astype(int))
    model = Recommender(threads=1, baselines=[], settings=QUICK).fit(frame)
    rows = torch.tensor([1, 2])
    pd.testing.assert_frame_equal(model.recommend(rows, n=2), model.recommend([1, 2], n=2))
    pd.testing.assert_frame_equal(model.recommend(rows[0], n=2), model.recommend(1, n=2))
    with pytest.raises(ConfigError, match=r"^users: .*found Tensor of shape \(1, 2\)"):
        model.recommend(rows[None])


def test_a_single_id_is_of_all_pairs(liked: Recommender) -> None:
    items = ["i1", "i2", "i3"]
    expected = liked.predict(["u1"] * 3, items)
    np.testing.assert_array_equal(liked.predict("u1", items), expected)
    np.testing.assert_array_equal(liked.predict(["u1", "u2"], "i1")[:1], expected[:1])
    assert liked.predict("u1", items[:1]).shape == (1,) and liked.predict("u1", "i1").shape == ()
    assert liked.predict("u1", []).shape == (0,)
    with pytest.raises(ConfigError, match=r"found lengths \[1, 3\]$"):
        liked.predict(["u1"], items)


def test_a_nested_setting_is_a_dotted_one(board: Board) -> None:
    few: dict[str, Any] = {"train": {"epochs": 1, "l2": (1.0,)}, "search.epochs": 1}
    model = Recommender(dimension=4, min_rating=3, threads=1, settings=few).fit(board(rated=True))
    assert model.model_.network.shape.dimension == 4
    assert model.model_.reading.min_rating == 3
    assert model.model_.seen.nnz == (board(rated=True).rating >= 3).sum()


# scikit-learn's manners


def test_it_is_written_as_it_is_called() -> None:
    assert repr(Recommender()) == "Recommender()"
    model = Recommender("rating", budget="2min", settings={"train.epochs": 5})
    assert repr(model) == (
        "Recommender(objective='rating', budget='2min', settings={'train.epochs': 5})"
    )
    assert eval(repr(model)).get_params() == model.get_params()


def test_the_constructor_stores_what_it_is_given_and_checks_nothing() -> None:
    settings = {"train.epochs": object()}
    model = Recommender("stars", settings=settings, budget="soon")
    assert model.settings is settings and model.objective == "stars"
    assert list(model.get_params()) == list(inspect.signature(Recommender).parameters)


def test_scikit_learn_takes_it_for_an_estimator(liked: Recommender) -> None:
    base = pytest.importorskip("sklearn.base")
    from sklearn.exceptions import NotFittedError as Theirs
    from sklearn.utils.validation import check_is_fitted

    clone = base.clone(liked)
    assert clone.get_params() == liked.get_params() and not hasattr(clone, "model_")
    check_is_fitted(liked)
    with pytest.raises(Theirs):
        check_is_fitted(clone)


@pytest.mark.parametrize("kind", [NotFittedError, ConfigError, ValueError, AttributeError])
def test_what_was_not_fitted_says_so(kind: type[Exception]) -> None:
    for asked in (
        lambda: Recommender().recommend("u1"), lambda: Recommender().predict("u1", "i1"),
        lambda: Recommender().report(), lambda: Recommender().save("x"),
        lambda: Recommender().fold_in(None), lambda: Recommender().titles,
    ):  # fmt: skip
        with pytest.raises(
            kind, match=r"^Recommender: expected a fitted one, found one before fit"
        ):
            asked()


def test_a_saved_model_keeps_its_report(liked: Recommender, tmp_path: Path) -> None:
    liked.save(tmp_path)
    loaded = Recommender.load(tmp_path).report()
    assert loaded == liked.report() and repr(loaded) == repr(liked.report())
    folded = copy.copy(liked).fold_in(pd.DataFrame({"user": ["guest"], "item": ["i1"]}))
    assert folded.report() == liked.report()


def test_a_model_of_a_run_says_where_its_figures_are(liked: Recommender, tmp_path: Path) -> None:
    replace(liked.model_, report=None).save(tmp_path)
    with pytest.raises(NotFittedError, match=r"report: .* figures are in its metrics\.json"):
        Recommender.load(tmp_path).report()


def test_a_damaged_report_is_refused_with_its_file(liked: Recommender, tmp_path: Path) -> None:
    file = liked.save(tmp_path)
    state = checkpoint.load(file, "recommender")
    checkpoint.save(file, {**state, "report": {**state["report"], "rows": 3}}, "recommender")
    with pytest.raises(CheckpointError, match="the model contradicts itself"):
        Recommender.load(tmp_path)


# The report


def test_the_report_tells_what_was_trained_and_what_is_served(liked: Recommender) -> None:
    report = liked.report()
    table = report.to_frame()
    assert set(table["model"]) == {"searched", "fixed-multiply", "popularity", "ease"}
    assert table["ndcg@10"].is_monotonic_decreasing and table["served"].sum() == 1
    (served,) = table[table.served].to_dict("records")
    assert served["parameters"] == liked.model_.expression
    assert served["ndcg@10"] == pytest.approx(liked.validation_metrics_["ndcg@10"])
    assert report.found == liked.searched_function_
    ours = table[table.model.isin(["searched", "fixed-multiply"])]
    assert served["ndcg@10"] == ours["ndcg@10"].max()
    rivals = table[~table.model.isin(ours.model)]
    assert report.against == rivals["model"].iloc[0]
    assert report.comparison is not None
    gap = served["ndcg@10"] - rivals["ndcg@10"].iloc[0]
    assert report.comparison.difference == pytest.approx(gap)
    assert "on validation" in report.verdict and report.verdict in repr(report)
    assert "<table" in report._repr_html_() and "flatter" in report._repr_html_()


# Former names


def test_the_former_class_warns_and_answers_as_before(board: Board, liked: Recommender) -> None:
    settings = {"train.epochs": 60, "train.patience": 60, "train.dimension": 8,
                "train.l2": "[0.003]", "search.epochs": 4, "search.dimension": 4}  # fmt: skip
    with pytest.warns(DeprecationWarning, match=r"sif\.Recommender") as told:
        model = sif.SIFRecommender("ranking", "staged", 0, threads=1, settings=settings)
    assert len(told) == 1
    model.fit(board())
    items, scores = model.recommend("u1", N=3, filter_already_liked=True)
    expected = liked.recommend("u1", n=3)
    assert items.tolist() == expected["item"].tolist()
    np.testing.assert_allclose(scores, expected["score"], rtol=1e-5)
    assert model.similar_items(["i1", "i2"], 4)[0].shape == (2, 4)
    with pytest.warns(DeprecationWarning, match="valid_ is called validation_metrics_ now"):
        assert model.valid_ == model.validation_metrics_
    with pytest.warns(DeprecationWarning, match="found_ is called searched_function_ now"):
        assert model.found_ == liked.searched_function_
    assert list(model.get_params()) == ["objective", "space", "seed", "device", "threads",
                                        "settings", "unknown", "verbose"]  # fmt: skip


def test_pickles_of_before_have_their_attributes_renamed(liked: Recommender) -> None:
    state = liked.__getstate__()
    state["valid_"] = state.pop("validation_metrics_")
    state["found_"] = state.pop("searched_function_")
    model = Recommender.__new__(Recommender)
    model.__setstate__(state)
    assert model.searched_function_ == liked.searched_function_
    assert pickle.loads(pickle.dumps(model)).validation_metrics_ == liked.validation_metrics_


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_models_of_before_answer_the_same(objective: str) -> None:
    folder = Path(__file__).parents[1] / "fixtures" / "models" / "4c03358" / objective
    asked = json.loads((folder / "answers.json").read_text())["python"]
    model = Recommender.load(folder)

    def same(found: pd.DataFrame, expected: list[tuple[str, float]]) -> None:
        assert found["item"].tolist() == [item for item, _ in expected]
        np.testing.assert_allclose(found["score"], [s for _, s in expected], rtol=1e-4)

    for name in ("recommend", "similar_items"):
        for one, expected in asked[name].items():
            same(getattr(model, name)(one, n=len(expected)), expected)
    new = asked["recommend_new"]
    answer = model.recommend_new(new["history"], n=len(new["answer"]), ratings=new["ratings"])
    same(answer, new["answer"])


@pytest.mark.parametrize("name", ["SIFRecommender", "load_function", "make_runtime"])
def test_former_public_names_warn(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"sif\.{name} is deprecated: use sif\."):
        assert getattr(sif, name) is not None
    assert name not in sif.__all__


def test_an_unknown_user_is_told_in_frames_too(liked: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="found 'nobody'"):
        liked.recommend(["u1", "nobody"])
