"""What every search space promises to the core, the methods and the loops.

A new space joins by one `SpaceCase` in `CASES`; what is particular to it has a file of its own.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype, from_json
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import project, weight_step
from sif.core.space import ReplacementScored, Space
from sif.errors import GenotypeError
from sif.methods.nasp import Nasp, NaspSettings
from sif.spaces.cnn.cells import Cells
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.spaces.cnn.operations import Normalization
from sif.spaces.cnn.supernet import CNNSpace, ImageBatch, cells_of
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.design import SPECS, Design, network
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import ENCODINGS, Histories
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.losses import WEIGHTINGS, Batch, LossSettings, Weighting
from sif.spaces.interaction.registry import LOSSES, design_of
from sif.spaces.interaction.staged_supernet import STAGES, StagedSettings, StagedSpace
from sif.spaces.interaction.supernet import FunctionSettings, FunctionSpace
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import Dropouts, TextShape, draw_masks
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel, cross_entropy
from sif.spaces.rnn.supernet import RNNSpace, TextBatch, recurrent_cell

F64 = torch.float64
LOSS = LossSettings(positive_weight=2.0, negatives=2)
FEW = 9
"""A space with more points than that is compared at some of them only where comparing is dear."""


class SpaceCase(Protocol):
    """A space in float64 and small, and what only its author can say about it.

    Derive from it: `relaxed` and `carried` are right as they are for most spaces.
    """

    name: str
    """Unique among the cases."""

    def space(self, seed: int = 0) -> Any:
        """The supernet, with numbers far enough apart for every candidate to differ."""
        ...

    def batch(self, part: str, seed: int = 0) -> Any:
        """A new batch of the part "train" or "valid"; equal for equal arguments."""
        ...

    def read(self, genotype: Genotype) -> Any:
        """The architecture that networks are built of; GenotypeError for a foreign genotype."""
        ...

    def relaxed(self, space: Any, gates: Gates) -> Any:
        """A space whose relaxed loss has the weights of the discrete point: most often itself."""
        return space

    def moved(self, space: Any, gates: Gates) -> set[str]:
        """Names of all parameters that a weight step at the gates moves."""
        ...

    def extracted(
        self, space: Any, gates: Gates, genotype: Genotype, batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the supernet and of the genotype's network with its weights, whose loss."""
        ...

    def carried(self, batch: Any) -> Tensor | None:
        """What a pass leaves behind in its batch."""
        return None


def scatter(module: nn.Module) -> None:
    """Moves every number by another one."""
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            steps = torch.arange(parameter.numel(), dtype=F64).view_as(parameter)
            parameter.add_((0.6 * torch.sin(1.7 * steps + 0.9 * place + 0.5)).to(parameter))


def rounded(transforms: nn.Module) -> None:
    """Continuous parameters as networks read them from genotypes."""
    with torch.no_grad():
        for parameter in transforms.parameters():
            parameter.copy_(parameter.float())


def drawing(loss: str) -> Drawing:
    return Drawing(2 if LOSSES[loss].negatives else 0, 3 if loss == "whole-data" else 0)


SIZES = (7, 6, 3)
FIELDS = ("user", "item", "hour")


