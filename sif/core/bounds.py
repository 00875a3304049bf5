"""Costs of selections, bounds on them, and the nearest selection that keeps them.

`project_within` is `sif.core.proximal.project` with one more constraint, C3: the costs of the
selected operations sum up to at most a bound. All selections have the same number of ones, so the
nearest one has the largest sum of its alphas. Under bounds that is a multiple-choice knapsack
problem, which HiGHS solves exactly (`scipy.optimize.milp`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sif.core.gates import Block, Gates, Selection
from sif.core.proximal import project
from sif.errors import ConfigError

SLACK = 1e-9
"""Share of a bound by which rounding may exceed it."""
_TOLERANCE = 2e-6
"""Share of a bound within which HiGHS may be wrong."""
_SHARP = 1e3
"""Factor of alpha, since HiGHS takes sums as equal that differ by 1e-6."""


@dataclass(frozen=True)
class CostTable:
    """The costs of a space's candidates by one objective.

    Attributes:
        name: Of the objective.
        unit: Of its values.
        fixed: Cost of what every network has.
        costs: Block to edge to name of an operation to its cost; blocks that are left out are free.
    """

    name: str
    unit: str
    fixed: float
    costs: Mapping[str, Sequence[Mapping[str, float]]]

    def rows(self, block: Block) -> tuple[tuple[float, ...], ...]:
        """(n_edges) x (n_ops) costs of a block's candidates."""
        edges = self.costs.get(block.name)
        if edges is None:
            return tuple((0.0,) * len(block.operations) for _ in block.nodes)
        return tuple(tuple(edge[name] for name in block.operations) for edge in edges)

    def of(self, selection: Selection, blocks: Sequence[Block]) -> float:
        """The cost of a whole network with a selection of the blocks."""
        total = self.fixed
        for block in blocks:
            rows = self.rows(block)
            total += sum(rows[e][k] for e, k in enumerate(selection[block.name]) if k >= 0)
        return total

    def of_kept(self, kept: Mapping[str, Sequence[tuple[int, str]]]) -> float:
        """The cost of a whole network.

        Args:
            kept: Block to edge and name of an operation, as in a genotype.
        """
        known = [(self.costs[name], edges) for name, edges in kept.items() if name in self.costs]
        return self.fixed + sum(rows[e][op] for rows, edges in known for e, op in edges)


@dataclass(frozen=True)
class CostBound:
    """A largest cost.

    Attributes:
        table: Of the costs.
        most: The bound, in the unit of the table.
    """

    table: CostTable
    most: float

    def keeps(self, selection: Selection, blocks: Sequence[Block]) -> bool:
        """True if a selection costs no more."""
        return self.table.of(selection, blocks) <= self.most + SLACK * abs(self.most)

    def __str__(self) -> str:
        return f"{self.table.name} <= {self.most:g} {self.table.unit}"


def project_within(
    alpha: Mapping[str, Tensor], blocks: Sequence[Block], bounds: Sequence[CostBound] = ()
) -> Gates:
    """The nearest legal discrete point that keeps the bounds.

    Args:
        alpha: Block name to (n_edges, n_ops), as for `project`.
        blocks: The space's blocks.
        bounds: On the costs of selections; none: this is `project`.

    Returns:
        Gates of exactly 0 or 1, and the selection.

    Raises:
        ConfigError: No selection keeps the bounds.
        ShapeError: As `project`.
    """
    nearest = project(alpha, blocks)
    if all(bound.keeps(nearest.choices(), blocks) for bound in bounds):
        return nearest
    values = {name: table.double().numpy() for name, table in alpha.items()}
    found = _best(values, blocks, bounds, 0.0)
    if found is not None and not all(bound.keeps(found, blocks) for bound in bounds):
        found = _best(values, blocks, bounds, _TOLERANCE)
    if found is None:
        raise ConfigError(_refused(bounds, blocks))
    gates = found.to_gates(blocks)
    weights = {name: table.to(alpha[name]) for name, table in gates.weights.items()}
    return Gates(weights, found)


