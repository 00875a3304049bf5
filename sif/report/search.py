"""How the search got there: validation over time, trajectories, what was tried, and each choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sif.report import candidates, charts, fronts, tries
from sif.report.candidates import Tried, bounds, effects, share
from sif.report.files import RunFiles
from sif.report.numbers import is_number, plain, seconds, with_unit
from sif.report.section import Section
from sif.utils.digits import digits_of

PARALLEL = 300
"""Lines of the parallel coordinates, at most: the best ones."""
MOST_AXES = 12
"""Choices of a space up to which there are parallel coordinates."""
ALPHA_BLOCKS = 40
"""Choices whose alpha is embedded, at most."""
ROW, BESIDE = 24, 8
"""Pixels of a choice in the course of the selection; choices up to which it stands beside alpha."""
LETTER = 6.5
"""Pixels of a letter of an operation's name."""
FAR = 30.0
"""Times the least loss from which an axis of losses is logarithmic."""
WHOLE = 840
"""Pixels of a figure as wide as the page."""
STRIP = 72.0
"""Pixels of a strip of qualities."""


def section(run: RunFiles) -> Section | None:
    """The section; None where nothing was searched, trained or logged."""
    searches = candidates.tried(run)
    figures: dict[str, Any] = {}
    if over_time := validation(run):
        figures["validation"] = over_time
    if loss := _losses(run):
        figures["losses"] = loss
    sets = tries.point_sets(run, searches)
    if sets:
        figures["tried"] = tries.scatter()
    ours = searches[0] if searches else None
    if ours is not None:
        figures |= _trajectories(ours)
        figures |= fronts.figures(ours.record)
        different = {tuple(row["choices"]) for row in ours.rows}
        if 1 < len(ours.axes) <= MOST_AXES and len(different) > 1:
            figures["parallel"] = _parallel(ours)
    if not figures:
        return None
    values = {
        "sets": plain(sets),
        "search": None if ours is None else _summary(run, ours),
        "front": fronts.told(ours.record) if ours is not None else "",
        "fronts": [name for name in figures if name.startswith("front-")],
        "effects": [] if ours is None else _effects(ours),
        "measure": "" if ours is None else ours.measure,
        "digits": 4 if ours is None else digits_of(ours.measure),
        "axes": [] if ours is None else [axis.name for axis in ours.axes],
        "alphas": [] if ours is None or "alpha" not in figures else _alpha_names(ours),
        "resting": bool(ours and ours.record.get("resting")),
        "has": dict.fromkeys(figures, True),
        "strip": STRIP,
        "beside": ours is not None and len(ours.axes) <= BESIDE,
    }
    return Section("search", "How the search got there", "search.html", values, figures)


def curves(run: RunFiles) -> dict[str, Any]:
    """Validations of every training, once where a model stands for ours."""
    found = dict(run.record.get("curves") or {})
    stands = next((one["stands_for"] for one in run.models if one.get("stands_for")), None)
    if stands in found:
        found.pop(run.ours, None)
    return found


def validation(run: RunFiles) -> charts.Spec | None:
    """The metric of every training over the seconds; of a killed run by what was logged."""
    shown = str(run.record.get("shown") or run.metrics.get("metric") or "")
    rows = []
    for name, points in curves(run).items():
        rows += [
            {"seconds": p["seconds"], "value": p[shown], "series": name}
            for p in points
            if is_number(p.get(shown))
        ]
    if not rows:
        rows, shown = _logged(run)
    if not rows:
        return None
    up = with_unit(f"valid {shown}")
    return charts.lines(rows, ("seconds", "seconds of training"), ("value", up))


def _logged(run: RunFiles) -> tuple[list[dict[str, Any]], str]:
    """Validations of metrics.jsonl."""
    for metric in ("ndcg@10", "rmse", "error", "perplexity"):
        rows = []
        for one in run.steps:
            stage = str(one.get("stage", "")).removeprefix("re")
            value = one.get(f"valid.{metric}", one.get(metric))
            if stage.startswith("train-") and is_number(value) and is_number(one.get("seconds")):
                series = stage.removeprefix("train-")
                rows.append({"seconds": one["seconds"], "value": value, "series": series})
        if rows:
            return rows, metric
    return [], ""


def _losses(run: RunFiles) -> charts.Spec | None:
    """Loss by epoch of the trainings that have one: learning curves."""
    rows = [
        {"epoch": p["epoch"], "loss": p["loss"], "series": name}
        for name, points in curves(run).items()
        for p in points
        if is_number(p.get("loss")) and is_number(p.get("epoch"))
    ]
    if not rows:
        return None
    spec = charts.lines(rows, ("epoch", "epoch"), ("loss", "train loss"))
    values = [row["loss"] for row in rows]
    if min(values) > 0 and max(values) > FAR * min(values):
        spec["encoding"]["y"]["scale"] = {"type": "log"}
    return spec


