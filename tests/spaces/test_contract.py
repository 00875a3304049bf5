"""Every space of this package keeps what `sif.testing` says that spaces promise.

A new space joins by one case in `CASES`; what is particular to it has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.space import Batch
from sif.spaces.cnn.cells import Cells
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.spaces.cnn.operations import Normalization
from sif.spaces.cnn.supernet import CNNSpace, ImageBatch, cells_of
from sif.spaces.histories.catalog_loss import NONE, CatalogLoss
from sif.spaces.histories.cell_supernet import CellHistorySpace
from sif.spaces.histories.models import HistoryBatch, history_model
from sif.spaces.histories.scales import ScalesDesign, scales_design
from sif.spaces.histories.scales_supernet import ScalesSpace
from sif.spaces.interaction.design import SPECS
from sif.spaces.interaction.encoders import ENCODINGS
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.spaces.interaction.space_kind import SpaceContext
from sif.spaces.interaction.staged_supernet import STAGES, StagedSpace
from sif.spaces.interaction.supernet import FunctionSpace
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import TextShape, draw_masks
from sif.spaces.rnn.gated_cells import GatedCell
from sif.spaces.rnn.gated_networks import GatedRecurrence
from sif.spaces.rnn.gated_supernet import GatedSpace, gated_cell
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel, cross_entropy
from sif.spaces.rnn.supernet import RNNSpace, TextBatch, recurrent_cell
from sif.testing import SPACE_CHECKS, ContractError, InteractionCase, SpaceCase, check_space
from sif.testing.spaces import FOREIGN, scatter

F64 = torch.float64


def functions(space: str, own: bool, fields: int, loss: str = "squared") -> InteractionCase:
    name = f"{space}-{'own' if own else 'shared'}-{fields}-{loss}"
    return InteractionCase(space, loss, fields, own, name=name)


def staged(loss: str = "squared", stages: tuple[str, ...] = STAGES) -> StagedCase:
    told = "all" if stages == STAGES else "+".join(stages)
    name = f"staged-{told}-{loss}"
    return StagedCase("staged", loss, stages=stages, name=name, described="features" in stages)


@dataclass(frozen=True)
class StagedCase(InteractionCase):
    def relaxed(self, space: StagedSpace, gates: Gates) -> StagedSpace:
        """Mixtures run on the first set of weights, a point on its own."""
        other = StagedSpace(replace(space.context, draws=torch.Generator())).double()
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
            is_added = space.chosen("features", point) == "added"
            used |= {f"features.{field}"} if is_added else set()
        return {f"members.sets.{place}.tables.{name}" for name in used}


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
DROPOUT = {"word": 0.1, "embedding": 0.2, "input": 0.3, "hidden": 0.25, "output": 0.4}


@dataclass
class Carry:
    value: Tensor | None = None


@dataclass(frozen=True)
class RNNCase(SpaceCase):
    normalized: bool = True
    name: str = "nasp-ptb"

    def space(self, seed: int = 0) -> RNNSpace:
        torch.manual_seed(seed)
        space = RNNSpace(SHAPE, DROPOUT, self.normalized).double()
        with torch.no_grad():
            for parameter in space.parameters():
                parameter.mul_(6)
        return space

    def batch(self, part: str, seed: int = 0) -> TextBatch:
        """A batch with as many steps as a search's windows have."""
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
        masks = draw_masks(DROPOUT, SHAPE, 6, space.reference_tensor(), batch.seed)
        window = built(batch.inputs, batch.start, masks)
        space.loss(batch, gates)
        assert isinstance(batch.carry.value, Tensor)
        return batch.carry.value, window.state, cross_entropy(window.logits, batch.targets)

    def carried(self, batch: TextBatch) -> Tensor | None:
        found: Tensor | None = batch.carry.value
        return found


