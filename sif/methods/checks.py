"""Whether the gates that a method gives are legal: cheap enough for every weight step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sif.errors import ConfigError
from sif.prox import Block, Gates


def check_gates(gates: Gates, blocks: Sequence[Block], method: Any) -> None:
    """Raises ConfigError, one line that names the method, for gates that are none of the blocks'.

    Discrete gates have one operation on every kept edge, as many edges per node as the block keeps,
    and weights of exactly 0 or 1 that say the same. Relaxed ones are finite numbers of the shape.
    """
    for block in blocks:
        fault = _fault(gates, block)
        if fault is not None:
            raise ConfigError(f"method {type(method).__name__}: block {block.name!r}: {fault}")


def _fault(gates: Gates, block: Block) -> str | None:
    weights = gates.weights.get(block.name)
    found = "nothing" if weights is None else f"shape {tuple(weights.shape)}"
    if weights is None or tuple(weights.shape) != block.shape:
        return f"expected weights of shape {block.shape}, found {found}"
    if gates.active is None:
        return None if bool(weights.isfinite().all()) else "expected finite weights"
    active = gates.active.get(block.name)
    if active is None or len(active) != len(block.nodes):
        found = "none" if active is None else str(len(active))
        return f"expected an operation for each of {len(block.nodes)} edges, found {found}"
    return _active_fault(active, block) or _weights_fault(weights, active)


def _active_fault(active: Sequence[int], block: Block) -> str | None:
    operations = len(block.operations)
    kept: dict[int, int] = {}
    for node, operation in zip(block.nodes, active, strict=True):
        if not -1 <= operation < operations:
            return f"expected operations from 0 to {operations - 1}, found {operation}"
        kept[node] = kept.get(node, 0) + (operation >= 0)
    for node, count in kept.items():
        expected = min(block.keep, block.nodes.count(node))
        if count != expected:
            return f"expected {expected} kept edges into node {node}, found {count}"
    return None


def _weights_fault(weights: Tensor, active: Sequence[int]) -> str | None:
    rows = weights.tolist()
    for edge, (row, chosen) in enumerate(zip(rows, active, strict=True)):
        if any(value != float(k == chosen) for k, value in enumerate(row)):
            told = "no operation" if chosen < 0 else f"operation {chosen} alone"
            return f"expected {told} on edge {edge}, found weights {row}"
    return None
