"""What tells a decided search from a coin toss: flips, ties, margins, what trained how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.method import Method


@dataclass
class Diagnostics:
    """What tells how sure the search was.

    Attributes:
        arch_steps: Architecture steps taken.
        flips: Steps after which the selection had changed.
        ties: Steps after which equal alphas left a choice to their order.
        last_flip: Number of the last step with a flip.
        trained: Block name to (n_edges, n_ops) weight steps in which each operation took part.
    """

    arch_steps: int = 0
    flips: int = 0
    ties: int = 0
    last_flip: int = 0
    trained: dict[str, Tensor] = field(default_factory=dict)

    def count(self, gates: Gates) -> None:
        """Counts the operations of a weight step."""
        for name, weights in gates.weights.items():
            trained = self.trained.setdefault(name, torch.zeros(weights.shape, dtype=torch.int64))
            trained += weights.detach().cpu() != 0

    def compare(self, before: Gates, method: Method, blocks: Sequence[Block]) -> None:
        """Compares the selection before an architecture step with that after it."""
        self.arch_steps += 1
        if before.selection() != method.selection().selection():
            self.flips += 1
            self.last_flip = self.arch_steps
        self.ties += any(bool((m == 0).any()) for m in margins(method.alpha(), blocks).values())

    def summary(self, method: Method, blocks: Sequence[Block]) -> dict[str, float]:
        """Numbers for metrics.json."""
        smallest = min(float(m.min()) for m in margins(method.alpha(), blocks).values())
        steps = max(self.arch_steps, 1)
        return {
            "arch_steps": self.arch_steps,
            "flips": self.flips,
            "ties": self.ties,
            "margin": smallest,
            "stability": 1 - self.last_flip / steps,
        }


def margins(alpha: Mapping[str, Tensor], blocks: Sequence[Block]) -> dict[str, Tensor]:
    """Distances that decide a selection, each of the last chosen from the first left out.

    Args:
        alpha: Block name to (n_edges, n_ops).
        blocks: The space's blocks.

    Returns:
        Block name to (n_edges + nodes with edges left out,): of every edge's operations, then of
        every node's edges by their best operation.
    """
    result = {}
    for block in blocks:
        table = alpha[block.name]
        top = table.topk(min(2, table.shape[1]), dim=1).values
        gaps = [top[:, 0] - top[:, -1]]
        nodes = torch.tensor(block.nodes)
        for node in nodes.unique():
            best = top[nodes == node, 0].sort(descending=True).values
            if len(best) > block.keep:
                gaps.append(best[block.keep - 1 : block.keep] - best[block.keep])
        result[block.name] = torch.cat(gaps)
    return result
