"""The space of encodings, embeddings, operations and weightings: stages, members, serving."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.core.genotype import Genotype, check_names
from sif.core.probe import gate_gradient
from sif.core.proximal import project, weight_step
from sif.core.space import ReplacementScored
from sif.errors import GenotypeError, ShapeError
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.design import EMBEDDINGS, SPECS, legal_names
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import ENCODINGS, Histories
from sif.spaces.interaction.function import Interaction, InteractionNetwork
from sif.spaces.interaction.losses import WEIGHTINGS, Batch, LossSettings, Weighting
from sif.spaces.interaction.operations import OPERATIONS, SUMS, operation_named
from sif.spaces.interaction.registry import LOSSES, design_of, expression
from sif.spaces.interaction.space_kind import SpaceContext
from sif.spaces.interaction.staged_supernet import MIN_STEPS, STAGES, StagedSpace
from sif.spaces.interaction.weight_pool import Combination, WeightPool, WeightSet

USERS, ITEMS, D = 7, 6, 3
FIELDS = ("user", "item")
F64 = torch.float64
EVERY = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))
LOSS = LossSettings(positive_weight=2.0, negatives=2)
NAMES = {
    "encoding": ENCODINGS,
    "embedding": EMBEDDINGS,
    "operation": (*OPERATIONS, *SUMS),
    "weighting": tuple(WEIGHTINGS),
}
NEUTRAL = {"encoding": (0, 0), "embedding": (0,), "operation": (0,), "weighting": (0,)}


def part(loss: str) -> PartTensors:
    """18 of 42 pairs; user 5 has none, neither has item 0."""
    rows = torch.randperm(len(EVERY), generator=torch.Generator().manual_seed(3))
    ids = EVERY[rows]
    ids = ids[(ids[:, 0] != 5) & (ids[:, 1] != 0)][:18]
    target = torch.sin(torch.arange(18.0, dtype=F64))
    return PartTensors(ids, target if loss == "squared" else torch.ones(18, dtype=F64),
                       (USERS, ITEMS), torch.linspace(0, 1, 18, dtype=F64))  # fmt: skip


def unobserved(loss: str) -> PartTensors:
    """Pairs of the validation part."""
    known = {tuple(r) for r in part(loss).ids.tolist()}
    ids = torch.tensor([row for row in EVERY.tolist() if tuple(row) not in known])[3:21]
    target = torch.cos(torch.arange(18.0, dtype=F64))
    return PartTensors(ids, target if loss == "squared" else torch.ones(18, dtype=F64),
                       (USERS, ITEMS), torch.linspace(0, 1, 18, dtype=F64))  # fmt: skip


def histories() -> Histories:
    graph = part("squared").graph()
    assert graph is not None
    return Histories(graph, torch.zeros((), dtype=F64), 0.6)


def criterion(interaction: Interaction, batch: Batch) -> float:
    return float((interaction.pairs(batch.ids) - batch.target).abs().mean())


def shape() -> TableShape:
    return TableShape((USERS, ITEMS), D, biases=True, intercept=True, init=0.7, history_l2=2.0)


def weightings() -> dict[str, Weighting | None]:
    counts = [torch.bincount(part("x").ids[:, f], minlength=n).double()
              for f, n in enumerate((USERS, ITEMS))]  # fmt: skip
    return {name: Weighting.of(name, counts, part("x").age) for name in WEIGHTINGS}


def context(loss: str, stages: tuple[str, ...], seed: int) -> SpaceContext:
    strengths = tuple(torch.linspace(0.01, 0.05, n, dtype=F64) for n in (USERS, ITEMS))
    return SpaceContext(
        shape(), FIELDS, LOSSES[loss], LOSS, strengths, weightings(), histories, criterion,
        torch.Generator().manual_seed(seed), stages,
    )  # fmt: skip


def scatter(module: nn.Module) -> None:
    """Every number of the module another one, members differ too."""
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            steps = torch.arange(parameter.numel(), dtype=F64).view_as(parameter)
            parameter.add_((0.6 * torch.sin(1.7 * steps + 0.9 * place)).to(parameter))


def make_space(
    loss: str = "squared", stages: tuple[str, ...] = STAGES, seed: int = 0, scattered: bool = True
) -> StagedSpace:
    made = StagedSpace(context(loss, stages, seed)).double()
    if scattered:
        scatter(made)
    with torch.no_grad():
        for parameter in made.transforms.parameters():
            parameter.copy_(parameter.float())  # as genotypes are read
    return made


def batch(loss: str, kind: str = "train", seed: int = 0) -> Batch:
    drawing = Drawing(2 if LOSSES[loss].negatives else 0, 3 if loss == "whole-data" else 0)
    draws = torch.Generator().manual_seed(seed)
    if kind == "valid":
        return InteractionStream(
            unobserved(loss), 18, drawing, draws, (part(loss),), 18, in_history=False
        ).next()
    return InteractionStream(part(loss), 18, drawing, draws, exact=True).next()


def gates_at(space: StagedSpace, **chosen: str | tuple[str, str]) -> Gates:
    """Neutral but for what is named: gates_at(space, encoding=("id", "both"), operation="max")."""
    alpha = {}
    for block in space.blocks:
        alpha[block.name] = torch.zeros(block.shape)
        names = chosen.get(block.name, NAMES[block.name][0])
        each = names if isinstance(names, tuple) else (names,) * block.shape[0]
        for edge, name in enumerate(each):
            alpha[block.name][edge, block.operations.index(name)] = 1.0
    return project(alpha, space.blocks)


def point_of(space: StagedSpace, **chosen: str | tuple[str, str]) -> Combination:
    return space.point(gates_at(space, **chosen).choices())


CHOICES: list[dict[str, Any]] = [
    *({"encoding": pair, "operation": o} for pair, o in zip(
        itertools.product(ENCODINGS, repeat=2), NAMES["operation"], strict=True)),
    {"embedding": "graph", "operation": "max"},
    {"embedding": "graph", "encoding": ("both", "history"), "weighting": "both"},
    {"embedding": "elementwise", "operation": "multiply+max", "weighting": "users"},
    {"embedding": "elementwise", "encoding": ("history", "both"), "weighting": "items"},
]  # fmt: skip
"""All pairs of encodings, all operations, all embeddings, all weightings."""


# Stages


def test_blocks_are_the_stages() -> None:
    space = make_space()
    assert tuple(b.name for b in space.blocks) == STAGES
    assert {b.name: b.operations for b in space.blocks} == NAMES
    assert [b.nodes for b in space.blocks] == [(0, 1), (0,), (0,), (0,)]
    assert all(
        b.own_weights and b.edges_per_node == 1 and b.default_op == b.operations[0]
        for b in space.blocks
    )
    assert space.reference_tensor().dtype == F64
    assert isinstance(space, ReplacementScored)


def test_costs_grow_with_the_work() -> None:
    blocks = {b.name: b for b in make_space().blocks}
    for name, block in blocks.items():
        if name == "weighting":
            assert block.costs is None
            continue
        assert block.costs is not None
        assert len(block.costs) == block.shape[0]
        for row in block.costs:
            cost = dict(zip(block.operations, row, strict=True))
            assert min(cost.values()) == cost[block.operations[0]]  # nothing is cheaper than that
    encoding = blocks["encoding"].costs[0]  # type: ignore[index]
    assert encoding[0] < encoding[1] < encoding[2]
    operation = dict(zip(NAMES["operation"], blocks["operation"].costs[0], strict=True))  # type: ignore[index]
    assert operation["multiply+max"] == operation["concat"] == 2 * operation["multiply"]


@pytest.mark.parametrize("stages", [STAGES, ("operation",), ("encoding", "embedding")])
def test_functions_are_trained_where_they_are_searched_and_readouts_never(
    stages: tuple[str, ...],
) -> None:
    space = make_space(stages=stages)
    assert len(space.arch_parameters()) == (8 if "embedding" in stages else 0)
    assert all(not p.requires_grad for n, p in space.named_parameters() if "readouts" in n)


def built_from(space: StagedSpace, gates: Gates) -> InteractionNetwork:
    """The network of the genotype at the gates, with the supernet's weights copied in."""
    genotype = Genotype.from_json(space.genotype(gates).to_json())
    design = design_of(genotype, FIELDS)
    net = InteractionNetwork(
        design, shape(), torch.Generator().manual_seed(9), histories()
    ).double()
    member = space.members.of(space.point(gates.choices()))
    whole = member.tables
    with torch.no_grad():
        for name in ("embeddings", "histories", "biases"):
            for mine, theirs in zip(getattr(net.tables, name), getattr(whole, name), strict=False):
                if mine.shape[-1]:
                    mine.copy_(theirs)
        net.tables.intercept.copy_(whole.intercept)
        net.readout.copy_(member.readouts[space.point(gates.choices())[3]])
    return net


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda c: " ".join(map(str, c.values())))
def test_observed_pairs_and_the_penalty_are_those_of_the_network(chosen: dict[str, Any]) -> None:
    space = make_space()
    gates = gates_at(space, **chosen)
    net = built_from(space, gates)
    found = space.interaction(gates)
    for observed, ids in ((False, EVERY), (True, part("squared").ids)):
        expected = net.interaction().pairs(ids, observed)
        torch.testing.assert_close(found.pairs(ids, observed), expected, rtol=1e-10, atol=1e-10)
    if gates.choices()["encoding"] == (0, 0):
        assert net.tables.histories is not None
    norm = net.tables.squared_norm(space.context.strengths)
    torch.testing.assert_close(space.regularizer(gates), norm, rtol=1e-10, atol=1e-10)


