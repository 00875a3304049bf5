"""Histories and propagation against dense formulas, and what a pair must not tell of itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.embeddings import Tables, TableShape, clip_readout
from sif.spaces.interaction.encoders import ENCODINGS, Histories, Vectors, encoded
from sif.spaces.interaction.function import Interaction, own_products
from sif.spaces.interaction.operations import Operation, operation_named
from sif.spaces.interaction.pair_products import PairGraph, PairSums, pair_graph
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, Elementwise

USERS, ITEMS, D = 6, 5, 3
F64 = torch.float64
PAIRS = torch.tensor(
    [[0, 1], [0, 3], [0, 4], [1, 1], [2, 0], [2, 1], [2, 3], [4, 0], [4, 4], [5, 3]]
)
"""User 3 and item 2 have none; user 1 and user 5 have one."""
IDENTITIES = [PRIMITIVES[IDENTITY]] * 2
OPERATIONS = ["multiply", "plus", "max", "multiply+plus"]
MIXED = [("history", "id"), ("both", "both"), ("history", "history"), ("id", "both")]


def seen() -> np.ndarray:
    """(USERS, ITEMS) 1 at observed pairs."""
    matrix = np.zeros((USERS, ITEMS))
    matrix[PAIRS[:, 0], PAIRS[:, 1]] = 1
    return matrix


def graph() -> PairGraph:
    return pair_graph(PAIRS[torch.tensor([3, 1, 7, 0, 2, 9, 8, 4, 6, 5])], (USERS, ITEMS))


def histories(power: float = 0.5) -> Histories:
    return Histories(graph(), torch.zeros((), dtype=F64), power)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def tables(encodings: tuple[str, ...] = ("both", "both")) -> Tables:
    shape = TableShape((USERS, ITEMS), D, True, True, init=1.0, encodings=encodings)
    made = Tables(shape, torch.Generator().manual_seed(4)).double()
    with torch.no_grad():
        for place, bias in enumerate(made.biases):
            bias.copy_(random(len(bias), seed=20 + place))
    return made


def readout(operation: Operation) -> Tensor:
    return 1.5 * random(operation.width(2) * D, seed=8)  # entries beyond 1: the bound matters


def named(name: str) -> Operation:
    found = operation_named(name, 2)
    assert found is not None
    return found


def scales(power: float) -> list[np.ndarray]:
    """count^-power of the rows of each field, 0 without pairs."""
    counts = [seen().sum(1), seen().sum(0)]
    return [np.where(c > 0, np.maximum(c, 1) ** -power, 0.0) for c in counts]


# Encodings


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("field", [0, 1])
def test_a_history_is_the_scaled_sum_over_the_pairs(field: int, power: float) -> None:
    table = random((ITEMS, USERS)[field], D)
    matrix = seen().T if field else seen()
    expected = scales(power)[field][:, None] * (matrix @ table.numpy())
    found = histories(power).encode(field, table).table
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13, atol=1e-14)
    assert not found[2 if field else 3].any()
    assert found[0].any()


@pytest.mark.parametrize("field", [0, 1])
def test_both_is_the_id_and_the_history(field: int) -> None:
    made, known = tables(), histories()
    identity, history, both = (encoded(made, known, field, e) for e in ENCODINGS)
    assert torch.equal(identity.table, made.embeddings[field])
    assert torch.equal(history.table, known.encode(field, made.histories[field]).table)
    torch.testing.assert_close(both.table, identity.table + history.table, rtol=1e-14, atol=0)
    assert identity.own == ()
    assert len(history.own) == len(both.own) == 1


def test_tables_hold_what_their_encoding_needs() -> None:
    made = tables(("history", "id"))
    assert [tuple(e.shape) for e in made.embeddings] == [(USERS, 0), (ITEMS, D)]
    assert [tuple(h.shape) for h in made.histories] == [(ITEMS, D), (USERS, 0)]
    both = tables(("id", "both"))
    assert [tuple(e.shape) for e in both.embeddings] == [(USERS, D), (ITEMS, D)]
    assert [tuple(h.shape) for h in both.histories] == [(ITEMS, 0), (USERS, D)]


def test_the_l2_of_tables_counts_what_an_encoding_uses() -> None:
    made = tables()
    made.history_l2, made.bias_l2 = 3.0, 5.0
    strengths = (torch.linspace(0.1, 0.6, USERS, dtype=F64), torch.linspace(1, 2, ITEMS, dtype=F64))
    user, item = strengths
    embeddings = [(s @ (e**2).sum(1)) for s, e in zip(strengths, made.embeddings, strict=True)]
    # A user's history sums over rows that belong to items.
    sums = [item @ (made.histories[0] ** 2).sum(1), user @ (made.histories[1] ** 2).sum(1)]
    biases = [s @ b**2 for s, b in zip(strengths, made.biases, strict=True)]
    always = 5.0 * (biases[0] + biases[1])
    whole = always + embeddings[0] + embeddings[1] + 3.0 * (sums[0] + sums[1])
    torch.testing.assert_close(made.squared_norm(strengths), whole)
    some = always + embeddings[1] + 3.0 * sums[0]
    torch.testing.assert_close(made.squared_norm(strengths, ("history", "id")), some)


def propagated(user: Tensor, item: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The mean of layers 0 and 1 of LightGCN over the whole graph, users and items in one."""
    adjacency = np.zeros((USERS + ITEMS, USERS + ITEMS))
    adjacency[:USERS, USERS:], adjacency[USERS:, :USERS] = seen(), seen().T
    degree = adjacency.sum(1)
    inverse = np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0.0)
    layer0 = torch.cat([user, item]).detach().numpy()
    layer1 = (inverse[:, None] * adjacency * inverse) @ layer0
    mean = (layer0 + layer1) / 2
    return mean[:USERS], mean[USERS:]


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_propagation_is_the_mean_of_two_layers_of_lightgcn(power: float) -> None:
    """Whatever the power of histories."""
    user, item = random(USERS, D, seed=1), random(ITEMS, D, seed=2)
    found = histories(power).propagate([Vectors(user), Vectors(item)])
    for one, expected in zip(found, propagated(user, item), strict=True):
        np.testing.assert_allclose(one.table.numpy(), expected, rtol=1e-13, atol=1e-14)
        assert len(one.own) == 1


