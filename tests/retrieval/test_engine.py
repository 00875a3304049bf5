"""The engine against brute force in float64 for every operation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ConfigError, DataError, ShapeError
from sif.retrieval import kernels
from sif.retrieval.engine import Engine, UserVectors
from sif.spaces.interaction.embeddings import TableShape, clip_readout
from sif.spaces.interaction.function import Design, Interaction, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS, SUMS, Operation
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp

ALL = OPERATIONS | SUMS
USERS, ITEMS, DIMENSION = 7, 90, 5
# By what there is for it: a kernel, and broadcasting.
PATHS = ["compiled", "broadcast"]

Floats = NDArray[np.float64]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    choose(request.param, monkeypatch)
    return str(request.param)


def choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "broadcast":
        monkeypatch.setattr("sif.retrieval.catalogue.compiled", lambda: None)
        monkeypatch.setattr("sif.retrieval.engine.selection", lambda: None)
    elif kernels.compiled() is None:
        pytest.skip("needs numba")


def make_network(
    operation: Operation, learned: bool = False, biases: bool = True, intercept: bool = True,
    whole: bool = False, items: int = ITEMS,
) -> InteractionNetwork:  # fmt: skip
    """Whole numbers in all tables, if asked for: then float32 is exact and ties are many."""
    generator = torch.Generator().manual_seed(3)
    identity = PRIMITIVES["~abs"]
    transforms = (
        [Mlp(generator).requires_grad_(False), PRIMITIVES["~square"]] if learned else [identity] * 2
    )
    shape = TableShape((USERS, items), DIMENSION, biases, intercept, init=0.8)
    net = InteractionNetwork(Design(tuple(transforms), operation), shape, generator)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad and not whole:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
            elif parameter.requires_grad and parameter is not net.readout:
                parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
    if not intercept:
        net.tables.intercept.data.zero_()
    return net


def brute_force(interaction: Interaction, users: UserVectors) -> Floats:
    """Scores (b, n_items), pair by pair in float64."""
    tables = interaction.tables
    with torch.no_grad():
        p = interaction.transforms[0](users.vectors).double()
        q = interaction.transforms[1](interaction.vectors[1].table).double()
        w = clip_readout(interaction.readout).double()
        result = torch.stack([
            torch.stack([interaction.operation.combine([u, v]) @ w for v in q]) for u in p
        ]) + tables.intercept.double()  # fmt: skip
        if users.biases is not None:
            result += users.biases.double()[:, None]
        if tables.biases:
            result += tables.biases[1].double()
    return np.asarray(result.numpy())


def ranked(scores: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    """Items and scores (b, k) by a full sort, padded where nothing is left."""
    items = np.full((len(scores), k), -1, dtype=np.int64)
    best = np.full((len(scores), k), -np.inf)
    for row, values in enumerate(scores):
        order = np.lexsort((np.arange(len(values)), -values))[:k]
        order = order[values[order] > -np.inf]
        items[row, : len(order)], best[row, : len(order)] = order, values[order]
    return items, best


def masks() -> tuple[sparse.csr_array, NDArray[np.bool_]]:
    rng = np.random.default_rng(1)
    excluded = rng.random((USERS, ITEMS)) < 0.3
    excluded[2] = True
    excluded[3, 4:] = True
    return sparse.csr_array(excluded), rng.random(ITEMS) < 0.8


SWITCHES = list(itertools.product([True, False], repeat=3))


@pytest.mark.parametrize(("learned", "biases", "intercept"), SWITCHES)
@pytest.mark.parametrize("name", ALL)
def test_scores_and_the_best_are_those_of_brute_force(
    name: str, learned: bool, biases: bool, intercept: bool, path: str
) -> None:
    interaction = make_network(ALL[name], learned, biases, intercept).interaction()
    engine = Engine(interaction)
    users = engine.vectors(np.array([3, 0, 6, 3]))
    assert (users.biases is None) == (not biases)
    truth = brute_force(interaction, users)
    scores = engine.scores(users)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, truth, rtol=1e-5, atol=1e-5)
    top = engine.top(users, 10)
    assert top.items.dtype == np.int64 and top.scores.dtype == np.float32
    np.testing.assert_allclose(top.scores, ranked(truth, 10)[1], rtol=1e-5, atol=1e-5)
    at = np.take_along_axis(truth, top.items, axis=1)
    np.testing.assert_allclose(top.scores, at, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 10, ITEMS + 5])
@pytest.mark.parametrize("name", ALL)
def test_ties_and_masks_are_exact(name: str, k: int, path: str) -> None:
    interaction = make_network(ALL[name], whole=True).interaction()
    engine = Engine(interaction)
    assert (engine.n_users, engine.n_items) == (USERS, ITEMS)
    users = engine.vectors(np.arange(USERS))
    excluded, allowed = masks()
    truth = brute_force(interaction, users)
    for some, few in itertools.product((None, excluded), (None, allowed)):
        left = truth.copy()
        if some is not None:
            left[some.toarray()] = -np.inf
        if few is not None:
            left[:, ~few] = -np.inf
        items, best = ranked(left, k)
        top = engine.top(users, k, excluded=some, allowed=few)
        np.testing.assert_array_equal(top.items, items)
        np.testing.assert_array_equal(top.scores, best)


@pytest.mark.parametrize("name", ["multiply", "max", "multiply+min"])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_leave_no_seam(
    name: str, threads: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interaction = make_network(ALL[name], whole=True).interaction()
    excluded, allowed = masks()
    whole = Engine(interaction, threads=1)
    users = whole.vectors(np.arange(USERS))
    expected = whole.top(users, 10, excluded=excluded, allowed=allowed)
    monkeypatch.setattr("sif.retrieval.engine._PIECE", 17)
    monkeypatch.setattr("sif.retrieval.engine._ROWS", 4)
    monkeypatch.setattr("sif.retrieval.engine._FEWEST_ROWS", 1)
    for rows in (1, 2, 3):
        engine = Engine(interaction, memory=4 * 96 * rows * threads, threads=threads)
        found = engine.top(users, 10, excluded=excluded, allowed=allowed)
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(engine.scores(users), whole.scores(users))


@pytest.mark.parametrize("name", ALL)
def test_both_paths_agree_beyond_a_tile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("compiled", monkeypatch)
    interaction = make_network(ALL[name], items=kernels._TILE + 37).interaction()
    fast = Engine(interaction)
    users = fast.vectors(np.arange(USERS))
    choose("broadcast", monkeypatch)
    monkeypatch.setattr("sif.retrieval.kernels._ELEMENTS", 1000)
    slow = Engine(interaction).scores(users)
    np.testing.assert_allclose(fast.scores(users), slow, rtol=1e-5, atol=1e-5)


def test_an_operation_without_any_form_is_broadcast() -> None:
    """Such as one that somebody has just added to the table."""
    distance = Operation("distance", lambda fields: (fields[0] - fields[1]).abs())
    interaction = make_network(distance, whole=True).interaction()
    engine = Engine(interaction)
    assert engine.is_personalized
    users = engine.vectors(np.arange(USERS))
    items, best = ranked(brute_force(interaction, users), 10)
    top = engine.top(users, 10)
    np.testing.assert_array_equal(top.items, items)
    np.testing.assert_array_equal(top.scores, best)


@pytest.mark.parametrize("name", ALL)
def test_users_who_are_in_no_table(name: str, path: str) -> None:
    interaction = make_network(ALL[name], learned=True).interaction()
    engine = Engine(interaction)
    generator = torch.Generator().manual_seed(9)
    users = UserVectors(
        torch.randn(3, DIMENSION, generator=generator), torch.tensor([0.0, 5.0, -2.0])
    )
    truth = brute_force(interaction, users)
    np.testing.assert_allclose(engine.scores(users), truth, rtol=1e-5, atol=1e-5)
    plain = engine.top(replace(users, biases=None), 5)
    top = engine.top(users, 5)
    np.testing.assert_array_equal(top.items, plain.items)
    assert users.biases is not None
    shift = users.biases.numpy()[:, None]
    np.testing.assert_allclose(top.scores, plain.scores + shift, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_function_is_personal_if_users_order_the_items_differently(name: str) -> None:
    interaction = make_network(ALL[name]).interaction()
    engine = Engine(interaction)
    users = UserVectors(2 * torch.randn(20, DIMENSION, generator=torch.Generator().manual_seed(1)))
    order = np.argsort(-brute_force(interaction, users), axis=1)
    assert engine.is_personalized == bool((order != order[0]).any())
    assert engine.is_personalized == (name not in ("plus", "concat"))


@pytest.mark.parametrize("name", ALL)
def test_numbers_that_are_none_are_not_ranked(name: str, path: str) -> None:
    net = make_network(ALL[name])
    engine = Engine(net.interaction())
    vectors = torch.zeros(4, DIMENSION)
    vectors[2, 1] = torch.nan
    with pytest.raises(DataError, match="scores of user 2: expected numbers, found NaN"):
        engine.top(UserVectors(vectors), 3)
    with pytest.raises(DataError, match="scores of user 2: expected"):
        Engine(net.interaction(), memory=1, threads=1).top(UserVectors(vectors), 3)
    assert np.isnan(engine.scores(UserVectors(vectors))).all(axis=1).tolist() == 2 * [False] + [
        True, False,
    ]  # fmt: skip
    net.tables.embeddings[1].data[7, 0] = torch.nan
    engine, users = Engine(net.interaction()), UserVectors(torch.zeros(1, DIMENSION))
    with pytest.raises(DataError, match="scores of user 0"):
        engine.top(users, 3)
    # Nobody is to get that item: the others can be ranked.
    only = sparse.csr_array(([True], ([0], [7])), shape=(1, ITEMS))
    for options in ({"excluded": only}, {"allowed": np.arange(ITEMS) != 7}):
        assert 7 not in engine.top(users, ITEMS, **options).items


def test_no_users_and_no_items() -> None:
    engine = Engine(make_network(ALL["multiply+max"]).interaction())
    nobody = engine.vectors(np.array([], dtype=np.int64))
    assert engine.top(nobody, 3).items.shape == (0, 3)
    assert engine.scores(nobody).shape == (0, ITEMS)
    empty = Engine(make_network(ALL["multiply"], items=0).interaction())
    assert (empty.top(empty.vectors(np.array([1, 2])), 3).items == np.full((2, 3), -1)).all()


def test_wrong_arguments_are_refused_in_one_line() -> None:
    interaction = make_network(ALL["max"]).interaction()
    engine = Engine(interaction)
    users = engine.vectors(np.array([0, 1]))
    with pytest.raises(ConfigError, match="memory and threads of at least 1, found 0 and 2"):
        Engine(interaction, memory=0, threads=2)
    with pytest.raises(ConfigError, match="k: expected at least 1, found 0"):
        engine.top(users, 0)
    for row in (-1, USERS):
        with pytest.raises(ShapeError, match=f"expected rows from 0 to 6, found {row}"):
            engine.vectors(np.array([0, row]))
    with pytest.raises(ShapeError, match=r"expected shape \(1, 5\), found \(1, 4\)"):
        engine.scores(UserVectors(torch.zeros(1, 4)))
    with pytest.raises(ShapeError, match=r"user biases: expected shape \(2,\), found \(1,\)"):
        engine.top(UserVectors(users.vectors, torch.zeros(1)), 1)
    with pytest.raises(ShapeError, match=r"expected a CSR matrix of shape \(2, 90\)"):
        engine.top(users, 1, excluded=masks()[0])
    with pytest.raises(ShapeError, match="found coo_array"):
        engine.top(users, 1, excluded=sparse.coo_array((2, ITEMS)))
    with pytest.raises(ShapeError, match="allowed items: expected bool"):
        engine.top(users, 1, allowed=np.ones(ITEMS))  # type: ignore[arg-type]


def test_three_fields_are_refused() -> None:
    shape = TableShape((2, 2, 2), 3)
    identity = PRIMITIVES["~abs"]
    net = InteractionNetwork(Design((identity,) * 3, ALL["max"]), shape, torch.Generator())
    with pytest.raises(ConfigError, match="expected a function of 2 fields, found 3"):
        Engine(net.interaction())


@pytest.mark.parametrize("closed", [[], [4], [0, 17, 89], list(range(1, 90))])
def test_few_and_many_items_are_closed_alike(closed: list[int], path: str) -> None:
    engine = Engine(make_network(ALL["multiply"], whole=True).interaction())
    users = engine.vectors(np.arange(USERS))
    allowed = np.ones(ITEMS, np.bool_)
    allowed[closed] = False
    top = engine.top(users, 6, allowed=allowed)
    scores = np.where(allowed, engine.scores(users), -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    best = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_array_equal(top.items, np.where(np.isneginf(best), -1, order))
    np.testing.assert_array_equal(top.scores, best)
