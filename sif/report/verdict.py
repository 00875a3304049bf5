"""The verdict in a sentence, with the numbers that it rests on."""

from __future__ import annotations

from typing import Any

from sif.report.files import RunFiles
from sif.report.numbers import UNITS, decimals, is_number, seconds, signed
from sif.report.section import Section
from sif.utils.digits import digits_of

OUTCOMES = {
    "better": "Better than the baseline",
    "worse": "Worse than the baseline",
    "undecided": "No difference that stands",
}


def section(run: RunFiles) -> Section:
    """The section; of a run that has not finished what its log says last."""
    if not run.finished:
        last = [line for line in run.log if line.strip()][-6:]
        return Section("verdict", "Verdict", "unfinished.html", {"last": last})
    values = {
        "headline": _headline(run),
        "tone": "none" if _other(run) else _outcome(run) or "none",
        "verdict": run.metrics.get("verdict", ""),
        "searching": (run.metrics.get("searching") or {}).get("text"),
        "served": _served(run),
        "features": (run.metrics.get("features") or {}).get("text", ""),
        "figures": _figures(run),
        "left_out": _left_out(run),
    }
    return Section("verdict", "Verdict", "verdict.html", values)


def _left_out(run: RunFiles) -> dict[str, str]:
    """Reasons by the models that were left out for them."""
    reasons: dict[str, list[str]] = {}
    for name, reason in (run.metrics.get("left_out") or {}).items():
        reasons.setdefault(str(reason), []).append(str(name))
    return {", ".join(names): reason for reason, names in reasons.items()}


def _outcome(run: RunFiles) -> str:
    return str((run.metrics.get("comparison") or {}).get("outcome") or "")


def _other(run: RunFiles) -> str:
    """Name of the served model where it is not the one that is compared; empty: it is."""
    name = (run.metrics.get("served") or {}).get("name", "")
    return "" if name == run.metrics.get("entrant") else str(name)


def _headline(run: RunFiles) -> str:
    """The outcome of the served model; the lead below speaks of the searched one."""
    comparison = run.metrics.get("comparison") or {}
    if other := _other(run):
        if other != comparison.get("against"):
            return f"Served: {other}, which validation prefers to the search's answer"
        relation = {"better": "was better on test", "worse": "was worse on test"}.get(
            _outcome(run), "made no difference that stands"
        )
        return f"Served: {other}; the search's answer {relation}"
    told = OUTCOMES.get(str(comparison.get("outcome")), "No verdict")
    against = comparison.get("against")
    return told.replace("the baseline", str(against)) if against else told


def _served(run: RunFiles) -> str:
    served = run.metrics.get("served") or {}
    if not served:
        return ""
    return f"{served.get('expression', '')}: {served.get('rule', '')}"


def _unit(run: RunFiles, metric: str) -> str:
    """The metric that decides, where that is not the one that people are shown."""
    decides = run.record.get("metric") or metric
    return "" if decides == metric else f", in {decides}"


def _figures(run: RunFiles) -> list[dict[str, Any]]:
    """A few large numbers: the metric, the difference, the time."""
    metrics, metric = run.metrics, str(run.metrics.get("metric", ""))
    other = _other(run)
    test = (metrics["served"] if other else metrics).get("test") or {}
    value = decimals(test.get(metric), digits_of(metric))
    found = [{"value": f"{value}{UNITS.get(metric, '')}", "label": f"test {metric}"}]
    if other:
        found[0]["note"] = f"of {other}, which is served"
    digits = digits_of(str(run.record.get("metric") or metric))
    comparison = metrics.get("comparison") or {}
    if is_number(comparison.get("difference")):
        ends = [comparison.get("low"), comparison.get("high")]
        interval = "no interval"
        if all(map(is_number, ends)):
            interval = " to ".join(signed(end, digits) for end in ends)
        rival = comparison.get("against") or "the best baseline by validation, mean"
        ours = f"{metrics.get('entrant')} " if other else ""
        against = f"{ours}minus {rival}{_unit(run, metric)}"
        found.append(
            {
                "value": signed(comparison["difference"], digits),
                "label": against,
                "note": f"95 %: {interval}",
            }
        )
    budget = run.config.get("budget")
    note = f"of a budget of {seconds(budget)}" if is_number(budget) else "without a budget"
    found.append(
        {"value": seconds(metrics.get("total_seconds")), "label": "the whole job", "note": note}
    )
    return found
