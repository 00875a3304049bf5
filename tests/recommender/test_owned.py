"""What users have in the data is never recommended, whatever filters drop before training."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from scipy import sparse

from sif.adapters.questions import Answering
from sif.data.interactions import Filters, concatenate, filter_interactions, read_frame, read_matrix
from sif.errors import CheckpointError, ConfigError, DataError, UnknownIdError
from sif.recommender.model import FILE, KIND, ServedModel
from sif.recommender.recommender import Recommender
from sif.utils import checkpoint

QUICK = {
    "train.epochs": 1, "train.dimension": 4, "train.l2": [0.003], "search.epochs": 1,
    "search.dimension": 2,
}  # fmt: skip
MOST = 100
Pairs = Mapping[str, set[str]]


def fitted(data: Any, objective: str = "ranking", **settings: Any) -> Recommender:
    further = {name.replace("__", "."): value for name, value in settings.items()}
    return Recommender(objective, threads=1, baselines=[], settings={**QUICK, **further}).fit(data)


def items_of(users: Iterable[str], items: Iterable[str]) -> Pairs:
    """User to items; of an unknown user none."""
    found = defaultdict(set)
    for user, item in zip(users, items, strict=True):
        found[user].add(item)
    return found


def table(rng: np.random.Generator, users: int, items: int, rows: int) -> pd.DataFrame:
    """Random ratings in a random order, of pairs that may repeat."""
    return pd.DataFrame({
        "user": [f"u{u}" for u in rng.integers(0, users, rows)],
        "item": [f"i{i}" for i in rng.integers(0, items, rows)],
        "rating": rng.integers(1, 6, rows),
    })  # fmt: skip


def kept(frame: pd.DataFrame, low: float | None, fewest: int, duplicates: str) -> pd.DataFrame:
    """The rows that filters leave, the slow way."""
    grouped = frame.groupby(["user", "item"], sort=False)["rating"]
    merged = getattr(grouped, duplicates)().reset_index()
    left = merged if low is None else merged[merged.rating >= low]
    while True:
        counts = [left.groupby(name)["rating"].transform("size") for name in ("user", "item")]
        enough = (counts[0] >= fewest) & (counts[1] >= fewest)
        if enough.all():
            return left
        left = left[enough]


def answered(model: Recommender, user: str, how: bool | str) -> set[str]:
    return set(model.recommend(user, n=MOST, exclude_seen=how, as_arrays=True)[0])


def check(model: Recommender, has: Pairs, trained: Pairs) -> None:
    """All that a user has is left out by default; of what is trained only that, where asked."""
    for user, items in has.items():
        assert not answered(model, user, True) & items
        assert answered(model, user, "all") == answered(model, user, True)
        everything = answered(model, user, "none")
        assert answered(model, user, False) == everything
        assert answered(model, user, "trained") == everything - trained.get(user, set())
        assert answered(model, user, "all") == everything - items


def check_implicit(model: Recommender, has: Pairs) -> None:
    from sif.adapters.implicit import SIFImplicit, to_implicit

    for other in (SIFImplicit(model), to_implicit(model)):
        ids = other.user_ids.tolist()
        for user, items in has.items():
            row = ids.index(user)
            for folds in (False, True):
                best, scores = other.recommend(
                    row, other.user_items[row], N=len(other.item_ids), recalculate_user=folds
                )
                # implicit's own model fills answers up with what it filtered, at the lowest score
                best = best[scores > np.finfo(np.float32).min]
                assert not set(other.item_ids[best]) & items


def check_served(model: ServedModel, has: Pairs, ratings: Mapping[str, float] | None) -> None:
    """What a server answers to users, and to histories of whatever they have."""
    serving = Answering(model)
    for user, items in has.items():
        history: dict[str, Any] = {"history": sorted(items)}
        if ratings is not None:
            history["ratings"] = [ratings[item] for item in history["history"]]
        for row in ({"user": user}, history):
            answer = serving.answers(pd.DataFrame([row]), len(model.vocabularies[1]))
            assert not set(answer["items"][0]) & items


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@effort(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**16), low=st.sampled_from([None, 3, 4]), fewest=st.integers(1, 3),
    duplicates=st.sampled_from(["last", "first", "mean"]),
)  # fmt: skip
def test_no_answer_is_of_the_users_own_rows(
    tmp_path_factory: pytest.TempPathFactory, objective: str, seed: int, low: float | None,
    fewest: int, duplicates: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    frame = table(rng, 9, 12, 70)
    left = kept(frame, low, fewest, duplicates)
    assume(left.user.value_counts().ge(3).any() and left.item.nunique() > 2)
    try:
        model = fitted(
            frame, objective, data__min_rating=low, data__min_user=fewest, data__min_item=fewest,
            data__duplicates=duplicates,
        )  # fmt: skip
    except DataError:
        assume(False)
    has, trained = items_of(frame.user, frame["item"]), items_of(left.user, left["item"])
    check(model, has, trained)
    check_implicit(model, has)
    folder = tmp_path_factory.mktemp("model")
    model.save(folder)
    check(Recommender.load(folder), has, trained)
    check(pickle.loads(pickle.dumps(model)), has, trained)
    rated = objective == "rating"
    ratings = dict(zip(frame["item"], frame["rating"].astype(float), strict=True))
    check_served(ServedModel.load(folder), has, ratings if rated else None)
    for user, items in has.items():  # as if each were new
        named = sorted(items)
        given_ratings = [ratings[item] for item in named] if rated else None
        for how in (True, "all"):
            best = model.recommend_new(named, MOST, given_ratings, how, as_arrays=True)[0]
            assert not set(best) & items, user
        some = model.recommend_new(named, MOST, given_ratings, "trained", as_arrays=True)[0]
        whole = model.recommend_new(named, MOST, given_ratings, "none", as_arrays=True)[0]
        fine = {i for i in named if not rated or low is None or ratings[i] >= low}
        assert set(some) == set(whole) - fine

    for name, items in (("fold_in", 12), ("partial_fit", 16)):
        more = table(rng, 14, items, 25)
        more = more[more["item"].isin(frame["item"]) | (name == "partial_fit")]
        getattr(model, name)(more)
        frame = pd.concat([frame, more])
        good = kept(more, low, 1, duplicates)
        if name == "fold_in":  # an item without a row is had alone
            good = good[good["item"].isin(model.fitted_model().vocabularies[1].ids)]
        left = pd.concat([left, good])
        has, trained = items_of(frame.user, frame["item"]), items_of(left.user, left["item"])
        model.save(folder)
        for one in (model, Recommender.load(folder)):
            check(one, has, trained)
        check_implicit(model, has)
        check_served(model.fitted_model(), has, None if not rated else defaultdict(lambda: 5.0))


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@effort(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**16))
def test_no_answer_is_a_value_of_the_users_row_of_a_matrix(objective: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sparse.random(9, 12, 0.5, random_state=rng, data_rvs=lambda n: rng.normal(size=n))
    users, items = (c.astype(str) for c in matrix.tocoo().coords)
    is_trained = (matrix.data > 0) | (objective == "rating")
    has = items_of(users, items)
    trained = items_of(users[is_trained], items[is_trained])
    model = fitted(matrix.tocsr(), objective)
    check(model, has, trained)
    check_implicit(model, has)
    check_served(model.fitted_model(), has, None if objective == "ranking" else defaultdict(float))


@pytest.fixture(scope="module")
def shop() -> pd.DataFrame:
    """`grump` rates low alone, `flop` is rated low alone."""
    rows = [(f"u{u}", f"i{i}", 5 if (u + i) % 3 else 2) for u in range(20) for i in range(8)]
    rows += [("grump", "i1", 1), ("grump", "i2", 1), ("u0", "flop", 1)]
    return pd.DataFrame(rows, columns=["customer", "sku", "rating"])


SHOP = {"data__user": "customer", "data__item": "sku", "data__min_rating": 4}


@pytest.fixture(scope="module")
def model(shop: pd.DataFrame) -> Recommender:
    return fitted(shop, **SHOP)


def test_a_user_of_dropped_rows_alone_gets_the_popular_without_them(model: Recommender) -> None:
    served = model.fitted_model()
    row = served.vocabularies[0].index(["grump"])
    assert served.cold_start is not None and served.cold_start.cold_users[row].all()
    assert row in served.untrained[0]
    nobody = model.recommend_new([], n=8, as_arrays=True)[0].tolist()
    assert model.recommend("grump", n=8)["item"].tolist() == [
        item for item in nobody if item not in ("i1", "i2")
    ]
    assert "grump" not in set(model.similar_users("u0", n=30)["user"])
    assert not len(model.explain("grump", "i1"))


def test_an_item_of_dropped_rows_alone_is_accepted_in_histories_and_never_answered(
    model: Recommender,
) -> None:
    with_it = model.recommend_new(["i0", "flop"], n=9)
    pd.testing.assert_frame_equal(with_it, model.recommend_new(["i0"], n=9))
    for user in ("u0", "u1", "grump"):
        assert "flop" not in answered(model, user, "none")
    with pytest.raises(UnknownIdError, match=r"history: item: .* found 'flip'"):
        model.recommend_new(["flop", "flip"])


def test_ratings_of_an_item_without_a_row_are_checked(shop: pd.DataFrame) -> None:
    rated = fitted(shop.assign(rating=shop.rating + (shop.index % 2) / 2), "rating", **SHOP)
    with pytest.raises(ConfigError, match="ratings: row 1: expected a number, found nothing"):
        rated.recommend_new(["flop"], ratings=[np.nan])
    assert len(rated.recommend_new(["flop"], n=3, ratings=[1])) == 3


def test_a_dropped_item_that_comes_in_later_is_not_for_who_had_it(
    model: Recommender, shop: pd.DataFrame
) -> None:
    grown = pickle.loads(pickle.dumps(model))
    again = pd.DataFrame({"customer": ["u1", "u2", "u3"], "sku": "flop", "rating": 5})
    grown.partial_fit(again)
    assert "flop" in answered(grown, "u5", True)
    assert "flop" not in answered(grown, "u0", True) and "flop" in answered(grown, "u0", "trained")
    folded = pickle.loads(pickle.dumps(model)).fold_in(again)  # has no vector to fold with
    assert "flop" not in folded.fitted_model().vocabularies[1].ids
    folded.partial_fit(again.assign(customer=["u6", "u7", "u8"]))
    assert "flop" not in answered(folded, "u1", True) and "flop" in answered(folded, "u5", True)
    with pytest.raises(UnknownIdError, match="'flip'"):
        grown.fold_in(again.assign(sku="flip"))


def test_words_and_the_setting_of_the_model(
    shop: pd.DataFrame, model: Recommender, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="exclude_seen: expected True or False or one of all, trai"
    ):
        model.recommend("u0", exclude_seen="trainde")
    with pytest.raises(ConfigError, match="exclude_seen: expected True or False or a text"):
        model.recommend("u0", exclude_seen=[True])  # type: ignore[arg-type]
    for word in ("trained", "none"):
        other = fitted(shop, exclude_seen=word, **SHOP)
        other.save(tmp_path / word)
        for one in (other, Recommender.load(tmp_path / word)):
            assert answered(one, "u0", True) == answered(one, "u0", word)
            assert answered(one, "u0", "all") < answered(one, "u0", "trained")
        row = Answering(other.fitted_model()).answers(pd.DataFrame({"user": ["u0"]}), MOST)
        assert set(row["items"][0]) == answered(one, "u0", word)


def test_training_sees_nothing_of_what_was_dropped(shop: pd.DataFrame, model: Recommender) -> None:
    clean = fitted(shop[shop.rating >= 4], **SHOP).fitted_model()
    served = model.fitted_model()
    assert served.vocabularies[1] == clean.vocabularies[1]
    n_users = len(clean.vocabularies[0])
    assert served.vocabularies[0].ids[:n_users].tolist() == clean.vocabularies[0].ids.tolist()
    ours, theirs = (one.network.interaction() for one in (served, clean))
    assert (ours.table(0)[:n_users] == theirs.table(0)).all()
    assert (ours.table(1) == theirs.table(1)).all()
    assert (served.seen[:n_users] != clean.seen).nnz == 0


def test_a_file_of_an_earlier_version_has_what_was_trained(
    model: Recommender, tmp_path: Path
) -> None:
    state = checkpoint.load(model.save(tmp_path), KIND)
    del state["owned"]
    checkpoint.save(tmp_path / FILE, state, KIND)
    old = Recommender.load(tmp_path)
    assert answered(old, "u0", True) == answered(model, "u0", "trained")


@pytest.mark.parametrize("owned", [
    lambda names, users, items: [names, users + 10**6, items],
    lambda names, users, items: [names, users, items - 10**6],
    lambda names, users, items: [names, users[1:], items],
    lambda names, users, items: [np.append(names, names[:1]), users, items],
    lambda names, users, items: [names, users.astype(float), items],
    lambda names, users, items: [names, users],
])  # fmt: skip
def test_damaged_pairs_are_refused(model: Recommender, tmp_path: Path, owned: Any) -> None:
    state = checkpoint.load(model.save(tmp_path), KIND)
    state["owned"] = owned(*state["owned"])
    checkpoint.save(tmp_path / FILE, state, KIND)
    with pytest.raises(CheckpointError, match="contradicts itself"):
        Recommender.load(tmp_path)


def test_filters_remember_what_they_drop() -> None:
    frame = pd.DataFrame({
        "user": ["a", "a", "b", "b", "c"], "item": ["x", "y", "x", "z", "x"],
        "rating": [5, 1, 5, 5, 1],
    })  # fmt: skip
    data, notes = filter_interactions(read_frame(frame), Filters(2, 1, 2))
    assert notes == [
        "2 ratings below 2 removed",
        "1 interactions of users with fewer than 1 or items with fewer than 2 removed",
    ]
    dropped = data.dropped
    assert dropped is not None and dropped.rating is None

    def pairs(of: Any) -> set[tuple[str, str]]:
        names = [v.ids[c] for v, c in zip(of.vocabularies[:2], of.ids.T, strict=False)]
        return set(zip(*map(np.ndarray.tolist, names), strict=True))

    assert pairs(dropped) == {("a", "y"), ("c", "x"), ("b", "z")}
    again, _ = filter_interactions(data, Filters(min_item=3))
    assert pairs(again.dropped) == pairs(dropped) | {("a", "x"), ("b", "x")}
    assert pairs(data.select(np.array([0])).dropped) == pairs(dropped)
    negative = read_matrix(sparse.csr_array([[1.0, -1.0], [0.0, 1.0]]), "ranking")
    assert pairs(negative.dropped) == {("0", "1")} and len(negative) == 2
    assert concatenate([data, negative]).dropped is not None
    assert read_frame(frame).dropped is None
