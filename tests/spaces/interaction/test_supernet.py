"""The space of interaction functions alone: blocks, learned transforms, factors, formulas."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates, Probing
from sif.core.genotype import Genotype, check_names
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import project
from sif.core.space import ReplacementScored
from sif.errors import ConfigError, GenotypeError
from sif.methods.nasp import Nasp, NaspSettings
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.design import OPERATION_BLOCK, SPECS, FunctionSpec, legal_names
from sif.spaces.interaction.embeddings import Tables, TableShape, clip_readout
from sif.spaces.interaction.function import Interaction, InteractionNetwork
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.operations import OPERATIONS, operations_for
from sif.spaces.interaction.registry import LOSSES, design_of, expression
from sif.spaces.interaction.supernet import FunctionSpace
from sif.testing import InteractionCase

SIZES = (7, 6, 3)
FIELDS = ("user", "item", "hour")
PRESETS = ("sif", "primitives")
"""Choices of the interaction function alone; test_staged_supernet covers the encoders around it."""
F64 = torch.float64


@dataclass(frozen=True)
class Case:
    spec: str
    own: bool
    fields: int
    loss: str = "squared"

    def shape(self) -> TableShape:
        return TableShape(SIZES[: self.fields], 3, biases=True, intercept=True, init=0.7)

    def space(self, seed: int = 0) -> FunctionSpace:
        """The supernet with every weight at a different number."""
        context = replace(
            InteractionCase(self.spec, self.loss, self.fields, self.own).context(seed),
            shape=self.shape(),
            fields=FIELDS[: self.fields],
            strengths=tuple(torch.linspace(0.01, 0.05, n, dtype=F64) for n in SIZES[: self.fields]),
        )
        space = FunctionSpace(SPECS[self.spec], context)
        space.to(F64)
        scatter(space)
        return space

    def batch(self, seed: int = 0, n: int = 20) -> Batch:
        sizes = SIZES[: self.fields]
        generator = torch.Generator().manual_seed(seed)
        ids = torch.stack([torch.randint(m, (n,), generator=generator) for m in sizes], dim=1)
        clicks = self.loss != "squared"
        target = torch.randn(n, generator=generator, dtype=F64)
        part = PartTensors(ids, torch.ones_like(target) if clicks else target, sizes)
        kind = LOSSES[self.loss]
        drawing = Drawing(
            2 if kind.negatives else 0, 3 if kind.background else 0, sizes[1] if kind.shared else 0
        )
        return InteractionStream(part, n, drawing, generator).next()


def scatter(module: nn.Module) -> None:
    with torch.no_grad():
        for place, parameter in enumerate(p for p in module.parameters() if p.requires_grad):
            steps = torch.arange(parameter.numel(), dtype=F64).view_as(parameter)
            parameter.add_((0.6 * torch.sin(1.7 * steps + 0.9 * place)).to(parameter))


CASES = [
    Case(spec, own, fields)
    for spec, own, fields in itertools.product(PRESETS, (True, False), (2, 3))
]


@pytest.fixture(params=CASES, ids=lambda c: f"{c.spec}-{'own' if c.own else 'shared'}-{c.fields}")
def case(request: pytest.FixtureRequest) -> Case:
    found = request.param
    assert isinstance(found, Case)
    return found


def gates_at(space: FunctionSpace, *selection: int) -> Gates:
    alpha = {}
    for block, chosen in zip(space.blocks, selection, strict=True):
        alpha[block.name] = torch.zeros(block.shape)
        alpha[block.name][0, chosen] = 1.0
    return project(alpha, space.blocks)


def selections(space: FunctionSpace) -> Iterator[Gates]:
    """Every operation, each with some transforms; all transforms appear."""
    for turn in range(max(block.shape[1] for block in space.blocks)):
        yield gates_at(space, *((turn + 4 * i) % b.shape[1] for i, b in enumerate(space.blocks)))


def every_id(case: Case) -> Tensor:
    return torch.tensor(list(itertools.product(*(range(n) for n in SIZES[: case.fields]))))


def snapshot(space: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in space.named_parameters()}


def changed(space: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, p in space.named_parameters() if not torch.equal(p, before[name])}


def test_blocks_are_the_operation_and_a_transform_per_field(case: Case) -> None:
    space = case.space()
    learned = not SPECS[case.spec].transforms
    fields = () if learned else FIELDS[: case.fields]
    assert [b.name for b in space.blocks] == [OPERATION_BLOCK, *fields]
    assert all(b.nodes == (0,) and b.edges_per_node == 1 for b in space.blocks)
    assert len(space.arch_parameters()) == (4 * case.fields if learned else 0)
    assert space.reference_tensor().dtype == F64
    assert isinstance(space, ReplacementScored)


def test_costs_are_parameters_and_multiply_adds_of_the_readout(case: Case) -> None:
    space = case.space()
    block = space.blocks[0]
    assert block.costs is not None
    costs = dict(zip(block.operations, block.costs[0], strict=True))
    assert costs["concat"] == case.fields * costs["multiply"] == case.fields * 2 * 3
    readouts = {o.name: len(r) for o, r in zip(space.operations, space.readouts, strict=True)}
    assert costs == {name: 2 * entries for name, entries in readouts.items()}
    if case.fields == 3:
        assert (len(costs), costs["max(plus(1,2),3)"], costs["concat(min(2,3),1)"]) == (53, 6, 12)


@pytest.mark.parametrize("intercept", [True, False])
def test_a_constant_that_is_not_trained_belongs_to_no_optimizer(intercept: bool) -> None:
    tables = Tables(TableShape((2, 3), 2, intercept=intercept), torch.Generator())
    assert tables.intercept.requires_grad == intercept
    assert tables.intercept.item() == 0
    assert len(tables.biases) == 0


@pytest.mark.parametrize("spec", PRESETS)
def test_operations_start_equal(spec: str) -> None:
    shape = TableShape((5, 4), 3, biases=True)
    space = FunctionSpace(SPECS[spec], replace(InteractionCase(spec).context(1), shape=shape))
    first = space.tables_of(0)
    assert len(space.tables) == len(OPERATIONS)
    for k in range(1, len(OPERATIONS)):
        other = space.tables_of(k)
        assert other is not first
        for one, two in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)
            assert one.data_ptr() != two.data_ptr()
    assert 0.05 < first.embeddings[0].std().item() < 0.2


def test_shared_tables_are_one_and_the_same() -> None:
    space = Case("sif", False, 2).space()
    assert len(space.tables) == 1
    assert space.tables_of(4) is space.tables_of(0)


def test_operations_and_transforms_give_different_losses(case: Case) -> None:
    space, batch = case.space(), case.batch()
    losses = {}
    for place, block in enumerate(space.blocks):
        for k in range(block.shape[1]):
            chosen = [1] * len(space.blocks)
            chosen[place] = k
            losses[tuple(chosen)] = space.loss(batch, gates_at(space, *chosen)).item()
    values = sorted(losses.values())
    assert min(b - a for a, b in itertools.pairwise(values)) > 1e-6


def test_genotypes_and_expressions_tell_operation_and_fields(case: Case) -> None:
    space = case.space()
    fields = FIELDS[: case.fields]
    for gates in selections(space):
        genotype = space.genotype(gates)
        check_names(genotype, case.spec, legal_names(SPECS[case.spec], fields))
        learned = not SPECS[case.spec].transforms
        assert bool(genotype.parameters) == learned
        text = genotype.expression
        operation, _, nested = genotype.operation(OPERATION_BLOCK).partition("(")
        assert text.startswith(f"{operation}({nested.partition('(')[0]}")
        assert all(field in text for field in fields)


def test_expressions_are_readable() -> None:
    space = Case("sif", True, 2).space()
    learned = space.genotype(gates_at(space, 0))
    assert learned.expression == "multiply(P(user), Q(item))"
    space = Case("primitives", True, 2).space()
    names = space.blocks[1].operations
    gates = gates_at(space, 3, names.index("+sqrt"), names.index("~abs"))
    assert space.genotype(gates).expression == "max(+sqrt(user), ~abs(item))"


def test_expressions_of_three_fields_are_readable() -> None:
    space = Case("sif", True, 3).space()
    place = space.blocks[0].operations.index
    names = {"max(multiply(1,2),3)": "max(multiply(P(user), Q(item)), R(hour))",
             "plus(min(2,3),1)": "plus(min(Q(item), R(hour)), P(user))",
             "concat": "concat(P(user), Q(item), R(hour))"}  # fmt: skip
    for name, text in names.items():
        assert space.genotype(gates_at(space, place(name))).expression == text
    fixed = Case("primitives", True, 3).space()
    (user, item, hour) = (fixed.blocks[1].operations.index(n) for n in ("-abs", "~abs", "+sqrt"))
    gates = gates_at(fixed, place("concat(max(1,3),2)"), user, item, hour)
    text = fixed.genotype(gates).expression
    assert text == "concat(max(-abs(user), +sqrt(hour)), ~abs(item))"


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_learned_transforms_equal_finite_differences(loss: str) -> None:
    case = Case("sif", True, 2, loss)
    space, batch = case.space(), case.batch()
    gates, h = gates_at(space, 0), 1e-6
    found = gate_gradient(space, batch, gates).arch
    for parameter, grad in zip(space.arch_parameters(), found, strict=True):
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), 3):
            start, losses = flat[i].item(), []
            for sign in (1, -1):
                flat[i] = start + sign * h
                losses.append(space.loss(batch, gates).item())
            flat[i] = start
            slope = (losses[0] - losses[1]) / (2 * h)
            assert grad.view(-1)[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_architecture_step_hears_of_every_gate(case: Case) -> None:
    space = case.space()
    for gates in selections(space):
        found = gate_gradient(space, case.batch(), gates)
        assert (found.gates[OPERATION_BLOCK] != 0).all()
        name = gates.choices().named(space.blocks)[OPERATION_BLOCK][0][1]
        if "min" not in name and "max" not in name:  # which may pass over a field
            assert all((g != 0).all() for g in found.gates.values())
            assert all(g.abs().max() > 0 for g in found.arch)
        assert all(p.grad is None for p in space.parameters())


def test_an_architecture_step_probes_what_it_is_asked_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, ran = case.space(), list[str]()
    pairs = Interaction.pairs

    def counted(self: Interaction, *arguments: Any) -> Tensor:
        ran.append(self.operation.name)
        return pairs(self, *arguments)

    monkeypatch.setattr(Interaction, "pairs", counted)
    for gates in selections(space):
        exact = gate_gradient(space, case.batch(), gates)
        ones = {name: torch.ones_like(w) for name, w in gates.weights.items()}
        same = gate_gradient(space, case.batch(), replace(gates, probing=Probing(ones)))
        ran.clear()
        drawn = gate_gradient(space, case.batch(), replace(gates, probing=Probing(gates.weights)))
        assert set(ran) == {gates.choices().named(space.blocks)[OPERATION_BLOCK][0][1]}
        for name, grad in exact.gates.items():
            assert torch.equal(same.gates[name], grad)
            assert torch.equal(drawn.gates[name], grad * gates.weights[name])
        assert all(map(torch.equal, drawn.arch, exact.arch))


@pytest.mark.parametrize("spec", PRESETS)
@pytest.mark.parametrize("loss", ["squared", "whole-data", "bpr"])
def test_a_step_by_replacement_scores_leaves_the_weights_alone(spec: str, loss: str) -> None:
    case = Case(spec, True, 2, loss)
    space = case.space()
    settings = NaspSettings(score="replacement_loss", arch_optimizer="plain", arch_lr=0.1)
    method = Nasp(space, settings, Plan(1, continuous_lr=0.01), torch.Generator().manual_seed(0))
    alpha, before = method.alpha(), snapshot(space)
    report = method.arch_step(space, case.batch(1), case.batch(2))
    arch = {id(p) for p in space.arch_parameters()}
    expected = {n for n, p in space.named_parameters() if id(p) in arch}
    assert changed(space, before) == expected
    assert bool(expected) == (spec == "sif")
    assert all(p.grad is None for p in space.parameters())
    assert all(not torch.equal(alpha[n], a) for n, a in method.alpha().items())
    assert set(report.scores) == {"gradient", "replacement_loss"}


def test_regularizer_is_the_weighted_square_of_the_chosen_tables(case: Case) -> None:
    space = case.space()
    gates = gates_at(space, *([3] + [0] * (len(space.blocks) - 1)))
    tables = space.tables[3 if case.own else 0]
    expected = 0.0
    for f in range(case.fields):
        for i in range(SIZES[f]):
            row, bias = tables.embeddings[f][i], tables.biases[f][i]
            expected += space.context.strengths[f][i] * ((row**2).sum() + bias**2)
    torch.testing.assert_close(space.regularizer(gates), expected)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("spec", PRESETS)
def test_factors_score_every_pair(spec: str, biases: bool, intercept: bool, frozen: bool) -> None:
    case = Case(spec, True, 2)
    space, ids = case.space(), every_id(case)
    shape = TableShape(SIZES[:2], 3, biases, intercept, init=0.7)
    for gates in selections(space):
        net = InteractionNetwork(
            design_of(space.genotype(gates), FIELDS[:2]), shape, torch.Generator().manual_seed(1)
        )
        scatter(net.double())
        net.requires_grad_(not frozen)
        interaction = net.interaction()
        factors = interaction.factors()
        name = interaction.operation.name
        assert (factors is not None) == (name in ("multiply", "plus", "concat"))
        expected = interaction.pairs(ids)
        if factors is not None:
            a, b = factors
            table = (a @ b.T).flatten()
            torch.testing.assert_close(table, expected, rtol=1e-10, atol=1e-12)
        part = PartTensors(ids, torch.ones(len(ids)), SIZES[:2])
        graph = part.graph()
        assert graph is not None
        torch.testing.assert_close(interaction.on_graph(graph), expected, rtol=1e-10, atol=1e-12)


def test_three_fields_do_not_factor() -> None:
    case = Case("sif", True, 3)
    space = case.space()
    assert all(space.interaction(gates).factors() is None for gates in selections(space))


def test_pairs_are_the_written_formula() -> None:
    case = Case("primitives", True, 3)
    space, ids = case.space(), every_id(case)
    names = space.blocks[1].operations
    chosen = [names.index(n) for n in ("~square", "-abs", "~abs")]
    tables, readout = space.tables_of(2), space.readouts[2].detach()
    assert float(readout.abs().max()) > 1  # so that the bound on the readout matters
    clip_readout = readout / readout.abs().max()
    e = [t.detach() for t in tables.embeddings]
    b = [t.detach() for t in tables.biases]
    expected = []
    for u, v, t in ids.tolist():
        fields = [e[0][u].sign() * e[0][u] ** 2, -e[1][v].abs(), e[2][t]]
        least = torch.stack(fields).amin(0)  # operation number 2 is min
        bias = tables.intercept.item() + b[0][u] + b[1][v] + b[2][t]
        expected.append(bias + clip_readout @ least)
    found = space.interaction(gates_at(space, 2, *chosen)).pairs(ids)
    torch.testing.assert_close(found.detach(), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_transforming_before_or_after_the_look_up_is_the_same() -> None:
    space = Case("sif", True, 2).space()
    interaction = space.interaction(gates_at(space, 0))
    many = every_id(Case("sif", True, 2))  # more rows than either table
    few = many[[3, 17, 30]]
    expected = interaction.pairs(many)[[3, 17, 30]]
    torch.testing.assert_close(interaction.pairs(few), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FunctionSpec("x", operations=("multiply", "divide")), "operation: .*found 'divide'"),
        (FunctionSpec("x", transforms=("cube",)), "transform: .*found 'cube'"),
    ],
)
def test_unknown_names_in_a_preset_are_refused(spec: FunctionSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FunctionSpace(spec, InteractionCase("sif").context())


def test_a_genotype_of_learned_transforms_needs_its_numbers() -> None:
    bare = Genotype("sif", {"operation": ((0, "max"),)})
    with pytest.raises(GenotypeError, match=r"user\.hidden_weight.*found none"):
        design_of(bare, FIELDS[:2])
    short = {"user.hidden_weight": ((2,), (1.0, 2.0))}
    with pytest.raises(GenotypeError, match=r"expected shape \[8\], found \[2\]"):
        design_of(Genotype("sif", bare.blocks, short), FIELDS[:2])
    with pytest.raises(GenotypeError, match="expects blocks operation, user, item"):
        design_of(Genotype("primitives", bare.blocks), FIELDS[:2])


@pytest.mark.parametrize("spec", PRESETS)
@pytest.mark.parametrize("fields", [1, 2, 4])
def test_nested_operations_are_refused_for_other_than_three_fields(spec: str, fields: int) -> None:
    case = Case(spec, True, 3)
    space = case.space()
    place = space.blocks[0].operations.index("max(multiply(1,2),3)")
    three = space.genotype(gates_at(space, place, *([0] * (len(space.blocks) - 1))))
    names = (*FIELDS, "place")[:fields]
    blocks = {name: three.blocks.get(name, ((0, "~abs"),)) for name in names}
    if not SPECS[spec].transforms:
        blocks = {}
    genotype = Genotype(spec, {OPERATION_BLOCK: three.blocks[OPERATION_BLOCK], **blocks},
                        three.parameters)  # fmt: skip
    with pytest.raises(GenotypeError, match=r"expected .*, found 'max\(multiply\(1,2\),3\)'$") as e:
        design_of(genotype, names)
    assert "\n" not in str(e.value)
    with pytest.raises(GenotypeError, match=f"an operation of {fields} fields"):
        expression(genotype, names)


def test_an_unknown_operation_of_three_fields_costs_a_short_line() -> None:
    space = Case("sif", True, 3).space()
    known = space.genotype(gates_at(space, 0))
    for name in ("max(max(1,2),3)", "max(multiply(2,1),3)", "max(concat(1,2),3)", "multiply "):
        wrong = Genotype("sif", {OPERATION_BLOCK: ((0, name),)}, known.parameters)
        with pytest.raises(GenotypeError, match=r"expected one of multiply, .* \.\.\. \(53\)") as e:
            design_of(wrong, FIELDS)
        assert len(str(e.value)) < 400


@pytest.mark.parametrize("mixed", [True, False])
def test_readouts_start_at_plus_and_minus_one(mixed: bool) -> None:
    shape = TableShape((3, 3), 3, mixed_signs=mixed)
    signs = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0] if mixed else [1.0] * 6
    assert shape.initial_readout(OPERATIONS["concat"]).tolist() == signs
    assert shape.initial_readout(OPERATIONS["max"]).tolist() == signs[:3]
    third = TableShape((3, 3, 2), 3, mixed_signs=mixed)
    assert third.initial_readout(operations_for(3)["concat(max(1,3),2)"]).tolist() == signs
    assert third.initial_readout(operations_for(3)["max(plus(1,3),2)"]).tolist() == signs[:3]


def test_readouts_are_bounded_but_never_stretched() -> None:
    assert clip_readout(torch.tensor([0.5, -0.25])).tolist() == [0.5, -0.25]
    assert clip_readout(torch.tensor([1.0, -4.0])).tolist() == [0.25, -1.0]
