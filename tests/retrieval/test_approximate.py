"""Answers by a graph of the items: scores and order of the exact engine, never too few items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ConfigError, ScoreError, ShapeError
from sif.retrieval.approximate import (
    ApproximateEngine,
    calibrated,
    head_and_rest,
    vectors_of,
)
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.engine import Engine, Top, UserVectors
from sif.retrieval.graph import ItemGraph
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS, SUMS
from sif.spaces.interaction.transforms import PRIMITIVES

pytest.importorskip("usearch")

USERS, ITEMS, DIMENSION = 40, 900, 8


def make_network(
    name: str = "multiply", biases: bool = True, items: int = ITEMS, spread: float = 0.5
) -> InteractionNetwork:
    """Items whose norms differ as e^(spread x), x normal."""
    generator = torch.Generator().manual_seed(1)
    operation = (OPERATIONS | SUMS)[name]
    design = Design((PRIMITIVES["~abs"],) * 2, operation)
    net = InteractionNetwork(design, TableShape((USERS, items), DIMENSION, biases, True), generator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
        table = net.tables.embeddings[1]
        table.mul_((spread * torch.randn(items, 1, generator=generator)).exp())
    return net


def make_engine(name: str = "multiply", **options: object) -> Engine:
    return Engine(make_network(name, **options).interaction(), threads=1)  # type: ignore[arg-type]


def with_graph(
    engine: Engine, expansion: int = 64, rows: NDArray[np.int64] | None = None, cost: float = 1
) -> ApproximateEngine:
    """By default exact answers are as dear as can be, so that the graph gives nearly all."""
    vectors = vectors_of(engine)
    assert vectors is not None
    some = np.arange(engine.n_items) if rows is None else rows
    head, rest = head_and_rest(vectors.numpy(), some)
    graph = ItemGraph.built(vectors.numpy(), rest, expansion, head=head)
    return ApproximateEngine(engine, graph, cost)


def seen_of(counts: NDArray[np.int64], items: int = ITEMS) -> sparse.csr_array:
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(items, count, replace=False)) for count in counts]
    edges = np.append(0, np.cumsum(counts))
    shape = (len(counts), items)
    return sparse.csr_array((np.ones(edges[-1]), np.concatenate(rows), edges), shape=shape)


def recall(found: Top, exact: Top) -> float:
    pairs = zip(found.items, exact.items, strict=True)
    return float(np.mean([np.isin(b[b >= 0], a).mean() for a, b in pairs]))


def count_exact(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of users that the exact engine is asked about from now on."""
    asked: list[int] = []
    exact = engine.top

    def top(users: UserVectors, *rest: object, **named: object) -> Top:
        asked.append(len(users))
        return exact(users, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "top", top)
    return asked


@pytest.mark.parametrize("name", ["multiply", "multiply+plus"])
@pytest.mark.parametrize("biases", [True, False])
def test_finds_most_of_the_best_with_their_scores_and_order(
    name: str, biases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(name, biases=biases)
    users = engine.vectors(np.arange(USERS))
    exact, scores = engine.top(users, 10), engine.scores(users)
    asked = count_exact(engine, monkeypatch)
    found = with_graph(engine, expansion=128).top(users, 10)
    assert not asked
    assert recall(found, exact) > 0.97
    own = np.take_along_axis(scores, found.items, axis=1)
    np.testing.assert_allclose(found.scores, own, rtol=1e-5, atol=1e-6)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_search_that_sees_all_items_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(items=200)
    users = engine.vectors(np.arange(USERS))
    excluded = seen_of(np.arange(USERS) * 2, 200)
    exact = engine.top(users, 10, excluded=excluded)
    approximate = with_graph(engine, expansion=400, cost=0.1)
    asked = count_exact(engine, monkeypatch)
    found = approximate.top(users, 10, excluded=excluded)
    np.testing.assert_array_equal(found.items, exact.items)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-6)
    assert sum(asked) <= 2


