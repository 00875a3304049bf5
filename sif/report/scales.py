"""Models in order: their time scales in words, as curves and as a diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sif.report import charts, diagrams
from sif.report.diagrams import Box
from sif.report.numbers import is_number

FAINT = 0.01
"""Weight of an item of the history, relative to the latest one's, that can still be seen."""
AGES = 60
"""Items back that are drawn, at most."""
LANES = 6
"""Time scales that are drawn, at most."""


def in_words(scale: str) -> str:
    """A time scale as people think of it: "0.5, last 6" is "half-life 1 row, last 6"."""
    parts = scale.split(", ")
    try:
        gamma = float(parts[0])
    except ValueError:
        return scale if parts[0] != "set" else "all rows alike"
    if gamma == 1:
        return ", ".join(["all alike", *parts[1:]])
    if not 0 < gamma < 1:
        return scale
    rows = math.log(0.5) / math.log(gamma)
    told = "1 row" if f"{rows:.2g}" == "1" else f"{rows:.2g} rows"
    return ", ".join([f"half-life {told}", *(one.replace("half-life ", "") for one in parts[1:])])


def given(genotype: Mapping[str, Any]) -> list[str]:
    """The time scales of a genotype that nothing searched: rows of factor and window."""
    numbers = (genotype.get("parameters") or {}).get("decays", {}).get("numbers", [])
    pairs = zip(numbers[::2], numbers[1::2], strict=False)
    return [f"{gamma:g}" + (f", last {window:g}" if window else "") for gamma, window in pairs]


def curves(decays: Mapping[str, Sequence[float]]) -> charts.Spec:
    """The weight of an item by its age, for each time scale."""
    rows = []
    for name, weights in decays.items():
        first = max((w for w in weights if is_number(w)), default=0.0)
        seen = [k for k, w in enumerate(weights) if is_number(w) and w >= FAINT * first]
        last = min((seen[-1] if seen else 0) + 2, len(weights), AGES)
        rows += [
            {"age": k + 1, "weight": weights[k], "series": in_words(name)} for k in range(last)
        ]
    return charts.lines(rows, ("age", "items back"), ("weight", "weight"))


def diagram(scales: Sequence[str], genotype: Mapping[str, Any]) -> Any:
    """From the items of a user by their time scales to scores.

    Args:
        scales: Names of the time scales; none: the history is a set.
        genotype: With the target and the power of popularity.
    """
    blocks = genotype.get("blocks") or {}

    def chosen(block: str, usual: str) -> str:
        return next((str(name) for _, name in blocks.get(block, [])), usual)

    lanes = [
        [Box("user", "items in order"), Box("time scale", in_words(one), strong=True)]
        for one in scales[:LANES]
    ]
    target = chosen("target", "next")
    ahead = target.removeprefix("next-") if target.startswith("next-") else ""
    told = "any other item" if target == "any" else "the next item"
    told = f"next items, fading {ahead}" if ahead else told
    tail = [Box("item weights, for", told, strong=bool(ahead))]
    discount = chosen("discount", "0")
    if discount != "0":
        tail.append(Box("popularity", f"divides by n^{discount}", strong=True))
    told = "item weights by " + ("; ".join(map(in_words, scales)) or "a set")
    lanes = lanes or [[Box("user", "items as a set")]]
    return diagrams.flow(lanes, [*tail, Box("score", "of every item")], told)
