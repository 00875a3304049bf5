"""Recurrent cells as values: the activation of every node, and the state that it reads.

State 0 is the fixed first node, of the input and the hidden state before; state i + 1 is node i.
A cell's output is the mean of some states (DARTS; Liu et al., ICLR 2019, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sif.errors import GenotypeError
from sif.spaces import genotype_text
from sif.spaces.genotype_text import Edge, parse_edges, parse_genotype, whole_numbers
from sif.utils.registry import unknown

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
"""Activations of DARTS without "none" (section 3.2), which the constraints of NASP replace."""


@dataclass(frozen=True)
class RecurrentCell:
    """A cell.

    Attributes:
        nodes: Of each learned node the activation and the state that it reads.
        output: Numbers of the states whose mean is the output.

    Raises:
        GenotypeError: An unknown activation, a node that reads itself or a later one, no node, or
            an output of states that do not exist.
    """

    nodes: tuple[Edge, ...]
    output: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise GenotypeError("recurrent: expected at least one node, found none")
        for number, (name, source) in enumerate(self.nodes, start=1):
            if name not in ACTIVATIONS:
                raise unknown(f"recurrent: node {number}", name, ACTIVATIONS, GenotypeError)
            if not 0 <= source < number:
                raise GenotypeError(
                    f"recurrent: node {number}: expected a state in 0..{number - 1}, which comes "
                    f"before it, found {source}"
                )
        states = range(len(self.nodes) + 1)
        if not self.output or not set(self.output) <= set(states):
            raise GenotypeError(
                f"concat: expected some of the states 0..{states[-1]}, found {list(self.output)}"
            )


edge_nodes = partial(genotype_text.edge_nodes, inputs=1)
edge_sources = partial(genotype_text.edge_sources, inputs=1)


def readers(cell: RecurrentCell) -> dict[int, list[int]]:
    """State to the nodes that read it, states ascending: a node comes after the state it reads."""
    by_state: dict[int, list[int]] = {}
    for source in range(len(cell.nodes)):
        nodes = [i for i, (_, read) in enumerate(cell.nodes) if read == source]
        if nodes:
            by_state[source] = nodes
    return by_state


def cell_of(choices: Sequence[tuple[int, str]], nodes: int) -> RecurrentCell:
    """The cell of (edge, activation) pairs, one per node; its output is the mean of all nodes.

    Raises:
        GenotypeError: An edge that does not exist, or a node with none or several.
    """
    found = genotype_text.edges_into(choices, nodes, inputs=1)
    for number, edges in enumerate(found, start=1):
        if len(edges) > 1:
            raise GenotypeError(f"cell: node {number}: expected one edge, found two")
    kept = tuple(edge for edges in found for edge in edges)
    if len(kept) < nodes:
        raise GenotypeError(f"cell: expected an edge for each of {nodes} nodes, found {len(kept)}")
    return RecurrentCell(kept, tuple(range(1, nodes + 1)))


def parse_cell(text: str, where: str = "genotype") -> RecurrentCell:
    """Reads `Genotype(recurrent=[(activation, state), ...], concat=...)`, the form of DARTS.

    Raises:
        GenotypeError: Anything else; the message begins with `where`.
    """
    return parse_genotype(
        text, where, ("recurrent", "concat"),
        lambda fields: RecurrentCell(
            tuple(parse_edges(fields["recurrent"])), whole_numbers(fields["concat"])
        ),
    )  # fmt: skip


def format_cell(cell: RecurrentCell) -> str:
    """The text that `parse_cell` reads."""
    return f"Genotype(recurrent={list(cell.nodes)!r}, concat={list(cell.output)!r})"


def expression(cell: RecurrentCell) -> str:
    """The cell on one line, such as "1 = tanh(0), 2 = relu(1); mean of 1, 2"."""
    nodes = ", ".join(f"{i} = {name}({s})" for i, (name, s) in enumerate(cell.nodes, start=1))
    return f"{nodes}; mean of {', '.join(map(str, cell.output))}"


_TEXTS = {
    # From genotypes.py of quark0/darts: the cell of ENAS (Pham et al., ICML 2018), and those of
    # DARTS' first and second order.
    "enas": """Genotype(
        recurrent=[('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3),
                   ('relu', 4), ('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8)],
        concat=[2, 5, 6, 9, 10, 11])""",
    "darts-v1": """Genotype(
        recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4),
                   ('identity', 1), ('relu', 5), ('relu', 1)],
        concat=range(1, 9))""",
    "darts-v2": """Genotype(
        recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2),
                   ('sigmoid', 5), ('tanh', 3), ('relu', 5)],
        concat=range(1, 9))""",
}
PUBLISHED: dict[str, RecurrentCell] = {n: parse_cell(text, n) for n, text in _TEXTS.items()}
