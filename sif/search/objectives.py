"""Objectives beside the validation error: names, units, and how selections are measured.

`search.objectives` asks for some by name, each with a bound or without:
"latency", "parameters <= 100000". An objective of pieces adds up over a network
(`sif.core.pieces`); so it has a cost table, which NASP's penalty and its bounds need.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sif.core.bounds import CostBound, CostTable, normalized
from sif.core.gates import Gates
from sif.core.pieces import Piece, Pieces
from sif.core.space import Space
from sif.errors import ConfigError
from sif.methods.settings import MethodSettings
from sif.search.registry import OBJECTIVES
from sif.utils.device import Runtime

SETTING = "search.objectives"
MOST = 3
"""Objectives beside the error, at most."""
_ASKED = re.compile(r"([A-Za-z][\w-]*)\s*(?:(<=)\s*(\S+))?")


@dataclass(frozen=True)
class Measure:
    """The measurement of networks by their pieces.

    Attributes:
        of_piece: Value of a piece.
        rest: Value of a network beyond its pieces.
    """

    of_piece: Callable[[Piece], float]
    rest: float = 0.0


@dataclass(frozen=True)
class Objective:
    """A number about a selection that is to be low.

    Attributes:
        unit: Of its values, such as "ms".
        measure: Makes the measurement, given all pieces and the runtime. Its docstring describes
            the objective.
        settings: None has settings of its own; listings ask.
    """

    unit: str
    measure: Callable[[Pieces, Runtime], Measure]
    settings: type[MethodSettings] | None = None


@dataclass(frozen=True)
class Asked:
    """An objective that a search asks for.

    Attributes:
        name: In `OBJECTIVES`.
        most: Its bound; infinite: it has none.
    """

    name: str
    most: float = math.inf


def asked_objectives(texts: Sequence[str]) -> tuple[Asked, ...]:
    """Reads `search.objectives`.

    Args:
        texts: Such as "latency" or "latency <= 2".

    Raises:
        ConfigError: Another text, a name that no package has, one twice, or too many.

    Example:
        >>> asked_objectives(["parameters", "latency <= 2"])[1]
        Asked(name='latency', most=2.0)
    """
    found: list[Asked] = []
    for text in texts:
        match = _ASKED.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"{SETTING}: expected a name with or without a bound, such as 'latency <= 2', "
                f"found {text!r}"
            )
        name, _, number = match.groups()
        OBJECTIVES.named(name, SETTING)
        if name in [one.name for one in found]:
            raise ConfigError(f"{SETTING}: expected different objectives, found {name} twice")
        found.append(Asked(name, math.inf if number is None else _bound(text, number)))
    if len(found) > MOST:
        raise ConfigError(
            f"{SETTING}: expected at most {MOST} beside the error, found {len(found)}"
        )
    return tuple(found)


def _bound(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{SETTING}: {text}: expected a number above 0, found {number!r}")
    return value


def cost_table(name: str, pieces: Pieces, runtime: Runtime) -> CostTable:
    """The costs of a space's candidates by an objective.

    Args:
        name: Of the objective.
        pieces: Of the networks.
        runtime: They compute with it.
    """
    objective = OBJECTIVES.named(name, SETTING)
    measure = objective.measure(pieces, runtime)
    known: dict[str, float] = {}

    def of(several: Sequence[Piece]) -> float:
        total = 0.0
        for piece in several:
            if piece.key not in known:
                known[piece.key] = measure.of_piece(piece)
            total += piece.count * known[piece.key]
        return total

    costs = {
        block: [{op: of(own) for op, own in edge.items()} for edge in edges]
        for block, edges in pieces.candidates.items()
    }
    return CostTable(name, objective.unit, of(pieces.fixed) + measure.rest, costs)


@dataclass(frozen=True)
class Objectives:
    """The objectives of a search, measured.

    Attributes:
        asked: What the search asks for, in its order.
        tables: The cost table of each.
    """

    asked: tuple[Asked, ...] = ()
    tables: tuple[CostTable, ...] = ()
    _names: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", tuple(one.name for one in self.asked))

    def __bool__(self) -> bool:
        return bool(self.asked)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return self._names

    @property
    def bounds(self) -> tuple[CostBound, ...]:
        """The bounds among them."""
        pairs = zip(self.asked, self.tables, strict=True)
        return tuple(CostBound(table, one.most) for one, table in pairs if one.most < math.inf)

    def values(self, space: Space, gates: Gates) -> dict[str, float]:
        """Name to the value of a selection of the space."""
        selection = gates.choices()
        return {table.name: table.of(selection, space.blocks) for table in self.tables}

    def priced(self, make: Callable[[bool], Any]) -> Callable[[bool], Any]:
        """A function that makes the same spaces with these costs of their candidates."""

        def made(mixed: bool) -> Any:
            space = make(mixed)
            space.blocks = tuple(
                replace(block, costs=normalized(self.tables, block)) for block in space.blocks
            )
            return space

        return made if self.tables else make


def measured(
    texts: Sequence[str], pieces: Pieces | None, runtime: Runtime, space: str
) -> Objectives:
    """The objectives of a search.

    Args:
        texts: Of the setting.
        pieces: Of the networks; None: the space knows none.
        runtime: They compute with it.
        space: Its name, for messages.

    Raises:
        ConfigError: Names or bounds that cannot be, or a space without pieces.
    """
    asked = asked_objectives(texts)
    if not asked:
        return Objectives()
    if pieces is None:
        raise ConfigError(
            f"{SETTING}: expected a space whose networks are sums of measured pieces, found {space}"
        )
    tables = tuple(cost_table(one.name, pieces, runtime) for one in asked)
    return Objectives(asked, tables)
