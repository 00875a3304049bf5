"""The front of a search by several objectives: its points, its hypervolume, and the one picked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.errors import ConfigError
from sif.methods.sampler import undominated
from sif.utils.optional import library

PICK = "search.pick"
ERROR, KNEE = "error", "knee"
REFERENCE = 1.1
"""Reference point of the hypervolume, where every objective runs from 0 to 1 over the candidates
(Ishibuchi et al., GECCO 2017, discuss it)."""

Floats = NDArray[np.float64]


def check_pick(pick: str, names: Sequence[str]) -> None:
    """Raises ConfigError for a text that picks no point.

    Args:
        pick: "error", "knee", the name of an objective, or the number of a point.
        names: Of the objectives beside the error.
    """
    if pick in (ERROR, KNEE, *names) or (pick.isascii() and pick.isdigit() and int(pick) > 0):
        if pick == ERROR or names:
            return
        raise ConfigError(f"{PICK}: expected search.objectives to pick by, found {pick!r} alone")
    told = ", ".join((ERROR, KNEE, *names))
    raise ConfigError(f"{PICK}: expected {told} or the number of a point, found {pick!r}")


def shortfalls(points: Sequence[Sequence[float]], bounds: Sequence[float]) -> list[float]:
    """Sum over the bounds of how far each point exceeds them, as shares of the bounds.

    Args:
        points: The error and the other objectives of each.
        bounds: Of the others; infinite: none.
    """
    return [
        sum(max(0.0, value / most - 1) for value, most in zip(point[1:], bounds, strict=True))
        for point in points
    ]


def front_of(points: Sequence[Sequence[float]], bounds: Sequence[float]) -> list[int]:
    """Numbers of the points on the front, by rising error.

    Points that keep the bounds, or are closest to them, are compared.
    """
    short = shortfalls(points, bounds)
    least = min(short, default=0.0)
    able = [n for n, one in enumerate(short) if one <= least]
    front = [able[n] for n in undominated([tuple(points[n]) for n in able])]
    return sorted(front, key=lambda n: tuple(points[n]))


def picked(
    points: Sequence[Sequence[float]], names: Sequence[str], bounds: Sequence[float], pick: str
) -> int:
    """The number of the point that a search returns.

    Args:
        points: The error and the other objectives of each.
        names: Of the others.
        bounds: Of the others; infinite: none.
        pick: See `check_pick`; numbers count the front from 1 by rising error.

    Raises:
        ConfigError: The front has fewer points.
    """
    front = front_of(points, bounds)
    if pick == ERROR:
        return front[0]
    if pick in names:
        column = 1 + list(names).index(pick)
        return min(front, key=lambda n: (points[n][column], points[n][0]))
    if pick == KNEE:
        scaled = _scaled(np.array([points[n] for n in front], dtype=float))
        return front[int(np.linalg.norm(scaled, axis=1).argmin())]
    if int(pick) > len(front):
        raise ConfigError(f"{PICK}: expected a point of a front of {len(front)}, found {pick}")
    return front[int(pick) - 1]


def _scaled(values: Floats, among: Floats | None = None) -> Floats:
    """Values (n, m) so that each column of `among` runs from 0 to 1."""
    among = values if among is None else among
    low, high = among.min(axis=0), among.max(axis=0)
    scaled: Floats = (values - low) / np.where(high > low, high - low, 1.0)
    return scaled


def hypervolume(points: Sequence[Sequence[float]], front: Sequence[int]) -> float:
    """The share of the box up to the reference point that a front dominates, from 0 to 1.

    Args:
        points: All candidates, over which each objective is scaled to run from 0 to 1.
        front: Numbers of those on the front.

    Raises:
        ConfigError: pymoo is not installed.
    """
    hv = library("pymoo.indicators.hv", "hypervolume", extra="bench")
    every = np.array(points, dtype=float)
    scaled = _scaled(every[list(front)], every)
    size = every.shape[1]
    volume = hv.HV(ref_point=np.full(size, REFERENCE))(scaled)
    return float(volume / REFERENCE**size)


def front_document(
    history: Sequence[Mapping[str, Any]], names: Sequence[str], units: Sequence[str],
    bounds: Sequence[float],
) -> dict[str, Any] | None:  # fmt: skip
    """The candidates of a search by their objectives, as plain JSON values.

    Args:
        history: Of a sampler's search; its last selection is the picked one.
        names: Of the objectives beside the error.
        units: Of their values.
        bounds: On them; infinite: none.

    Returns:
        None without objectives, or where no candidate has them. "hypervolume" is None without
        pymoo.
    """
    entries = {
        tuple(sorted((k, tuple(v)) for k, v in one["candidate"]["selection"].items())): one
        for one in history
        if "candidate" in one and set(names) <= set(one["candidate"]["judged"])
    }
    if not names or not entries:
        return None
    judged = [one["candidate"]["judged"] for one in entries.values()]
    error = next(iter(judged[0]))
    points = [[one[error], *(one[name] for name in names)] for one in judged]
    front = front_of(points, bounds)
    try:
        volume = hypervolume(points, front)
    except ConfigError:
        volume = None
    last = history[-1]["selection"]
    return {
        "error": error, "names": list(names), "units": list(units),
        "bounds": [None if most == math.inf else most for most in bounds],
        "hypervolume": volume,
        "points": [
            {
                "values": point, "selection": one["candidate"]["selection"],
                "number": front.index(n) + 1 if n in front else None,
                "picked": one["candidate"]["selection"] == last,
            }
            for n, (point, one) in enumerate(zip(points, entries.values(), strict=True))
        ],
    }  # fmt: skip
