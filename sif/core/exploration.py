"""Random gates for weight steps, in turn or with exploration, and random candidates for probes.

They decide only what trains and what is probed. Architecture steps, validation and export use
`sif.core.proximal.project` of alpha, which draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from sif.core.gates import Alpha, Block, Gates
from sif.core.proximal import first_max, project

_BLOCK_STRIDE, _ROUND_STRIDE = 7919, 104729
"""Primes: they keep the seeds of different blocks and rounds apart."""


def epsilon_greedy_gates(
    weights: Mapping[str, Tensor], blocks: Sequence[Block], epsilon: float, generator: Generator
) -> Gates:
    """Gates of one weight step: the selection, or with probability epsilon a random one.

    Without exploration an operation trains only while it is selected. A step that explores draws
    every edge of the `weighted` blocks. Where combinations have `own_weights`, it switches one edge
    of all these blocks to another operation.

    Args:
        weights: Block name to (n_edges, n_ops): gate weights of the selection, or alpha; the
            largest of a row is selected.
        blocks: The space's blocks.
        epsilon: Probability that the step explores.
        generator: On the CPU.
    """
    drawn: Alpha = {}
    explores: Tensor | None = None
    for block in blocks:
        if not block.weighted or block.own_weights:
            drawn[block.name] = weights[block.name]
            continue
        noise = 2 * torch.rand(block.shape, generator=generator, dtype=torch.float64)
        if explores is None:  # one decision for all blocks
            explores = torch.rand((), generator=generator) < epsilon
        drawn[block.name] = torch.where(explores, noise, weights[block.name].double())
    if switches := _switches(drawn, blocks):
        # Below 1 with probability epsilon, and then uniform in [0, 1): it picks the switch. From 1
        # on it picks a number beyond the last switch, so nothing is switched.
        uniform = float(torch.rand((), generator=generator)) / max(epsilon, 1e-12)
        drawn = _switched(drawn, switches, int(uniform * len(switches)))
    return project(drawn, blocks)


def round_robin_gates(
    weights: Mapping[str, Tensor],
    blocks: Sequence[Block],
    step: int,
    generator: Generator,
    alpha: Mapping[str, Tensor] | None = None,
) -> Gates:
    """Gates of one warm-up step, which train all operations of every edge equally often.

    Each edge runs through its operations in a random order, which changes every round of n_ops
    steps; where a node keeps few of its edges, they are drawn. Where combinations have
    `own_weights`, a round visits the selection and every combination one switch away from it. The
    order depends on `step` and the generator's seed alone, so a resumed search continues it.

    Args:
        weights: Gate weights of the selection as in `epsilon_greedy_gates`, of the blocks that
            are not `weighted` or have `own_weights`; others need none.
        blocks: The space's blocks.
        step: Number of the weight step.
        generator: On the CPU.
        alpha: Block name to (n_edges, n_ops): a switch to an operation whose alpha is 0 gets no
            turn. None: every switch gets one.
    """
    drawn: Alpha = {}
    for place, block in enumerate(blocks):
        if not block.weighted or block.own_weights:
            drawn[block.name] = weights[block.name]
            continue
        n_edges, n_ops = block.shape
        stream = _round_stream(generator, _BLOCK_STRIDE * place, step // n_ops)
        order = torch.rand(n_edges, n_ops, generator=stream).argsort(dim=1)
        strength = torch.rand(n_edges, 1, generator=generator, dtype=torch.float64)
        has_turn = order[:, step % n_ops, None] == torch.arange(n_ops)
        drawn[block.name] = torch.where(has_turn, strength, -1.0)
    switches = _switches(drawn, blocks)
    if alpha is not None:
        switches = [(name, e, k) for name, e, k in switches if alpha[name][e, k] > 0]
    if switches:
        turns = len(switches) + 1  # one is the selection's
        stream = _round_stream(generator, 1, step // turns)
        order = torch.randperm(turns, generator=stream)
        drawn = _switched(drawn, switches, int(order[step % turns]))
    return project(drawn, blocks)


def probe_factors(alpha: Mapping[str, Tensor], chance: float, generator: Generator) -> Alpha:
    """Draws the candidates that an architecture step probes, for `sif.core.gates.Probing.factors`.

    The two best operations of each edge are always probed, with factor 1. Any other is probed with
    probability `chance` and factor 1 / `chance`, which keeps the estimate unbiased.

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


def _round_stream(generator: Generator, offset: int, number: int) -> Generator:
    """Random numbers of one round, from the generator's first seed; its state is not touched."""
    seed = generator.initial_seed() + offset + _ROUND_STRIDE * number
    return Generator().manual_seed(seed % 2**63)


_Switch = tuple[str, int, int]
"""A block, an edge, and the operation that it changes to."""


def _switches(weights: Mapping[str, Tensor], blocks: Sequence[Block]) -> list[_Switch]:
    """Every change of one edge to another operation, in blocks with `own_weights`."""
    return [
        (block.name, edge, k)
        for block in blocks
        if block.own_weights
        for edge, chosen in enumerate(first_max(weights[block.name])[1].tolist())
        for k in range(block.shape[1])
        if k != chosen
    ]


def _switched(weights: Alpha, switches: Sequence[_Switch], number: int) -> Alpha:
    """The gate weights after switch `number`; unchanged for a number beyond the last."""
    if number >= len(switches):
        return weights
    name, edge, operation = switches[number]
    table = weights[name].clone()
    table[edge, operation] = table[edge].max() + 1.0
    return {**weights, name: table}