@dataclass(frozen=True)
class FunctionCase(SpaceCase):
    spec: str
    own: bool
    fields: int
    loss: str = "squared"

    @property
    def name(self) -> str:
        return f"{self.spec}-{'own' if self.own else 'shared'}-{self.fields}-{self.loss}"

    def shape(self) -> TableShape:
        return TableShape(SIZES[: self.fields], 3, biases=True, intercept=True, init=0.7)

    def space(self, seed: int = 0) -> FunctionSpace:
        strengths = tuple(torch.linspace(0.01, 0.05, n, dtype=F64) for n in SIZES[: self.fields])
        settings = FunctionSettings(
            self.shape(), FIELDS[: self.fields], LOSSES[self.loss], LOSS, strengths, self.own
        )
        space = FunctionSpace(SPECS[self.spec], settings, torch.Generator().manual_seed(seed))
        scatter(space.double())
        rounded(space.transforms)
        return space

    def batch(self, part: str, seed: int = 0, n: int = 20) -> Batch:
        sizes = SIZES[: self.fields]
        draws = torch.Generator().manual_seed(seed + 100 * (part == "valid"))
        ids = torch.stack([torch.randint(m, (n,), generator=draws) for m in sizes], dim=1)
        target = torch.randn(n, generator=draws, dtype=F64)
        if self.loss != "squared":
            target = torch.ones_like(target)
        tensors = PartTensors(ids, target, sizes)
        return InteractionStream(tensors, n, drawing(self.loss), draws).next()

    def moved(self, space: FunctionSpace, gates: Gates) -> set[str]:
        k = space.choice(gates)
        tables = f"tables.{k if self.own else 0}."
        return {n for n, _ in space.named_parameters() if n.startswith(tables)} | {f"readouts.{k}"}

    def read(self, genotype: Genotype) -> Design:
        return design_of(genotype, FIELDS[: self.fields])

    def extracted(
        self, space: FunctionSpace, gates: Gates, genotype: Genotype, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        design = self.read(genotype)
        net = network(design, self.shape(), torch.Generator().manual_seed(9)).double()
        k = space.choice(gates)
        net.tables.load_state_dict(space.tables_of(k).state_dict())
        with torch.no_grad():
            net.readout.copy_(space.readouts[k])
        ids = torch.tensor(list(itertools.product(*map(range, SIZES[: self.fields]))))
        loss = LOSSES[self.loss](net.interaction(), batch, LOSS)
        return space.interaction(gates).pairs(ids), net(ids), loss


USERS, ITEMS = 7, 6
PAIRS = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))