def test_ties_go_to_the_lowest_item() -> None:
    net = make_network(biases=False)
    with torch.no_grad():
        net.tables.embeddings[1].copy_(net.tables.embeddings[1][:100].repeat(9, 1))
    engine = Engine(net.interaction(), threads=1)
    users = engine.vectors(np.arange(USERS))
    exact = engine.top(users, 9).items
    assert (np.diff(exact, axis=1) == 100).all()  # nine copies of one item
    found = with_graph(engine, expansion=256).top(users, 9).items
    assert (np.diff(found, axis=1) > 0).all()
    assert recall(Top(found, found), Top(exact, exact)) > 0.9


def test_who_has_nearly_everything_still_gets_n_items() -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(USERS))
    counts = np.linspace(0, ITEMS, USERS).astype(np.int64)  # the last one has all
    excluded = seen_of(counts)
    exact = engine.top(users, 10, excluded=excluded)
    found = with_graph(engine).top(users, 10, excluded=excluded)
    np.testing.assert_array_equal((found.items >= 0).sum(axis=1), np.minimum(10, ITEMS - counts))
    for row in range(USERS):
        got = found.items[row][found.items[row] >= 0]
        assert not np.isin(got, excluded[[row]].indices).any()
        assert len(set(got.tolist())) == len(got)
    many = counts > 600  # with as many candidates, exact answers are cheaper
    np.testing.assert_array_equal(found.items[many], exact.items[many])
    np.testing.assert_array_equal(found.scores[many], exact.scores[many])


@pytest.mark.parametrize(("share", "by_graph"), [(0.9, True), (0.3, False), (0.005, False)])
def test_allow_lists(share: float, by_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(USERS))
    allowed = np.random.default_rng(1).random(ITEMS) < share
    exact = engine.top(users, 10, allowed=allowed)
    asked = count_exact(engine, monkeypatch)
    found = with_graph(engine, expansion=128).top(users, 10, allowed=allowed)
    assert (sum(asked) < USERS / 2) == by_graph
    assert allowed[found.items[found.items >= 0]].all()
    np.testing.assert_array_equal((found.items >= 0).sum(axis=1), (exact.items >= 0).sum(axis=1))
    assert recall(found, exact) > 0.95
    if not by_graph:
        np.testing.assert_array_equal(found.items, exact.items)


def test_items_without_a_place_in_the_graph_are_found_by_exact_answers() -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(USERS))
    approximate = with_graph(engine, rows=np.arange(ITEMS - 1))
    exact = engine.top(users, 10)
    np.testing.assert_array_equal(approximate.top(users, 10).items, exact.items)
    allowed = np.arange(ITEMS) < ITEMS - 1
    found = approximate.top(users, 10, allowed=allowed)
    assert recall(found, engine.top(users, 10, allowed=allowed)) > 0.9


@pytest.mark.parametrize("k", [1, 10, 300, ITEMS, ITEMS + 5])
def test_any_length(k: int) -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(3))
    exact, found = engine.top(users, k), with_graph(engine).top(users, k)
    assert found.items.shape == exact.items.shape
    np.testing.assert_array_equal(found.items < 0, exact.items < 0)
    if k > 300:
        np.testing.assert_array_equal(found.items, exact.items)


