"""The record of a search: its history, and diagnostics that tell it from a coin toss.

Diagnostics count flips, ties, margins, and how often each operation was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Block, Gates, Selection
from sif.core.method import ArchReport, Method


@dataclass
class Diagnostics:
    """Counts that show how certain the search was.

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

    def compare(self, before: Selection, method: Method, blocks: Sequence[Block]) -> None:
        """Compares the selection before an architecture step with that after it."""
        self.arch_steps += 1
        if before != method.best_gates().choices():
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
            if len(best) > block.edges_per_node:
                last, out = best[block.edges_per_node - 1 : block.edges_per_node + 1]
                gaps.append((last - out)[None])
        result[block.name] = torch.cat(gaps)
    return result


def epoch_entry(
    losses: Sequence[Tensor],
    trained: Sequence[Selection | None],
    reports: Sequence[ArchReport],
    alpha: Mapping[str, Tensor],
    selection: Selection,
) -> dict[str, Any]:
    """An epoch's entry: losses of its steps, alpha and the selection at its end.

    Args:
        losses: Of the weight steps.
        trained: The selection of each of these steps; None for relaxed gates.
        reports: Of the architecture steps.
        alpha: Block name to (n_edges, n_ops).
        selection: At the end of the epoch.

    Returns:
        "loss" and "valid_loss", means, the latter None without architecture steps;
        "selected_loss", the mean over the steps of `selection`, None without one: operations that
        are new on trial have losses up to a thousand times as high; "alpha" and "selection" as
        lists; "scores": kind of score to block to rows, means over the steps.
    """
    valid = [report.loss for report in reports]
    selected = [loss for loss, one in zip(losses, trained, strict=True) if one == selection]
    scores = {
        kind: {
            name: torch.stack([r.scores[kind][name] for r in reports]).mean(0).tolist()
            for name in reports[0].scores[kind]
        }
        for kind in (reports[0].scores if reports else ())
    }
    return {
        "loss": float(torch.stack(list(losses)).mean()),
        "selected_loss": float(torch.stack(selected).mean()) if selected else None,
        "valid_loss": sum(valid) / len(valid) if valid else None,
        "alpha": rows_of(alpha),
        "selection": selection.to_lists(),
        "scores": scores,
        "judged": {},
    }


def shared_entries(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries before a finish; all of a search without one, of a sampler's too."""
    own = [entry for entry in history if "candidate" not in entry]
    return own or list(history)


def rows_of(tables: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tables as nested lists."""
    return {name: table.tolist() for name, table in tables.items()}


def numbers(entry: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, float]:
    """Scalars of a history entry under flat names."""
    names = ("loss", "selected_loss", "valid_loss", "seconds")
    values = {name: entry[name] for name in names if entry[name] is not None}
    values |= entry["judged"]
    for block in blocks:
        rows = entry["alpha"][block.name]
        for edge, row in enumerate(rows):
            where = block.name if len(rows) == 1 else f"{block.name}.{edge}"
            for name, value in zip(block.operations, row, strict=True):
                values[f"alpha.{where}.{_plain(name)}"] = value
            for kind, tables in entry["scores"].items():
                for name, value in zip(block.operations, tables[block.name][edge], strict=True):
                    values[f"{kind}.{where}.{_plain(name)}"] = value
    return values


def _plain(name: str) -> str:
    """An operation's name in characters that every store takes."""
    signed = "pos_" + name[1:] if name.startswith("+") else name
    return signed.replace("+", "_and_").replace("~", "sgn_")
