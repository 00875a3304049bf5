"""Groups of users and of items: who gains, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.report import charts
from sif.report.files import RunFiles
from sif.report.numbers import decimals, is_number
from sif.report.section import Section

ABOUT = {
    "cold-user": "users that training has not seen",
    "cold-item": "ratings of items that training has not seen",
    "warm": "known users and known items alone",
}


def section(run: RunFiles) -> Section | None:
    """The section; None of tasks without users."""
    users, items = run.record.get("groups") or {}, run.record.get("items")
    rows = [_row(users["models"], group) for group in users.get("groups", [])]
    models = list(users.get("models", []))
    if not rows:
        models, rows = _of_metrics(run)
    figures: dict[str, Any] = {}
    if users.get("groups"):
        figures["groups"] = _bars(users, str(run.record.get("metric") or ""))
    if items and items["groups"]:
        figures["items"] = _items(items)
    if not rows and not figures:
        return None
    values = {
        "models": models, "rows": rows, "metric": run.metrics.get("metric", ""),
        "items": items, "has": dict.fromkeys(figures, True),
    }  # fmt: skip
    return Section("groups", "Groups of users and items", "groups.html", values, figures)


def name_of(group: str) -> str:
    """A group in words."""
    if group.startswith("history-"):
        _, low, high = group.split("-", 2)
        if high == "up":
            return f"{low} rows or more"
        return f"{low} to {high} rows"
    return group.replace("-", " ")


def _row(models: list[str], group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name_of(group["name"]), "about": ABOUT.get(group["name"], ""),
        "users": group["users"], "rows": group["rows"],
        "values": [decimals(bar[0]) for bar in group["bars"]],
        "intervals": [f"{decimals(bar[1])} to {decimals(bar[2])}" for bar in group["bars"]],
    }  # fmt: skip


def _of_metrics(run: RunFiles) -> tuple[list[str], list[dict[str, Any]]]:
    """The groups of ours in metrics.json, of runs of earlier versions."""
    metric = str(run.metrics.get("metric", ""))
    rows = [
        {
            "name": name_of(name), "about": ABOUT.get(name, ""), "users": one.get("users"),
            "rows": one.get("interactions"), "values": [decimals(one.get(metric))],
            "intervals": [""],
        }
        for name, one in (run.metrics.get("groups") or {}).items()
    ]  # fmt: skip
    return [run.ours], rows


def _bars(users: Mapping[str, Any], metric: str) -> charts.Spec:
    """A point with its interval per group and model."""
    rows = [
        {"group": name_of(group["name"]), "model": model, "value": bar[0], "low": bar[1],
         "high": bar[2], "users": group["users"]}
        for group in users["groups"]
        for model, bar in zip(users["models"], group["bars"], strict=True)
        if all(map(is_number, bar))
    ]  # fmt: skip
    models, groups = users["models"], [name_of(group["name"]) for group in users["groups"]]
    place = {
        "y": charts.named("group", sort=groups, title=None),
        "yOffset": {"field": "model", "sort": models, "scale": {"paddingOuter": 0.35}},
        "color": charts.named(
            "model", sort=models, scale={"range": list(charts.COLORS)}, legend=charts.legend(models)
        ),
    }
    tooltip = [
        *charts.tips(group="group", model="model"),
        *({"field": k, "format": ".4f"} for k in ("value", "low", "high")),
        {"field": "users"},
    ]
    scale = {"zero": False}
    return charts.chart(
        rows, 50 * len(groups) + 10,
        layer=[
            {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55}, "encoding": {
                **place, "x": charts.x("low", "", scale=scale), "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 55, "opacity": 1}, "encoding": {
                **place, "x": charts.x("value", f"test {metric}", scale=scale),
                "tooltip": tooltip}},
        ],
    )  # fmt: skip


def _items(items: Mapping[str, Any]) -> charts.Spec:
    """The share of the test rows that is found, by the popularity of their items."""
    groups = [group["name"] for group in items["groups"]]
    rows = [
        {"group": group, "model": model, "recall": recall, "share": items["lists"][model][k],
         "items": items["groups"][k]["items"], "rows": items["groups"][k]["rows"]}
        for model, recalls in items["recall"].items()
        for k, (group, recall) in enumerate(zip(groups, recalls, strict=True))
    ]  # fmt: skip
    models = list(items["recall"])
    return charts.chart(
        rows, 220, mark={"type": "bar", "cornerRadiusEnd": 2},
        encoding={
            "x": charts.named("group", sort=groups, title="train rows of the item",
                              axis={"labelAngle": 0}),
            "xOffset": {"field": "model", "sort": models},
            "y": {"field": "recall", "type": "quantitative", "title": "found",
                  "axis": {"format": "%", "tickCount": 5}},
            "color": charts.named("model", sort=models, scale={"range": list(charts.COLORS)},
                                  legend=charts.legend(models, symbolType="square")),
            "tooltip": [
                *charts.tips(group="train rows", model="model"),
                {"field": "recall", "title": "found", "format": ".1%"},
                {"field": "share", "title": "of all that is listed", "format": ".1%"},
                {"field": "items", "format": ","}, {"field": "rows", "title": "test rows",
                                                    "format": ","},
            ],
        },
    )  # fmt: skip
