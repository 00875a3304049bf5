from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sif.core.exploration import epsilon_greedy_gates, round_robin_gates
from sif.core.gates import Block, Gates, Selection
from sif.core.proximal import (
    FLOOR,
    INITIAL,
    box,
    complexity_gradient,
    initial_alpha,
    project,
    weight_step,
)
from sif.errors import ShapeError
from sif.methods.nasp import ALPHA_CONSTRAINTS

NODE_PATTERNS = [(0,), (0, 0), (0, 0, 0), (0, 0, 1, 1, 1), (1, 0, 1, 0), (3, 3, 7)]


def make_block(nodes: tuple[int, ...], n_ops: int, keep: int, name: str = "b") -> Block:
    return Block(name, tuple(f"op{k}" for k in range(n_ops)), nodes, keep)


def legal_points(block: Block) -> Iterator[np.ndarray]:
    """All legal gates, in lexicographic order of (kept edges, operations) node by node."""
    n_edges, n_ops = block.shape
    per_node = []
    for node in sorted(set(block.nodes)):
        edges = [e for e in range(n_edges) if block.nodes[e] == node]
        per_node.append(
            [
                list(zip(kept, operations, strict=True))
                for kept in itertools.combinations(edges, min(block.edges_per_node, len(edges)))
                for operations in itertools.product(range(n_ops), repeat=len(kept))
            ]
        )
    for choice in itertools.product(*per_node):
        point = np.zeros(block.shape)
        for edge, operation in itertools.chain(*choice):
            point[edge, operation] = 1.0
        yield point


def nearest(table: np.ndarray, block: Block) -> np.ndarray:
    """The legal point of least Euclidean distance; the first in order among equals."""
    points = list(legal_points(block))
    return points[int(np.argmin([((table - point) ** 2).sum() for point in points]))]


@pytest.mark.parametrize("nodes", NODE_PATTERNS)
@pytest.mark.parametrize("n_ops", [1, 2, 3])
@pytest.mark.parametrize("keep", [1, 2])
def test_projection_is_the_nearest_legal_point(
    nodes: tuple[int, ...], n_ops: int, keep: int
) -> None:
    block = make_block(nodes, n_ops, keep)
    rng = np.random.default_rng(n_ops * 10 + keep)
    tables = [rng.normal(size=block.shape) * 2 for _ in range(4)]
    tables += [rng.integers(-1, 2, size=block.shape).astype(float) for _ in range(6)]  # many ties
    for table in tables:
        gates = project({"b": torch.tensor(table)}, [block])
        np.testing.assert_array_equal(gates.weights["b"].numpy(), nearest(table, block))


def test_every_small_table_of_small_numbers() -> None:
    block = make_block((0, 0), 2, 1)
    for values in itertools.product((0.0, 0.5, 1.0), repeat=4):
        table = np.array(values).reshape(2, 2)
        found = project({"b": torch.tensor(table)}, [block])
        np.testing.assert_array_equal(found.weights["b"].numpy(), nearest(table, block))


def test_ties_among_many_go_to_the_lowest() -> None:
    block = make_block((0,) * 60, 40, 5)
    gates = project({"b": torch.zeros(block.shape)}, [block])
    assert gates.active == {"b": (0,) * 5 + (-1,) * 55}


def test_active_names_the_operations_of_kept_edges_only() -> None:
    block = make_block((0, 0, 0), 3, 2)
    alpha = torch.tensor([[0.1, 0.9, 0.2], [0.0, 0.1, 0.2], [0.8, 0.3, 0.8]])
    gates = project({"b": alpha}, [block])
    assert gates.active == {"b": (1, -1, 0)}
    assert gates.choices() == {"b": (1, -1, 0)}
    assert gates.weights["b"].dtype == torch.float32


