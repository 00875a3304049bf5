"""Tables whose rows several processes train apart, each some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.utils.ranks import sharing


@dataclass(frozen=True, eq=False)
class RowsApart:
    """The rows that this process trains; of the others it knows what it last gathered.

    Attributes:
        tables: Parameters with these rows.
        owned: (n,) bool, the rows of this process; of all processes they are each row once.
    """

    tables: Sequence[Tensor]
    owned: Tensor

    def shared(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """The parameters that all processes train together."""
        apart = {id(table) for table in self.tables}
        return [one for one in parameters if id(one) not in apart]

    @torch.no_grad()
    def gather(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Gives all processes the rows of all.

        Args:
            optimizer: Whose moments and counts of these rows are gathered as well.
        """
        for table in self.tables:
            states = optimizer.state.get(table, {}).values() if optimizer else ()
            for tensor in (table, *states):
                if tensor.ndim and len(tensor) == len(self.owned) and tensor.numel():
                    tensor[~self.owned] = 0
                    sharing().add(tensor)