@dataclass(frozen=True)
class RichCase(SpaceCase):
    """Half of the pairs is the train part; user 5 has none of them, neither has item 0."""

    loss: str = "squared"
    stages: tuple[str, ...] = STAGES

    @property
    def name(self) -> str:
        stages = "all" if self.stages == STAGES else "+".join(self.stages)
        return f"staged-{stages}-{self.loss}"

    def shape(self) -> TableShape:
        return TableShape((USERS, ITEMS), 3, biases=True, intercept=True, init=0.7, history_l2=2.0)

    def tensors(self, part: str) -> PartTensors:
        rows = torch.randperm(len(PAIRS), generator=torch.Generator().manual_seed(3))
        known = (PAIRS[rows][:, 0] != 5) & (PAIRS[rows][:, 1] != 0)
        train = torch.zeros_like(known)
        train[known.nonzero().flatten()[:18]] = True
        ids = PAIRS[rows][train if part == "train" else ~train][:18]
        target = torch.sin(torch.arange(18.0, dtype=F64) + (part == "valid"))
        if self.loss != "squared":
            target = torch.ones_like(target)
        return PartTensors(ids, target, (USERS, ITEMS))

    def histories(self) -> Histories:
        graph = self.tensors("train").graph()
        assert graph is not None
        return Histories(graph, torch.zeros((), dtype=F64), 0.6)

    def space(self, seed: int = 0) -> StagedSpace:
        ids = self.tensors("train").ids
        counts = [torch.bincount(ids[:, f], minlength=n).double() for f, n in enumerate(SIZES[:2])]
        settings = StagedSettings(
            self.shape(), FIELDS[:2], LOSSES[self.loss], LOSS,
            {name: Weighting.of(name, counts) for name in WEIGHTINGS},
            tuple(torch.linspace(0.01, 0.05, n, dtype=F64) for n in (USERS, ITEMS)),
            self.histories(), self.criterion, self.stages,
        )  # fmt: skip
        space = StagedSpace(settings, torch.Generator().manual_seed(seed)).double()
        scatter(space)
        rounded(space.transforms)
        return space

    def criterion(self, interaction: Interaction, batch: Batch) -> float:
        return float((interaction.pairs(batch.ids) - batch.target).abs().mean().detach())

    def batch(self, part: str, seed: int = 0) -> Batch:
        draws = torch.Generator().manual_seed(seed)
        known = () if part == "train" else (self.tensors("train"),)
        return InteractionStream(
            self.tensors(part), 18, drawing(self.loss), draws, known, 18,
            exact=part == "train", in_history=part == "train",
        ).next()  # fmt: skip

    def relaxed(self, space: StagedSpace, gates: Gates) -> StagedSpace:
        """Mixtures run on the first set of weights, a point on its own."""
        other = StagedSpace(space.settings, torch.Generator()).double()
        other.transforms.load_state_dict(space.transforms.state_dict())
        state = space.members.of(space.point(gates.choices())).state_dict()
        other.members.sets[0].load_state_dict(state)
        return other

    def moved(self, space: StagedSpace, gates: Gates) -> set[str]:
        point = space.point(gates.choices())
        place = list(space.members.sets).index(space.members.of(point))
        used = {"biases.0", "biases.1", "intercept"}
        for field in range(2):
            encoding = ENCODINGS[point[field]]
            used |= {f"embeddings.{field}"} if encoding != "history" else set()
            used |= {f"histories.{field}"} if encoding != "id" else set()
        return {f"members.sets.{place}.tables.{name}" for name in used}

    def read(self, genotype: Genotype) -> Design:
        return design_of(genotype, FIELDS[:2])

    def extracted(
        self, space: StagedSpace, gates: Gates, genotype: Genotype, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        design = self.read(genotype)
        draws = torch.Generator().manual_seed(9)
        net = network(design, self.shape(), draws, self.histories()).double()
        member = space.members.of(space.point(gates.choices()))
        with torch.no_grad():
            for name in ("embeddings", "histories", "biases"):
                ours, theirs = getattr(net.tables, name), getattr(member.tables, name)
                for mine, other in zip(ours, theirs, strict=False):
                    if mine.shape[-1]:
                        mine.copy_(other)
            net.tables.intercept.copy_(member.tables.intercept)
            net.readout.copy_(member.readouts[space.point(gates.choices())[3]])
        weights = space.settings.weightings[design.weighting]
        loss = LOSSES[self.loss](net.interaction(), batch, replace(LOSS, weighting=weights))
        return space.interaction(gates).pairs(PAIRS), net(PAIRS), loss


@dataclass(frozen=True)
class CNNCase(SpaceCase):
    name: str

    def space(self, seed: int = 0) -> CNNSpace:
        torch.manual_seed(seed)
        layout = Layout(classes=3, channels=4, cells=3, image_channels=2, stem_multiplier=1)
        return CNNSpace(self.name, layout).double()

    def batch(self, part: str, seed: int = 0) -> ImageBatch:
        draws = torch.Generator().manual_seed(seed + 100 * (part == "valid"))
        images = torch.randn(6, 2, 8, 8, generator=draws, dtype=F64)
        return ImageBatch(images, torch.randint(3, (6,), generator=draws))

    def moved(self, space: CNNSpace, gates: Gates) -> set[str]:
        chosen = gates.choices()

        def runs(name: str) -> bool:
            if ".edges." not in name:
                return True
            _, cell, _, edge, k, *_ = name.split(".")
            return chosen[space.cells[int(cell)].block][int(edge)] == int(k)

        return {name for name, _ in space.named_parameters() if runs(name)}

    def read(self, genotype: Genotype) -> Cells:
        return cells_of(genotype)

    def extracted(
        self, space: CNNSpace, gates: Gates, genotype: Genotype, batch: ImageBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        copied = space.extract(gates)
        layout = replace(space.layout, norm=Normalization(affine=False), normalized_pools=True)
        built = CellNetwork(self.read(genotype), layout).double()
        built.load_state_dict(copied.state_dict())
        logits = built(batch.images)
        assert torch.equal(copied(batch.images), logits)
        loss = nn.functional.cross_entropy(logits, batch.labels)
        return space.logits(batch.images, gates), logits, loss


SHAPE = TextShape(vocabulary=11, hidden=5, nodes=8)
DROPOUTS = Dropouts(word=0.1, embedding=0.2, input=0.3, hidden=0.25, output=0.4)


@dataclass
class Carry:
    value: Tensor | None = None


@dataclass(frozen=True)
class RNNCase(SpaceCase):
    normalized: bool = True
    name: str = "nasp-ptb"

    def space(self, seed: int = 0) -> RNNSpace:
        torch.manual_seed(seed)
        space = RNNSpace(SHAPE, DROPOUTS, self.normalized).double()
        with torch.no_grad():
            for parameter in space.parameters():
                parameter.mul_(6)
        return space

    def batch(self, part: str, seed: int = 0) -> TextBatch:
        """As many steps as a search's windows have."""
        draws = torch.Generator().manual_seed(seed + 100 * (part == "valid"))
        words = torch.randint(11, (36, 6), generator=draws)
        state = torch.randn(6, 5, generator=draws, dtype=F64)
        return TextBatch(words[:-1], words[1:], Carry(), state, seed)

    def moved(self, space: RNNSpace, gates: Gates) -> set[str]:
        """All: every node runs, and its candidates share one matrix."""
        return {name for name, _ in space.named_parameters()}

    def read(self, genotype: Genotype) -> RecurrentCell:
        return recurrent_cell(genotype)

    def extracted(
        self, space: RNNSpace, gates: Gates, genotype: Genotype, batch: TextBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        copied = space.extract(gates)
        cell = self.read(genotype)
        built = LanguageModel(SHAPE, CellRecurrence(SHAPE, cell, self.normalized))
        built.double().load_state_dict(copied.state_dict())
        assert copied.recurrence.cell == cell
        masks = draw_masks(DROPOUTS, SHAPE, 6, space.reference_tensor(), batch.seed)
        window = built(batch.inputs, batch.start, masks)
        space.loss(batch, gates)
        assert isinstance(batch.carry.value, Tensor)
        return batch.carry.value, window.state, cross_entropy(window.logits, batch.targets)

    def carried(self, batch: TextBatch) -> Tensor | None:
        found: Tensor | None = batch.carry.value
        return found


PRESETS = ("sif", "primitives")
CASES: list[SpaceCase] = [
    *(FunctionCase(*c) for c in itertools.product(PRESETS, (True, False), (2, 3))),
    *(FunctionCase(spec, own, fields, loss) for spec in PRESETS
      for own, fields in ((True, 2), (False, 3)) for loss in LOSSES if loss != "squared"),
    *(RichCase(loss) for loss in ("squared", "whole-data", "bpr")),
    RichCase(stages=("operation",)),
    RichCase(stages=("encoding", "embedding")),
    CNNCase("nasp-7op"),
    CNNCase("nasp-12op"),
    RNNCase(),
    RNNCase(normalized=False),
]  # fmt: skip


@cache
def space_names() -> frozenset[str]:
    return frozenset(case.space().name for case in CASES)


@pytest.fixture(params=CASES, ids=lambda c: c.name)
def case(request: pytest.FixtureRequest) -> SpaceCase:
    found: SpaceCase = request.param
    return found


def drops(block: Block) -> bool:
    """Whether a node has more edges than it keeps."""
    return max(map(block.nodes.count, block.nodes)) > block.edges_per_node


def points(space: Space) -> int:
    whole = [b.shape[1] ** b.shape[0] for b in space.blocks if not drops(b)]
    return max([3, *whole])


def selections(space: Space) -> Iterator[Gates]:
    """Random ones; of a block that keeps all of its edges, every combination occurs."""
    draws = torch.Generator().manual_seed(4)
    rows: dict[str, list[tuple[int, ...]]] = {}
    for block in space.blocks:
        edges, operations = block.shape
        if drops(block):
            found = torch.randint(operations, (points(space), edges), generator=draws).tolist()
        else:
            found = list(itertools.product(range(operations), repeat=edges))
            found = [found[i] for i in torch.randperm(len(found), generator=draws)]
        rows[block.name] = list(map(tuple, found))
    for turn in range(points(space)):
        alpha = {}
        for block in space.blocks:
            chosen = torch.tensor(rows[block.name][turn % len(rows[block.name])])[:, None]
            strength = 1 + torch.rand(chosen.shape, generator=draws, dtype=F64)
            alpha[block.name] = torch.zeros(block.shape, dtype=F64).scatter(1, chosen, strength)
        yield project(alpha, space.blocks)


def few(space: Space) -> Iterator[Gates]:
    """The selections; of very many, some."""
    step = 1 if points(space) <= FEW else points(space) // 3
    return itertools.islice(selections(space), 0, None, step)


def numbers(space: Space) -> dict[str, Tensor]:
    """Parameters and buffers, copied."""
    return {name: value.clone() for name, value in space.state_dict().items()}


def changed(space: Space, before: dict[str, Tensor]) -> set[str]:
    after = space.state_dict()
    assert after.keys() == before.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def named(space: Space, parameters: Iterator[nn.Parameter]) -> set[str]:
    wanted = {id(p) for p in parameters}
    return {name for name, p in space.named_parameters() if id(p) in wanted}


def assert_legal(space: Space, gates: Gates) -> None:
    """One of its operations on every kept edge, and as many edges per node as it keeps."""
    selection = gates.choices()
    assert list(selection) == [block.name for block in space.blocks]
    for block in space.blocks:
        active, weights = selection[block.name], gates.weights[block.name]
        kept = [node for node, k in zip(block.nodes, active, strict=True) if k >= 0]
        for node in set(block.nodes):
            assert kept.count(node) == min(block.edges_per_node, block.nodes.count(node))
        assert all(-1 <= k < block.shape[1] for k in active)
        expected = torch.zeros(block.shape, dtype=weights.dtype)
        for edge, k in enumerate(active):
            expected[edge, k] = float(k >= 0)
        assert torch.equal(weights, expected)


def test_the_suite_meets_every_operation_and_keeps_and_drops_edges(case: SpaceCase) -> None:
    space = case.space()
    assert len({block.name for block in space.blocks}) == len(space.blocks)
    for block in space.blocks:
        met = [gates.choices()[block.name] for gates in selections(space)]
        assert {k for active in met for k in active if k >= 0} == set(range(block.shape[1]))
        assert any(-1 in active for active in met) == drops(block)
    for gates in selections(space):
        assert_legal(space, gates)


def test_architecture_and_weights_are_disjoint_and_complete(case: SpaceCase) -> None:
    space = case.space()
    for _ in range(2):
        weights = [id(p) for p in space.weight_parameters()]
        arch = [id(p) for p in space.arch_parameters()]
        assert len({*weights, *arch}) == len(weights) + len(arch)
        trained = {id(p) for p in space.parameters() if p.requires_grad}
        assert {*weights, *arch} == trained
        space.float()  # and a space that was moved knows its own parameters


def test_a_space_computes_where_its_module_is(case: SpaceCase) -> None:
    space = case.space()
    assert (space.reference_tensor().dtype, space.reference_tensor().device.type) == (F64, "cpu")
    gates, batch = next(selections(space)), case.batch("valid")
    assert space.loss(batch, gates).dtype == space.regularizer(gates).dtype == F64
    space.float()
    assert space.reference_tensor().dtype == torch.float32
    space.to("meta")
    assert space.reference_tensor().device.type == "meta"


def full_gradient(
    case: SpaceCase, space: Space, batch: Any, gates: Gates
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """By autograd through every operation of every edge: of the gates, of what is continuous."""
    relaxed = case.relaxed(space, gates)
    leaves = {n: w.to(F64, copy=True).requires_grad_() for n, w in gates.weights.items()}
    wanted = [*leaves.values(), *relaxed.arch_parameters()]
    loss = relaxed.loss(batch, Gates(leaves, None))
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=False)), list(found[len(leaves) :])


def test_probes_equal_full_autograd(case: SpaceCase) -> None:
    space, heard = case.space(), set()
    for turn, gates in enumerate(few(space)):
        found = gate_gradient(space, case.batch("valid", turn), gates)
        expected, arch = full_gradient(case, space, case.batch("valid", turn), gates)
        assert list(found.gates) == [block.name for block in space.blocks]
        for name, slopes in expected.items():
            dropped = [e for e, k in enumerate(gates.choices()[name]) if k < 0]
            assert slopes[dropped].all()
            heard |= {name} if slopes.any() else set()  # max may pass over a field
            torch.testing.assert_close(found.gates[name], slopes, rtol=1e-8, atol=1e-11)
        for ours, theirs in zip(found.arch, arch, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)
        loss = space.loss(case.batch("valid", turn), gates)
        torch.testing.assert_close(found.loss, loss, rtol=1e-12, atol=0)
    assert heard == {block.name for block in space.blocks}


def test_one_hot_relaxed_gates_are_the_discrete_point(case: SpaceCase) -> None:
    space = case.space()
    for gates in few(space):
        relaxed = Gates({n: w.to(F64) for n, w in gates.weights.items()}, None)
        with torch.no_grad():
            discrete = space.loss(case.batch("valid"), gates)
            mixed = case.relaxed(space, gates).loss(case.batch("valid"), relaxed)
        torch.testing.assert_close(discrete, mixed, rtol=1e-10, atol=0)


def test_an_architecture_step_computes_no_gradient_of_the_weights(case: SpaceCase) -> None:
    space, asked = case.space(), []
    for parameter in space.weight_parameters():
        parameter.register_hook(lambda grad: asked.append(grad.shape))
    for gates in few(space):
        gate_gradient(space, case.batch("valid"), gates)
    assert asked == []
    assert all(p.grad is None for p in space.parameters())


def test_a_weight_step_touches_the_chosen_weights_alone(case: SpaceCase) -> None:
    space = case.space()
    # Momentum and decay would move whatever has a gradient, even of zeros.
    optimizer = torch.optim.Adam(space.weight_parameters(), lr=0.01, weight_decay=0.1)
    for turn, gates in enumerate(selections(space)):
        space.loss(case.batch("valid"), gates)  # some spaces make a place for a new combination
        before = {n: p.detach().clone() for n, p in space.named_parameters()}
        loss = weight_step(space, case.batch("train", turn), gates, optimizer, 5.0)
        assert loss.isfinite() and not loss.requires_grad
        expected = case.moved(space, gates)
        after = dict(space.named_parameters())
        assert {n for n, p in after.items() if p.grad is not None} == expected
        assert {n for n, p in after.items() if not torch.equal(p, before[n])} == expected


def test_probes_leave_no_trace(case: SpaceCase) -> None:
    space = case.space()
    for gates in few(space):
        plain, probed = case.batch("valid"), case.batch("valid")
        with torch.no_grad():
            loss = space.loss(plain, gates)
        before, random = numbers(space), torch.get_rng_state()
        gate_gradient(space, probed, gates)
        assert changed(space, before) == set()
        assert torch.equal(torch.get_rng_state(), random)
        ours, theirs = case.carried(probed), case.carried(plain)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
            assert not ours.requires_grad
        with torch.no_grad():
            assert torch.equal(space.loss(plain, gates), loss)


def test_a_loss_depends_on_batch_and_gates_alone(case: SpaceCase) -> None:
    space, batch = case.space(), case.batch("train")
    first, *others = itertools.islice(selections(space), 3)
    with torch.no_grad():
        loss = space.loss(batch, first)
        random = torch.get_rng_state()
        for other in others:
            assert not torch.equal(space.loss(case.batch("train"), other), loss)
        assert not torch.equal(space.loss(case.batch("valid"), first), loss)
        assert torch.equal(torch.get_rng_state(), random)
        torch.manual_seed(17)
        assert torch.equal(space.loss(batch, first), loss)
        assert torch.equal(space.loss(case.batch("train"), first), loss)


def test_a_loss_changes_nothing(case: SpaceCase) -> None:
    space = case.space()
    for gates in few(space):
        space.loss(case.batch("train"), gates)  # some spaces make a place for a new combination
        before = numbers(space)
        space.loss(case.batch("train"), gates).backward()
        space.regularizer(gates)
        assert changed(space, before) == set()


def test_supernet_under_gates_is_the_network_of_the_genotype(case: SpaceCase) -> None:
    space = case.space()
    for turn, gates in enumerate(selections(space)):
        genotype = from_json(space.genotype(gates).to_json())
        for part in ("train", "valid"):
            ours, theirs, loss = case.extracted(space, gates, genotype, case.batch(part, turn))
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
            found = space.loss(case.batch(part, turn), gates)
            torch.testing.assert_close(found, loss, rtol=1e-10, atol=1e-12)


def test_a_genotype_names_what_was_chosen_and_comes_back_from_json(case: SpaceCase) -> None:
    space, told = case.space(), {}
    for gates in selections(space):
        genotype = space.genotype(gates)
        assert genotype.space == space.name
        for block in space.blocks:
            kept = [(e, k) for e, k in enumerate(gates.choices()[block.name]) if k >= 0]
            assert genotype.blocks[block.name] == tuple((e, block.operations[k]) for e, k in kept)
        again = from_json(genotype.to_json())
        assert again == genotype
        text = space.expression(again)
        assert text.strip() and len(text.splitlines()) == 1
        assert text == space.expression(genotype)
        told[text] = genotype.blocks
    assert len(told) == len({tuple(sorted(blocks.items())) for blocks in told.values()})


def test_genotypes_of_other_spaces_are_refused(case: SpaceCase) -> None:
    space = case.space()
    genotype = space.genotype(next(selections(space)))
    case.read(genotype)
    foreign = space_names() - {space.name}
    assert len(foreign) == 5
    for name in (*foreign, "unheard"):
        with pytest.raises(GenotypeError) as e:
            case.read(replace(genotype, space=name))
        assert "\n" not in str(e.value)


def test_state_dict_brings_every_weight_back(case: SpaceCase) -> None:
    space, other = case.space(), case.space(seed=5)
    for one, gates in ((space, few(space)), (other, reversed(list(few(other))))):
        optimizer = torch.optim.SGD(one.weight_parameters(), 0.01)
        for turn, at in enumerate(gates):
            weight_step(one, case.batch("train", turn), at, optimizer, 1.0)
    different = numbers(space)
    assert changed(other, different)
    other.load_state_dict(copy.deepcopy(space.state_dict()))
    assert changed(other, different) == set()
    with torch.no_grad():
        for gates in selections(space):
            ours, theirs = (s.loss(case.batch("valid"), gates) for s in (space, other))
            assert torch.equal(ours, theirs)
            assert space.genotype(gates) == other.genotype(gates)


def test_search_steps_of_the_core_take_every_space(case: SpaceCase) -> None:
    space = case.space()
    settings = NaspSettings(
        explore=0.5, arch_optimizer="plain", arch_lr=0.1, complexity_penalty=1e-3
    )
    method = Nasp(space, settings, Plan(4, 2, continuous_lr=0.01), torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(space.weight_parameters(), 0.05, momentum=0.9)
    arch, moved = named(space, space.arch_parameters()), set()
    for step in range(4):
        gates = method.weight_gates(step)
        assert_legal(space, gates)
        assert weight_step(space, case.batch("train", step), gates, optimizer, 5.0).isfinite()
        space.loss(case.batch("valid"), method.best_gates())
        alpha, before = method.alpha(), numbers(space)
        for parameter in space.weight_parameters():
            parameter.grad = None
        report = method.arch_step(space, case.batch("train", step), case.batch("valid", step))
        # Alphas are the method's; of the space only what is continuous moves.
        assert changed(space, before) <= arch
        assert all(p.grad is None for p in space.parameters())
        moved |= {name for name, a in method.alpha().items() if not torch.equal(a, alpha[name])}
        further = {"replacement_loss"} if isinstance(space, ReplacementScored) else set()
        expected = {"gradient"} | further
        assert report.scores.keys() == expected
        for block in space.blocks:
            assert all(score[block.name].shape == block.shape for score in report.scores.values())
        assert_legal(space, method.best_gates())
    assert moved == {block.name for block in space.blocks}
    assert from_json(space.genotype(method.best_gates()).to_json()).space == space.name
