"""Parts of implicit's adapter alone: numbers, neighbors, folding, files, untrained rows."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import RecommenderBase
from scipy import sparse

from sif.adapters.implicit import NOTHING, SIFFactors, SIFImplicit, to_implicit
from sif.errors import ConfigError, DataError, ShapeError
from sif.recommender.arguments import history_row
from sif.recommender.extend import grown
from sif.recommender.recommender import Recommender

OPERATIONS = ["multiply", "max"]


def numbers(model: Any, names: list[str]) -> list[int]:
    return [int(np.flatnonzero(model.item_ids == name)[0]) for name in names]


def taste(name: str) -> int:
    return int(name[1:]) % 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_vocabularies_are_in_the_order_of_the_numbers(make: Any, operation: str) -> None:
    recommender = make(operation)
    model = to_implicit(recommender)
    assert model.user_ids.tolist() == recommender.model_.vocabularies[0].ids.tolist()
    assert isinstance(model.user_items, sparse.csr_matrix)
    assert model.user_items.shape == (len(model.user_ids), len(model.item_ids))


@pytest.mark.parametrize(
    ("operation", "encoding"), [("multiply", "id"), ("multiply", "primitives"), ("max", "id")]
)
def test_neighbors_are_ours_behind_the_item_itself(
    make: Any, operation: str, encoding: str
) -> None:
    recommender = make(operation, encoding=encoding)
    model = to_implicit(recommender)
    (row,) = numbers(model, ["i4"])
    ids, cosines = model.similar_items(row, N=6)
    assert ids[0] == row and cosines[0] == pytest.approx(1, abs=1e-5)
    expected, ours = recommender.similar_items("i4", N=5, as_arrays=True)
    assert model.item_ids[ids[1:]].tolist() == expected.tolist()
    np.testing.assert_allclose(cosines[1:], ours, atol=1e-4)
    some = numbers(model, ["i1", "i2", "i6"])
    ids, _ = model.similar_items(row, N=2, items=some)
    assert {taste(i) for i in model.item_ids[ids]} == {0}
    ids, _ = model.similar_items(row, N=20, filter_items=some)
    kept = ids if operation == "max" else ids[:17]  # implicit fills up its answer
    assert not set(kept.tolist()) & set(some)
    ids, _ = model.similar_users([1, 2], N=3)
    assert ids.shape == (2, 3) and ids[:, 0].tolist() == [1, 2]
    assert [{taste(u) for u in model.user_ids[row]} for row in ids] == [
        {taste(model.user_ids[1])}, {taste(model.user_ids[2])}
    ]  # fmt: skip


def test_neighbors_of_concat_go_by_the_items_own_half(make: Any) -> None:
    recommender = make("concat", "rating", encoding="primitives")
    network = recommender.model_.network
    vectors = network.interaction().table(1).detach().numpy()
    halves = np.split(network.readout.detach().abs().numpy(), 2)
    assert not np.allclose(*halves)
    weighted = vectors * np.sqrt(halves[1])
    unit = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    ids, cosines = SIFImplicit(recommender).similar_items(4, N=len(unit))
    np.testing.assert_allclose(cosines, (unit @ unit[4])[ids], atol=1e-5)


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_user_is_recalculated_as_sif_folds_in(make: Any, operation: str, objective: str) -> None:
    recommender = make(operation, objective)
    model = to_implicit(recommender)
    names, values = ["i1", "i3", "i5", "i8"], [5.0, 5.0, 4.0, 1.0]
    row = np.zeros((1, len(model.item_ids)), np.float32)
    row[0, numbers(model, names)] = values
    history = sparse.csr_matrix(row)
    ids, scores = model.recommend(0, history, N=6, recalculate_user=True)
    ratings = values if objective == "rating" else None
    expected, ours = recommender.recommend_new(names, N=6, ratings=ratings, as_arrays=True)
    assert model.item_ids[ids].tolist() == expected.tolist()
    np.testing.assert_allclose(scores, ours, rtol=1e-4, atol=1e-5)
    both, _ = model.recommend([0, 1], sparse.vstack([history, history]).tocsr(), N=6,
                              recalculate_user=True)  # fmt: skip
    assert both.tolist() == [ids.tolist()] * 2


def test_new_users_and_items_of_factors_are_folded(make: Any) -> None:
    recommender = make("multiply")
    model = to_implicit(recommender)
    size = len(model.user_ids)
    fans = [f"u{u}" for u in range(1, 20, 2)]
    column = np.isin(model.user_ids, fans).astype(np.float32)
    (factors,) = model.recalculate_item([0], sparse.csr_matrix(column[None]))
    served = grown(recommender.model_, 1, np.array(["fresh"]), sparse.csr_array(column[None]))
    everybody = np.arange(size)
    expected = served.scorer.predict(np.stack([everybody, np.full(size, 20)], axis=1))
    np.testing.assert_allclose(model.user_factors @ factors, expected, rtol=1e-4, atol=1e-5)
    row = np.zeros((1, len(model.item_ids)), np.float32)
    row[0, numbers(model, ["i0", "i2", "i4"])] = 1
    model.partial_fit_users([size], sparse.csr_matrix(row))
    ids, _ = model.recommend(size, sparse.csr_matrix(row), N=4)
    assert (
        model.item_ids[ids].tolist()
        == recommender.recommend_new(["i0", "i2", "i4"], 4, as_arrays=True)[0].tolist()
    )


def test_rows_nobody_trained_are_served_by_the_rule(make: Any) -> None:
    recommender = make(rare=True)
    model = to_implicit(recommender)
    assert np.isfinite(model.user_factors).all() and np.isfinite(model.item_factors).all()
    assert recommender.model_.cold_start.cold_users.sum() == 1
    for row, user in enumerate(model.user_ids):
        expected, scores = recommender.recommend(user, N=30, as_arrays=True)
        assert "rare" not in expected
        ids, found = model.recommend(row, model.user_items[row], N=21)
        named = [n for n, s in zip(model.item_ids[ids], found, strict=True) if s > -1e30]
        assert [name for name in named if name != "rare"] == expected.tolist()
        assert user == "u0" or named[-1] == "rare"
        np.testing.assert_allclose(found[: len(scores)], scores, rtol=1e-4, atol=1e-4)
    similar = model.item_ids[model.similar_items(numbers(model, ["i4"])[0], N=6)[0][1:]]
    assert similar.tolist() == recommender.similar_items("i4", N=5, as_arrays=True)[0].tolist()
    nothing = sparse.csr_matrix((1, len(model.item_ids)), dtype=np.float32)
    ids, _ = model.recommend(0, nothing, N=3, recalculate_user=True)
    assert (
        model.item_ids[ids].tolist() == recommender.recommend_new([], 3, as_arrays=True)[0].tolist()
    )


def test_factors_of_ratings_are_under_no_rule(make: Any) -> None:
    recommender = make("multiply", "rating", rare=True)
    model, server = to_implicit(recommender), recommender.server()
    everybody = np.arange(len(model.user_ids))
    assert {"late"} < set(model.user_ids) and {"rare"} < set(model.item_ids)
    np.testing.assert_allclose(
        model.user_factors @ model.item_factors.T, server.scores(everybody), rtol=1e-4, atol=1e-4
    )
    row = np.zeros((1, len(model.item_ids)), np.float32)
    row[0, numbers(model, ["rare"])] = 4
    factors = model.recalculate_user([0], sparse.csr_matrix(row))
    expected = server.scores_of(history_row(recommender.model_, ["rare"], [4]))
    np.testing.assert_allclose(factors @ model.item_factors.T, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rare", [True, False])
def test_a_user_is_recalculated_from_nothing_as_the_popular(make: Any, rare: bool) -> None:
    recommender = make(rare=rare)
    model = to_implicit(recommender)
    popular = recommender.recommend_new([], 3, as_arrays=True)[0].tolist()
    for history in ([], ["rare"] * rare):
        row = np.zeros((1, len(model.item_ids)), np.float32)
        row[0, numbers(model, history)] = 1
        ids, _ = model.recommend(0, sparse.csr_matrix(row), N=3, recalculate_user=True)
        assert model.item_ids[ids].tolist() == popular


def test_users_who_were_folded_in_are_in_it(make: Any) -> None:
    for recommender in (make("multiply"), make(rare=True), make("max")):
        recommender.fold_in(pd.DataFrame({"user": ["new"] * 3, "item": ["i0", "i2", "i4"]}))
        model = to_implicit(recommender)
        (row,) = np.flatnonzero(model.user_ids == "new")
        ids, _ = model.recommend(int(row), model.user_items[row], N=5)
        assert (
            model.item_ids[ids].tolist()
            == recommender.recommend("new", 5, as_arrays=True)[0].tolist()
        )


def test_plain_implicit_reads_the_file(make: Any, tmp_path: Path) -> None:
    model = to_implicit(make("multiply", "rating"))
    model.save(str(tmp_path / "a.npz"))
    plain = AlternatingLeastSquares.load(str(tmp_path / "a.npz"))
    own = SIFFactors.load(str(tmp_path / "a.npz"))
    for row in range(4):
        expected = model.recommend(row, model.user_items[row])
        for other in (plain, own):
            found = other.recommend(row, model.user_items[row])
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])
    assert own.item_ids.tolist() == model.item_ids.tolist()
    with pytest.raises(NotImplementedError, match="a loaded file has the factors alone"):
        own.recommend(0, model.user_items[0], recalculate_user=True)


def test_what_is_not_there_is_said(make: Any) -> None:
    factors, other = to_implicit(make("multiply")), to_implicit(make("max"))
    with pytest.raises(ConfigError, match="fit: expected nothing to learn here"):
        factors.fit(factors.user_items)
    with pytest.raises(NotImplementedError, match="of a Recommender"):
        factors.explain(0, factors.user_items, 1)
    with pytest.raises(NotImplementedError):
        other.similar_items(0, recalculate_item=True)
    with pytest.raises(ConfigError, match="found both"):
        other.recommend(0, other.user_items[0], items=[1, 2], filter_items=[1])
    with pytest.raises(ShapeError, match=r"expected 1 rows, .* user_items\[userid\], found 30"):
        other.recommend(0, other.user_items)
    with pytest.raises(ShapeError, match=r"expected 20 columns, found 3$"):
        other.recommend(0, sparse.csr_matrix((1, 3)))
    for ask in (other.recommend, factors.recalculate_user):
        arguments = {"recalculate_user": True} if ask == other.recommend else {}
        with pytest.raises(
            ShapeError, match=r"20 columns, found 30; since implicit 0\.5 rows are us"
        ):
            ask(0, other.user_items.T.tocsr()[0], **arguments)
    with pytest.raises(ConfigError, match="found one before fit"):
        to_implicit(Recommender())
    with pytest.raises(ConfigError, match="ranks items alike for all users"):
        to_implicit(make("plus"))


@pytest.mark.parametrize("wrong", [-1, 20, [3, 99], 1.5, "i1"])
def test_numbers_out_of_range_are_told(make: Any, wrong: Any) -> None:
    model = to_implicit(make("max"))
    row = model.user_items[0]
    found = r"expected numbers from 0 to 19, found (-1|20|99|1\.5|i1)$"
    some = wrong if isinstance(wrong, list) else [wrong]
    for ask in (
        lambda: model.similar_items(wrong),
        lambda: model.similar_items(1, items=some),
        lambda: model.similar_items(1, filter_items=some),
        lambda: model.recommend(0, row, items=some),
        lambda: model.recommend(0, row, filter_items=some),
    ):
        with pytest.raises(ShapeError, match=found):
            ask()
    for ask in (lambda: model.similar_users(30), lambda: model.recommend(30, row)):
        with pytest.raises(ShapeError, match="expected numbers from 0 to 29, found 30"):
            ask()
    stranger, _ = model.recommend(30, row, recalculate_user=True)  # as implicit: of no table
    assert stranger.tolist() == model.recommend(0, row, recalculate_user=True)[0].tolist()
    kept, _ = model.recommend(0, row, N=20, filter_items=[])
    assert kept.tolist() == model.recommend(0, row, N=20)[0].tolist()


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "3"])
def test_a_number_of_answers_is_a_whole_one_above_zero(make: Any, count: Any) -> None:
    model = to_implicit(make("max"))
    for ask in (
        lambda: model.recommend(0, model.user_items[0], N=count),
        lambda: model.similar_items(0, N=count),
        lambda: model.similar_users(0, N=count),
    ):
        with pytest.raises(ConfigError, match="N: expected a whole number of at least 1"):
            ask()


def test_nothing_left_is_minus_one_in_tables(make: Any) -> None:
    model = to_implicit(make("max"))
    ids, scores = model.recommend([0, 1], model.user_items[:2], N=30)
    assert ids.shape == (2, 30) and (ids[:, -1] == -1).all() and (scores[:, -1] == NOTHING).all()
    one, _ = model.recommend(0, model.user_items[0], N=30)
    assert one.tolist() == ids[0][ids[0] >= 0].tolist()
    chosen, _ = model.recommend(0, None, N=3, items=[4, 7], filter_already_liked_items=False)
    assert set(chosen.tolist()) == {4, 7}


def test_it_is_fitted_on_a_matrix(frame: Any) -> None:
    rows = frame.user.str[1:].astype(int), frame.item.str[1:].astype(int)
    matrix = sparse.csr_matrix((np.ones(len(frame), np.float32), rows))
    settings = {"train.epochs": 40, "train.dimension": 8, "train.l2": [0.003], "train.lr": 0.05,
                "search.epochs": 3, "search.dimension": 4}  # fmt: skip
    model = SIFImplicit(Recommender(threads=1, settings=settings))
    model.fit(matrix)
    ids, _ = model.recommend(np.arange(10), matrix[:10], N=1)
    assert np.mean(ids[:, 0] % 2 == np.arange(10) % 2) >= 0.9


class Told(Recommender):
    """Keeps what it is asked to learn."""

    def fit(self, data: Any, valid: Any = None, *, refit: str = "all") -> Any:
        self.learned = data
        return self


def test_both_orientations_go_by_name() -> None:
    matrix = sparse.random(5, 3, 0.5, "csr", random_state=0)
    turned = sparse.csr_array(matrix.T)
    for given in ({"user_items": matrix}, {"item_users": matrix.T}, {"item_users": turned}):
        told = Told()
        SIFImplicit(told).fit(**given)
        assert told.learned.shape == (5, 3) and abs(told.learned - matrix).sum() == 0
    for given, found in (({}, "none"), ({"user_items": matrix, "item_users": matrix.T}, "both")):
        with pytest.raises(ConfigError, match=f"expected user_items or item_users, found {found}"):
            SIFImplicit(Told()).fit(**given)
    with pytest.raises(DataError, match="item_users: expected a sparse matrix, found"):
        SIFImplicit(Told()).fit(item_users=[[1, 2]])


@pytest.mark.parametrize("minimum", [1, 2])
def test_numbers_are_rows_and_columns_of_the_matrix(frame: Any, minimum: int) -> None:
    users, items = (frame[name].str[1:].astype(int) for name in ("user", "item"))
    moved = users + (users >= 3), items + (items >= 7)  # row 3 and column 7 are empty
    matrix = sparse.csr_matrix((np.ones(len(frame), np.float32), moved), shape=(32, 22))
    settings = {"train.epochs": 40, "train.dimension": 8, "train.l2": [0.03], "train.lr": 0.05,
                "search.epochs": 3, "search.dimension": 4, "data.min_user": minimum}  # fmt: skip
    model = SIFImplicit(Recommender(threads=1, settings=settings))
    model.fit(matrix)
    assert model.user_ids.tolist() == [str(n) for n in range(32)]
    assert model.item_ids.tolist() == [str(n) for n in range(22)]
    np.testing.assert_array_equal(model.user_items.toarray(), matrix.toarray())
    rows = np.arange(4, 31)
    ids, _ = model.recommend(rows, matrix[rows], N=1)
    tastes = (ids[:, 0] - (ids[:, 0] > 7)) % 2
    assert np.mean(tastes == (rows - 1) % 2) >= 0.85
    for user in (0, 3, 31):  # of a taste, and without any
        assert not {7, 21} & set(model.recommend(user, matrix[user], N=22)[0].tolist())
    popular, _ = model.recommend(3, matrix[3], N=20)
    expected, _ = model.recommender.recommend_new([], N=20, as_arrays=True)
    assert model.item_ids[popular].tolist() == expected.tolist()


def test_arguments_have_implicits_names() -> None:
    for name in ("fit", "recommend", "similar_items", "similar_users", "rank_items", "load"):
        theirs, ours = (signature(getattr(kind, name)) for kind in (RecommenderBase, SIFImplicit))
        named = [one for one, kind in ours.parameters.items() if kind.kind != kind.KEYWORD_ONLY]
        assert named == list(theirs.parameters), name


def test_what_is_no_matrix_is_named(make: Any) -> None:
    with pytest.raises(DataError, match=r"^matrix: expected a sparse one, found None$"):
        to_implicit(make("max")).recommend(0, None)


def test_norms_are_made_before_threads_ask_for_neighbors(make: Any, tmp_path: Path) -> None:
    """implicit makes them in two steps; between these the norm of a row of zeros is zero."""
    model = to_implicit(make("multiply"))
    model.save(tmp_path / "factors.npz")
    for factors in (model, SIFFactors.load(str(tmp_path / "factors.npz"))):
        assert (vars(factors)["_item_norms"] > 0).all() and (vars(factors)["_user_norms"] > 0).all()