def test_combinations_give_different_losses() -> None:
    space = make_space("whole-data", scattered=True)
    data = batch("whole-data", "valid")
    points = [gates_at(space)]
    for block in space.blocks:
        for name in block.operations[1:]:
            names: Any = ("id", name) if block.name == "encoding" else name
            points.append(gates_at(space, **{block.name: names}))
    # The same weights for all, so that only what the combination does tells them apart.
    first = copy.deepcopy(space.members.of(space.point(points[0].choices())).state_dict())
    for gates in points:
        space.members.of(space.point(gates.choices())).load_state_dict(first)
    losses = [float(space.loss(data, gates).detach()) for gates in points]
    values = sorted(losses)
    assert min(b - a for a, b in itertools.pairwise(values)) > 1e-7


def test_only_weight_steps_are_counted() -> None:
    space = make_space()
    gates = gates_at(space)
    point = space.point(gates.choices())
    gate_gradient(space, batch("squared", "valid"), gates)
    space.loss(batch("squared"), gates).backward()
    assert space.members.steps(point) == 0
    optimizer = torch.optim.SGD(space.weight_parameters(), lr=0.1)
    for steps in (1, 2):
        weight_step(space, batch("squared"), gates, optimizer)
        assert space.members.steps(point) == steps


def trained(space: StagedSpace, steps: int, **chosen: Any) -> None:
    point = point_of(space, **chosen)
    scatter(space.members.of(point))
    for _ in range(steps):
        space.members.count_step(point)


