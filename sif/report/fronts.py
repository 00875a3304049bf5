"""The front of a search by several objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.report import charts
from sif.report.numbers import is_number

_STATES = ["picked", "on the front", "candidate"]


def figures(record: Mapping[str, Any]) -> dict[str, charts.Spec]:
    """A figure for each objective beside the error.

    Args:
        record: Of a search.
    """
    front = record.get("front") or {}
    return {f"front-{n}": _figure(front, n) for n, _ in enumerate(front.get("names", []))}


def told(record: Mapping[str, Any]) -> str:
    """The values of the searched design, and the hypervolume, in a sentence; empty: none."""
    objectives = record.get("objectives") or []
    if not objectives:
        return ""
    values = [f"{one['name']} {one['value']:,.6g} {one['unit']}".rstrip() for one in objectives]
    volume = (record.get("front") or {}).get("hypervolume")
    share = f" The front has a hypervolume of {volume:.3f}." if is_number(volume) else ""
    return f"The searched design has {', '.join(values)}.{share}"


def _figure(front: Mapping[str, Any], number: int) -> charts.Spec:
    name, unit, error = front["names"][number], front["units"][number], front["error"]
    other = f"{name} ({unit})" if unit else name
    rows = [
        {"value": point["values"][0], "other": point["values"][1 + number],
         "number": point["number"], "state": _STATES[0] if point["picked"] else
         _STATES[2] if point["number"] is None else _STATES[1]}
        for point in front["points"]
        if is_number(point["values"][0]) and is_number(point["values"][1 + number])
    ]  # fmt: skip
    color = charts.named(
        "state", sort=_STATES, scale={"domain": _STATES, "range": list(charts.COLORS)[:3]},
        legend=charts.legend(_STATES, symbolType="circle"),
    )  # fmt: skip
    tooltip = [
        *charts.tips(state="state", number="number"),
        {"field": "value", "title": error, "format": ".4f"},
        {"field": "other", "title": other, "format": ".5~g"},
    ]
    bound = front["bounds"][number]
    bounds = [] if bound is None else [{"bound": bound}]
    place = {"x": charts.x("other", other), "y": charts.x("value", error)}
    return charts.chart(
        rows, 260,
        layer=[
            {"data": {"name": "bounds", "values": bounds},
             "mark": {"type": "rule", "strokeDash": [4, 3], "color": charts.QUIET},
             "encoding": {"x": {"field": "bound", "type": "quantitative"}}},
            {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
             "encoding": {**place, "color": color, "tooltip": tooltip}},
        ],
    )  # fmt: skip
