"""The candidates of a search: each selection with its quality, and what every choice did to it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sif.report.cells import INPUTS
from sif.report.files import RunFiles
from sif.report.numbers import is_number, seconds

Row = dict[str, Any]

NO_EDGE = "none"
"""In place of an operation on an edge that is not kept."""
NAMED_AXES = 6
"""Choices that make the name of a candidate; of larger spaces the name is a number."""


@dataclass(frozen=True)
class Axis:
    """One choice of a space.

    Attributes:
        name: For people.
        block: Of the space.
        edge: Its number in the block.
        operations: To choose from.
    """

    name: str
    block: str
    edge: int
    operations: tuple[str, ...]

    def chosen(self, selection: Mapping[str, Sequence[int]]) -> str:
        """The name of what a selection has here."""
        edges = selection.get(self.block, ())
        k = edges[self.edge] if self.edge < len(edges) else -1
        return self.operations[k] if 0 <= k < len(self.operations) else NO_EDGE


@dataclass(frozen=True, eq=False)
class Tried:
    """All that one search tried.

    Attributes:
        name: Of the entrant.
        axes: Choices of the space.
        measure: What quality is measured by.
        lower: Whether less of it is better.
        rows: A candidate each: name, quality, seconds, steps, choices and more.
        record: Of the search.
    """

    name: str
    axes: tuple[Axis, ...]
    measure: str
    lower: bool
    rows: list[Row]
    record: Mapping[str, Any]

    @property
    def best(self) -> Row | None:
        """The best candidate."""
        sign = 1 if self.lower else -1
        return min(self.rows, key=lambda row: sign * row["quality"], default=None)


def tried(run: RunFiles) -> list[Tried]:
    """Searches with anything to show, ours first."""
    searches = run.record.get("search") or {}
    order = sorted(searches, key=lambda name: name != run.ours)
    found = [_tried(run, name, searches[name]) for name in order]
    return [one for one in found if one.rows]


def _tried(run: RunFiles, name: str, record: Mapping[str, Any]) -> Tried:
    history = record["history"]
    axes = tuple(_axes(run, record["operations"], history))
    judged = str(run.record.get("judged", ""))
    samples = any("candidate" in entry for entry in history)
    by_loss = not any(is_number(entry.get("judged", {}).get(judged)) for entry in history[:-1])
    if by_loss and not samples:
        judged, quality = "validation loss", _loss
    else:
        judged, quality = _measure(run, judged), _judgment(judged)
    rows = []
    of_a_kind = [entry for entry in history if ("candidate" in entry) == samples]
    for number, entry in enumerate(of_a_kind, 1):  # a finish trains weights of its own
        value = quality(entry)
        if is_number(value):
            rows.append(_row(number, entry, axes, value, samples))
    return Tried(name, axes, judged, True, rows, record)


def _measure(run: RunFiles, judged: str) -> str:
    """The error by which a search judges, in words."""
    shown = str(run.record.get("shown") or "")
    if not shown or not judged.startswith("exported"):
        return judged.replace("_", " ")
    better = run.record.get("higher_is_better", True)
    return f"1 \N{MINUS SIGN} valid {shown}" if better else f"valid {shown}"


def _loss(entry: Mapping[str, Any]) -> Any:
    names = ("valid_loss", "selected_loss", "loss")
    return next((entry[one] for one in names if is_number(entry.get(one))), None)


def _judgment(name: str) -> Any:
    def quality(entry: Mapping[str, Any]) -> Any:
        judged = (entry.get("candidate") or entry).get("judged") or {}
        return judged.get(name)

    return quality


def _row(
    number: int, entry: Mapping[str, Any], axes: Sequence[Axis], quality: float, samples: bool
) -> Row:
    one = entry.get("candidate") or entry
    choices = [axis.chosen(one["selection"]) for axis in axes]
    kind = "candidate" if samples else "epoch"
    name = ", ".join(choices) if len(axes) <= NAMED_AXES else f"{kind} {number}"
    row: Row = {
        "n": number, "name": name, "quality": quality, "seconds": entry["seconds"],
        "steps": entry.get("steps"), "choices": choices, "kind": kind,
    }  # fmt: skip
    for key in ("loss", "selected_loss", "valid_loss"):
        if is_number(entry.get(key)):
            row[key] = entry[key]
    for key in ("cost", "epochs"):
        if is_number(one.get(key)):
            row[key] = one[key]
    return row


def _axes(
    run: RunFiles, operations: Mapping[str, Sequence[str]], history: Sequence[Mapping[str, Any]]
) -> Iterator[Axis]:
    selection = history[-1]["selection"] if history else {}
    for block, names in operations.items():
        edges = len(selection.get(block, (0,)))
        for edge, told in enumerate(_edge_names(run, edges)):
            name = block if edges == 1 else told if len(operations) == 1 else f"{block} {told}"
            yield Axis(name, block, edge, tuple(map(str, names)))


def _edge_names(run: RunFiles, edges: int) -> list[str]:
    """Names of the edges of a block: fields, or the nodes of a cell that they join."""
    fields = list((run.record.get("data") or {}).get("sizes") or {})
    if len(fields) == edges:
        return fields
    names = list(INPUTS.get(run.task, ()))
    if not names:
        return [str(edge + 1) for edge in range(edges)]
    joined: list[str] = []
    while len(joined) < edges:
        joined += [f"{source}\N{RIGHTWARDS ARROW}{len(names)}" for source in names]
        names.append(str(len(names)))
    return joined[:edges]


def effects(one: Tried) -> list[Row]:
    """Every block with its operations: how often each was tried, and how good it was.

    The edges of a block are taken together: an operation was tried where any of them had it.
    """
    blocks = []
    for block in dict.fromkeys(axis.block for axis in one.axes):
        places = [k for k, axis in enumerate(one.axes) if axis.block == block]
        operations = one.axes[places[0]].operations
        rows = [_effect(one, places, block, k, name) for k, name in enumerate(operations)]
        blocks.append({"block": block, "edges": len(places), "rows": rows})
    return blocks


def _effect(one: Tried, places: Sequence[int], block: str, k: int, name: str) -> Row:
    values = [
        row["quality"] for row in one.rows if any(row["choices"][place] == name for place in places)
    ]
    last = one.rows[-1]["choices"] if one.rows else []
    trained = one.record.get("trained", {}).get(block) or []
    counts = [row[k] for row in trained]
    total = sum(sum(row) for row in trained)
    alphas = [
        edge[k] for entry in one.record["history"][-1:]
        for edge in entry.get("alpha", {}).get(block, [])
    ]  # fmt: skip
    return {
        "name": name,
        "told": _told(block, name),
        "tried": len(values),
        "best": min(values, default=None) if one.lower else max(values, default=None),
        "median": statistics.median(values) if values else None,
        "values": sorted(values),
        "last": sum(last[place] == name for place in places),
        "share": sum(counts) / total if total else None,
        "alpha": max((a for a in alphas if is_number(a)), default=None),
    }


def _told(block: str, name: str) -> str:
    """The name of an operation for people; half-lives are seconds."""
    try:
        return seconds(float(name)) if block == "half-life" else name
    except ValueError:
        return name


def bounds(rows: Sequence[Row]) -> tuple[float, float]:
    """Ends of an axis of qualities that few wild ones do not spoil."""
    values = sorted(row["quality"] for row in rows)
    if not values:
        return 0.0, 1.0
    low, high = values[0], values[-1]
    if len(values) >= 20:
        ninth = values[int(0.9 * (len(values) - 1))]
        high = min(high, low + 2.5 * (ninth - low)) if ninth > low else high
    return low, high if high > low else low + max(abs(low) * 0.01, 1e-9)


def share(value: float, low: float, high: float) -> float:
    """The place of a value between two ends, from 0 to 1; at them where it lies beyond."""
    place = (value - low) / (high - low)
    return min(1.0, max(0.0, place)) if math.isfinite(place) else 0.0
