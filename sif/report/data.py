"""The data at a glance: sizes, rows per user and item, the split in time, and what was noted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sif.report import charts
from sif.report.files import RunFiles
from sif.report.numbers import count, is_number, percent
from sif.report.section import Section

DAY = 86_400
PARTS = ("train", "valid", "test")
COLORS = {"train": "var(--c1)", "valid": "var(--c2)", "test": "var(--c3)"}
FIRST_YEAR, LAST_YEAR = -2_000_000_000, 32_000_000_000
"""Seconds since 1970 that have a date on the axis."""


def section(run: RunFiles) -> Section:
    """The section; of a killed run by its configuration and log."""
    data = run.record.get("data") or {}
    figures: dict[str, Any] = {}
    titles: list[tuple[str, str]] = []
    for field, one in (data.get("counts") or {}).items():
        if not isinstance(one, Mapping):
            continue
        figures[f"rows-{len(titles)}"] = charts.bars(
            one["labels"], one["counts"], f"rows per {field}", f"{field}s"
        )
        told = f"median {one['median']:g}, most {count(one['most'])}"
        titles.append((f"Rows per {field}", told))
    if ratings := data.get("ratings"):
        figures["ratings"] = charts.bars(ratings["labels"], ratings["counts"], "rating", "rows")
    timeline = data.get("timeline") or (run.figures.get("protocol") or {}).get("timeline")
    if timeline and sum(map(len, timeline["counts"].values())):
        figures["timeline"] = _timeline(timeline)
    if isinstance(classes := (data.get("counts") or {}).get("class"), list):
        figures["classes"] = charts.bars(data["classes"], classes, "class", "images")
    values = {
        "facts": _facts(run, data), "histograms": titles, "has": dict.fromkeys(figures, True),
        "notes": _notes(run), "protocol": run.metrics.get("protocol") or {},
    }  # fmt: skip
    return Section("data", "The data", "data.html", values, figures)


def _facts(run: RunFiles, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sizes, by name."""
    protocol = run.metrics.get("protocol") or {}
    parts = data.get("parts") or protocol.get("counts") or {}
    sizes = data.get("sizes") or protocol.get("sizes") or {}
    facts = [("data", run.data)]
    facts += [
        (one, count(data[one])) for one in ("rows", "images", "words") if is_number(data.get(one))
    ]
    facts += [(f"{name}s", count(size)) for name, size in sizes.items()]
    if is_number(data.get("density")):
        facts.append(("of all pairs", percent(data["density"], 2)))
    if parts:
        facts.append((" / ".join(parts), " / ".join(map(count, parts.values()))))
    if protocol.get("name"):
        facts.append(("split", str(protocol["name"])))
    if data.get("shape"):
        facts.append(("size", " \N{MULTIPLICATION SIGN} ".join(map(str, data["shape"]))))
    return facts


def _notes(run: RunFiles) -> list[str]:
    """Remarks of the job about its data, and things that it left out."""
    told = [str(line) for line in run.record.get("opening") or run.log[:12]]
    marks = ("note: ", "left out: ", "warning: ")
    later = [line for line in run.log if line.startswith(marks) or "expected at most" in line]
    lines = [line for line in told if line.startswith("note: ")] + later
    return list(dict.fromkeys(line.removeprefix("note: ") for line in lines))


def _timeline(timeline: Mapping[str, Any]) -> charts.Spec:
    """Rows by time, stacked by part."""
    start, days = timeline["start"], timeline["days"]
    dated = FIRST_YEAR < start < LAST_YEAR
    unit = 1000 if dated else 1  # dates are milliseconds

    def at(place: float) -> float:
        return float(unit * (start + place * days * DAY))

    rows = [
        {"at": at(k + 0.5), "from": at(k), "part": part, "rows": number,
         "order": PARTS.index(part)}
        for part, counts in timeline["counts"].items()
        for k, number in enumerate(counts) if number
    ]  # fmt: skip
    bins = max(map(len, timeline["counts"].values()))
    ends = [at(0), at(bins)]
    kind: dict[str, Any] = {"type": "quantitative", "scale": {"domain": ends, "nice": False}}
    if dated:
        kind = {"type": "temporal", "scale": {"domain": list(map(_day, ends)), "type": "utc"}}
    return charts.chart(
        rows, 190, mark={"type": "bar", "width": {"expr": f"max(1, width / {bins} - 1)"}},
        encoding={
            "x": {"field": "at", "title": None, **kind,
                  "axis": {"labelOverlap": True, "tickCount": 6}},
            "y": {"field": "rows", "type": "quantitative", "aggregate": "sum",
                  "title": f"rows per {days} days" if days > 1 else "rows per day",
                  "axis": {"format": "~s", "tickCount": 4}},
            "color": charts.named("part", sort=list(PARTS),
                                  legend=charts.legend(PARTS, symbolType="square"),
                                  scale={"domain": list(PARTS), "range": list(COLORS.values())}),
            "order": {"field": "order"},
            "tooltip": [{"field": "from", **({"type": "temporal", "format": "%Y-%m-%d"} if dated
                                           else {}), "title": "from"},
                        {"field": "part"}, {"field": "rows", "format": ","}],
        },
    )  # fmt: skip


def _day(milliseconds: float) -> dict[str, Any]:
    """A day as specifications have it, in whose numbers no time can be told from a quantity."""
    day = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return {"year": day.year, "month": day.month, "date": day.day, "utc": True}
