"""Users whom nobody knows, answered for by features, in every kind of model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from sif.data.interactions import Vocabulary
from sif.errors import ConfigError, DataError
from sif.problems.part_rows import rows_of_table
from sif.recommender.many import recommend_many
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.recommender.user_choice import is_ahead
from sif.recommender.user_stand import trained_users
from sif.retrieval.engine import UserVectors
from sif.spaces.linear.features import Alikeness, by_feature, combinations

KINDS, USERS, ITEMS = 4, 240, 40
MODELS: dict[str, dict[str, Any]] = {
    "vectors": {"search.stages": ["operation"], "train.dimension": 8},
    "histories": {"search.stages": ["encoding", "operation"], "train.dimension": 8},
    "closed": {"search.stages": ["closed", "operation"], "train.epochs": 1, "train.dimension": 2},
    "order": {"search.epochs": 2, "train.epochs": 2, "train.l2": [1.0]},
}
NEW = pd.DataFrame([(f"n{n}", f"c{n}") for n in range(KINDS)], columns=["user", "club"])


def shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Orders of users who mostly stay with the items of their club, popular ones first."""
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", 1000 * user + place)
        for user in range(USERS)
        for place, item in enumerate(draws.permutation(ITEMS))
        if draws.random() < (0.7 if item % KINDS == user % KINDS else 0.1)
    ]
    people = pd.DataFrame({"user": [f"u{n}" for n in range(USERS)]})
    people["club"] = [f"c{n % KINDS}" for n in range(USERS)]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"]), people


