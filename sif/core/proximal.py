"""The proximal core of NASP (Yao et al., AAAI 2020, Algorithm 2), for any space.

The continuous variable alpha never enters a forward pass. `project` turns it into gates that are
exactly 0 or 1 (constraint C1: one operation per edge, k edges per node). `sif.methods.nasp` takes
the gradient at these gates, descends with it on alpha, and puts alpha back into [0, 1] (constraint
C2, `box`). In between, `weight_step` trains the weights at discrete gates. Alpha lives on the CPU:
it is tiny, and reading it must not wait for a device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sif.core.gates import Alpha, Block, Gates, Selection
from sif.core.space import Batch, CountsSteps, Space
from sif.errors import ShapeError

INITIAL = 0.5
"""Start of every alpha, as in the published code (train_search.py of NASP-codes)."""
INITIAL_NOISE = 1e-3
"""Standard deviation of the noise that breaks the ties of equal starts."""
FLOOR = 0.5
"""Lower bound of each node's best alpha in `box`: alphas that all fall are not all clipped to 0."""


def initial_alpha(blocks: Sequence[Block], generator: torch.Generator) -> Alpha:
    """Equal alphas with a little noise; a block's `default_op` starts ahead of the others."""
    alpha: Alpha = {}
    for block in blocks:
        noise = torch.randn(block.shape, generator=generator, dtype=torch.float64)
        alpha[block.name] = INITIAL + INITIAL_NOISE * noise
        if block.default_op is not None:
            lead = 2 * INITIAL_NOISE * float(noise.abs().max())
            alpha[block.name][:, block.operations.index(block.default_op)] = INITIAL + lead
    return alpha


def project(alpha: Mapping[str, Tensor], blocks: Sequence[Block]) -> Gates:
    """The nearest legal discrete point: the best operation per edge, the best k edges per node.

    Pure and deterministic: ties go to the lowest index, the input is not touched. Only the order
    within a node matters, so shifting all alphas of a node changes nothing.

    Args:
        alpha: Block name to (n_edges, n_ops), any real values, taken before boxing.
        blocks: The space's blocks.

    Returns:
        Gates of the input's dtype, exactly 0 or 1, and the selection.

    Raises:
        ShapeError: A missing block, a wrong shape, or a value that is not a number.
    """
    weights: dict[str, Tensor] = {}
    active: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        table = _checked(alpha, block)
        best, operation = first_max(table)
        kept = _best_edges(best, torch.tensor(block.nodes), block.edges_per_node)
        chosen = torch.where(kept, operation, -1)
        weights[block.name] = (chosen[:, None] == torch.arange(table.shape[1])).to(table)
        active[block.name] = tuple(chosen.tolist())
    return Gates(weights, Selection(active))


def _checked(alpha: Mapping[str, Tensor], block: Block) -> Tensor:
    table = alpha.get(block.name)
    if table is None or tuple(table.shape) != block.shape:
        actual = "nothing" if table is None else f"shape {tuple(table.shape)}"
        raise ShapeError(
            f"alpha: block {block.name!r}: expected shape {block.shape}, found {actual}"
        )
    if table.isnan().any():
        raise ShapeError(f"alpha: block {block.name!r}: expected numbers, found NaN")
    return table.detach()


def first_max(table: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of each row and its lowest index; torch.argmax promises no order among ties."""
    best = table.max(dim=1).values
    columns = torch.arange(table.shape[1], device=table.device).expand_as(table)
    first = torch.where(table == best[:, None], columns, table.shape[1]).min(dim=1).values
    return best, first


def _best_edges(best: Tensor, nodes: Tensor, keep: int) -> Tensor:
    """Mask (n_edges,) of the edges among the `keep` best of their node."""
    order = torch.sort(best, descending=True, stable=True).indices
    kept = torch.zeros(len(order), dtype=torch.bool)
    for node in nodes.unique():
        kept[order[nodes[order] == node][:keep]] = True
    return kept


def box(alpha: Mapping[str, Tensor], blocks: Sequence[Block]) -> Alpha:
    """Puts alpha into [0, 1] without new ties among the leaders (constraint C2).

    Plain clipping ties the leaders at 1, and then the lowest index wins. So each node is first
    shifted until its best alpha lies in [FLOOR, 1], which `project` does not see; only then are low
    alphas clipped at 0. An alpha at 0 sinks no further, so that late evidence can still lift it.
    """
    boxed: Alpha = {}
    for block in blocks:
        nodes = torch.tensor(block.nodes)
        best = alpha[block.name].max(dim=1).values
        top = torch.full((int(nodes.max()) + 1,), -torch.inf, dtype=best.dtype)
        top = top.scatter_reduce(0, nodes, best, "amax")
        shift = top.clamp(FLOOR, 1.0) - top
        boxed[block.name] = (alpha[block.name] + shift[nodes][:, None]).clamp(0.0, 1.0)
    return boxed


def complexity_gradient(gates: Gates, blocks: Sequence[Block], weight: float) -> Alpha:
    """Gradient of NASP's complexity penalty, eta * sum_k (p_k / p_bar) ||A_:,k||^2, at the gates.

    eta is `weight`, p_k the cost of candidate k, and p_bar, despite its bar, the sum of the costs
    on an edge. The published code leaves reduction cells out; here every block with costs counts.
    """
    penalty: Alpha = {}
    for block in blocks:
        gate = gates.weights[block.name].double().cpu()
        if block.costs is None or weight == 0:
            penalty[block.name] = torch.zeros_like(gate)
            continue
        cost = torch.tensor(block.costs, dtype=torch.float64)
        total = cost.sum(dim=1, keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)
        penalty[block.name] = 2 * weight * cost / total * gate
    return penalty


def weight_step(
    space: Space, batch: Batch, gates: Gates, optimizer: Optimizer, max_norm: float | None = None
) -> Tensor:
    """One step of the weights on a train batch; only selected operations enter the graph.

    Args:
        space: The supernet.
        batch: A train batch.
        gates: Discrete, or a mixture for methods that train one.
        optimizer: Over the weight parameters; those without a gradient do not move.
        max_norm: Bound on the gradient's norm; None: no clipping.

    Returns:
        The loss without its regularizer, a detached scalar still on its device.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = space.loss(batch, gates)
    weights = list(space.weight_parameters())
    # Architecture parameters such as P and Q get no gradient: they learn on validation batches.
    (loss + space.regularizer(gates)).backward(inputs=weights)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(weights, max_norm)
    optimizer.step()
    if isinstance(space, CountsSteps):
        space.count_step(gates)
    return loss.detach()
