"""Costs and environment: seconds by stage, memory, versions, machine."""

from __future__ import annotations

from typing import Any

from sif.report.files import RunFiles
from sif.report.numbers import is_number, seconds
from sif.report.section import Section

LEAST = 0.005
"""Share of the job from which a stage is shown by itself."""


def section(run: RunFiles) -> Section:
    """The section."""
    stages = _stages(run)
    total = run.metrics.get("total_seconds")
    known = sum(stages.values())
    if is_number(total) and total > known:
        stages["reading, tests, files"] = total - known
        known = total
    longest = max(stages.values(), default=0.0) or 1.0
    rows = [
        {"name": name, "told": seconds(took), "share": took / longest}
        for name, took in sorted(stages.items(), key=lambda one: -one[1])
        if known and took >= LEAST * known
    ]
    plan = run.metrics.get("plan") or {}
    values = {
        "stages": rows, "total": seconds(total) if is_number(total) else "",
        "memory": _memory(run), "machine": _machine(run), "versions": _versions(run), "plan": plan,
        "less": plan.get("less") or [], "cut": plan.get("cut") or [],
    }  # fmt: skip
    return Section("costs", "Costs and environment", "costs.html", values)


def _stages(run: RunFiles) -> dict[str, float]:
    """Seconds of every search, training, grid and second fit."""
    found: dict[str, float] = {}

    def add(name: str, took: Any) -> None:
        if is_number(took) and took > 0:
            found[name] = found.get(name, 0.0) + float(took)

    add("measurements of the plan", (run.metrics.get("plan") or {}).get("planning"))
    for name, record in (run.record.get("search") or {}).items():
        add(f"search {name}", record.get("seconds"))
    for model in run.record.get("models") or []:
        if model.get("alike") or model.get("stands_for"):
            continue
        kind = "baseline" if model["kind"] == "baseline" else "train"
        add(f"{kind} {model['name']}", model.get("seconds"))
        add(f"second fit of {model['name']}", model.get("refit_seconds"))
    for moment in run.moments:
        add(str(moment.get("folder")), moment.get("total_seconds"))
    if not found:
        for name, one in (run.metrics.get("baselines") or {}).items():
            add(name, one.get("seconds"))
        add("search", (run.metrics.get("search") or {}).get("seconds"))
        add("train", (run.metrics.get("train") or {}).get("seconds"))
    return found


def _memory(run: RunFiles) -> list[tuple[str, str]]:
    return [
        (name, f"{value:,.0f} MB")
        for name, value in (run.record.get("memory") or {}).items()
        if is_number(value)
    ]


def _machine(run: RunFiles) -> list[tuple[str, str]]:
    """The machine and its libraries, as far as they decide about seconds."""
    rows = [
        (name.replace("_", " "), run.environment.get(name))
        for name in ("python", "platform", "device", "device_name", "dtype", "threads", "cpu_count")
    ]
    versions = run.environment.get("versions") or {}
    rows[1:1] = [(name, versions.get(name)) for name in ("sif", "torch")]
    return [(name, str(value)) for name, value in rows if value]


def _versions(run: RunFiles) -> list[tuple[str, str]]:
    """All else that was written down."""
    rows = []
    shown = {name for name, _ in _machine(run)}
    for name, value in run.environment.items():
        if name == "versions":
            rows += [(one, str(found)) for one, found in value.items() if found]
        elif value is not None:
            rows.append((name.replace("_", " "), str(value)))
    return [(name, value) for name, value in rows if name not in shown]