def test_replacement_scores_are_log_ratios_of_the_criterion() -> None:
    space = make_space()
    train, valid = batch("squared"), batch("squared", "valid")
    current = {"encoding": ("history", "id")}
    others: dict[tuple[str, int, str], dict[str, Any]] = {
        ("encoding", 0, "id"): {},
        ("encoding", 1, "both"): {"encoding": ("history", "both")},
        ("embedding", 0, "graph"): {**current, "embedding": "graph"},
        ("embedding", 0, "elementwise"): {**current, "embedding": "elementwise"},
        ("operation", 0, "multiply+max"): {**current, "operation": "multiply+max"},
        ("weighting", 0, "items"): {**current, "weighting": "items"},
    }
    trained(space, MIN_STEPS, **current)
    for chosen in others.values():
        trained(space, MIN_STEPS, **chosen)
    trained(space, MIN_STEPS - 1, **current, operation="plus")  # too few
    gates = gates_at(space, **current)
    found = space.replacement_scores(train, valid, gates)
    base = criterion(space.interaction(gates).chosen(), valid)
    expected = {b.name: torch.zeros(b.shape, dtype=F64) for b in space.blocks}
    for (block, edge, name), chosen in others.items():
        value = criterion(space.interaction(gates_at(space, **chosen)).chosen(), valid)
        expected[block][edge, NAMES[block].index(name)] = math.log(value / base)
    for name, table in expected.items():
        torch.testing.assert_close(found[name], table, rtol=1e-9, atol=1e-12)
    assert sum(int((t != 0).sum()) for t in found.values()) == len(others)
    alpha = {b.name: torch.full(b.shape, 0.5, dtype=F64) for b in space.blocks}
    alpha["operation"][:] = 0.0
    spared = space.replacement_scores(train, valid, gates, alpha)
    assert not spared.pop("operation").any()
    assert all(torch.equal(table, found[name]) for name, table in spared.items())


