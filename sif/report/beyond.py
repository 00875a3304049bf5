"""More than accuracy: what the lists of all models are like, and the front of a goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.report import charts
from sif.report.files import RunFiles
from sif.report.numbers import decimals, is_number
from sif.report.section import Section

COLUMNS = {
    "coverage": ("coverage", 4, "share of the items that are in anybody's list"),
    "gini": ("Gini", 4, "inequality of the items' places in lists: 0 where all have as many"),
    "novelty": ("novelty", 2, "bits of surprise: minus log2 of the share of users with an item"),
    "arp": ("popularity", 1, "users who have an item of the list, on average"),
    "long_tail": ("long tail", 4, "share of the list beyond the items with 80 % of all rows"),
    "serendipity": ("serendipity", 4, "hits, by how much lower popularity has them"),
    "diversity": ("diversity", 4, "distance of two items of a list by their features"),
    "calibration": ("miscalibration", 4, "divergence of a list's categories from the user's"),
}
"""Metric to its heading, its decimals and its meaning."""
K = 10
"""Length of the lists that are shown."""


def section(run: RunFiles) -> Section | None:
    """The section; None of other tasks, and of runs of earlier versions."""
    known = [name for name in COLUMNS if any(_value(one, name) is not None for one in run.models)]
    if not known or run.moments:
        return None
    rows = [
        {
            "name": one["name"], "ours": one["name"] == run.ours, "served": one.get("served"),
            "values": [decimals(_value(one, name), COLUMNS[name][1]) for name in known],
        }
        for one in run.models
    ]  # fmt: skip
    goal = run.record.get("goal") or {}
    figures = {f"front-{n}": _front(goal, n) for n, _ in enumerate(goal.get("metrics", []))}
    values = {
        "k": K, "heads": [COLUMNS[name] for name in known], "rows": rows,
        "goal": _told(goal), "fronts": list(zip(figures, goal.get("metrics", []), strict=True)),
        "metric": goal.get("metric", ""),
    }  # fmt: skip
    return Section("beyond", "More than accuracy", "beyond.html", values, figures)


def _value(model: Mapping[str, Any], name: str) -> float | None:
    value = model.get("test", {}).get(f"{name}@{K}")
    return float(value) if is_number(value) else None


def _told(goal: Mapping[str, Any]) -> str:
    """The goal in words; empty: there is none."""
    bounds = [f"{b['metric']} {b['relation']} {b['value']:g}" for b in goal.get("bounds", [])]
    return f"{goal['metric']} as good as possible, {' and '.join(bounds)}" if bounds else ""


def _front(goal: Mapping[str, Any], number: int) -> charts.Spec:
    """Models by the metric of the goal and one that has a bound."""
    metric, other = goal["metric"], goal["metrics"][number]
    rows = [
        {"model": one["name"], "value": one["value"], "other": one["others"][number],
         "state": "served" if one["served"] else "keeps all bounds" if one["keeps"] else
         "breaks a bound"}
        for one in goal["models"]
        if is_number(one["value"]) and is_number(one["others"][number])
    ]  # fmt: skip
    names = {one["name"] for one in goal["models"] if one["undominated"][number]}
    line = sorted((row for row in rows if row["model"] in names), key=lambda row: row["other"])
    states = ["served", "keeps all bounds", "breaks a bound"]
    place = {"x": charts.x("other", f"validation {other}"),
             "y": charts.x("value", f"validation {metric}")}  # fmt: skip
    tooltip = [
        *charts.tips(model="model", state="state"),
        {"field": "value", "title": metric, "format": ".4f"},
        {"field": "other", "title": other, "format": ".4~f"},
    ]
    bounds = [{"bound": b["value"]} for b in goal["bounds"] if b["metric"] == other]
    color = charts.named(
        "state", sort=states, scale={"domain": states, "range": list(charts.COLORS)[:3]},
        legend=charts.legend(states, symbolType="circle"),
    )  # fmt: skip
    return charts.chart(
        rows, 260,
        layer=[
            {"data": {"name": "bounds", "values": bounds},
             "mark": {"type": "rule", "strokeDash": [4, 3], "color": charts.QUIET},
             "encoding": {"x": {"field": "bound", "type": "quantitative"}}},
            {"data": {"name": "front", "values": line},
             "mark": {"type": "line", "strokeWidth": 1, "color": charts.QUIET},
             "encoding": {**place, "order": {"field": "other"}}},
            {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
             "encoding": {**place, "color": color, "tooltip": tooltip}},
            {"mark": {"type": "text", "dy": -10, "fontSize": 12, "color": charts.INK},
             "encoding": {**place, "text": {"field": "model"}}},
        ],
    )  # fmt: skip
