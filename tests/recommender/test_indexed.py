"""Answers of the recommender where something is untrained, not a number, or large."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sif.errors import ConfigError, DataError, UnknownIdError
from sif.recommender.arguments import history_row
from sif.recommender.fold_in import Rows
from sif.recommender.functions import VectorFunction
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.recommender import Recommender
from sif.retrieval.engine import MEMORY
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS, SUMS, Operation
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES

Board = Callable[..., pd.DataFrame]
USERS, ITEMS, DIMENSION = 30, 16, 4
QUICK = {
    "train.epochs": 30, "train.patience": 30, "train.dimension": 8, "train.l2": [0.003],
    "search.epochs": 2, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


def fitted(checkerboard: Board, objective: str) -> Recommender:
    """The train part lacks the item "rare" and the user "late"."""
    frame = checkerboard(USERS, ITEMS, objective == "rating", rare=True)
    held = frame.item.eq("rare") | frame.user.eq("late")
    model = Recommender(objective, threads=1, settings=QUICK)
    return model.fit(frame[~held], valid=frame[held], refit="none")  # which would train them


@pytest.fixture(scope="module")
def saved(checkerboard: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("ranking", "rating")}
    for name, folder in folders.items():
        fitted(checkerboard, name).save(folder)
    return folders


@pytest.fixture
def liked(saved: dict[str, Path]) -> Recommender:
    return Recommender.load(saved["ranking"])


@pytest.fixture
def rated(saved: dict[str, Path]) -> Recommender:
    return Recommender.load(saved["rating"])


def popular(model: Recommender, count: int = 4) -> list[str]:
    return list(model.recommend_new([], n=count, as_arrays=True)[0])


# Users of whom nothing trained tells


def test_a_history_of_untrained_items_gets_the_popular(liked: Recommender) -> None:
    items, scores = liked.recommend_new(["rare"], n=4, as_arrays=True)
    assert items.tolist() == popular(liked)
    np.testing.assert_array_equal(scores, liked.recommend_new([], n=4, as_arrays=True)[1])
    assert f"{scores[0]:.4f}" == "0.0000"  # the first place, without a sign
    row = history_row(liked.model_, ["rare"], None)
    np.testing.assert_array_equal(
        liked.server().scores_of(row), liked.server().scores_of(history_row(liked.model_, [], None))
    )
    assert liked.recommend_new(["rare", "i1", "i3"], n=4, as_arrays=True)[0].tolist() != popular(
        liked
    )


def test_users_folded_in_with_untrained_items_get_the_popular(liked: Recommender) -> None:
    expected = popular(liked)
    liked.fold_in(pd.DataFrame({"user": ["new"], "item": ["rare"]}))
    assert liked.recommend("new", n=4, as_arrays=True)[0].tolist() == expected
    liked.partial_fit(pd.DataFrame({"user": ["guest"], "item": ["fresh"]}))
    assert liked.recommend("guest", n=4, as_arrays=True)[0].tolist() == expected
    # Whom only the untrained know is as untrained as they are.
    assert "fresh" not in liked.recommend("u1", n=ITEMS + 2, exclude_seen=False, as_arrays=True)[0]
    liked.partial_fit(pd.DataFrame({"user": ["late", "guest"], "item": ["other", "other"]}))
    assert "other" not in liked.recommend("u1", n=ITEMS + 3, exclude_seen=False, as_arrays=True)[0]
    liked.fold_in(pd.DataFrame({"user": ["guest"] * 3, "item": ["i1", "i3", "i5"]}))
    assert liked.recommend("guest", n=4, as_arrays=True)[0].tolist() != expected


# Neighbors


def test_the_untrained_are_nobodys_neighbors(liked: Recommender, rated: Recommender) -> None:
    for model in (liked, rated):
        items, cosines = model.similar_items("i4", n=ITEMS + 1, as_arrays=True)
        assert "rare" not in items and len(items) == ITEMS - 1 and cosines[-1] < 0
        assert (
            len(model.similar_items("rare", as_arrays=True)[0])
            == len(model.similar_users("late", as_arrays=True)[0])
            == 0
        )
        users, cosines = model.similar_users(["u3", "late"], n=5, as_arrays=True)
        assert (users[1] == "").all() and np.isneginf(cosines[1]).all()
        assert users.shape == (2, 5) and (users[0] != "").all()


def test_tables_of_neighbors_are_padded_to_what_was_asked(liked: Recommender) -> None:
    items, cosines = liked.similar_items(["i4", "i5"], n=50, as_arrays=True)
    assert items.shape == cosines.shape == (2, 50)
    assert (items[:, ITEMS - 1 :] == "").all() and np.isneginf(cosines[:, ITEMS - 1 :]).all()
    assert len(liked.similar_items("i4", n=50, as_arrays=True)[0]) == ITEMS - 1


def operated(liked: Recommender, operation: Operation, readout: torch.Tensor) -> IndexedRecommender:
    """A model of fresh vectors with that operation and readout."""
    draws = torch.Generator().manual_seed(3)
    shape = TableShape((USERS + 1, ITEMS + 1), DIMENSION)
    network = InteractionNetwork(Design((PRIMITIVES[IDENTITY],) * 2, operation), shape, draws)
    with torch.no_grad():
        network.readout.copy_(readout)
    return IndexedRecommender(replace(liked.model_, trained=network, cold_start=None))


def weights(operation: Operation) -> torch.Tensor:
    size = operation.width(2) * DIMENSION
    return torch.rand(size, generator=torch.Generator().manual_seed(5)) * 1.8 - 0.9


def entered(operation: Operation, field: int) -> torch.Tensor:
    """bool (d, width * d): which entries of the output a coordinate changes somewhere."""
    fields = torch.randn(2, 100, DIMENSION, generator=torch.Generator().manual_seed(7))
    before, found = operation.combine(tuple(fields)), []
    for coordinate in range(DIMENSION):
        moved = fields.clone()
        moved[field, :, coordinate] += 9.0
        found.append((operation.combine(tuple(moved)) != before).any(dim=0))
    return torch.stack(found)


BY_NAME = {**OPERATIONS, **SUMS}


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_coordinate_weighs_what_it_enters(liked: Recommender, name: str, field: int) -> None:
    operation = BY_NAME[name]
    readout = weights(operation)
    server = operated(liked, operation, readout)
    vectors = server.model.network.tables.embeddings[field].detach().double()
    weighted = vectors * (entered(operation, field).double() @ readout.abs().double()).sqrt()
    unit = (weighted / weighted.norm(dim=1, keepdim=True)).numpy()
    found = server.similar(field, np.arange(len(unit)), len(unit), itself=True)
    expected = np.take_along_axis(unit @ unit.T, found.items, axis=1)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("name", BY_NAME)
def test_neighbors_follow_the_weights_of_their_own_field(
    liked: Recommender, name: str, field: int
) -> None:
    operation = BY_NAME[name]
    readout, own = weights(operation), entered(operation, field).any(dim=0)

    def cosines(other: torch.Tensor) -> np.ndarray:
        return operated(liked, operation, other).similar(field, np.arange(5), ITEMS).scores

    before = cosines(readout)
    np.testing.assert_array_equal(cosines(torch.where(own, readout, readout.flip(0))), before)
    for entry in own.nonzero():
        changed = readout.clone()
        changed[entry] = 0.95
        assert np.abs(cosines(changed) - before).max() > 1e-4


# Numbers that are none


def test_scores_that_are_no_numbers_are_told_by_the_id(liked: Recommender) -> None:
    tables = liked.model_.network.tables
    with torch.no_grad():
        tables.embeddings[0][liked.model_.vocabularies[0].index(["u5"])] = torch.nan
    liked._serve(liked.model_)
    with pytest.raises(DataError, match=r"^scores of user 'u5': expected numbers, found NaN"):
        liked.recommend(["u1", "u5"], as_arrays=True)
    with pytest.raises(DataError, match=r"^cosines of user 'u1': expected numbers, found NaN"):
        liked.similar_users(["u1"], as_arrays=True)
    with pytest.raises(DataError, match=r"^predict: .*user 'u5', item 'i2': .*number, found NaN"):
        liked.predict(["u1", "u5"], ["i1", "i2"])
    assert liked.predict("u1", "i1") < np.inf
    with torch.no_grad():
        tables.embeddings[1][liked.model_.vocabularies[1].index(["i4"])] = torch.nan
    liked._serve(liked.model_)
    with pytest.raises(DataError, match=r"^cosines of item 'i7': expected numbers, found NaN"):
        liked.similar_items("i7", as_arrays=True)


@pytest.mark.parametrize("rating", [1e300, -1e39, np.inf])
def test_ratings_beyond_float32_are_refused(rated: Recommender, rating: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"expected finite numbers, found {rating}")):
        rated.recommend_new(["i1", "i2"], ratings=[4, rating], as_arrays=True)


def test_histories_that_give_no_finite_vector_are_refused(rated: Recommender) -> None:
    items = [f"i{i}" for i in range(ITEMS)]
    with pytest.raises(DataError, match=r"^history 0: expected ratings .* found too large ones"):
        rated.recommend_new(items, ratings=[3e38] * ITEMS, as_arrays=True)


def test_an_empty_list_of_ratings_is_none(liked: Recommender, rated: Recommender) -> None:
    for model in (liked, rated):
        expected = model.recommend_new([], n=3, as_arrays=True)[0].tolist()
        assert model.recommend_new([], ratings=[], n=3, as_arrays=True)[0].tolist() == expected
    assert len(liked.recommend_new(["i1"], ratings=np.zeros(0), n=3, as_arrays=True)[0]) == 3
    with pytest.raises(ConfigError, match="expected 1 ratings, found none"):
        rated.recommend_new(["i1"], ratings=[], as_arrays=True)


# Predictions and orders of the untrained


def test_predictions_are_the_scores_of_recommend(liked: Recommender, rated: Recommender) -> None:
    for model in (liked, rated):
        for user in ("late", "u1"):
            items, scores = model.recommend(user, n=ITEMS + 1, exclude_seen=False, as_arrays=True)
            found = model.predict([user] * len(items), items)
            np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5)
    assert np.isneginf(liked.predict(["u1", "late"], ["rare", "rare"])).all()
    assert np.isfinite(rated.predict("u1", "rare"))


def test_what_is_never_recommended_is_ranked_last(liked: Recommender, rated: Recommender) -> None:
    names = ["rare", "i3", "i2", "i3"]
    for user in ("u1", "late"):
        items, scores = liked.rank(user, names, as_arrays=True)
        assert sorted(items) == ["i2", "i3", "rare"] and items[2] == "rare"
        np.testing.assert_allclose(scores, liked.predict([user] * 3, items), rtol=1e-4, atol=1e-5)
    items, scores = liked.rank(["u1", "u2"], names, as_arrays=True)
    assert (
        items.shape == (2, 3) and (items[:, 2] == "rare").all() and np.isneginf(scores[:, 2]).all()
    )
    assert liked.rank("u1", ["rare"], as_arrays=True)[0].tolist() == ["rare"]
    assert set(rated.rank("u1", names, as_arrays=True)[0]) == {"i2", "i3", "rare"}


def test_no_items_are_ranked_in_no_columns(liked: Recommender, rated: Recommender) -> None:
    for model in (liked, rated):
        for users, shape in (
            (["u1", "late"], (2, 0)),
            (["u1"], (1, 0)),
            ("u1", (0,)),
            ([], (0, 0)),
        ):
            items, scores = model.rank(users, [], as_arrays=True)
            assert items.shape == scores.shape == shape
        with pytest.raises(UnknownIdError, match="nobody"):
            model.rank(["u1", "nobody"], [])


# Reasons


def test_reasons_of_a_long_history_are_looked_for_in_parts(
    liked: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, count = liked.model_, 3000
    asked: list[int] = []

    class Summed:
        """Vectors that tell which pairs a row has."""

        def vectors(self, pairs: sparse.csr_array) -> Rows:
            asked.append(pairs.nnz)
            some = torch.from_numpy(pairs.sum(axis=1).astype(np.float32))
            return Rows(torch.zeros(len(some), model.network.shape.dimension), some)

    monkeypatch.setattr(VectorFunction, "_fold", Summed())
    values = np.arange(1, count + 1, dtype=np.float32)
    pairs = sparse.csr_array((values, np.arange(count), [0, count]), shape=(1, count))
    server = IndexedRecommender(replace(model))
    tracemalloc.start()
    try:
        carried = server.explained(pairs, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(carried, values, atol=1)  # of sums of millions
    assert peak < 3 * MEMORY < 8 * count * count and sum(asked) == count * count
    assert server.explained(pairs[:, :0], 0).shape == (0,)
