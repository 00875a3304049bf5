"""Texts in which genotypes of cells are published: Python namedtuples, parsed, never evaluated.

Also the numbering of candidate edges, which is the same for cells of all kinds.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sif.errors import GenotypeError

Parsed = TypeVar("Parsed")
Edge = tuple[str, int]
"""Operation, or activation, and the number of the node that it reads."""


def edge_nodes(nodes: int, inputs: int) -> tuple[int, ...]:
    """For each candidate edge the node (from 0) that it enters; each can read all before it.

    Edges are numbered node by node, and within a node by the node they come from.
    """
    return tuple(node for node in range(nodes) for _ in range(inputs + node))


def edge_sources(nodes: int, inputs: int) -> tuple[int, ...]:
    """For each candidate edge the node that it reads, the inputs being the first."""
    return tuple(source for node in range(nodes) for source in range(inputs + node))


def edges_into(choices: Sequence[tuple[int, str]], nodes: int, inputs: int) -> list[list[Edge]]:
    """The edges that enter each node, of (edge number, operation) pairs in their order.

    Raises:
        GenotypeError: An edge that does not exist.
    """
    entered, sources = edge_nodes(nodes, inputs), edge_sources(nodes, inputs)
    found: list[list[Edge]] = [[] for _ in range(nodes)]
    for edge, operation in choices:
        if edge >= len(entered):
            raise GenotypeError(f"cell: expected edges in 0..{len(entered) - 1}, found {edge}")
        found[entered[edge]].append((operation, sources[edge]))
    return found


def parse_genotype(
    text: str,
    where: str,
    names: Sequence[str],
    build: Callable[[Mapping[str, ast.expr]], Parsed],
) -> Parsed:
    """Reads `Genotype(...)` or `NAME = Genotype(...)`.

    Args:
        text: Of the namedtuple.
        where: For messages.
        names: Of its fields, for values that are given by place.
        build: Makes a value of the fields; its KeyError, TypeError and ValueError are malformed
            texts.

    Raises:
        GenotypeError: Anything else.
    """
    call = _parse_call(text, where)
    fields = dict(zip(names, call.args, strict=False))
    fields |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    try:
        return build(fields)
    except GenotypeError as error:
        raise GenotypeError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise GenotypeError(
            f"{where}: malformed genotype: {type(error).__name__}: {error}"
        ) from None


def _parse_call(text: str, where: str) -> ast.Call:
    try:
        statements = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GenotypeError(f"{where}: expected Genotype(...), found {error}") from None
    if len(statements) == 1 and isinstance(statements[0], ast.Assign | ast.Expr):
        call = statements[0].value
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "Genotype":
            return call
    raise GenotypeError(f"{where}: expected one Genotype(...), found {text.strip()[:40]!r}")


def parse_edges(expression: ast.expr) -> list[Edge]:
    """A list of (operation, source); TypeError, ValueError otherwise."""
    pairs = [(str(name), source) for name, source in ast.literal_eval(expression)]
    if any(isinstance(source, bool) or not isinstance(source, int) for _, source in pairs):
        raise TypeError("sources of edges are whole numbers")
    return pairs


def whole_numbers(expression: ast.expr) -> tuple[int, ...]:
    """A list or tuple of whole numbers, or `range(a, b)`; TypeError, ValueError otherwise."""
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name):
        ends = [ast.literal_eval(argument) for argument in expression.args]
        if expression.func.id == "range" and len(ends) <= 2 and all(abs(e) < 100 for e in ends):
            return tuple(range(*ends))
        raise TypeError("an output is a list or a range of node numbers")
    return tuple(int(node) for node in ast.literal_eval(expression))
