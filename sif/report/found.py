"""The result of the search: the function as a diagram, its curves, its surface; or its scales."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sif.report import charts, diagrams, scales
from sif.report.diagrams import Box
from sif.report.files import RunFiles
from sif.report.numbers import is_number, short
from sif.report.section import Section

LETTERS = "PQRSTUVWXYZ"
NEUTRAL = {"id", "identity", "even", "product", "multiply"}
"""Choices that change nothing: what most models do."""
SIDE = 41
"""Points of a side of the surface."""
ENCODED = {"id": "table of ids", "history": "sum of its history", "both": "table + history"}
POINTS = 60
POWERS = {
    "user": "power of users' rows", "item": "power of items' rows",
    "shift": "power of items' rows, answer", "discount": "power of popularity",
}  # fmt: skip
"""Constants of closed forms in words."""
FILTERS = {
    "user": "users, by their rows",
    "item": "items, by their rows",
    "shift": "items of the answer",
}


def section(run: RunFiles) -> Section | None:
    """The section; None where nothing was found yet, or cells were."""
    function = run.figures.get("function") or {}
    if run.figures.get("cells") or not (run.genotype or function):
        return None
    figures: dict[str, Any] = {}
    curves = function.get("curves") or {}
    unchanged = bool(curves) and all(_is_straight(function["x"], one) for one in curves.values())
    if curves and not unchanged:
        figures["curves"] = _curves(function["x"], curves)
    if function.get("surface"):
        figures["surface"] = _surface(function)
    if function.get("decays"):
        figures["decays"] = scales.curves(function["decays"])
    if run.genotype.get("space") == "closed":
        figures |= _closed(run.genotype)
    served = _served(run)
    if served and (run.figures["served"].get("decays")):
        figures["served-decays"] = scales.curves(run.figures["served"]["decays"])
    values = {
        "expression": run.metrics.get("genotype") or function.get("expression", ""),
        "diagram": _diagram(run.genotype, list(curves or ("user", "item")), function),
        "served": served,
        "searched": _searched(run),
        "searched_note": _left_out_features(run),
        "entrant": run.metrics.get("entrant"),
        "ours": run.ours,
        "choices": _choices(run.genotype),
        "constants": _constants(run.genotype),
        "surface": "surface" in figures,
        "curves": "curves" in figures,
        "unchanged": unchanged,
        "decays": "decays" in figures,
        "closed": [name for name in ("response", "weights") if name in figures],
    }
    return Section("found", "What was found", "found.html", values, figures)


def _searched(run: RunFiles) -> str:
    """The searched function where another model stands for it."""
    found = (run.metrics.get("search") or {}).get("found", "")
    return "" if found == run.metrics.get("genotype") else str(found)


def _left_out_features(run: RunFiles) -> str:
    """Says of a found function with features that it was trained without them; empty: it was not.

    The search adds features on trial; the training after it decides.
    """
    kinds = (run.metrics.get("features") or {}).get("kinds") or {}
    trial = kinds.get("function of pairs") or {}
    if not trial.get("tried") or trial.get("kept"):
        return ""
    return "; it was trained without its features, which did not clearly help on validation"


def _is_straight(x: Sequence[float], curve: Sequence[float]) -> bool:
    """True for a function that changes nothing."""
    pairs = zip(x, curve, strict=True)
    return all(is_number(b) and abs(a - b) <= 1e-6 * max(map(abs, x)) for a, b in pairs)


def _served(run: RunFiles) -> dict[str, Any]:
    """The model in order that is served in place of the found one; empty: there is none."""
    served = run.figures.get("served") or {}
    if not served:
        return {}
    genotype, decays = served.get("genotype") or {}, served.get("decays") or {}
    return {
        "name": str((run.metrics.get("served") or {}).get("expression") or served["name"]),
        "expression": str(served.get("expression", "")),
        "diagram": scales.diagram(list(decays) or scales.given(genotype), genotype),
        "curves": bool(decays),
    }  # fmt: skip


def _names(genotype: Mapping[str, Any], block: str) -> list[str]:
    return [str(name) for _, name in (genotype.get("blocks") or {}).get(block, [])]


def _choices(genotype: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Block, its choices, and whether they are neutral."""
    blocks = genotype.get("blocks") or {}
    found = [(str(block), _names(genotype, block)) for block in blocks]
    return [(block, ", ".join(names), set(names) <= NEUTRAL) for block, names in found]


