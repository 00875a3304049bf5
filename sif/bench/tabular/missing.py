"""What a question that the table cannot answer is told: what is missing, and what is nearest."""

from __future__ import annotations

from collections.abc import Collection

from sif.bench.tabular.plan import OBJECTIVES, kind_of
from sif.bench.tabular.ranges import FIELDS
from sif.config import did_you_mean
from sif.errors import NotInTableError
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES

Key = tuple[str, int, int | None, tuple[str, ...]]
"""Objective, dimension, seed (None: all) and names of an entry."""


def missing(known: Collection[Key], wanted: Key) -> NotInTableError:
    """The error for an entry that is not among the known ones: the first thing that is missing."""
    objective, dimension, seed, names = wanted
    try:
        check_objective(objective)
        _check_names(names)
        here = [key for key in known if key[0] == objective]
        check_number(f"{objective}: dimension", dimension, {key[1] for key in here})
        here = [key for key in here if key[1] == dimension]
        where = f"{objective}, d = {dimension}"
        if seed is not None:
            check_number(f"{where}: seed", seed, {key[2] for key in here if key[2] is not None})
            here = [key for key in here if key[2] == seed]
            where += f", seed {seed}"
    except NotInTableError as error:
        return error
    kind = kind_of((names[0], names[1], names[2]))
    same = (key[3] for key in here if kind_of((key[3][0], key[3][1], key[3][2])) == kind)
    near = next((f"nearest is {_written(other)}" for other in same), "nor of another")
    return NotInTableError(
        f"{where}: expected a function that was trained, found {_written(names)}, "
        f"of class {kind}; {near} of that class"
    )


def check_objective(objective: str) -> None:
    """Raises NotInTableError for an objective that the table is not about."""
    _check_name("objective", objective, OBJECTIVES)


def check_number(what: str, found: int, known: Collection[int]) -> None:
    """Raises NotInTableError for a dimension or seed that is not known."""
    if found not in known:
        expected = " or ".join(map(str, sorted(known))) or "any training (there is none)"
        near = min(known, key=lambda number: abs(number - found), default=None)
        told = "" if near is None else f"; nearest is {near}"
        raise NotInTableError(f"{what}: expected {expected}, found {found}{told}")


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) != 3:
        raise NotInTableError(
            "function: expected operation, user's transform and item's transform, "
            f"found {len(names)} names"
        )
    for block, name in zip(("operation", *FIELDS), names, strict=True):
        _check_name(block, name, OPERATIONS if block == "operation" else PRIMITIVES)


def _check_name(what: str, found: str, known: Collection[str]) -> None:
    if found not in known:
        raise NotInTableError(
            f"{what}: expected {' or '.join(known)}, found {found!r}{did_you_mean(found, known)}"
        )


def _written(names: tuple[str, ...]) -> str:
    return f"{names[0]}({names[1]}, {names[2]})"
