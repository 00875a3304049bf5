"""Gates for weight steps, round-robin or exploring, and the candidates that are probed.

Architecture steps, validation and export use only `sif.core.proximal.project` of alpha itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sif.core.gates import Alpha, Block, Gates
from sif.core.proximal import first_max, project


def epsilon_greedy_gates(
    alpha: Mapping[str, Tensor],
    blocks: Sequence[Block],
    epsilon: float,
    generator: torch.Generator,
) -> Gates:
    """Gates for one weight step: as they are, or with probability epsilon all edges drawn afresh.

    Without this, an operation's weights train only while it is the argmax. A step that explores
    draws every edge, so that the other steps train exactly the selection. Of the blocks
    with `own_weights`, one switch in all is made with probability epsilon.

    Args:
        alpha: Block name to (n_edges, n_ops) in [0, 1]: alphas, or the gate weights of a selection.
        blocks: The space's blocks.
        epsilon: Probability of a draw, per step.
        generator: On the CPU.
    """
    drawn: Alpha = {}
    redraw: Tensor | None = None
    for block in blocks:
        if not block.weighted or block.own_weights:
            drawn[block.name] = alpha[block.name]
            continue
        noise = 2 * torch.rand(block.shape, generator=generator, dtype=torch.float64)
        if redraw is None:
            redraw = torch.rand((), generator=generator) < epsilon
        drawn[block.name] = torch.where(redraw, noise, alpha[block.name].double())
    if switches := _switches(drawn, blocks):
        chance = float(torch.rand((), generator=generator)) / max(epsilon, 1e-12)
        drawn = _switched(drawn, switches, int(chance * len(switches)))
    return project(drawn, blocks)


def round_robin_gates(
    alpha: Mapping[str, Tensor],
    blocks: Sequence[Block],
    step: int,
    generator: torch.Generator,
    worth: Mapping[str, Tensor] | None = None,
) -> Gates:
    """Warm-up gates that train all operations of every edge equally often (kept edges at random).

    Each edge runs through its operations in a random order that changes every round of n_ops
    steps; nothing but `step` and the generator's seed is remembered. Blocks with `own_weights` run
    through the selection and everything one switch away from it; what has fallen to 0 in `worth`,
    the continuous alphas (n_edges, n_ops), has lost its turn.
    """
    drawn: Alpha = {}
    for place, block in enumerate(blocks):
        if not block.weighted or block.own_weights:
            drawn[block.name] = alpha[block.name]
            continue
        n_edges, n_ops = block.shape
        stream = _round_stream(generator, 7919 * place + 104729 * (step // n_ops))
        order = torch.rand(n_edges, n_ops, generator=stream).argsort(dim=1)
        strength = torch.rand(n_edges, 1, generator=generator, dtype=torch.float64)
        chosen = order[:, step % n_ops, None] == torch.arange(n_ops)
        drawn[block.name] = torch.where(chosen, strength, -1.0)
    switches = _switches(drawn, blocks)
    if worth is not None:
        switches = [(name, e, k) for name, e, k in switches if worth[name][e, k] > 0]
    if switches:
        points = len(switches) + 1
        stream = _round_stream(generator, 1 + 104729 * (step // points))
        turns = torch.randperm(points, generator=stream)
        drawn = _switched(drawn, switches, int(turns[step % points]))
    return project(drawn, blocks)


def probe_factors(alpha: Mapping[str, Tensor], chance: float, generator: torch.Generator) -> Alpha:
    """The candidates that an architecture step probes, as `sif.core.gates.Probing.factors`.

    The two best of each edge always; the others with a chance, which counts them the more.

    Args:
        alpha: Block name to (n_edges, n_ops).
        chance: Above 0, at most 1.
        generator: On the CPU.
    """
    factors: Alpha = {}
    for name, table in alpha.items():
        drawn = torch.rand(table.shape, generator=generator) < chance
        factor = drawn.to(table.dtype) / chance
        best = table.topk(min(2, table.shape[1]), dim=1).indices
        factors[name] = factor.scatter(1, best, 1.0)
    return factors


def _round_stream(generator: torch.Generator, number: int) -> torch.Generator:
    return torch.Generator().manual_seed((generator.initial_seed() + number) % 2**63)


_Switch = tuple[str, int, int]


def _switches(alpha: Mapping[str, Tensor], blocks: Sequence[Block]) -> list[_Switch]:
    """(block, edge, operation) of everything one switch away, of blocks with own weights."""
    return [
        (block.name, edge, k)
        for block in blocks
        if block.own_weights
        for edge, chosen in enumerate(first_max(alpha[block.name])[1].tolist())
        for k in range(block.shape[1])
        if k != chosen
    ]


def _switched(alpha: Alpha, switches: Sequence[_Switch], number: int) -> Alpha:
    """The alphas after one switch; unchanged for a number beyond the last."""
    if number >= len(switches):
        return alpha
    name, edge, operation = switches[number]
    table = alpha[name].clone()
    table[edge, operation] = table[edge].max() + 1.0
    return {**alpha, name: table}