def test_an_incumbent_of_few_steps_judges_nobody() -> None:
    space = make_space()
    trained(space, MIN_STEPS - 1)
    trained(space, MIN_STEPS, operation="plus")
    scores = space.replacement_scores(batch("squared"), batch("squared", "valid"), gates_at(space))
    assert not any(t.any() for t in scores.values())


def test_state_dict_brings_the_steps_of_every_combination_back() -> None:
    space, other = make_space(), make_space(seed=5)
    for chosen in CHOICES[:6]:
        trained(space, 2, **chosen)
    other.members.of(point_of(other, operation="max"))  # an index that the state must replace
    other.load_state_dict(copy.deepcopy(space.state_dict()))
    for chosen in CHOICES[:6]:
        assert other.members.steps(point_of(other, **chosen)) == 2
    assert other.members.steps(point_of(other, operation="max")) == 0


# Genotypes


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda c: " ".join(map(str, c.values())))
def test_genotypes_say_what_was_chosen_and_come_back_from_json(chosen: dict[str, Any]) -> None:
    space = make_space()
    genotype = space.genotype(gates_at(space, **chosen))
    encodings = chosen.get("encoding", ("id", "id"))
    assert genotype.blocks["encoding"] == tuple(enumerate(encodings))
    for name in STAGES[1:]:
        assert genotype.operation(name) == chosen.get(name, NAMES[name][0])
    check_names(genotype, "staged", legal_names(SPECS["staged"], FIELDS))
    again = Genotype.from_json(genotype.to_json())
    assert again == genotype
    assert bool(again.parameters) == (chosen.get("embedding") == "elementwise")
    design = design_of(again, FIELDS)
    assert design.operation.name == chosen.get("operation", "multiply")
    assert design.encodings == (() if encodings == ("id", "id") else encodings)
    assert design.graph == (chosen.get("embedding") == "graph")
    assert design.weighting == chosen.get("weighting", "even")
    assert not design.trained_readout


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({}, "multiply(user, item)"),
        ({"encoding": ("history", "both"), "operation": "max"},
         "max(history(user), item + history(item))"),
        ({"embedding": "graph", "weighting": "users"},
         "multiply(graph(user), graph(item)), weighted by users"),
        ({"embedding": "elementwise", "encoding": ("history", "id"), "weighting": "both"},
         "multiply(P(history(user)), Q(item)), weighted by users and items"),
        ({"operation": "multiply+plus", "weighting": "items"},
         "multiply+plus(user, item), weighted by items"),
    ],
)  # fmt: skip
def test_expressions_are_readable(chosen: dict[str, Any], text: str) -> None:
    space = make_space()
    genotype = space.genotype(gates_at(space, **chosen))
    assert genotype.expression == expression(genotype, FIELDS) == text


