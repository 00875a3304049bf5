"""Cells of convolutional networks as values, and the text in which they are published.

A cell is a graph: two inputs (nodes 0 and 1, the outputs of the two cells before), intermediate
nodes that each sum operations on earlier nodes, and an output that concatenates some of them. The
namedtuple texts of the published repositories, in the dialects of DARTS and of NASP, are parsed,
never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sif.errors import GenotypeError
from sif.spaces import genotype_text
from sif.spaces.cnn.operations import canonical
from sif.spaces.genotype_text import Edge, parse_edges, parse_genotype, whole_numbers

INPUTS = 2
KEPT = 2
"""Edges per intermediate node (DARTS, section 2.4)."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        nodes: For each intermediate node its edges, each an operation and the node it reads.
        concat: Numbers of the nodes that make the output.

    Raises:
        GenotypeError: No node, an unknown operation, an edge from a node that is not earlier, or an
            output of nodes that do not exist.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise GenotypeError("cell: expected at least one intermediate node, found none")
        for number, edges in enumerate(self.nodes, start=INPUTS):
            if not edges:
                raise GenotypeError(f"cell: node {number}: expected an edge, found none")
            for operation, source in edges:
                if canonical(operation) != operation:
                    raise GenotypeError(
                        f"cell: node {number}: expected operation {canonical(operation)!r}, "
                        f"found its alias {operation!r}"
                    )
                if not 0 <= source < number:
                    raise GenotypeError(
                        f"cell: node {number}: expected an edge from a node in 0..{number - 1}, "
                        f"found {source}"
                    )
        total = INPUTS + len(self.nodes)
        if not self.concat or any(not 0 <= node < total for node in self.concat):
            raise GenotypeError(
                f"cell: expected an output of nodes in 0..{total - 1}, found {list(self.concat)}"
            )


@dataclass(frozen=True)
class Cells:
    """The two cells of a network.

    Attributes:
        normal: Keeps the size of its input.
        reduce: Halves it.
    """

    normal: Cell
    reduce: Cell


edge_nodes = partial(genotype_text.edge_nodes, inputs=INPUTS)
edge_sources = partial(genotype_text.edge_sources, inputs=INPUTS)


def cell_of(choices: tuple[tuple[int, str], ...], steps: int) -> Cell:
    """The cell of a searched block's kept edges; its output concatenates all intermediate nodes.

    Args:
        choices: Edge numbers with their operations, ascending.
        steps: Intermediate nodes.

    Raises:
        GenotypeError: An edge that does not exist, or a node without an edge.
    """
    nodes = genotype_text.edges_into(choices, steps, INPUTS)
    return Cell(tuple(map(tuple, nodes)), tuple(range(INPUTS, INPUTS + steps)))


def parse_cells(text: str, where: str = "genotype") -> Cells:
    """Reads `Genotype(normal=[(operation, source), ...], normal_concat=..., ...)`.

    Consecutive pairs of edges belong to one node. Also takes a line `NAME = Genotype(...)`, and
    concatenations as lists, tuples or `range(a, b)`.

    Args:
        text: The namedtuple's text, of DARTS or NASP.
        where: For messages.

    Raises:
        GenotypeError: Anything else.
    """
    names = ("normal", "normal_concat", "reduce", "reduce_concat")
    return parse_genotype(
        text, where, names, lambda fields: Cells(_cell(fields, "normal"), _cell(fields, "reduce"))
    )


def _cell(fields: Mapping[str, ast.expr], name: str) -> Cell:
    if name not in fields:
        raise GenotypeError(f"expected a field {name!r}, found {', '.join(fields) or 'none'}")
    edges = [(canonical(operation), source) for operation, source in parse_edges(fields[name])]
    if len(edges) % KEPT:
        raise GenotypeError(f"{name}: expected {KEPT} edges per node, found {len(edges)} in all")
    nodes = tuple(tuple(edges[i : i + KEPT]) for i in range(0, len(edges), KEPT))
    return Cell(nodes, whole_numbers(fields[f"{name}_concat"]))


def format_cells(cells: Cells) -> str:
    """The text that `parse_cells` reads, with the names of DARTS."""
    parts = []
    for name, cell in (("normal", cells.normal), ("reduce", cells.reduce)):
        edges = [edge for node in cell.nodes for edge in node]
        parts += [f"{name}={edges!r}", f"{name}_concat={list(cell.concat)!r}"]
    return f"Genotype({', '.join(parts)})"


_TEXTS = {
    # NASNet-A (Zoph et al., CVPR 2018) and AmoebaNet-A (Real et al., AAAI 2019), from
    # genotypes.py of quark0/darts and, with its own names, of xujinfan/NASP-codes.
    "nasnet-a": """Genotype(
        normal=[('sep_5x5', 1), ('sep_3x3', 0), ('sep_5x5', 0), ('sep_3x3', 0),
                ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0),
                ('avg_pool_3x3', 0), ('sep_3x3', 1), ('skip_connect', 1)],
        normal_concat=[2, 3, 4, 5, 6],
        reduce=[('sep_5x5', 1), ('sep_7x7', 0), ('max_pool_3x3', 1), ('sep_7x7', 0),
                ('avg_pool_3x3', 1), ('sep_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2),
                ('sep_3x3', 2), ('max_pool_3x3', 1)],
        reduce_concat=[4, 5, 6])""",
    "amoebanet-a": """Genotype(
        normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_3x3', 0), ('sep_5x5', 2),
                ('sep_3x3', 0), ('avg_pool_3x3', 3), ('sep_3x3', 1), ('skip_connect', 1),
                ('skip_connect', 0), ('avg_pool_3x3', 1)],
        normal_concat=[4, 5, 6],
        reduce=[('avg_pool_3x3', 0), ('sep_3x3', 1), ('max_pool_3x3', 0), ('sep_7x7', 2),
                ('sep_7x7', 0), ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1),
                ('conv_7x1_1x7', 0), ('sep_3x3', 5)],
        reduce_concat=[3, 4, 6])""",
    # DARTS (Liu et al., ICLR 2019), first and second order, from genotypes.py of quark0/darts.
    "darts-v1": """Genotype(
        normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0),
                ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1),
                ('sep_conv_3x3', 0), ('skip_connect', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2),
                ('skip_connect', 2), ('avg_pool_3x3', 0)],
        reduce_concat=[2, 3, 4, 5])""",
    "darts-v2": """Genotype(
        normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
                ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0),
                ('skip_connect', 0), ('dil_conv_3x3', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2),
                ('skip_connect', 2), ('max_pool_3x3', 1)],
        reduce_concat=[2, 3, 4, 5])""",
    # NASP, 12 operations (Yao et al., AAAI 2020), from genotypes.py of xujinfan/NASP-codes.
    "nasp": """Genotype(
        normal=[('conv_3x1_1x3', 0), ('conv 3x3', 1), ('dil_conv_3x3', 2), ('conv 3x3', 1),
                ('dil_conv_3x3', 2), ('conv 3x3', 0), ('skip_connect', 0), ('dil_conv_3x3', 3)],
        normal_concat=range(2, 6),
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_5x5', 1), ('skip_connect', 2), ('skip_connect', 3),
                ('skip_connect', 0), ('skip_connect', 1)],
        reduce_concat=range(2, 6))""",
}
PUBLISHED: dict[str, Cells] = {name: parse_cells(text, name) for name, text in _TEXTS.items()}