@dataclass(frozen=True)
class GatedCase(RNNCase):
    """Gated cells on the same windows."""

    name: str = "gated"

    def space(self, seed: int = 0) -> GatedSpace:
        torch.manual_seed(seed)
        space = GatedSpace(SHAPE, DROPOUT).double()
        with torch.no_grad():
            space.model.embedding.weight.mul_(6)
        return space

    def batch(self, part: str, seed: int = 0) -> TextBatch:
        draws = torch.Generator().manual_seed(seed + 100 * (part == "valid"))
        words = torch.randint(11, (8, 6), generator=draws)
        state = torch.randn(2, 6, 5, generator=draws, dtype=F64)
        return TextBatch(words[:-1], words[1:], Carry(), state, seed)

    def moved(self, space: GatedSpace, gates: Gates) -> set[str]:
        """Weights of the products that the cell has."""
        cell, own = space.cell(gates), {"model.embedding.weight", "model.bias"}
        for name in cell.products:
            own |= {f"model.recurrence.{kind}.{name}" for kind in ("matrices", "biases")}
        return own | ({"model.recurrence.inner"} if cell.inner_bias else set())

    def read(self, genotype: Genotype) -> GatedCell:
        return gated_cell(genotype)

    def extracted(
        self, space: GatedSpace, gates: Gates, genotype: Genotype, batch: TextBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        copied = space.extract(gates)
        built = LanguageModel(SHAPE, GatedRecurrence(SHAPE, self.read(genotype))).double()
        built.load_state_dict(copied.state_dict())
        masks = draw_masks(DROPOUT, SHAPE, 6, space.reference_tensor(), batch.seed)
        window = built(batch.inputs, batch.start, masks)
        space.loss(batch, gates)
        assert isinstance(batch.carry.value, Tensor)
        return batch.carry.value, window.state, cross_entropy(window.logits, batch.targets)


@dataclass(frozen=True)
class HistoryCase(RNNCase):
    """The cells of `RNNCase` on padded histories of users."""

    normalized: bool = False
    samples: int | None = None

    def by(self) -> CatalogLoss:
        return CatalogLoss(torch.full((11,), 1 / 11, dtype=F64), self.samples)

    def space(self, seed: int = 0) -> CellHistorySpace:
        torch.manual_seed(seed)
        space = CellHistorySpace(SHAPE, DROPOUT, self.by()).double()
        with torch.no_grad():
            space.model.embedding.weight.mul_(6)
        return space

    def batch(self, part: str, seed: int = 0) -> HistoryBatch:
        draws = torch.Generator().manual_seed(seed + 100 * (part == "valid"))
        items = torch.randint(11, (9, 6), generator=draws)
        ends = torch.randint(2, 10, (6,), generator=draws)
        return HistoryBatch.of(items.masked_fill(torch.arange(9)[:, None] >= ends, NONE), seed)

    def extracted(
        self, space: CellHistorySpace, gates: Gates, genotype: Genotype, batch: HistoryBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        copied = space.extract(gates)
        built = history_model(SHAPE, self.read(genotype)).double()
        built.load_state_dict(copied.state_dict())
        outputs, states = copied(batch.inputs), built(batch.inputs)
        return outputs, states, built.loss(batch, DROPOUT, self.by())

    def carried(self, batch: HistoryBatch) -> Tensor | None:
        return None


@dataclass(frozen=True)
class ScalesCase(HistoryCase):
    """Decayed sums on the same histories."""

    loss: Literal["softmax", "squared"] = "softmax"
    name: str = "scales"

    def by(self) -> CatalogLoss:
        chances = torch.full((11,), 1 / 11, dtype=F64)
        return CatalogLoss(chances, self.samples, self.loss, self.samples)

    def space(self, seed: int = 0) -> ScalesSpace:
        torch.manual_seed(seed)
        space = ScalesSpace(SHAPE, DROPOUT, self.by()).double()
        scatter(space)
        return space

    def read(self, genotype: Genotype) -> ScalesDesign:
        return scales_design(genotype)

    def moved(self, space: ScalesSpace, gates: Gates) -> set[str]:
        """Tables of the chosen scales, and the readout of the outer operation."""
        chosen = self.read(space.genotype(gates))
        own = {f"model.reader.tables.{name}" for name in chosen.decays}
        return own | {"model.embedding.weight", "model.bias", f"readouts.{chosen.outer}"}

    def extracted(
        self, space: ScalesSpace, gates: Gates, genotype: Genotype, batch: HistoryBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        copied = space.extract(gates)
        built = history_model(SHAPE, self.read(genotype)).double()
        built.load_state_dict(copied.state_dict())
        ours, theirs = (model.scores(model.last_states(batch.inputs)) for model in (copied, built))
        return ours, theirs, built.loss(batch, DROPOUT, self.by())


PRESETS = ("sif", "primitives")
CASES: list[SpaceCase] = [
    *(functions(space, own, fields) for space in PRESETS for own in (True, False)
      for fields in (2, 3)),
    *(functions(space, own, fields, loss) for space in PRESETS
      for own, fields in ((True, 2), (False, 3)) for loss in LOSSES if loss != "squared"),
    *(staged(loss) for loss in ("squared", "whole-data", "bpr")),
    staged(stages=("operation",)),
    staged(stages=("encoding", "embedding")),
    staged(stages=("encoding", "operation", "features")),
    staged("whole-data", ("embedding", "features")),
    CNNCase("nasp-7op"),
    CNNCase("nasp-12op"),
    RNNCase(),
    RNNCase(normalized=False),
    GatedCase(),
    HistoryCase(),
    HistoryCase(samples=4),
    ScalesCase(),
    ScalesCase(samples=4),
    ScalesCase(loss="squared"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
def test_a_space_keeps_its_promises(check: Callable[[SpaceCase], None], case: SpaceCase) -> None:
    check(case)


def test_genotypes_of_all_spaces_are_foreign_to_each_other() -> None:
    assert {case.space().name for case in CASES} | {"unheard"} == set(FOREIGN)


class Shared(FunctionSpace):
    """Every weight step moves all tables a little."""

    def regularizer(self, gates: Gates) -> Tensor:
        return super().regularizer(gates) + sum(t.squared_norm(self.context.strengths) for t in
                                                self.tables)  # fmt: skip


class Unprobed(FunctionSpace):
    """Gates get no gradient."""

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        weights = {name: w.detach() for name, w in gates.weights.items()}
        return super().loss(batch, Gates(weights, gates.active))


class Misnamed(FunctionSpace):
    """Writes another operation than it searched."""

    def genotype(self, gates: Gates) -> Genotype:
        found = super().genotype(gates)
        return replace(found, blocks={**found.blocks, "operation": ((0, "max"),)})


class Counting(FunctionSpace):
    """A loss counts how often it was asked."""

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        with torch.no_grad():
            self.readouts[0] += 1
        return super().loss(batch, gates)


@pytest.mark.parametrize(
    ("broken", "told"),
    [(Shared, "a gradient of .* after a weight step"), (Unprobed, "a gradient of every block"),
     (Misnamed, "the network of max.* to be the supernet"), (Counting, "the probed gradient")],
)  # fmt: skip
def test_the_suite_finds_what_is_broken(broken: type[FunctionSpace], told: str) -> None:
    kind = SPACES["primitives"]

    def make(context: SpaceContext) -> FunctionSpace:
        return broken(SPECS["primitives"], context)

    with pytest.raises(ContractError, match=told) as e:
        check_space(InteractionCase(replace(kind, make=make)))
    assert "\n" not in str(e.value)