def staged(**blocks: Any) -> Genotype:
    neutral = {
        "encoding": ((0, "id"), (1, "id")), "embedding": ((0, "identity"),),
        "operation": ((0, "multiply"),), "weighting": ((0, "even"),),
    }  # fmt: skip
    found = {**neutral, **blocks}
    return Genotype("staged", {name: value for name, value in found.items() if value})


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (staged(weighting=None), "expects blocks operation, encoding, embedding, weighting"),
        (staged(user=((0, "id"),)), "expects blocks"),
        (staged(encoding=((0, "id"),)), "block 'encoding': expected edges 0 to 1"),
        (staged(encoding=((0, "id"), (1, "id"), (2, "id"))), "expected edges 0 to 1"),
        (staged(operation=((1, "multiply"),)), "block 'operation': expected edge 0 alone"),
        (staged(encoding=((0, "id"), (1, "text"))), "expected one of id, history, both"),
        (staged(embedding=((0, "cube"),)), "expected one of identity, elementwise, graph"),
        (staged(weighting=((0, "time"),)), "expected one of even, users, items, both, recency"),
        (staged(operation=((0, "plus+multiply"),)), "found 'plus\\+multiply'"),
        (staged(embedding=((0, "elementwise"),)), r"user\.hidden_weight.*found none"),
    ],
)
def test_malformed_genotypes_are_refused(genotype: Genotype, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        design_of(genotype, FIELDS)


def test_sums_belong_to_two_fields() -> None:
    with pytest.raises(GenotypeError):
        design_of(staged(operation=((0, "multiply+max"),)), ("user", "item", "hour"))


def test_what_is_not_searched_stays_neutral() -> None:
    space = make_space(stages=("operation",))
    assert [b.name for b in space.blocks] == ["operation"]
    whole = make_space()
    for k, name in enumerate(NAMES["operation"]):
        gates = gates_at(space, operation=name)
        assert space.point(gates.choices()) == (0, 0, 0, k, 0)
        genotype = space.genotype(gates)
        assert genotype == whole.genotype(gates_at(whole, operation=name))
        assert not space.interaction(gates).uses_history
    found = gate_gradient(space, batch("squared", "valid"), gates_at(space, operation="max"))
    assert set(found.gates) == {"operation"}


def test_there_is_a_set_for_everything_one_switch_away() -> None:
    space = make_space()
    switches = sum(b.shape[0] * (b.shape[1] - 1) for b in space.blocks)
    assert len(space.members.sets) > 1 + switches
    trained(space, 3)
    for block in space.blocks:
        for edge, name in itertools.product(range(block.shape[0]), block.operations[1:]):
            names: Any = name
            if block.name == "encoding":
                names = ("id", name) if edge else (name, "id")
            trained(space, 1, **{block.name: names})
    assert space.members.steps(point_of(space)) == 3
    assert len(space.members._places()) == 1 + switches


# Members


Note = list[tuple[Combination, Combination]]


def make_members(count: int = 3, note: Note | None = None) -> WeightPool:
    generator = torch.Generator().manual_seed(1)
    operations = [OPERATIONS["multiply"], OPERATIONS["plus"]]
    small = TableShape((3, 2), 2, encodings=("both", "both"))

    def inherit(member: WeightSet, point: Combination, neighbor: Combination) -> None:
        if note is not None:
            note.append((point, neighbor))

    return WeightPool(WeightSet(small, operations, generator), count, 2, inherit)


def mark(members: WeightPool, point: Combination, value: float, steps: int = 1) -> None:
    with torch.no_grad():
        for parameter in members.of(point).parameters():
            parameter.fill_(value)
    for _ in range(steps):
        members.count_step(point)


def marked(members: WeightPool, point: Combination) -> float:
    found = {float(x) for p in members.of(point).parameters() for x in p.unique()}
    assert len(found) == 1
    return found.pop()


def test_all_sets_start_from_the_same_numbers_of_their_own() -> None:
    members = make_members()
    first, *others = members.sets
    assert others
    for other in others:
        for one, two in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)
            assert one.data_ptr() != two.data_ptr()