def _constants(genotype: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Single numbers of a genotype; learned functions have more, and are drawn."""
    parameters = genotype.get("parameters") or {}
    words = POWERS if genotype.get("space") == "closed" else {}
    return [
        (words.get(name, str(name)), short(one["numbers"][0]))
        for name, one in parameters.items()
        if len(one["numbers"]) == 1
    ]


def _diagram(
    genotype: Mapping[str, Any], fields: Sequence[str], function: Mapping[str, Any]
) -> Any:  # fmt: skip
    """The way from a user and an item to their score."""
    space, blocks = genotype.get("space"), genotype.get("blocks") or {}
    if space == "closed":
        family = ", ".join(_names(genotype, "family"))
        way = [Box("user", "items as a set"), Box("closed form", family, strong=True)]
        return diagrams.flow([way], [Box("score", "of every item")], f"closed form {family}")
    if "operation" not in blocks:
        known = list(function.get("decays") or ()) or scales.given(genotype)
        return scales.diagram(known or _scale_names(blocks), genotype)
    encodings = _names(genotype, "encoding") or ["id"] * len(fields)
    lanes = [
        _lane(genotype, field, encoding, letter)
        for field, encoding, letter in zip(fields, encodings, LETTERS, strict=False)
    ]
    operation = ", ".join(_names(genotype, "operation"))
    tail = [Box("operation", operation, operation not in NEUTRAL)]
    if "cosine" in _names(genotype, "similarity"):
        tail.insert(0, Box("similarity", "vectors of length 1", strong=True))
    return diagrams.flow(lanes, [*tail, Box("score", "weighted sum")], operation)


def _scale_names(blocks: Mapping[str, Any]) -> list[str]:
    """Time scales by their factors alone, of runs without the figures."""
    names = {block: [str(name) for _, name in edges] for block, edges in blocks.items()}
    return [n for b in ("recent", "middle", "long") for n in names.get(b, []) if n != "none"]


def _lane(genotype: Mapping[str, Any], field: str, encoding: str, letter: str) -> list[Box]:
    embedding = (_names(genotype, "embedding") or [""])[0]
    lane = [Box(field, ENCODED.get(encoding, encoding), encoding != "id")]
    own = _names(genotype, field)
    if own:
        lane.append(Box("transform", own[0], own[0] not in NEUTRAL))
    elif embedding == "graph":
        lane.append(Box("embedding", "light propagation", strong=True))
    elif embedding == "elementwise" or genotype.get("space") == "sif":
        lane.append(Box("transform", f"{letter}, learned", strong=True))
    return lane


def _curves(x: Sequence[float], curves: Mapping[str, Sequence[float]]) -> charts.Spec:
    letters = dict(zip(curves, LETTERS, strict=False))
    rows = [
        {"x": a, "y": b, "series": f"{letters.get(field, '')} of {field}"}
        for field, values in curves.items()
        for a, b in zip(x, values, strict=True)
    ]
    straight = [{"x": a, "y": a, "series": "unchanged"} for a in (x[0], x[-1])]
    spec = charts.lines([*rows, *straight], ("x", "embedding"), ("y", "after it"))
    spec["encoding"]["x"]["scale"]["zero"] = False
    spec["encoding"]["strokeDash"] = {
        "condition": {"test": "datum.series == 'unchanged'", "value": [4, 4]}, "value": [1, 0],
    }  # fmt: skip
    return spec


def _surface(function: Mapping[str, Any]) -> charts.Spec:
    """Fewer points than were saved: a page has to draw each."""
    x, surface = function["x"], function["surface"]
    places = [round(k * (len(x) - 1) / (SIDE - 1)) for k in range(SIDE)]
    half = (x[-1] - x[0]) / (SIDE - 1) / 2
    rows = [
        {"u": x[i], "v": x[j], "u0": x[i] - half, "u1": x[i] + half, "v0": x[j] - half,
         "v1": x[j] + half, "f": surface[j][i]}
        for i in places for j in places
    ]  # fmt: skip
    rows = [{key: float(f"{value:.4g}") for key, value in row.items()} for row in rows]
    most = max((abs(row["f"]) for row in rows if is_number(row["f"])), default=1.0) or 1.0
    return charts.chart(
        rows, 300, mark={"type": "rect"},
        encoding={
            "x": charts.x("u0", "u, of the user", scale={"nice": False}), "x2": {"field": "u1"},
            "y": charts.x("v0", "v, of the item", scale={"nice": False}), "y2": {"field": "v1"},
            "color": {
                "field": "f", "type": "quantitative", "title": "f(u, v)",
                "scale": {"scheme": "blueorange", "domain": [-most, most], "reverse": True},
                "legend": {"symbolType": "square", "orient": "right", "offset": 8},
            },
            "tooltip": [{"field": k, "format": ".3f"} for k in ("u", "v", "f")],
        },
    )  # fmt: skip


def _closed(genotype: Mapping[str, Any]) -> dict[str, charts.Spec]:
    """Curves of a closed form's constants."""
    given = {name: one["numbers"][0] for name, one in (genotype.get("parameters") or {}).items()}
    found = {}
    powers = {name: given[name] for name in FILTERS if name in given}
    if powers:
        rows = [
            {"rows": 10 ** (3 * k / POINTS), "weight": 10 ** (-3 * power * k / POINTS),
             "series": f"{FILTERS[name]} (n^{-power:+g})"}
            for name, power in powers.items() for k in range(POINTS + 1)
        ]  # fmt: skip
        spec = charts.lines(rows, ("rows", "rows n"), ("weight", "weight"))
        spec["encoding"]["x"]["scale"] = {"type": "log"}
        found["weights"] = spec
    if "second" in given and "third" in given:
        rows = [
            {"t": k / POINTS, "series": "filter",
             "y": sum(c * (k / POINTS) ** n for n, c in
                      ((1, 1.0), (2, given["second"]), (3, given["third"])))}
            for k in range(POINTS + 1)
        ]  # fmt: skip
        named = ("t", "eigenvalue of the items' similarity"), ("y", "what the filter makes of it")
        found["response"] = charts.lines(rows, *named)
    return {name: spec for name, spec in found.items() if _finite(spec)}


def _finite(spec: charts.Spec) -> bool:
    return all(
        math.isfinite(value) for row in spec["data"]["values"] for value in row.values()
        if isinstance(value, float)
    )  # fmt: skip