def walks() -> pd.DataFrame:
    """Every user walks around the items of his club, from somewhere: the order tells the next."""
    draws = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        start = int(draws.integers(0, ITEMS // KINDS))
        for step in range(6):
            item = KINDS * ((start + step) % (ITEMS // KINDS)) + user % KINDS
            rows.append((f"u{user}", f"i{item}", 1_000_000 + 60 * step + user))
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def kinds() -> pd.DataFrame:
    table = pd.DataFrame({"item": [f"i{n}" for n in range(ITEMS)]})
    return table.assign(kind=[f"k{n % KINDS}" for n in range(ITEMS)])


def made(name: str, people: pd.DataFrame, **more: Any) -> Recommender:
    orders = walks() if name == "order" else shop()[0].drop(columns="timestamp")
    settings = {"search.epochs": 15, "train.epochs": 15, "train.l2": [2.0], **MODELS[name]}
    return Recommender(threads=1, baselines=[], settings=settings).fit(
        orders, user_features=people, **more
    )


Fitted = Callable[[str], Recommender]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Fits each kind once; every caller gets one of his own."""
    folders: dict[str, Path] = {}

    def one(name: str) -> Recommender:
        if name not in folders:
            model = made(name, shop()[1], item_features=kinds())
            folders[name] = model.save(tmp_path_factory.mktemp(name)).parent
        return Recommender.load(folders[name])

    return one


def shares_within(lists: np.ndarray, item_kinds: int = KINDS) -> list[float]:
    """Of each row of item ids the share that is of the row's kind."""
    numbers = np.array([[int(item[1:]) % item_kinds for item in row] for row in lists])
    return [float(share) for share in (numbers == np.arange(len(lists))[:, None]).mean(axis=1)]


@pytest.mark.parametrize("name", MODELS)
def test_new_users_get_what_those_like_them_take(name: str, fitted: Fitted, tmp_path: Path) -> None:
    model = fitted(name)
    assert model.fitted_model().reads_order == (name in ("closed", "order"))
    assert model.fitted_model().forgets == (name == "order")
    before = model.recommend("u3", n=5)
    model.add_users(NEW)
    lists = model.recommend(NEW["user"].tolist(), n=8, as_arrays=True)[0]
    assert min(shares_within(lists)) >= 0.75
    asked = [model.recommend_new(features={"club": f"c{n}"}, n=8) for n in range(KINDS)]
    assert [one["item"].tolist() for one in asked] == lists.tolist()
    assert model.recommend("u3", n=5).equals(before)
    pairs = model.recommend("n1", n=3)
    found = model.predict("n1", pairs["item"].tolist())
    np.testing.assert_allclose(found, pairs["score"], rtol=1e-5)
    ranked = model.rank("n2", ["i0", "i2", "i1"])["item"].tolist()
    assert ranked[0] == "i2"
    again = Recommender.load(model.save(tmp_path).parent)
    assert again.recommend("n2").equals(model.recommend("n2"))
    assert again.recommend_new(features={"club": "c2"}).equals(model.recommend("n2"))


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_a_written_out_combination(name: str, fitted: Fitted) -> None:
    model = fitted(name).fitted_model()
    constants = Alikeness(idf=1.0, ridge=2.0, own=0.7, level=1.5, blend=0.5)
    model = replace(model, user_alikeness=constants)
    assert model.user_stand is not None and model.user_features is not None
    asked = model.user_features.further(NEW[["club"]], NEW["user"]).matrix
    found = model.user_stand.scores(asked, model)
    np.testing.assert_allclose(found, written_out(model, asked, constants), rtol=2e-4, atol=2e-5)


def written_out(model: ServedModel, asked: Any, constants: Alikeness) -> np.ndarray:
    """The combination of known users, by the dense formula of kernel ridge regression."""
    table = model.user_features
    assert table is not None and model.cold_start is not None
    every = rows_of_table(table, table.aligned(model.vocabularies[0]))
    known = trained_users(model)
    weights = every.weights(known, constants.idf)
    rows = sp.csr_matrix(every.weighted_by(weights)[known]).toarray().astype(float)
    others = rows_of_table(table, asked).weighted_by(weights).toarray().astype(float)
    shares = np.linalg.solve(rows @ rows.T + constants.ridge * np.eye(len(rows)), rows @ others.T)
    engine, users = model.function.engine, model.function.known(np.flatnonzero(known))
    if model.reads_order:
        inputs = sp.csr_matrix(users.vectors).toarray().astype(float)
    else:
        inputs = users.vectors.numpy().astype(float)
    mean = inputs.mean(axis=0)
    mixed = np.vstack([mean, mean + constants.level * shares.T @ (inputs - mean)])
    mixed = mixed.astype(np.float32)
    if model.reads_order:
        scores = engine.scores(UserVectors(sp.csr_array(mixed)))
    else:
        biases = None if users.biases is None else torch.zeros(len(mixed))
        scores = engine.scores(UserVectors(torch.from_numpy(mixed), biases))
        if users.biases is not None:  # they are the same for all items
            scores = scores + float(users.biases.mean())
    pairs = sp.csr_matrix(model.seen[np.flatnonzero(known)]).toarray() != 0
    had = pairs.mean(axis=0)
    own = constants.own * scores[0].std() / had.std()
    scores = scores + own * had
    scores[1:] += own * constants.level * shares.T @ (pairs - had)
    common, found = scores[0], scores[1:]
    by_order = np.empty_like(common)
    by_order[np.argsort(-model.cold_start.order, kind="stable")] = np.sort(common)[::-1]
    return np.asarray(found + constants.blend * (by_order - common))


@pytest.mark.parametrize("name", ["vectors", "closed"])
def test_useless_features_leave_the_popular_order(name: str) -> None:
    people = shop()[1]
    mixed = np.random.default_rng(1).permutation(people["club"].to_numpy())
    model = made(name, people.assign(club=mixed))
    assert model.fitted_model().user_alikeness is None
    model.add_users(NEW)
    popular = model.recommend_new([], n=10)
    assert model.recommend("n1", n=10).equals(popular)
    assert model.recommend_new(features={"club": "c1"}, n=10).equals(popular)


def test_without_a_level_the_answer_is_the_popular_order(fitted: Fitted) -> None:
    model = fitted("closed")
    popular = model.recommend_new([], n=ITEMS)["item"].tolist()
    none = replace(model.fitted_model(), user_alikeness=Alikeness(level=0.0, blend=1.0))
    model._serve(none)
    assert model.recommend_new(features={"club": "c1"}, n=ITEMS)["item"].tolist() == popular


def test_what_is_excluded_or_allowed_holds_for_new_users(fitted: Fitted) -> None:
    model = fitted("vectors").add_users(NEW)
    whole = model.recommend("n1", n=ITEMS)["item"].tolist()
    assert len(whole) == ITEMS
    rest = model.recommend("n1", n=ITEMS, exclude_items=whole[:2])["item"].tolist()
    assert rest == whole[2:]
    among = model.recommend("n1", n=9, items=whole[4:7])["item"].tolist()
    assert among == whole[4:7]


@pytest.mark.parametrize("name", ["vectors", "closed"])
def test_interactions_answer_once_there_are_some(name: str, fitted: Fitted) -> None:
    model = fitted(name).add_users(NEW)
    other = [f"i{n}" for n in range(ITEMS) if n % KINDS == 2][:6]
    model.partial_fit(pd.DataFrame({"user": "n1", "item": other}))
    mine = model.recommend("n1", n=4)["item"].tolist()
    assert mine == model.recommend_new(other, n=4)["item"].tolist()
    with_both = model.recommend_new(other, n=4, features={"club": "c1"})["item"].tolist()
    assert with_both == mine
    assert shares_within(np.array([mine] * 3))[2] >= 0.75


@pytest.mark.parametrize("name", ["vectors", "closed"])
def test_a_new_user_and_a_new_item_meet(name: str, fitted: Fitted) -> None:
    model = fitted(name)
    model.add_items(pd.DataFrame({"item": ["x1", "x2"], "kind": ["k1", "k2"]})).add_users(NEW)
    assert model.recommend("n1", n=1, items=["x1", "x2"])["item"].tolist() == ["x1"]
    assert model.recommend("n2", n=1, items=["x1", "x2"])["item"].tolist() == ["x2"]
    assert "x1" in model.recommend("n1", n=ITEMS + 2)["item"].tolist()


@pytest.mark.parametrize("name", ["vectors", "closed"])
def test_reasons_are_the_features_of_whoever_is_new(name: str, fitted: Fitted) -> None:
    model = fitted(name)
    model.add_items(pd.DataFrame({"item": ["x1"], "kind": ["k1"]})).add_users(NEW)
    known = model.explain_features("n1", "i1")
    assert known[["feature", "value", "of"]].values.tolist() == [["club", "c1", "user"]]
    assert known["score"][0] > 0 > model.explain_features("n1", "i2")["score"][0]
    served = model.fitted_model()
    assert served.user_stand is not None
    nothing = sp.csr_array((1, KINDS), dtype=np.float32)
    without = served.user_stand.scores(nothing, served)[0, served.vocabularies[1].number("i1")]
    assert known["score"][0] == pytest.approx(model.predict("n1", "i1") - without, rel=1e-4)
    both = model.explain_features("n1", "x1")
    assert sorted(both["of"]) == ["item", "user"] and (both["score"] > 0).all()
    with pytest.raises(ConfigError, match="expected an item that no training saw, found 'i1'"):
        model.explain_features("u1", "i1")
    model._serve(replace(model.fitted_model(), user_alikeness=None))
    for item in ("i1", "x1"):  # of a new item, too: no feature places it for such a user
        told = "found 'n1', who gets the popular items in their order, since features were not"
        with pytest.raises(ConfigError, match=told):
            model.explain_features("n1", item)


def test_nobody_without_a_telling_feature_gets_reasons(fitted: Fitted) -> None:
    model = fitted("closed")
    strange = pd.DataFrame({"user": ["odd", "n1"], "club": ["unseen", "c1"]})
    model.add_users(strange).add_items(pd.DataFrame({"item": ["odd"], "kind": ["unseen"]}))
    with pytest.raises(ConfigError, match=r"'odd', who .* since no known user has one of his"):
        model.explain_features("odd", "i1")
    for user in ("u1", "n1"):
        with pytest.raises(ConfigError, match="found 'odd', which nobody has and which has no f"):
            model.explain_features(user, "odd")
    model._serve(replace(model.fitted_model(), user_features=None))
    with pytest.raises(ConfigError, match="since the model was fitted without user_features"):
        model.explain_features("odd", "i1")
    model._serve(replace(model.fitted_model(), item_features=None))
    with pytest.raises(ConfigError, match="with item_features or user_features, found neither"):
        model.explain_features("u1", "i1")


@pytest.mark.parametrize("name", ["vectors", "closed"])
def test_answers_are_filtered_by_features_of_items(name: str, fitted: Fitted) -> None:
    model = fitted(name)
    model.add_items(pd.DataFrame({"item": ["x1"], "kind": ["k1"]})).add_users(NEW)
    among = ["x1", *(f"i{n}" for n in range(ITEMS) if n % KINDS == 1)]
    users = ["u1", "u2", "n1"]
    found = model.recommend(users, n=9, where={"kind": "k1"})
    assert found.equals(model.recommend(users, n=9, items=among))
    blocks = recommend_many(model, users, n=9, where={"kind": ["k1"]})
    assert pd.concat([block.frame() for block in blocks]).equals(found)
    for asked in ({"history": ["i1", "i2"]}, {"features": {"club": "c2"}}):
        every = model.recommend_new(**asked, n=9, where={"kind": ["k1", "k2"]}, items=among[:5])
        assert every.equals(model.recommend_new(**asked, n=9, items=among[:5]))
    assert not len(model.recommend("u1", where={"kind": []}))
    for where, told in (
        ({"kind": "k9"}, "features: kind: expected one of k0, k1"),
        ({"knd": "k1"}, "features: expected a column of kind, found 'knd'"),
        ("k1", "where: expected names with values or None, found 'k1'"),
    ):
        with pytest.raises((ConfigError, DataError), match=told):
            model.recommend("u1", where=where)  # type: ignore[arg-type]
    model._serve(replace(model.fitted_model(), item_features=None))
    with pytest.raises(ConfigError, match="where: expected a model with features of items, found"):
        recommend_many(model, where={"kind": "k1"})


def test_users_of_the_table_are_known_without_interactions() -> None:
    people = pd.concat([shop()[1], NEW])
    model = made("closed", people)
    lists = model.recommend(NEW["user"].tolist(), n=8, as_arrays=True)[0]
    assert min(shares_within(lists)) >= 0.75


def test_bad_tables_and_values_are_one_line(
    fitted: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    model = fitted("closed")
    for bad, told in (
        (pd.concat([NEW, NEW[:1]]), "expected one row for each id, found 'n0' again"),
        (NEW.rename(columns={"user": "who"}), "expected a column of ids"),
        (NEW[:0], "expected rows, found none"),
        ([1, 2], "expected a data frame or a file"),
        (NEW.rename(columns={"club": "clubs"}), "found 'clubs'; did you mean 'club'?"),
    ):
        with pytest.raises(DataError, match=told):
            model.add_users(bad)
    for values, told in (
        ({"clubb": "c1"}, "expected some of club, found 'clubb'"),
        ({}, "expected a mapping from columns to values"),
    ):
        with pytest.raises(DataError, match=told):
            model.recommend_new(features=values)
    popular = model.recommend_new([], n=3)["item"].tolist()
    for unknown in ("c77", None, float("nan"), float("inf"), 7):
        found = model.recommend_new(features={"club": unknown}, n=3)["item"].tolist()
        assert found == popular, unknown
    with caplog.at_level(logging.WARNING, logger="sif"):
        model.add_users(pd.DataFrame({"user": ["u1"], "club": ["c88"]}))
    assert "add_users: user features: club: the fit did not know 1 value, 'c88'" in caplog.text
    assert "1 user has interactions, which go on to answer" in caplog.text


def test_models_without_features_of_users_refuse(fitted: Fitted) -> None:
    orders, _ = shop()
    quick = {"search.epochs": 1, "train.epochs": 1, "train.l2": [2.0]}
    bare = Recommender(threads=1, baselines=[], settings=quick).fit(orders)
    for call in (
        lambda: bare.add_users(NEW),
        lambda: bare.recommend_new(features={"club": "c1"}),
    ):
        with pytest.raises(
            ConfigError, match="expected a model that was fitted with user_features"
        ):
            call()


def test_features_are_ahead_by_two_standard_errors_or_stay_away() -> None:
    assert not is_ahead(np.array([1.0, -0.8, 0.9, -0.7]))
    assert is_ahead(np.array([0.3, 0.2, 0.25, 0.3]))
    assert not is_ahead(np.zeros(4))


def test_ratings_refuse_in_one_line() -> None:
    orders, people = shop()
    rated = orders.assign(rating=1.0 + np.arange(len(orders)) % 5)
    quick = {"search.epochs": 1, "train.epochs": 1, "train.l2": [2.0]}
    model = Recommender("rating", threads=1, baselines=[], settings=quick)
    model.fit(rated, user_features=people)
    with pytest.raises(ConfigError, match="expected a model of rankings by user and item"):
        model.add_users(NEW)


def test_ids_of_a_table_may_be_in_any_order(fitted: Fitted) -> None:
    table = fitted("closed").fitted_model().user_features
    assert table is not None
    ids = np.array(["u2", "nobody", "u1", "u2"])
    rows = table.rows(ids).toarray()
    assert rows.shape[0] == 4 and not rows[1].any() and (rows[0] == rows[3]).all()
    np.testing.assert_array_equal(table.aligned(Vocabulary(["u1"])).toarray(), rows[2:3])


def test_by_feature_is_the_regression_of_combinations() -> None:
    draws = np.random.default_rng(0)
    known, others = (sp.csr_matrix(draws.random((n, 5)).astype("f4")) for n in (9, 3))
    targets = draws.random((9, 4))
    found = others @ by_feature(known, known.T @ targets, 0.7)
    expected = combinations(known, others, 0.7).T @ targets
    np.testing.assert_allclose(found, expected, rtol=1e-5)