def test_a_combination_keeps_its_set() -> None:
    members = make_members()
    mark(members, (0, 0), 1.0)
    mark(members, (0, 1), 2.0)
    assert members.of((0, 0)) is members.of((0, 0))
    assert members.of((0, 0)) is not members.of((0, 1))
    assert (marked(members, (0, 0)), marked(members, (0, 1))) == (1.0, 2.0)


def test_a_new_combination_starts_from_the_nearest_then_from_the_best_trained() -> None:
    note: Note = []
    members = make_members(5, note)
    mark(members, (0, 0), 1.0, steps=9)
    mark(members, (3, 3), 2.0, steps=4)
    assert marked(members, (3, 0)) == 1.0  # one switch from both, and (0, 0) has trained more
    assert marked(members, (3, 4)) == 2.0  # nearer, however little it has trained
    assert note == [((3, 3), (0, 0)), ((3, 0), (0, 0)), ((3, 4), (3, 3))]
    assert members.steps((3, 4)) == 0


def test_the_set_used_longest_ago_is_taken_over() -> None:
    members = make_members(3)
    for value, point in enumerate([(0, 0), (0, 1), (0, 2)]):
        mark(members, point, float(value), steps=2)
    members.count_step((0, 0))
    old = members.of((0, 1))
    new = members.of((5, 2))
    assert new is old
    assert members.steps((0, 1)) == 0
    assert members.steps((0, 0)) == 3
    assert members.steps((0, 2)) == 2
    assert marked(members, (0, 0)) == 0.0
    assert marked(members, (0, 2)) == 2.0


def test_a_neighbor_is_not_taken_over_while_it_is_copied() -> None:
    members = make_members(2)
    mark(members, (0, 0), 1.0)
    mark(members, (7, 7), 2.0)
    assert marked(members, (0, 1)) == 1.0  # from (0, 0), used longest ago; (7, 7) gives way
    assert members.steps((0, 0)) == 1
    assert members.steps((7, 7)) == 0


def test_ties_between_neighbors_do_not_depend_on_the_order_of_admission() -> None:
    """A resumed search knows the sets, not the order in which they were taken."""
    members, other = make_members(3), make_members(3)
    for value, point in enumerate([(0, 0), (1, 1), (2, 2)]):
        mark(members, point, float(value))
    mark(members, (3, 0), 4.0)  # in place of (1, 1), and last in the order of admission
    other.load_state_dict(copy.deepcopy(members.state_dict()))
    for one in (members, other):  # (3, 0) and (2, 2) are equally near and equally trained
        one.of((3, 2))
    assert marked(members, (3, 2)) == marked(other, (3, 2)) == 4.0


def test_a_state_brings_the_index_back() -> None:
    members, other = make_members(3), make_members(3)
    mark(members, (0, 0), 1.0, steps=4)
    mark(members, (2, 1), 2.0, steps=5)
    mark(other, (9, 9), 3.0)
    other.load_state_dict(copy.deepcopy(members.state_dict()))
    assert other.steps((9, 9)) == 0
    assert (other.steps((0, 0)), other.steps((2, 1))) == (4, 5)
    assert (marked(other, (0, 0)), marked(other, (2, 1))) == (1.0, 2.0)
    for one in (members, other):  # both go on alike
        one.of((2, 2))
        one.of((0, 2))
        one.count_step((0, 2))
    assert torch.equal(members.points, other.points)
    assert torch.equal(members.used, other.used)
    assert torch.equal(members.trained, other.trained)


# What a new combination inherits


def vectors(space: StagedSpace, encoding: tuple[str, str]) -> list[Tensor]:
    found = space.interaction(gates_at(space, encoding=encoding)).chosen()
    return [v.table.detach() for v in found.vectors]


def after(space: StagedSpace, first: tuple[str, str], then: tuple[str, str]) -> list[list[Tensor]]:
    """Vectors of a trained combination, and of a new one that has no nearer neighbor."""
    trained(space, 3, encoding=first)
    before = vectors(space, first)
    assert space.members.steps(point_of(space, encoding=then)) == 0
    return [before, vectors(space, then)]


