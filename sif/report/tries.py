"""Everything that a job tried, as sets of points: quality over seconds or size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sif.report import charts
from sif.report.candidates import Tried
from sif.report.files import RunFiles
from sif.report.numbers import is_number, with_unit

KEPT, DESIGNS = 4_000, 2_000
"""Points of a search and of all models together that are embedded, at most."""
GROUPS = 8
"""Models with a color of their own; the others share one."""
OTHERS = "others"

PointSet = dict[str, Any]
"""Label, measure, direction, axes, sizes and rows, as the page's script reads them."""


def point_sets(run: RunFiles, searches: Sequence[Tried]) -> list[PointSet]:
    """The sets of a run that have more than one point, its searches first.

    Args:
        run: The run.
        searches: With anything to show.
    """
    found = [*(_of_search(run, one) for one in searches), _of_grids(run), _of_models(run)]
    return [one for one in found if len(one["rows"]) > 1]


def _of_search(run: RunFiles, one: Tried) -> PointSet:
    """The candidates of a search."""
    kind, of = one.rows[0]["kind"], "" if one.name == run.ours else f" of {one.name}"
    label = "its candidates" if kind == "candidate" else "its selection at every epoch"
    return {
        "label": f"the search{of}: {label}", "measure": one.measure, "lower": one.lower,
        "axes": [{"name": axis.name, "block": axis.block} for axis in one.axes],
        "rows": one.rows[-KEPT:], "groups": [],
        "sizes": [k for k in ("seconds", "steps", "cost") if k in one.rows[0]],
    }  # fmt: skip


def _of_validation(run: RunFiles, label: str, rows: list[dict[str, Any]]) -> PointSet:
    return {
        "label": label, "measure": with_unit(f"valid {_metric(run)}"),
        "lower": not run.record.get("higher_is_better", True), "axes": [], "rows": rows,
        "groups": [], "sizes": ["seconds"],
    }  # fmt: skip


def _metric(run: RunFiles) -> str:
    return str(run.record.get("shown") or "")


def _of_grids(run: RunFiles) -> PointSet:
    """Every setting and design among which validation chose, of all models."""
    rows: list[dict[str, Any]] = []
    decides = run.record.get("metric") == _metric(run)  # by which settings were judged
    for model in _shown(run) if decides else []:
        for one in model.get("tried") or _itself(run, model):
            if is_number(one.get("value")) and is_number(one.get("seconds")):
                told = one.get("name") or ""
                rows.append({
                    "n": len(rows) + 1, "name": f"{model['name']}: {told}" if told
                    else model["name"], "quality": one["value"], "since": one["seconds"],
                    "kind": "design", "choices": [], "group": model["name"],
                    "users": one.get("users"),
                })  # fmt: skip
    rows = rows[:: -(-len(rows) // DESIGNS) or 1]
    found = _of_validation(run, "every design and setting of all models", rows)
    if len(rows) <= len(_shown(run)):
        return found | {"rows": []}
    groups = _best_first(rows, found["lower"])
    if len(groups) > GROUPS + 1:
        kept = groups[:GROUPS]
        rows = [row if row["group"] in kept else row | {"group": OTHERS} for row in rows]
        groups = [*kept, OTHERS]
    return found | {"rows": rows, "sizes": ["since"], "groups": groups}


def _shown(run: RunFiles) -> list[Mapping[str, Any]]:
    """The models, without those that stand for another one."""
    return [one for one in run.models if not one.get("stands_for")]


def _itself(run: RunFiles, model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A model that nothing was chosen for."""
    return [{"value": model["valid"].get(_metric(run)), "seconds": model.get("seconds")}]


def _best_first(rows: Sequence[Mapping[str, Any]], lower: bool) -> list[str]:
    best: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: bool(row["users"])):
        if row["users"] and row["group"] in best:
            continue
        value = row["quality"] if lower else -row["quality"]
        best[row["group"]] = min(best.get(row["group"], value), value)
    return sorted(best, key=lambda name: best[name])


def _of_models(run: RunFiles) -> PointSet:
    """All models that were trained, by what validation says of them."""
    rows: list[dict[str, Any]] = []
    for model in run.models:
        value = model["valid"].get(_metric(run))
        if not is_number(value) or not is_number(model.get("seconds")):
            continue
        row = {
            "n": len(rows) + 1, "name": model["name"], "quality": value,
            "seconds": model["seconds"], "kind": model["kind"], "choices": [],
            "expression": model.get("expression", ""),
        }  # fmt: skip
        parameters = _parameters(model)
        rows.append(row | ({"parameters": parameters} if parameters else {}))
    found = _of_validation(run, "models that were trained", rows)
    if rows and all("parameters" in row for row in rows):
        found["sizes"] = ["seconds", "parameters"]
    return found


def _parameters(model: Mapping[str, Any]) -> float | None:
    text = (model.get("row") or {}).get("parameters M")
    try:
        return None if text is None else 1e6 * float(text)
    except ValueError:
        return None


def scatter() -> charts.Spec:
    """Points that the page's script fills in: any set, over any size."""
    return charts.chart(
        [], 300,
        params=[{"name": "chosen", "value": -1}],
        layer=[
            {
                "mark": {"type": "circle", "opacity": 1, "cursor": "pointer", "strokeWidth": 2},
                "encoding": {
                    "x": charts.x("x", "", scale={"zero": False}),
                    "y": charts.x("quality", "", scale={"zero": False, "padding": 10}),
                    "size": {"condition": {"test": "datum.n === chosen", "value": 170},
                             "value": 60},
                    "color": {"condition": [
                        {"test": "datum.n === chosen", "value": "var(--reference)"},
                        {"test": "datum.best", "value": "var(--ink)"},
                    ], "value": charts.ACCENT},
                    "opacity": {"condition": [
                        {"test": "datum.off", "value": 0.1}, {"test": "datum.users", "value": 0.3},
                    ], "value": 0.75},
                    "tooltip": [
                        {"field": "name", "title": "name"},
                        {"field": "quality", "title": "quality", "format": ".4~f"},
                        {"field": "x", "title": "at", "format": ".4~g"},
                    ],
                },
            },
        ],
    )  # fmt: skip
