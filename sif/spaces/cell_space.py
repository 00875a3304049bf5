"""The common part of supernets of cells, whose architecture is all discrete."""

from __future__ import annotations

from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype


class CellSpace(nn.Module):
    """Supernets of cells share this part of `sif.core.space.Space`."""

    name: str
    blocks: tuple[Block, ...]

    def reference_tensor(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        return next(self.parameters())

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters."""
        return list(self.parameters())

    def arch_parameters(self) -> list[nn.Parameter]:
        """None: everything that is searched is discrete."""
        return []

    def regularizer(self, gates: Gates) -> Tensor:
        """Zero: weight decay is the optimizer's, which leaves operations at rest alone."""
        return self.reference_tensor().new_zeros(())

    def genotype(self, gates: Gates) -> Genotype:
        """The kept edges of every cell with their operations."""
        return Genotype(self.name, gates.choices().named(self.blocks))
