"""One user at a time against a batch of one, and against itself at other places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from sif.errors import ScoreError
from sif.retrieval.engine import Engine, UserVectors
from sif.retrieval.kernels import products
from sif.retrieval.single import SingleEngine, UserSides
from tests.retrieval.test_engine import ALL, make_network

pytestmark = pytest.mark.skipif(products() is None, reason="needs numba")

PRODUCTS = [name for name, operation in ALL.items() if operation.factors is not None]


def both(engine: Engine, users: UserVectors, k: int, excluded: object, allowed: object) -> tuple:
    """Answers by the compiled calls for one user, and by a batch of one."""
    one = engine.top(users, k, excluded=excluded, allowed=allowed)  # type: ignore[arg-type]
    assert engine.single is not None
    vars(engine)["single"] = None
    batch = engine.top(users, k, excluded=excluded, allowed=allowed)  # type: ignore[arg-type]
    del vars(engine)["single"]
    return one, batch


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("items", [1, 3, 64, 65, 257])
def test_whole_numbers_get_the_same_bits_as_in_a_batch(name: str, items: int) -> None:
    rng = np.random.default_rng(items)
    engine = Engine(make_network(ALL[name], whole=True, items=items).interaction())
    for k in (1, 4, 64, items + 3):
        for _ in range(4):
            users = engine.vectors(rng.integers(0, engine.n_users, 1))
            had = rng.permutation(items)[: rng.integers(0, items + 1)]  # in any order
            ones = np.ones(len(had), np.bool_)
            excluded = sparse.csr_array((ones, had, [0, len(had)]), shape=(1, items))
            for hidden in (None, excluded):
                for allowed in (None, rng.random(items) < 0.6):
                    one, batch = both(engine, users, k, hidden, allowed)
                    np.testing.assert_array_equal(one.items, batch.items)
                    np.testing.assert_array_equal(one.scores, batch.scores)


@pytest.mark.parametrize("name", PRODUCTS)
def test_other_numbers_differ_by_rounding_alone(name: str) -> None:
    engine = Engine(make_network(ALL[name]).interaction())
    for row in range(engine.n_users):
        one, batch = both(engine, engine.vectors(np.array([row])), 20, None, None)
        np.testing.assert_array_equal(one.items, batch.items)
        np.testing.assert_allclose(one.scores, batch.scores, rtol=1e-5, atol=1e-6)


def test_equal_vectors_have_equal_scores_wherever_they_stand() -> None:
    net = make_network(ALL["multiply"], items=203)
    with torch.no_grad():
        net.tables.embeddings[1][:] = net.tables.embeddings[1][7].clone()
        for bias in net.tables.biases[1:]:
            bias[:] = 0.3
    engine = Engine(net.interaction())
    top = engine.top(engine.vectors(np.array([2])), 60)
    assert top.items.tolist() == [list(range(60))]
    assert len(np.unique(top.scores)) == 1


def test_numbers_that_are_none_are_refused_where_somebody_could_get_them() -> None:
    net = make_network(ALL["multiply"])
    with torch.no_grad():
        net.tables.embeddings[1][40, 2] = torch.nan
    engine = Engine(net.interaction())
    (side,) = engine.sides(engine.vectors(np.array([1]))).numpy()
    single = SingleEngine.of(engine.catalogue)
    assert single is not None
    with pytest.raises(ScoreError):
        single.top(side, 5)
    allowed = np.arange(engine.n_items) != 40
    for some in ({"allowed": allowed}, {"hidden": np.array([40])}):
        assert 40 not in single.top(side, 64, **some)[1]  # type: ignore[arg-type]


def test_many_items_are_scored_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(make_network(ALL["multiply"], whole=True, items=203).interaction())
    users, allowed = engine.vectors(np.array([3])), np.arange(203) % 3 > 0
    whole, _ = both(engine, users, 30, None, allowed)
    monkeypatch.setattr("sif.retrieval.single._PIECE", 16)
    pieces, _ = both(engine, users, 30, None, allowed)
    np.testing.assert_array_equal(pieces.items, whole.items)
    np.testing.assert_array_equal(pieces.scores, whole.scores)


def test_functions_that_are_no_products_need_a_batch() -> None:
    assert SingleEngine.of(Engine(make_network(ALL["max"]).interaction()).catalogue) is None
    assert (
        SingleEngine.of(Engine(make_network(ALL["multiply+max"]).interaction()).catalogue) is None
    )


def test_sides_are_made_for_neighbors_at_once_and_kept() -> None:
    asked: list[list[int]] = []

    def make(rows: np.ndarray) -> torch.Tensor:
        asked.append(rows.tolist())
        return torch.from_numpy(rows).float()[:, None] * torch.ones(3)

    sides = UserSides(make, 70)
    for row in (69, 0, 64, 63, 69):
        np.testing.assert_array_equal(sides[row], np.full(3, row, np.float32))
    assert asked == [list(range(64, 70)), list(range(64))]
