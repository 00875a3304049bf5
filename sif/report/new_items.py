"""New items: how the served model and baselines by features rank them among themselves."""

from __future__ import annotations

from typing import Any

from sif.report.files import RunFiles
from sif.report.numbers import decimals
from sif.report.section import Section

METRICS = ("recall@20", "ndcg@10", "ndcg@20")


def section(run: RunFiles) -> Section | None:
    """The section; None of runs whose protocol keeps no items out of train, or without features."""
    found: dict[str, Any] = run.metrics.get("new_items") or {}
    if not found:
        return None
    rows = [
        {
            "name": name, "ours": "comparison" not in one, "expression": one["expression"],
            "values": [decimals(one["test"].get(metric), 4) for metric in METRICS],
            "against": _told(one.get("comparison")),
        }
        for name, one in found["models"].items()
    ]  # fmt: skip
    values = {"items": found["items"], "users": found["users"], "heads": METRICS, "rows": rows}
    return Section("new-items", "New items", "new_items.html", values)


def _told(comparison: dict[str, Any] | None) -> str:
    """Ours less a model, with its interval; empty of ours."""
    if comparison is None:
        return ""
    low, high = comparison["low"], comparison["high"]
    return f"{comparison['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