# A pair without itself


def without(
    made: Tables, encodings: Sequence[str], u: int, v: int, power: float
) -> tuple[Tensor, Tensor]:
    """Vectors of user u and item v in a data set that lacks their pair; counts stay."""
    matrix = torch.tensor(seen())
    assert matrix[u, v] == 1
    matrix[u, v] = 0
    user_scale, item_scale = (float(s[row]) for s, row in zip(scales(power), (u, v), strict=True))
    found = []
    for field, (row, scale, line) in enumerate(
        ((u, user_scale, matrix[u]), (v, item_scale, matrix[:, v]))
    ):
        vector = torch.zeros(D, dtype=F64)
        if encodings[field] != "history":
            vector = vector + made.embeddings[field][row]
        if encodings[field] != "id":
            vector = vector + scale * (line @ made.histories[field])
        found.append(vector)
    return found[0], found[1]


def interaction(
    made: Tables,
    encodings: Sequence[str],
    operation: Operation,
    power: float = 0.5,
    transforms: Sequence[Elementwise] = IDENTITIES,
    light: bool = False,
) -> Interaction:
    known = histories(power)
    vectors = [encoded(made, known, f, e) for f, e in enumerate(encodings)]
    if light:
        vectors = known.propagate(vectors)
    return Interaction(made, transforms, operation, readout(operation), vectors)


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("transform", [IDENTITY, "~square"])
@pytest.mark.parametrize("encodings", MIXED, ids="-".join)
@pytest.mark.parametrize("name", OPERATIONS)
def test_observed_pairs_are_scored_as_if_their_history_lacked_them(
    name: str, encodings: tuple[str, str], transform: str, power: float
) -> None:
    made, operation, transformed = tables(), named(name), [PRIMITIVES[transform]] * 2
    found = interaction(made, encodings, operation, power, transformed)
    expected = []
    for u, v in PAIRS.tolist():
        vectors = without(made, encodings, u, v, power)
        combined = operation.combine([t(x) for t, x in zip(transformed, vectors, strict=True)])
        bias = made.intercept + made.biases[0][u] + made.biases[1][v]
        expected.append(combined @ clip_readout(readout(operation)) + bias)
    scores = found.pairs(PAIRS, observed=True)
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-11, atol=1e-12)
    assert (scores - found.pairs(PAIRS)).abs().max() > 1e-2
    assert found.uses_history
    # Losses may use products only where a pair's own part is one.
    assert found.is_factorized == (name != "max" and transform == IDENTITY)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("transform", [IDENTITY, "~square"])
@pytest.mark.parametrize("encodings", [*MIXED, ("id", "id")], ids="-".join)
@pytest.mark.parametrize("name", [*OPERATIONS, "concat"])
def test_the_own_part_on_a_graph_is_the_difference_of_the_scores(
    name: str, encodings: tuple[str, str], transform: str, light: bool
) -> None:
    made, pairs = tables(), graph()
    found = interaction(made, encodings, named(name), 0.5, [PRIMITIVES[transform]] * 2, light)
    ids = torch.stack([pairs.rows, pairs.columns], dim=1)
    own = found.own_on_graph(pairs)
    scores = found.pairs(ids)
    torch.testing.assert_close(found.on_graph(pairs), scores, rtol=1e-11, atol=1e-12)
    if encodings == ("id", "id") and not light:
        assert own is None
        assert not found.uses_history
        assert torch.equal(found.pairs(ids, observed=True), scores)
        return
    assert own is not None
    expected = scores - found.pairs(ids, observed=True)
    torch.testing.assert_close(own, expected, rtol=1e-11, atol=1e-12)
    assert own.abs().max() > 1e-2


