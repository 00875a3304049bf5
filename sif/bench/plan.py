"""The plan of a bench: entrants and seeds under one budget, and their trials."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sif.config import CommonConfig
from sif.config.renamed import todays_name
from sif.errors import ConfigError
from sif.utils.durations import SECONDS

_KEYS = {"steps": "search.steps", "epochs": "search.epochs"}
BUDGETS = ("search.seconds", *_KEYS.values())
"""Keys of settings that limit a search."""
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True)
class Budget:
    """The amount that a search may spend.

    Attributes:
        amount: Above 0.
        unit: "seconds" of the CPU, weight "steps", or "epochs".

    Examples:
        >>> from sif.bench import Budget
        >>> Budget.parse("5min").settings()
        {'search.seconds': 300.0}
        >>> str(Budget.parse("500steps"))
        '500steps'
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads '30s', '5min', '2h', '500steps' or '20epochs'.

        Raises:
            ConfigError: Anything else, or nothing to spend.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip())
        amount, unit = (float(match[1]), match[2]) if match else (0.0, "")
        known = unit in SECONDS or unit in _KEYS
        whole = unit in SECONDS or amount.is_integer()
        if not (known and whole and amount > 0 and math.isfinite(amount)):
            raise ConfigError(
                "budget: expected CPU seconds, weight steps or epochs above 0, such as 30s, 5min, "
                f"500steps or 20epochs, found {text!r}"
            )
        return cls(amount * SECONDS.get(unit, 1.0), "seconds" if unit in SECONDS else unit)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.amount:.12g}{'s' if self.unit == 'seconds' else self.unit}"

    def settings(self) -> dict[str, Any]:
        """The budget as settings of a job."""
        if self.unit == "seconds":
            return {"search.seconds": self.amount}
        return {_KEYS[self.unit]: int(self.amount)}


@dataclass(frozen=True)
class Entrant:
    """One line of the comparison.

    Attributes:
        name: In table, figures and folders.
        method: The search method.
        sets: Settings of the search that only this entrant has, as "methods.nasp.key=value".

    Examples:
        >>> from sif.bench import Entrant
        >>> Entrant("nasp-clip", "nasp", ("methods.nasp.alpha_constraint=clip",)).method
        'nasp'
    """

    name: str
    method: str
    sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses a name unfit for a folder, and settings that all entrants share.

        Raises:
            ConfigError: Such a name, or a setting that would make another task of it, or another
                budget.
        """
        if self.name != self.method and not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"variant: expected a name of letters and digits, found {self.name!r}"
            )
        for item in self.sets:
            key = todays_name(item.split("=", 1)[0])
            if key in BUDGETS or not (key == "space" or key.startswith(("search.", "methods."))):
                raise ConfigError(
                    f"variant {self.name}: expected settings of the search other than its budget, "
                    f"of methods, or space, found {item!r}: all entrants share the rest"
                )

    @classmethod
    def variant(cls, words: Sequence[str]) -> Entrant:
        """Makes an entrant of a name, a method and settings.

        Raises:
            ConfigError: Fewer words, or what no entrant may be.
        """
        if len(words) < 3:
            raise ConfigError(
                "variant: expected a name, a method and settings, such as "
                f"nasp-clip nasp methods.nasp.alpha_constraint=clip, found {' '.join(words)!r}"
            )
        name, method, *sets = words
        return cls(name, method, tuple(sets))


@dataclass(frozen=True)
class Trial:
    """One entrant with one seed."""

    entrant: Entrant
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.entrant.name}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A bench before anything has run.

    Attributes:
        entrants: In the order of the table.
        seeds: Of the trials; a seed also draws the split, where the protocol draws one.
        budget: Of every search.
        against: Name of the entrant that differences are taken to.
        job: Settings that all trials share.
        refused: Entrants that cannot take part, with the reason.
    """

    entrants: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    budget: Budget
    against: str
    job: CommonConfig
    refused: Mapping[str, str]

    @property
    def accepted(self) -> list[Entrant]:
        """Those that take part."""
        return [e for e in self.entrants if e.name not in self.refused]

    def trials(self) -> list[Trial]:
        """Seed by seed, so that an unfinished bench has whole seeds to compare."""
        return [Trial(entrant, seed) for seed in self.seeds for entrant in self.accepted]