@pytest.mark.parametrize("first", [("id", "id"), ("history", "id"), ("history", "history")])
@pytest.mark.parametrize("field", [0, 1])
def test_both_begins_with_exactly_the_vectors_of_its_neighbor(
    first: tuple[str, str], field: int
) -> None:
    then = ("both", first[1]) if field == 0 else (first[0], "both")
    old, new = after(make_space(), first, then)
    for one, two in zip(old, new, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)
        assert one.any()


@pytest.mark.parametrize(
    ("first", "field"),
    [(("history", "id"), 0), (("id", "history"), 1), (("both", "both"), 0), (("both", "both"), 1)],
)
def test_ids_begin_with_the_encoded_vectors(first: tuple[str, str], field: int) -> None:
    then = ("id", first[1]) if field == 0 else (first[0], "id")
    old, new = after(make_space(), first, then)
    for one, two in zip(old, new, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("first", "field"), [(("id", "id"), 0), (("both", "id"), 0),
                                              (("id", "id"), 1), (("id", "both"), 1)])  # fmt: skip
def test_a_history_begins_as_the_sum_of_the_neighbors_vectors(
    first: tuple[str, str], field: int
) -> None:
    then = ("history", first[1]) if field == 0 else (first[0], "history")
    old, new = after(make_space(), first, then)
    sums = histories().encode(field, old[1 - field]).table
    best = torch.linalg.lstsq(sums.reshape(-1, 1), old[field].reshape(-1, 1)).solution
    torch.testing.assert_close(new[field], sums * best, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(new[1 - field], old[1 - field], rtol=1e-13, atol=1e-13)


def test_other_stages_inherit_everything() -> None:
    space = make_space()
    trained(space, 3, encoding=("both", "history"))
    old = vectors(space, ("both", "history"))
    gates = gates_at(space, encoding=("both", "history"), operation="max", weighting="items")
    found = space.interaction(gates).chosen()
    for one, two in zip(old, found.vectors, strict=True):
        assert torch.equal(one, two.table)
    # From then on each trains for itself.
    step: Callable[[], Any] = lambda: weight_step(
        space, batch("squared"), gates, torch.optim.SGD(space.weight_parameters(), lr=0.1)
    )
    step()
    for one, two in zip(old, vectors(space, ("both", "history")), strict=True):
        assert torch.equal(one, two)


def test_operations_of_the_space_are_those_of_their_names() -> None:
    space = make_space()
    assert tuple(o.name for o in space.operations) == NAMES["operation"]
    assert all(operation_named(o.name, 2) is o for o in space.operations)


# Serving


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda c: " ".join(map(str, c.values())))
def test_a_baked_network_scores_alike_by_look_ups(chosen: dict[str, Any]) -> None:
    space = make_space()
    gates = gates_at(space, **chosen)
    net = built_from(space, gates)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    precomputed = net.precomputed()
    torch.testing.assert_close(precomputed(EVERY), net(EVERY), rtol=1e-12, atol=1e-12)
    assert [tuple(e.shape) for e in precomputed.tables.embeddings] == [(USERS, D), (ITEMS, D)]
    assert not precomputed.interaction().uses_history
    assert precomputed.precomputed() is precomputed
    assert (precomputed is net) == (
        chosen.get("encoding", ("id", "id")) == ("id", "id") and chosen.get("embedding") != "graph"
    )
    design = design_of(space.genotype(gates), FIELDS)
    fresh = InteractionNetwork(design.served(), shape(), torch.Generator()).double()
    fresh.load_state_dict(precomputed.state_dict())
    assert torch.equal(fresh(EVERY), precomputed(EVERY))
    with torch.no_grad():
        for parameter in precomputed.tables.embeddings:
            parameter.add_(1.0)
    if precomputed is not net:
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_encodings_need_the_train_part() -> None:
    design = design_of(staged(encoding=((0, "history"), (1, "id"))), FIELDS)
    net = InteractionNetwork(design, shape(), torch.Generator())
    with pytest.raises(ShapeError, match="expected the train part's histories, found none"):
        net(EVERY)