def test_exact_answers_where_they_are_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(USERS))
    asked = count_exact(engine, monkeypatch)
    with_graph(engine, expansion=64, cost=ITEMS // 64 + 1).top(users, 10)
    assert asked == [USERS]
    with_graph(engine, expansion=64, cost=ITEMS // 64 - 1).top(users, 10)
    assert asked == [USERS]


def test_users_of_the_edge() -> None:
    engine = make_engine()
    approximate = with_graph(engine)
    none = UserVectors(torch.zeros(0, DIMENSION), torch.zeros(0))
    assert approximate.top(none, 5).items.shape == (0, 5)
    zero = UserVectors(torch.zeros(1, DIMENSION), torch.zeros(1))
    np.testing.assert_allclose(
        approximate.top(zero, 1).scores, engine.top(zero, 1).scores, rtol=0.2
    )
    vectors = torch.ones(4, DIMENSION)
    vectors[2, 0] = torch.nan
    with pytest.raises(ScoreError) as raised:
        approximate.top(UserVectors(vectors, torch.zeros(4)), 5)
    assert raised.value.row == 2
    with pytest.raises(ConfigError, match="k: expected at least 1"):
        approximate.top(zero, 0)


def test_only_products_of_finite_vectors_have_a_graph() -> None:
    for name in ("max", "multiply+min", "plus", "concat"):
        assert vectors_of(make_engine(name)) is None
    net = make_network()
    with torch.no_grad():
        net.tables.embeddings[1][0, 0] = torch.inf
    assert vectors_of(Engine(net.interaction())) is None
    other = with_graph(make_engine(items=100)).graph
    with pytest.raises(ShapeError, match=r"expected 900 items of 9 numbers, found 100 of 9"):
        ApproximateEngine(make_engine(), other)


def test_the_head_has_the_longest_vectors() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    rows = np.arange(0, 500, 2)
    head, rest = head_and_rest(vectors, rows)
    norms = np.linalg.norm(vectors, axis=1)
    assert len(head) == 250 // 64 and norms[head].min() >= norms[rest].max()
    np.testing.assert_array_equal(np.sort(np.concatenate([head, rest])), rows)
    assert (np.diff(head) > 0).all()


def test_long_vectors_hide_no_others() -> None:
    """In one graph of all items a few long vectors would draw the links to themselves."""
    engine = make_engine(items=3000, spread=1.5, biases=False)
    users = engine.vectors(np.arange(USERS))
    for hide in (False, True):
        allowed = np.ones(3000, np.bool_)
        if hide:  # the head
            allowed[with_graph(engine).graph.head] = False
        exact = engine.top(users, 10, allowed=allowed)
        found = with_graph(engine, expansion=128).top(users, 10, allowed=allowed)
        assert recall(found, exact) > 0.95


def test_a_column_that_all_items_share_is_left_out_of_the_graph() -> None:
    vectors = vectors_of(make_engine(biases=False))
    assert vectors is not None and vectors.shape == (ITEMS, DIMENSION)
    vectors = vectors_of(make_engine(biases=True))
    assert vectors is not None and vectors.shape == (ITEMS, DIMENSION + 1)


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_calibration_raises_the_expansion_until_enough_is_found(spread: float) -> None:
    engine = make_engine(items=2000, spread=spread)
    users = engine.vectors(np.arange(USERS))
    graph = with_graph(engine, expansion=1).graph
    measured = calibrated(engine, graph, users, candidate_cost=1)
    assert measured is not None and measured.suffices
    assert (measured.users, measured.expansion) == (USERS, graph.expansion)
    found, exact = ApproximateEngine(engine, graph, 1).top(users, 10), engine.top(users, 10)
    assert recall(found, exact) == pytest.approx(measured.mean)


def test_calibration_gives_up_where_exact_answers_are_cheaper() -> None:
    engine = make_engine()
    users = engine.vectors(np.arange(USERS))
    graph = with_graph(engine).graph
    assert calibrated(engine, graph, users, candidate_cost=ITEMS) is None
    short = calibrated(engine, graph, users, candidate_cost=20)  # 44 in sight are the most
    assert short is not None and short.expansion <= 32


def test_the_catalogue_scores_pairs_as_it_scores_all(
    make: Callable[..., Engine] = make_engine,
) -> None:
    engine = make("multiply+plus")
    catalogue = engine.catalogue
    assert isinstance(catalogue, Catalogue)
    users = engine.vectors(np.arange(5))
    assert isinstance(users.vectors, torch.Tensor)
    items = torch.arange(20).reshape(5, 4)
    some = catalogue.scores_of(catalogue.users(users.vectors, users.biases), items)
    expected = np.take_along_axis(engine.scores(users), items.numpy(), axis=1)
    np.testing.assert_allclose(some.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
