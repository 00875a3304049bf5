"""Several selections in place of one: what a method proposes to a finish.

A finish (`sif.search.finish`) trains each of them alone. A method that knows nothing better than
alpha proposes the selections of the largest sums of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from sif.core.gates import Block, Selection
from sif.core.method import Method, Proposes

REDRAWS = 100
"""Draws in a row without a new selection, after which none is expected."""
_Choices = tuple[tuple[str, int, int], ...]  # block, edge and operation of each kept edge
_Ranked = list[tuple[float, _Choices]]


def proposed(method: Method, blocks: Sequence[Block], most: int) -> list[Selection]:
    """Selections that a method would train alone, its own selection first.

    Args:
        method: Its `proposals` follow, if it has some, then those of the largest sums of its alpha.
        blocks: Of the space.
        most: Their number, or all selections of the space if there are fewer.
    """
    own = method.proposals(most) if isinstance(method, Proposes) else ()
    chosen = method.best_gates().choices()
    every = [chosen, *own, *likeliest(blocks, method.alpha(), most)]
    return list(dict.fromkeys(every))[:most]


def likeliest(
    blocks: Sequence[Block], scores: Mapping[str, Tensor], most: int
) -> list[Selection]:  # fmt: skip
    """The legal selections of the largest sums of scores, the best first, without enumeration.

    Logs of independent chances give the likeliest selections.

    Args:
        blocks: Of the space.
        scores: Block name to (n_edges, n_ops); what has -infinity is in no selection.
        most: How many, at most.

    Examples:
        >>> import torch
        >>> from sif.core.gates import Block
        >>> block = Block("operation", ("multiply", "plus", "max"))
        >>> scores = {"operation": torch.tensor([[0.2, 0.7, 0.1]])}
        >>> [one.to_lists() for one in likeliest([block], scores, 2)]
        [{'operation': [1]}, {'operation': [0]}]
    """
    best: _Ranked = [(0.0, ())]
    for block in blocks:
        rows = scores[block.name].tolist()
        for node in sorted(set(block.nodes)):
            best = _joined(best, _of_node(block, node, rows, most), most)
    return [_selection(blocks, choices) for _, choices in best]


def _of_node(block: Block, node: int, rows: Sequence[Sequence[float]], most: int) -> _Ranked:
    """The best choices of a node: edges that it keeps, and their operations."""
    entering = [edge for edge, entered in enumerate(block.nodes) if entered == node]
    found: _Ranked = []
    for kept in itertools.combinations(entering, min(block.edges_per_node, len(entering))):
        best: _Ranked = [(0.0, ())]
        for edge in kept:
            of_edge: _Ranked = [
                (score, ((block.name, edge, operation),))
                for operation, score in enumerate(rows[edge])
                if score > -math.inf
            ]
            best = _joined(best, _ordered(of_edge, most), most)
        found += best
    return _ordered(found, most)


def _joined(ours: _Ranked, theirs: _Ranked, most: int) -> _Ranked:
    """The best combinations of two rankings; (i, j) has (i + 1) (j + 1) - 1 that are as good."""
    pairs = [
        (one[0] + other[0], one[1] + other[1])
        for i, one in enumerate(ours)
        for other in theirs[: most // (i + 1)]
    ]
    return _ordered(pairs, most)


def _ordered(ranked: _Ranked, most: int) -> _Ranked:
    return sorted(ranked, key=lambda pair: -pair[0])[:most]


def _selection(blocks: Sequence[Block], choices: _Choices) -> Selection:
    edges = {block.name: [-1] * len(block.nodes) for block in blocks}
    for name, edge, operation in choices:
        edges[name][edge] = operation
    return Selection(edges)


def different(draw: Callable[[], Selection], most: int) -> list[Selection]:
    """Different selections out of draws, in their order; fewer where draws repeat themselves."""
    found: dict[Selection, None] = {}
    repeats = 0
    while len(found) < most and repeats < REDRAWS:
        before = len(found)
        found.setdefault(draw())
        repeats = 0 if len(found) > before else repeats + 1
    return list(found)
