"""New items or users: how the served model and baselines by features rank for them."""

from __future__ import annotations

from typing import Any

from sif.report.files import RunFiles
from sif.report.numbers import decimals
from sif.report.section import Section

METRICS = {
    "items": ("recall@20", "ndcg@10", "ndcg@20"), "users": ("ndcg@10", "ndcg@20", "recall@20"),
}  # fmt: skip
"""Shown, by which ids are new; those of comparisons come first."""


def section(run: RunFiles) -> Section | None:
    """The section; None of runs whose protocol keeps no ids out of train, or without features."""
    for what, metrics in METRICS.items():
        found: dict[str, Any] = run.metrics.get(f"new_{what}") or {}
        if "models" in found:
            return _section(what, metrics, found)
    return None


def _section(what: str, metrics: tuple[str, ...], found: dict[str, Any]) -> Section:
    rows = [
        {
            "name": name, "ours": "comparison" not in one, "expression": one["expression"],
            "values": [decimals(one["test"].get(metric), 4) for metric in metrics],
            "against": _told(one.get("comparison")),
        }
        for name, one in found["models"].items()
    ]  # fmt: skip
    users = f"{found['users']:,}"
    about = (
        f"{found['items']:,} items that no training saw, ranked among themselves for {users} users "
        "who have one of them. Features answer for these items."
        if what == "items"
        else f"{users} users whom no training saw, who get known items. "
        + ("Features answer for them." if found["alikeness"] else
           "Features are not clearly better on validation, so that all get the popular order.")
    )  # fmt: skip
    beside = _beside(found.get("beside_known"))
    values = {
        "about": about,
        "beside": beside,
        "title": f"New {what}",
        "heads": metrics,
        "rows": rows,
    }
    return Section(f"new-{what}", f"New {what}", "new_ids.html", values)


def _beside(found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Rows of a table on lists of the whole catalog; none where it was not measured."""
    return [
        {
            "name": one["name"],
            "level": "" if one["level"] is None else f"{one['level']:.3g}",
            "values": [decimals(one["ndcg@10"].get(kind), 4) for kind in ("all", "known", "new")],
        }
        for one in found or []
    ]


def _told(comparison: dict[str, Any] | None) -> str:
    """Ours less a model, with its interval; empty of ours."""
    if comparison is None:
        return ""
    low, high = comparison["low"], comparison["high"]
    return f"{comparison['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