@given(
    st.sampled_from(NODE_PATTERNS),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_projection_laws(
    nodes: tuple[int, ...], n_ops: int, keep: int, data: st.DataObject
) -> None:
    block = make_block(nodes, n_ops, keep)
    cells = st.lists(st.integers(-64, 64), min_size=len(nodes) * n_ops, max_size=len(nodes) * n_ops)
    table = torch.tensor(data.draw(cells), dtype=torch.float64).reshape(block.shape) / 16
    before = table.clone()
    gates = project({"b": table}, [block])
    assert torch.equal(table, before)
    assert gates.weights["b"].data_ptr() != table.data_ptr()
    again = project(gates.weights, [block])
    assert torch.equal(again.weights["b"], gates.weights["b"])
    assert again.active == gates.active
    # One shift per node; multiples of 1/16 add exactly.
    shift = {node: float(7 * i - 20) / 16 for i, node in enumerate(sorted(set(nodes)))}
    moved = table + torch.tensor([shift[n] for n in nodes], dtype=torch.float64)[:, None]
    assert project({"b": moved}, [block]).active == gates.active


def test_input_with_a_gradient_is_not_followed() -> None:
    alpha = torch.rand(1, 3, requires_grad=True)
    assert not project({"b": alpha}, [make_block((0,), 3, 1)]).weights["b"].requires_grad


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        ({}, "found nothing"),
        ({"b": torch.zeros(2, 2)}, r"expected shape \(1, 2\), found shape \(2, 2\)"),
        ({"b": torch.tensor([[0.0, float("nan")]])}, "found NaN"),
    ],
)
def test_a_wrong_alpha_is_refused(alpha: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        project(alpha, [make_block((0,), 2, 1)])


def test_relaxed_gates_have_no_selection() -> None:
    with pytest.raises(ShapeError, match="relaxed"):
        Gates({"b": torch.ones(1, 2)}, None).choices()


@given(st.sampled_from(NODE_PATTERNS), st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_box_keeps_the_order_of_what_stays_above_zero(
    nodes: tuple[int, ...], n_ops: int, data: st.DataObject
) -> None:
    block = make_block(nodes, n_ops, 2)
    size = len(nodes) * n_ops
    cells = data.draw(st.lists(st.integers(-48, 48), min_size=size, max_size=size))
    table = torch.tensor(cells, dtype=torch.float64).reshape(block.shape) / 16
    before = table.clone()
    boxed = box({"b": table}, [block])["b"]
    assert torch.equal(table, before)
    assert float(boxed.min()) >= 0
    assert float(boxed.max()) <= 1
    for node in set(nodes):
        rows = torch.tensor([n == node for n in nodes])
        old, new = table[rows].flatten(), boxed[rows].flatten()
        assert FLOOR <= float(new.max()) <= 1
        alive = new > 0
        # Differences survive exactly among those above zero; the others were below them.
        assert torch.equal(old[alive][:, None] - old[alive], new[alive][:, None] - new[alive])
        assert (old[~alive][:, None] < old[alive]).all()
    found, kept = project({"b": boxed}, [block]), project({"b": table}, [block])
    gate = kept.weights["b"] == 1
    if (boxed[gate] > 0).all():
        assert found.active == kept.active


def test_box_leaves_alphas_alone_that_are_inside() -> None:
    block = make_block((0, 0), 2, 1)
    inside = torch.tensor([[0.1, 0.7], [0.3, 0.0]], dtype=torch.float64)
    assert torch.equal(box({"b": inside}, [block])["b"], inside)


def test_box_does_not_pile_leaders_up_but_clip_does() -> None:
    block = make_block((0,), 3, 1)
    alpha = {"b": torch.tensor([[1.25, 1.5, -1.0]], dtype=torch.float64)}
    assert box(alpha, [block])["b"].tolist() == [[0.75, 1.0, 0.0]]
    assert ALPHA_CONSTRAINTS["clip"](alpha, [block])["b"].tolist() == [[1.0, 1.0, 0.0]]
    assert project(box(alpha, [block]), [block]).active == project(alpha, [block]).active
    low = {"b": torch.tensor([[-2.0, -1.75, -9.0]], dtype=torch.float64)}
    assert box(low, [block])["b"].tolist() == [[0.25, 0.5, 0.0]]


def test_initial_alphas_are_nearly_equal_without_ties() -> None:
    blocks = [make_block((0, 0), 5, 1, "a"), make_block((0,), 9, 1, "b")]
    alpha = initial_alpha(blocks, torch.Generator().manual_seed(1))
    for table in alpha.values():
        assert table.dtype == torch.float64
        assert len(table.flatten().unique()) == table.numel()
        assert float((table - INITIAL).abs().max()) < 0.01
    again = initial_alpha(blocks, torch.Generator().manual_seed(1))
    assert all(torch.equal(alpha[name], again[name]) for name in alpha)
    other = initial_alpha(blocks, torch.Generator().manual_seed(2))
    assert not torch.equal(alpha["a"], other["a"])


def share(gates: list[Gates], name: str = "b") -> Tensor:
    return torch.stack([g.weights[name] for g in gates]).mean(0)


def test_exploration_of_nothing_is_the_projection() -> None:
    block = make_block((0, 0, 1), 4, 1)
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        alpha = {"b": torch.randn(block.shape, generator=torch.Generator().manual_seed(seed))}
        before = alpha["b"].clone()
        drawn = epsilon_greedy_gates(alpha, [block], 0.0, generator)
        assert drawn.active == project(alpha, [block]).active
        assert torch.equal(alpha["b"], before)


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_exploration_draws_operations_evenly(epsilon: float) -> None:
    block = make_block((0,), 4, 1)
    alpha = {"b": torch.tensor([[0.2, 0.9, 0.1, 0.3]], dtype=torch.float64)}
    generator, n = torch.Generator().manual_seed(3), 3000
    found = share([epsilon_greedy_gates(alpha, [block], epsilon, generator) for _ in range(n)])[0]
    expected = torch.full((4,), epsilon / 4, dtype=torch.float64)
    expected[1] += 1 - epsilon
    error = (expected * (1 - expected) / n).sqrt()
    assert ((found - expected).abs() < 4.5 * error + 1e-12).all()


def test_exploration_brings_dropped_edges_back() -> None:
    block = make_block((0, 0), 2, 1)
    alpha = {"b": torch.tensor([[0.9, 0.0], [0.1, 0.0]], dtype=torch.float64)}
    generator = torch.Generator().manual_seed(4)
    drawn = [epsilon_greedy_gates(alpha, [block], 0.5, generator) for _ in range(400)]
    assert {g.choices()["b"] for g in drawn} >= {(0, -1), (1, -1), (-1, 0), (-1, 1)}
    assert all(float(g.weights["b"].sum()) == 1 for g in drawn)


def test_round_robin_gates_trains_every_operation_once_per_round() -> None:
    blocks = [make_block((0,), 5, 1, "a"), make_block((0,), 9, 1, "b")]
    generator = torch.Generator().manual_seed(5)
    gates = [round_robin_gates({}, blocks, step, generator) for step in range(90)]
    orders = set()
    for start in range(0, 90, 5):
        order = tuple(g.choices()["a"][0] for g in gates[start : start + 5])
        assert sorted(order) == list(range(5))
        orders.add(order)
    assert len(orders) > 10
    for start in range(0, 90, 9):
        round_ = [g.choices()["b"][0] for g in gates[start : start + 9]]
        assert sorted(round_) == list(range(9))


def test_round_robin_gates_knows_its_place_from_the_step_alone() -> None:
    blocks = [make_block((0,), 5, 1, "a"), make_block((0,), 5, 1, "b")]
    generator = torch.Generator().manual_seed(6)
    first = [round_robin_gates({}, blocks, step, generator).choices() for step in range(20)]
    assert (
        round_robin_gates({}, blocks, 13, torch.Generator().manual_seed(6)).choices() == first[13]
    )
    assert [s["a"] for s in first] != [s["b"] for s in first]  # blocks do not move in lockstep
    other = torch.Generator().manual_seed(7)
    assert [round_robin_gates({}, blocks, step, other).choices() for step in range(20)] != first


def test_round_robin_gates_keeps_edges_at_random() -> None:
    block = make_block((0, 0, 0), 3, 2)
    generator, n = torch.Generator().manual_seed(8), 3000
    found = share([round_robin_gates({}, [block], step, generator) for step in range(n)])
    expected = 2 / 3 / 3  # an edge is kept two times in three
    assert ((found - expected).abs() < 4.5 * (expected * (1 - expected) / n) ** 0.5).all()


def test_complexity_gradient_is_that_of_the_formula() -> None:
    costs = ((3.0, 1.0, 4.0), (2.0, 2.0, 8.0))
    block = Block("b", ("x", "y", "z"), (0, 0), 2, costs)
    free = make_block((0,), 2, 1, "free")
    rng = torch.Generator().manual_seed(9)
    gates = project(
        {"b": torch.rand(2, 3, generator=rng), "free": torch.rand(1, 2, generator=rng)},
        [block, free],
    )
    a = gates.weights["b"].double().requires_grad_()
    p = torch.tensor(costs, dtype=torch.float64)
    penalty = 0.7 * sum(p[e, k] / p[e].sum() * a[e, k] ** 2 for e in range(2) for k in range(3))
    (expected,) = torch.autograd.grad(penalty, a)
    found = complexity_gradient(gates, [block, free], 0.7)
    torch.testing.assert_close(found["b"], expected)
    assert not found["free"].any()
    assert not complexity_gradient(gates, [block, free], 0.0)["b"].any()


class _Linear:
    """A space of two weights, of which the gate uses the first."""

    def __init__(self) -> None:
        self.used, self.idle = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(2))

    def loss(self, batch: Tensor, gates: Gates) -> Tensor:
        return (self.used * batch).sum()

    def regularizer(self, gates: Gates) -> Tensor:
        return 10 * self.used[0]

    def weight_parameters(self) -> list[nn.Parameter]:
        return [self.used, self.idle]


def test_weight_step_adds_the_regularizer_but_reports_the_loss() -> None:
    space = _Linear()
    optimizer = torch.optim.SGD(space.weight_parameters(), lr=0.1)
    loss = weight_step(space, torch.tensor([1.0, 2.0]), Gates({}, Selection({})), optimizer)
    assert float(loss) == 11.0
    assert not loss.requires_grad
    torch.testing.assert_close(space.used.data, torch.tensor([3 - 1.1, 4 - 0.2]))
    assert torch.equal(space.idle.data, torch.ones(2))
    assert space.idle.grad is None


def test_weight_step_bounds_the_gradient() -> None:
    space = _Linear()
    optimizer = torch.optim.SGD(space.weight_parameters(), lr=1.0)
    start = space.used.data.clone()
    weight_step(space, torch.tensor([1.0, 2.0]), Gates({}, Selection({})), optimizer, max_norm=0.5)
    moved = start - space.used.data
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(moved / moved.norm(), torch.tensor([11.0, 2.0]) / 125**0.5)


# Blocks that are drawn alone

ALONE = [
    Block("a", ("x", "y", "z"), (0, 1), own_weights=True),
    Block("b", ("p", "q", "r", "s"), own_weights=True),
]
CHOSEN = {"a": torch.tensor([[0, 1, 0], [1, 0, 0]]).double(), "b": torch.eye(4)[2:3].double()}
HERE = Selection({"a": (1, 0), "b": (2,)})


def neighbors() -> list[Selection]:
    """Everything one switch away from `HERE`."""
    return [
        HERE.switched(block.name, edge, k)
        for block in ALONE
        for edge, k in itertools.product(range(block.shape[0]), range(block.shape[1]))
        if HERE[block.name][edge] != k
    ]


def counted(drawn: list[Gates]) -> Counter[Selection]:
    return Counter(gates.choices() for gates in drawn)


def test_round_robin_gates_visits_the_selection_and_its_neighbors_once_per_round() -> None:
    generator, points = torch.Generator().manual_seed(1), [HERE, *neighbors()]
    assert len(points) == 8
    orders = set()
    for start in range(0, 80, 8):
        drawn = [round_robin_gates(CHOSEN, ALONE, start + i, generator) for i in range(8)]
        assert counted(drawn) == dict.fromkeys(points, 1)
        orders.add(tuple(g.choices() for g in drawn))
        assert all(((g.weights[n] == 0) | (g.weights[n] == 1)).all() for g in drawn for n in HERE)
    assert len(orders) == 10
    again = round_robin_gates(CHOSEN, ALONE, 13, torch.Generator().manual_seed(1))
    assert again.active == round_robin_gates(CHOSEN, ALONE, 13, generator).active


def test_round_robin_gates_leaves_out_what_has_fallen_to_zero() -> None:
    alpha = {"a": torch.full((2, 3), 0.2), "b": torch.full((1, 4), 0.2)}
    alpha["a"][0, 2] = 0.0
    alpha["b"][0, :2] = 0.0
    alpha["b"][0, 2] = 0.0  # the selection itself keeps its turn
    lost = [HERE.switched("a", 0, 2), HERE.switched("b", 0, 0), HERE.switched("b", 0, 1)]
    points = [HERE, *(p for p in neighbors() if p not in lost)]
    assert len(points) == 5
    generator = torch.Generator().manual_seed(1)
    for start in range(0, 25, 5):
        drawn = [round_robin_gates(CHOSEN, ALONE, start + i, generator, alpha) for i in range(5)]
        assert counted(drawn) == dict.fromkeys(points, 1)
    nothing = {name: torch.zeros_like(table) for name, table in alpha.items()}
    assert all(
        round_robin_gates(CHOSEN, ALONE, s, generator, nothing).active == HERE for s in range(9)
    )


def test_round_robin_gates_moves_other_blocks_beside_those_alone() -> None:
    blocks = [*ALONE, make_block((0,), 3, 1, "c")]
    alpha = {**CHOSEN, "c": torch.zeros(1, 3)}
    drawn = [
        round_robin_gates(alpha, blocks, s, torch.Generator().manual_seed(2)) for s in range(24)
    ]
    assert {g.choices()["c"][0] for g in drawn} == {0, 1, 2}
    rest = {Selection({n: g.choices()[n] for n in HERE}) for g in drawn}
    assert rest == {HERE, *neighbors()}


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
def test_exploration_makes_at_most_one_switch_of_blocks_alone(epsilon: float) -> None:
    generator, n = torch.Generator().manual_seed(3), 400
    found = counted([epsilon_greedy_gates(CHOSEN, ALONE, epsilon, generator) for _ in range(n)])
    assert set(found) <= {HERE, *neighbors()}
    expected = dict.fromkeys(neighbors(), epsilon / 7) | {HERE: 1 - epsilon}
    for point, share_ in expected.items():
        error = (share_ * (1 - share_) / n) ** 0.5
        assert abs(found[point] / n - share_) < 4.5 * error + 1e-12


def test_neutral_operations_start_ahead() -> None:
    block = Block("b", ("x", "y", "z"), (0, 1), default_op="y")
    for seed in range(20):
        alpha = initial_alpha([block], torch.Generator().manual_seed(seed))
        assert project(alpha, [block]).active == {"b": (1, 1)}
        assert float((alpha["b"] - INITIAL).abs().max()) < 0.01
