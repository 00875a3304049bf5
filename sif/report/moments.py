"""The moments of a rolling evaluation: means of all models, and each moment with its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.errors import DataError
from sif.report import charts
from sif.report.files import PAGE, RunFiles
from sif.report.numbers import decimals, is_number, seconds, signed, with_unit
from sif.report.section import Section
from sif.utils.digits import digits_of

DRAWN = 6
"""Models whose values are drawn over the moments, the best ones by validation."""


def section(run: RunFiles) -> Section | None:
    """The section; None of a run of one split."""
    if not run.moments:
        return None
    metric = str(run.metrics.get("metric") or "")
    jobs = {str(one.get("folder")): _job(run, one) for one in run.moments}
    rows = [_row(run, one, jobs[str(one.get("folder"))], metric) for one in run.moments]
    figures = {}
    if drawn := _over_moments(run, jobs, metric):
        figures["moments"] = drawn
    values = {
        "metric": metric, "heading": with_unit(metric), "models": _models(run, metric),
        "rows": rows, "count": len(rows), "drawn": bool(drawn),
    }  # fmt: skip
    return Section("moments", "Moments", "moments.html", values, figures)


def _job(run: RunFiles, moment: Mapping[str, Any]) -> RunFiles | None:
    """The files of a moment's run folder; None where it was taken away."""
    try:
        return RunFiles.read(run.folder / str(moment.get("folder")))
    except DataError:
        return None


def _row(
    run: RunFiles, moment: Mapping[str, Any], job: RunFiles | None, metric: str
) -> dict[str, Any]:
    folder, comparison = str(moment.get("folder")), moment.get("comparison") or {}
    parts = (moment.get("protocol") or {}).get("counts") or {}
    test = {} if job is None else job.metrics.get("test") or {}
    ends = [comparison.get("low"), comparison.get("high")]
    digits = digits_of(metric)
    return {
        "name": folder.replace("-", " "),
        "page": f"{folder}/{PAGE}" if (run.folder / folder / PAGE).is_file() else "",
        "parts": " / ".join(f"{count:,}" for count in parts.values() if is_number(count)),
        "found": moment.get("genotype") or "",
        "value": decimals(test.get(metric), digits),
        "against": comparison.get("against") or "",
        "difference": signed(comparison.get("difference"), digits) if comparison else "",
        "ends": " to ".join(signed(end, digits) for end in ends) if all(map(is_number, ends))
        else "",
        "outcome": comparison.get("outcome") or "",
        "seconds": seconds(moment.get("total_seconds")),
    }  # fmt: skip


def _models(run: RunFiles, metric: str) -> list[dict[str, Any]]:
    """Mean and spread of every model, the best by validation first."""
    ours = {"mean": run.metrics.get("test"), "spread": run.metrics.get("spread"),
            "valid": run.metrics.get("valid"), "moments": len(run.moments)}  # fmt: skip
    models = {run.ours: ours, **(run.metrics.get("baselines") or {})}
    digits = digits_of(metric)

    def told(one: Mapping[str, Any], part: str) -> str:
        return decimals((one.get(part) or {}).get(metric), digits)

    return [
        {
            "name": name, "ours": name == run.ours, "mean": told(one, "mean"),
            "spread": told(one, "spread"), "valid": told(one, "valid"),
            "moments": one.get("moments"),
        }
        for name, one in models.items()
    ]  # fmt: skip


def _over_moments(
    run: RunFiles, jobs: Mapping[str, RunFiles | None], metric: str
) -> charts.Spec | None:  # fmt: skip
    """Test values of the best models at every moment."""
    shown = [run.ours, *(run.metrics.get("baselines") or {})][:DRAWN]
    rows = []
    for number, job in enumerate(jobs.values(), start=1):
        if job is None:
            continue
        tests = {job.ours: job.metrics.get("test"), **(job.metrics.get("baselines") or {})}
        for name in shown:
            value = (tests.get(name) or {}).get(metric)
            if is_number(value):
                rows.append({"moment": number, "value": value, "series": name})
    if len({row["moment"] for row in rows}) < 2:
        return None
    named = ("moment", "moment"), ("value", with_unit(f"test {metric}"))
    spec = charts.lines(rows, *named)
    whole = {"values": list(range(1, len(jobs) + 1)), "format": "d"}
    spec["encoding"]["x"] |= {"axis": whole, "scale": {"zero": False, "nice": False}}
    return spec