# The course of the selection


def _trajectories(one: Tried) -> dict[str, charts.Spec]:
    """The selection by epoch, and alpha of one block at a time."""
    history = [entry for entry in one.record["history"] if "candidate" not in entry]
    figures = {}
    if len(history) < len(one.record["history"]):
        figures["best"] = _best_so_far(one)
    if len(history) < 2:
        return figures
    figures["selection"] = _selections(one, history)
    if any(entry.get("alpha") for entry in history):
        figures["alpha"] = _alphas(one, history)
    return figures


def _best_so_far(one: Tried) -> charts.Spec:
    rows, best = [], None
    for row in one.rows:
        better = best is None or (row["quality"] < best if one.lower else row["quality"] > best)
        best = row["quality"] if better else best
        rows.append({"seconds": row["seconds"], "value": best, "series": "best so far"})
    spec = charts.lines(rows, ("seconds", "seconds of the search"), ("value", one.measure))
    spec["mark"] = {**spec["mark"], "interpolate": "step-after"}
    return spec


def _selections(one: Tried, history: Sequence[Mapping[str, Any]]) -> charts.Spec:
    """A row per choice, a stretch per operation as long as it was selected."""
    rows: list[dict[str, Any]] = []
    for axis in one.axes:
        begin, before = 0, None
        names = [axis.chosen(entry["selection"]) for entry in history]
        if set(names) == {candidates.NO_EDGE}:
            continue
        for epoch, name in enumerate([*names, None]):
            if name != before and before not in (None, candidates.NO_EDGE):
                rows.append({"from": begin, "to": epoch, "choice": axis.name, "operation": before})
            if name != before:
                begin, before = epoch, name
    order = list(dict.fromkeys(row["choice"] for row in rows))
    known = list(dict.fromkeys(row["operation"] for row in rows))
    position = {
        "x": charts.x("from", "epoch", scale={"domain": [0, len(history)], "nice": False},
                      axis={"tickMinStep": 1}),
        "y": charts.named("choice", sort=order, title=None),
    }  # fmt: skip
    few = len(known) <= len(charts.COLORS)
    legend = charts.legend(known, symbolType="square") if few else None
    bars = {
        "mark": {"type": "bar", "height": {"band": 0.78}, "opacity": 0.34},
        "encoding": {
            **position, "x2": {"field": "to"},
            "color": charts.named("operation", scale={"range": list(charts.COLORS)}, legend=legend),
            "tooltip": charts.tips(choice="choice", operation="operation", **{"from": "from epoch",
                                   "to": "to epoch"}),
        },
    }  # fmt: skip
    room = f"(datum.to - datum.from) / {len(history)} * width"
    labels = {
        "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": charts.INK},
        "encoding": {
            **position, "text": {"field": "operation"},
            "opacity": {"condition": {
                "test": f"{room} > {LETTER} * length(datum.operation) + 8", "value": 1,
            }, "value": 0},
        },
    }  # fmt: skip
    return charts.chart(rows, max(60, ROW * len(order)), layer=[bars, labels])


def _alpha_names(one: Tried) -> list[str]:
    return [axis.name for axis in one.axes][:ALPHA_BLOCKS]


def _alphas(one: Tried, history: Sequence[Mapping[str, Any]]) -> charts.Spec:
    """Alpha by epoch, of the choice that the page's script asks for."""
    rows = []
    for axis in one.axes[:ALPHA_BLOCKS]:
        for epoch, entry in enumerate(history, 1):
            edges = entry.get("alpha", {}).get(axis.block, [])
            if axis.edge < len(edges):
                rows += [
                    {"epoch": epoch, "alpha": value, "operation": name, "choice": axis.name}
                    for name, value in zip(axis.operations, edges[axis.edge], strict=False)
                ]
    resting = one.record.get("resting") or 0
    spec = charts.lines(rows, ("epoch", "epoch"), ("alpha", "alpha"), "operation")
    spec["params"].append({"name": "choice", "value": one.axes[0].name})
    spec["transform"] = [{"filter": "datum.choice === choice"}]
    layer = {key: spec.pop(key) for key in ("mark", "encoding", "params")}
    outer = [one for one in layer["params"] if one["name"] == "choice"]
    layer["params"] = [one for one in layer["params"] if one["name"] == "fore"]
    shade = {
        "data": {"values": [{"a": 0, "b": resting}] if resting else []},
        "mark": {"type": "rect", "color": "var(--shade)"},
        "encoding": {"x": {"field": "a", "type": "quantitative"}, "x2": {"field": "b"}},
    }
    lines_spec = {"transform": spec.pop("transform"), **layer}
    return {**spec, "params": outer, "layer": [*([shade] if resting else []), lines_spec]}