@pytest.mark.parametrize("name", OPERATIONS)
def test_under_propagation_a_pair_is_left_out_as_an_edge(name: str) -> None:
    """Its own edge, that is: what comes back over the neighbors' neighbors stays."""
    made, operation = tables(), named(name)
    found = interaction(made, ("id", "id"), operation, light=True)
    (user, item), norms = made.embeddings, scales(0.5)
    expected = []
    for u, v in PAIRS.tolist():
        matrix = torch.tensor(seen())
        matrix[u, v] = 0
        weight = torch.tensor(norms[0])[:, None] * matrix * torch.tensor(norms[1])
        one, other = (user + weight @ item) / 2, (item + weight.T @ user) / 2
        combined = operation.combine([one[u], other[v]]) @ clip_readout(readout(operation))
        expected.append(combined + made.intercept + made.biases[0][u] + made.biases[1][v])
    scores = found.pairs(PAIRS, observed=True)
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-11, atol=1e-12)


def test_under_propagation_histories_leave_out_the_pair_and_the_edge() -> None:
    """u's mixed vector is (V_u + n_u sum_v n_v V_v) / 2; the pair is in V_u once and in the sum."""
    made = tables()
    known = histories(0.7)
    user, item = known.propagate([encoded(made, known, f, "both") for f in (0, 1)])
    plain_item = encoded(made, known, 1, "both").table
    scale, norms = scales(0.7)[0], scales(0.5)
    for u, v in PAIRS.tolist():
        expected = user.table[u]
        expected = expected - 0.5 * float(scale[u]) * made.histories[0][v]
        expected = expected - 0.5 * float(norms[0][u] * norms[1][v]) * plain_item[v]
        found = user.leave_one_out(torch.tensor([u]), torch.tensor([v]))[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    assert len(user.own) == len(item.own) == 2


def test_a_field_of_many_rows_and_one_of_few_pairs_score_alike() -> None:
    found = interaction(tables(), ("both", "history"), named("max"))
    every = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))
    few = every[[3, 17]]
    torch.testing.assert_close(found.pairs(few), found.pairs(every)[[3, 17]], rtol=1e-13, atol=0)


# Gradients


def test_sums_over_pairs_equal_the_dense_products() -> None:
    sums, matrix = PairSums(graph(), torch.zeros((), dtype=F64)), torch.tensor(seen())
    of_items, of_users = random(ITEMS, D), random(USERS, D)
    torch.testing.assert_close(sums.row_sums(of_items), matrix @ of_items)
    torch.testing.assert_close(sums.column_sums(of_users), matrix.T @ of_users)


@pytest.mark.parametrize("side", ["row_sums", "column_sums"])
def test_gradients_of_sums_over_pairs(side: str) -> None:
    sums, matrix = PairSums(graph(), torch.zeros((), dtype=F64)), torch.tensor(seen())
    matrix = matrix if side == "row_sums" else matrix.T
    table = random(matrix.shape[1], D).requires_grad_()
    weight = random(matrix.shape[0], D, seed=3)
    (found,) = torch.autograd.grad((weight * getattr(sums, side)(table) ** 2).sum(), table)
    (expected,) = torch.autograd.grad((weight * (matrix @ table) ** 2).sum(), table)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    assert torch.autograd.gradcheck(getattr(sums, side), (table,))


@pytest.mark.parametrize("name", ["multiply", "plus", "concat", "multiply+plus"])
def test_gradients_of_own_products(name: str) -> None:
    """By every table that takes part, against the gathered formula."""
    operation, pairs = named(name), graph()
    w = clip_readout(readout(operation))
    leaves = [random(n, D, seed=s) for s, n in enumerate((USERS, ITEMS, ITEMS, USERS))]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    ids = torch.stack([pairs.rows, pairs.columns], dim=1)

    def vectors(*tables: Tensor) -> list[Vectors]:
        known = histories()
        user, item = known.encode(0, tables[2]), known.encode(1, tables[3])
        return [
            Vectors(tables[0] + user.table, user.own),
            Vectors(tables[1] + item.table, item.own),
        ]

    def sparse(*tables: Tensor) -> Tensor:
        return own_products(operation, w, vectors(*tables), pairs)

    def gathered(*tables: Tensor) -> Tensor:
        user, item = vectors(*tables)
        whole = operation.combine([user.table[ids[:, 0]], item.table[ids[:, 1]]])
        rest = operation.combine(
            [user.leave_one_out(ids[:, 0], ids[:, 1]), item.leave_one_out(ids[:, 1], ids[:, 0])]
        )
        return (whole - rest) @ w

    weight = random(len(pairs), seed=7)
    torch.testing.assert_close(sparse(*leaves), gathered(*leaves), rtol=1e-11, atol=1e-12)
    found, expected = (
        torch.autograd.grad((weight * f(*leaves) ** 2).sum(), leaves, materialize_grads=True)
        for f in (sparse, gathered)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
    assert torch.autograd.gradcheck(sparse, leaves)
