"""Texts in which genotypes are published: namedtuples of Python, parsed and never evaluated."""

from __future__ import annotations

import ast

from sif.errors import GenotypeError


def parse_call(text: str, where: str) -> ast.Call:
    """The call in `Genotype(...)` or `NAME = Genotype(...)`, unevaluated.

    Args:
        text: Of the namedtuple.
        where: For messages.

    Raises:
        GenotypeError: Anything else.
    """
    try:
        statements = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GenotypeError(f"{where}: expected Genotype(...), found {error}") from None
    if len(statements) == 1 and isinstance(statements[0], ast.Assign | ast.Expr):
        call = statements[0].value
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "Genotype":
            return call
    raise GenotypeError(f"{where}: expected one Genotype(...), found {text.strip()[:40]!r}")


def whole_numbers(expression: ast.expr) -> tuple[int, ...]:
    """A list or tuple of whole numbers, or `range(a, b)`; TypeError, ValueError otherwise."""
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name):
        ends = [ast.literal_eval(argument) for argument in expression.args]
        if expression.func.id == "range" and len(ends) <= 2 and all(abs(e) < 100 for e in ends):
            return tuple(range(*ends))
        raise TypeError("an output is a list or a range of node numbers")
    return tuple(int(node) for node in ast.literal_eval(expression))