# Every choice


def _effects(one: Tried) -> list[dict[str, Any]]:
    """The table of choices, with a strip of the qualities of each."""
    low, high = bounds(one.rows)
    blocks = effects(one)
    for block in blocks:
        for row in block["rows"]:
            places = sorted({round(STRIP * share(v, low, high), 1) for v in row.pop("values")})
            row["ticks"] = places
            row["at"] = None if row["median"] is None else round(
                STRIP * share(row["median"], low, high), 1
            )  # fmt: skip
    return blocks


def _parallel(one: Tried) -> charts.Spec:
    """A line per candidate through its choices to its quality; the best ones."""
    sign = 1 if one.lower else -1
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(one.rows, key=lambda row: sign * row["quality"]):
        kept.setdefault(tuple(row["choices"]), row)
    best = list(kept.values())[:PARALLEL]
    low, high = bounds(best)
    rows = []
    for row in best:
        quality = share(row["quality"], low, high)
        for axis, name in zip(one.axes, row["choices"], strict=True):
            known = (*axis.operations, candidates.NO_EDGE)
            last = max(len(axis.operations) - 1, 1)
            rows.append({
                "n": row["n"], "axis": axis.name, "y": min(known.index(name) / last, 1.0),
                "text": name, "quality": row["quality"], "shade": quality,
            })  # fmt: skip
        rows.append({
            "n": row["n"], "axis": one.measure, "y": quality, "text": f"{row['quality']:.4g}",
            "quality": row["quality"], "shade": quality,
        })  # fmt: skip
    marks = [
        {"axis": axis.name, "y": k / max(len(axis.operations) - 1, 1), "text": name}
        for axis in one.axes
        for k, name in enumerate(axis.operations)
    ]
    marks += [{"axis": one.measure, "y": y, "text": f"{v:.4g}"} for y, v in ((0, low), (1, high))]
    return _coordinates(rows, marks, [*(axis.name for axis in one.axes), one.measure])


def _coordinates(
    rows: list[dict[str, Any]], marks: list[dict[str, Any]], order: list[str]
) -> charts.Spec:
    position = {
        "x": charts.named("axis", sort=order, title=None, scale={"type": "point", "padding": 0.35},
                          axis={"labelAngle": 0, "domain": False, "ticks": False, "grid": True,
                                "labelFontWeight": 600, "labelColor": charts.INK,
                                "orient": "top", "labelLimit": min(150, WHOLE // len(order)),
                                "labelOverlap": False}),
        "y": {"field": "y", "type": "quantitative", "axis": None,
              "scale": {"domain": [-0.06, 1.06]}},
    }  # fmt: skip
    line = {
        "mark": {"type": "line", "interpolate": "monotone", "strokeWidth": 1.6},
        "encoding": {
            **position, "detail": {"field": "n"},
            "color": {"value": charts.ACCENT},
            "opacity": {
                "condition": {"test": "datum.off", "value": 0.04},
                "field": "shade", "type": "quantitative", "legend": None,
                "scale": {"domain": [0, 0.3, 1], "range": [0.95, 0.5, 0.15]},
            },
            "order": {"field": "order"},
            "tooltip": [{"field": "text", "title": "choice"},
                        {"field": "quality", "title": "quality", "format": ".4~g"}],
        },
    }  # fmt: skip
    places = {name: k for k, name in enumerate(order)}
    rows = [{**row, "order": places[row["axis"]]} for row in rows]
    label: charts.Spec = {
        "data": {"values": marks},
        "mark": {"type": "text", "align": "left", "baseline": "bottom", "dx": 5, "dy": -3,
                 "fontSize": 11, "color": charts.INK, "stroke": "var(--paper)", "strokeWidth": 3},
        "encoding": {**position, "text": {"field": "text"}},
    }  # fmt: skip
    clear = {**label, "mark": {**label["mark"], "stroke": None, "strokeWidth": 0}}
    return charts.chart(plain(rows), 320, layer=[line, label, clear])


def _summary(run: RunFiles, one: Tried) -> dict[str, Any]:
    record, search = one.record, run.metrics.get("search") or {}
    best = one.best
    return {
        "name": one.name,
        "method": run.config.get("method", ""),
        "seconds": seconds(record.get("seconds")),
        "epochs": record.get("epochs"),
        "steps": record.get("steps"),
        "tried": len({tuple(row["choices"]) for row in one.rows}),
        "entries": len(one.rows),
        "flips": search.get("flips"),
        "best": best,
        "measure": one.measure,
        "finished": search.get("finished"),
        "changed": search.get("finish_changed"),
        "at_rest": record.get("at_rest"),
        "kind": one.rows[0]["kind"],
    }
