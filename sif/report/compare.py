"""A page that compares runs: metrics, what was found, validation, settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sif.errors import first_line
from sif.report import cells, charts, found, results
from sif.report.files import RunFiles
from sif.report.numbers import decimals, is_number, seconds, short, signed, with_unit
from sif.report.page import body, rendered
from sif.report.results import Scale
from sif.report.section import Section
from sif.report.settings import dotted_settings
from sif.utils.checkpoint import write_text_atomic
from sif.utils.digits import digits_of

PLACES = ("output_dir", "tracking.", "checkpoint_seconds")
"""Beginnings of settings that cannot change what is found."""

Runs = Mapping[str, RunFiles]


def compare_page(folders: Sequence[Path], path: Path) -> Path:
    """Makes one page that compares runs.

    Args:
        folders: Run folders, at least one.
        path: Of the page.

    Returns:
        The path.

    Raises:
        DataError: One is no run folder.
        CheckpointError: The page cannot be written.
    """
    runs = named([RunFiles.read(folder) for folder in folders])
    write_text_atomic(path, compared(runs))
    return path


def named(runs: Sequence[RunFiles]) -> dict[str, RunFiles]:
    """Runs by the names of their folders, those above them before it where two are alike."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = ["/".join(run.folder.resolve().parts[-2:]) for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name} ({k})" for k, name in enumerate(names, 1)]
    return dict(zip(names, runs, strict=True))


def compared(runs: Runs) -> str:
    """The page as HTML."""
    sections: Sequence[Callable[[Runs], Section | None]] = (
        summary, models, over_time, functions, differences,
    )  # fmt: skip
    parts, missing = [], []
    for build in sections:
        try:
            section = build(runs)
            if section is not None:
                parts.append((section, body(section)))
        except Exception as error:  # old or damaged files may break any line of it
            missing.append(f"{build.__name__}: {type(error).__name__}: {first_line(error)}")
    missing += [f"{name}: {line}" for name, run in runs.items() for line in run.missing]
    facts = sorted({run.data for run in runs.values()})
    title = f"{len(runs)} runs compared"
    return rendered("compare.html", parts, missing, title=title, facts=facts)


def summary(runs: Runs) -> Section:
    """The result of every run, those of one metric in a table."""
    tables = []
    for metric in dict.fromkeys(_metric(run) for run in runs.values()):
        some = {name: run for name, run in runs.items() if _metric(run) == metric}
        sign = 1 if all(run.record.get("higher_is_better", True) for run in some.values()) else -1
        ends = [_ends(run) or (_value(run),) * 2 for run in some.values()]
        scale = Scale.of(ends, sign, digits_of(metric))
        rows = [_row(name, run, scale) for name, run in some.items()]
        splits = {(run.metrics.get("protocol") or {}).get("split_hash") for run in some.values()}
        splits.discard(None)
        tables.append({
            "metric": metric, "rows": rows, "ticks": scale.ticks, "width": results.WIDTH,
            "better": "higher is better" if sign > 0 else "lower is better",
            "splits": len(splits),
        })  # fmt: skip
    return Section("runs", "Results", "compare_runs.html", {"tables": tables})


def _metric(run: RunFiles) -> str:
    return str(run.metrics.get("metric") or "")


def _ours(run: RunFiles) -> Mapping[str, Any]:
    named_ours = (one for one in run.record.get("models") or [] if one["name"] == run.ours)
    return next(named_ours, {})


def _ends(run: RunFiles) -> Any:
    """Of the interval of ours, where that is of the shown metric."""
    ours = _ours(run)
    return ours.get("interval") if run.record.get("metric") == _metric(run) else None


def _value(run: RunFiles) -> Any:
    return (run.metrics.get("test") or {}).get(_metric(run))