def refuse_impossible(bounds: Sequence[CostBound], blocks: Sequence[Block]) -> None:
    """Raises ConfigError, one line, if no selection of the blocks keeps the bounds."""
    flat = {block.name: np.zeros(block.shape) for block in blocks}
    if bounds and _best(flat, blocks, bounds, 0.0) is None:
        raise ConfigError(_refused(bounds, blocks))


def least_cost(table: CostTable, blocks: Sequence[Block]) -> float:
    """The cost of the cheapest selection."""
    cheap = {block.name: -np.array(table.rows(block)) for block in blocks}
    found = _best(cheap, blocks, (), 0.0)
    assert found is not None  # noqa: S101 - every block has a selection
    return table.of(found, blocks)


def _refused(bounds: Sequence[CostBound], blocks: Sequence[Block]) -> str:
    """The message for bounds that nothing keeps: the first one that alone is too low, or all."""
    for bound in bounds:
        least = least_cost(bound.table, blocks)
        if least > bound.most:
            unit = bound.table.unit
            return (
                f"search.objectives: {bound.table.name}: expected a bound of at least "
                f"{least:.6g} {unit}, the cheapest selection's, found {bound.most:g}"
            )
    told = " and ".join(map(str, bounds))
    return f"search.objectives: expected bounds that a selection keeps together, found {told}"


def _best(
    values: Mapping[str, NDArray[np.float64]], blocks: Sequence[Block],
    bounds: Sequence[CostBound], tighter: float,
) -> Selection | None:  # fmt: skip
    """The legal selection with the largest sum of values within the bounds; None: there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    gains = np.concatenate([values[block.name].ravel() for block in blocks])
    rows, low, high = _structure(blocks, len(gains))
    for bound in bounds:
        costs = np.concatenate([np.ravel(bound.table.rows(block)) for block in blocks])
        room = bound.most - bound.table.fixed
        size = max(abs(room), float(np.abs(costs).max(initial=0.0))) or 1.0
        rows.append(costs / size)
        low.append(-np.inf)
        high.append((room - tighter * abs(bound.most)) / size)
    spread = max(float(np.ptp(gains)), 1e-12)
    result = milp(
        -_SHARP * gains / spread, integrality=np.ones(len(gains)), bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array(rows), low, high), options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    if result.x is None:
        return None
    chosen, start, active = np.round(result.x) > 0, 0, {}
    for block in blocks:
        table = chosen[start : start + block.shape[0] * block.shape[1]].reshape(block.shape)
        start += table.size
        active[block.name] = [int(row.argmax()) if row.any() else -1 for row in table]
    return Selection(active)


def _structure(
    blocks: Sequence[Block], size: int
) -> tuple[list[NDArray[np.float64]], list[float], list[float]]:
    """The constraint C1 as rows with lower and upper ends: one operation per edge, k edges."""
    rows: list[NDArray[np.float64]] = []
    low: list[float] = []
    high: list[float] = []
    start = 0
    for block in blocks:
        n_edges, n_ops = block.shape
        nodes = np.repeat(block.nodes, n_ops)
        for edge in range(n_edges):
            row = np.zeros(size)
            row[start + edge * n_ops : start + (edge + 1) * n_ops] = 1.0
            rows.append(row)
            low.append(0.0)
            high.append(1.0)
        for node in sorted(set(block.nodes)):
            row = np.zeros(size)
            row[start : start + n_edges * n_ops] = nodes == node
            kept = float(min(block.edges_per_node, block.nodes.count(node)))
            rows.append(row)
            low.append(kept)
            high.append(kept)
        start += n_edges * n_ops
    return rows, low, high


def normalized(tables: Sequence[CostTable], block: Block) -> tuple[tuple[float, ...], ...] | None:
    """The costs of a block's candidates by several objectives; None: all are free.

    One objective keeps its unit. Of several, each edge's costs are shares of their sum, as in the
    penalty of NASP, and the shares are added up.
    """
    rows = [np.array(table.rows(block)) for table in tables]
    if not any(costs.any() for costs in rows):
        return None
    if len(rows) == 1:
        return tuple(map(tuple, rows[0].tolist()))
    sums = [costs.sum(axis=1, keepdims=True) for costs in rows]
    shares = [c / np.where(s > 0, s, 1.0) for c, s in zip(rows, sums, strict=True)]
    return tuple(map(tuple, np.sum(shares, axis=0).tolist()))
