"""Cells of images and text: drawn, with what their networks mistake for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sif.report import diagrams
from sif.report.files import RunFiles
from sif.report.section import Section

IMAGE_INPUTS = ("c\N{SUBSCRIPT MINUS}\N{SUBSCRIPT TWO}", "c\N{SUBSCRIPT MINUS}\N{SUBSCRIPT ONE}")
"""The outputs of the two cells before a convolutional one."""
TEXT_INPUTS = ("x, h",)
GATED_INPUTS = ("x, h", "c")
INPUTS = {"cnn": IMAGE_INPUTS, "rnn": TEXT_INPUTS}
"""Task to the names of what comes before the nodes of its cells."""
SHOWN = 6
"""Cells that are drawn, ours first."""


def section(run: RunFiles) -> Section | None:
    """The drawn cells; None of other tasks."""
    cells = run.figures.get("cells")
    if not cells:
        return None
    order = sorted(cells, key=lambda name: name != run.ours)
    kinds = _kinds(cells[name] for name in order)
    drawn = [
        {"name": name, "ours": name == run.ours, "parts": _parts(cells[name], kinds)}
        for name in order[:SHOWN]
    ]
    values = {"cells": drawn, "code": run.metrics.get("cells"), "more": len(cells) - len(drawn)}
    return Section("found", "What was found", "cells.html", values)


def _parts(one: Mapping[str, Any], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A cell of text, or both of images."""
    if "equations" in one:
        drawn = diagrams.cell(_nodes(one), one["output"], GATED_INPUTS, "h'", kinds)
        return [{"name": "gated", "svg": drawn, "equations": list(map(str, one["equations"]))}]
    if "output" in one:
        drawn = diagrams.cell(_nodes(one), one["output"], TEXT_INPUTS, "mean", kinds)
        return [{"name": "recurrent", "svg": drawn, "equations": []}]
    return [
        {
            "name": str(kind),
            "svg": diagrams.cell(_nodes(part), part["concat"], IMAGE_INPUTS, "concat", kinds),
            "equations": [],
        }
        for kind, part in one.items()
    ]


def _nodes(part: Mapping[str, Any]) -> list[list[tuple[str, int]]]:
    """For each node its operations and what they read; a node of highways has one."""
    single = "output" in part and "equations" not in part
    several = [[node] if single else node for node in part["nodes"]]
    return [[(str(name), int(source)) for name, source in node] for node in several]


def _kinds(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of operations, each once."""
    parts = [part for one in cells for part in ([one] if "output" in one else one.values())]
    return list(dict.fromkeys(n for part in parts for node in _nodes(part) for n, _ in node))


def errors(run: RunFiles) -> Section | None:
    """The confusion matrix and samples of it; None where there are none."""
    confusion = run.record.get("confusion")
    if not confusion:
        return None
    matrix = confusion["matrix"]
    totals = [sum(row) or 1.0 for row in matrix]
    rows = [
        {
            "name": name, "total": sum(matrix[i]),
            "cells": [
                {"count": value, "share": value / totals[i], "right": i == j,
                 "told": f"{name} read as {confusion['classes'][j]}: {value:,.0f}"}
                for j, value in enumerate(matrix[i])
            ],
        }
        for i, name in enumerate(confusion["classes"])
    ]  # fmt: skip
    most = max((c["share"] for row in rows for c in row["cells"] if not c["right"]), default=0.0)
    values = {**confusion, "rows": rows, "most": most or 1.0}
    return Section("errors", "What it misreads", "confusion.html", values)


def readings(run: RunFiles) -> Section | None:
    """Passages word by word; None where there are none."""
    found = run.record.get("readings")
    if not found:
        return None
    most = 8.0  # nats: a word expected once in 3,000
    passages = [
        [{**word, "heat": min(1.0, word["nats"] / most)} for word in passage]
        for passage in found["passages"]
    ]
    values = {"passages": passages, "words": found["words"], "read": found["read"]}
    return Section("errors", "What it misreads", "readings.html", values)