def _row(name: str, run: RunFiles, scale: Scale) -> dict[str, Any]:
    comparison = run.metrics.get("comparison") or {}
    ends, value, digits = _ends(run), _value(run), digits_of(_metric(run))
    apart = digits_of(str(run.record.get("metric") or _metric(run)))
    drawn: dict[str, Any] = {}
    if is_number(value):
        drawn = {"at": scale(value), "beyond": scale.beyond(value)}
    if drawn and ends:
        drawn |= {"low": scale(ends[0]), "high": scale(ends[1])}
    method = run.config.get("method", "")
    return {
        "name": name,
        "about": f"{run.task}, {run.data}, {method}, seed {run.config.get('seed', 0)}",
        "finished": run.finished,
        "value": decimals(value, digits),
        "interval": f"{decimals(ends[0], digits)} to {decimals(ends[1], digits)}" if ends else "",
        "drawn": drawn,
        "against": comparison.get("against") or "",
        "difference": signed(comparison.get("difference"), apart),
        "ends": f"{signed(comparison.get('low'), apart)} to {signed(comparison.get('high'), apart)}"
        if is_number(comparison.get("low")) else "",
        "outcome": comparison.get("outcome") or "",
        "seconds": seconds(run.metrics.get("total_seconds")),
    }  # fmt: skip


def models(runs: Runs) -> Section | None:
    """Test values of all models, a column per run; None where no run has any."""
    columns = {name: run for name, run in runs.items() if run.finished}
    values: dict[str, dict[str, Any]] = {}
    for name, run in columns.items():
        metric = _metric(run)
        tests = {run.ours: run.metrics.get("test") or {}, **(run.metrics.get("baselines") or {})}
        for model, test in tests.items():
            values.setdefault(model, {})[name] = test.get(metric)
    if not values:
        return None
    best = {name: _best(run, [one.get(name) for one in values.values()])
            for name, run in columns.items()}  # fmt: skip
    rows = [
        {
            "name": model,
            "cells": [
                (decimals(one.get(name), digits_of(_metric(run))), one.get(name) == best[name])
                for name, run in columns.items()
            ],
        }
        for model, one in values.items()
    ]
    heads = [(name, with_unit(_metric(run))) for name, run in columns.items()]
    return Section("models", "All models", "compare_models.html", {"heads": heads, "rows": rows})


def _best(run: RunFiles, values: Sequence[Any]) -> float | None:
    known = [value for value in values if is_number(value)]
    pick = max if run.record.get("higher_is_better", True) else min
    return pick(known) if known else None


def over_time(runs: Runs) -> Section | None:
    """Validation of the searched model's training in each run, and of the searches."""
    figures: dict[str, Any] = {}
    for metric in dict.fromkeys(str(run.record.get("shown") or "") for run in runs.values()):
        rows = [
            {"seconds": point["seconds"], "value": point[metric], "series": name}
            for name, run in runs.items()
            for point in (run.record.get("curves") or {}).get(run.ours, [])
            if is_number(point.get(metric))
        ]
        if metric and rows:
            named_axes = ("seconds", "seconds of training"), ("value", f"valid {metric}")
            figures[f"time-{len(figures)}"] = charts.lines(rows, *named_axes)
    if not figures:
        return None
    return Section(
        "time", "Validation over time", "compare_time.html", {"names": list(figures)}, figures
    )


def functions(runs: Runs) -> Section:
    """The finds of each run."""
    rows = []
    for name, run in runs.items():
        section = cells.section(run) or found.section(run)
        values: Mapping[str, Any] = {} if section is None else section.values
        drawn = [part["svg"] for cell in values.get("cells", [])[:1] for part in cell["parts"]]
        if values.get("diagram"):
            drawn = [values["diagram"]]
        rows.append({
            "name": name, "expression": run.metrics.get("genotype") or "", "drawn": drawn,
            "verdict": run.metrics.get("verdict") or "not finished",
        })  # fmt: skip
    return Section("functions", "What was found", "compare_functions.html", {"rows": rows})


def differences(runs: Runs) -> Section:
    """Settings in which the runs differ."""
    given = {name: dotted_settings(run.config) for name, run in runs.items()}
    first, *others = given.values()
    keys = [key for key in first if all(key in one for one in others)]
    rows = []
    for key in keys:
        values = [short(one[key]) for one in given.values()]
        if len(set(values)) > 1 and not key.startswith(PLACES):
            rows.append({"key": key, "cells": values})
    return Section(
        "settings", "Settings that differ", "compare_settings.html",
        {"names": list(given), "rows": rows, "same": len(keys) - len(rows)},
    )  # fmt: skip
