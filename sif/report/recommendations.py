"""Recommendations for some users, beside those of another model."""

from __future__ import annotations

from sif.report.files import RunFiles
from sif.report.section import Section


def section(run: RunFiles) -> Section | None:
    """The section; None where no lists were saved."""
    users = run.record.get("recommendations")
    if not users:
        return None
    models = run.record.get("recommenders") or dict.fromkeys(users[0]["lists"], "")
    values = {
        "users": users,
        "models": models,
        "rated": any("rating" in item for user in users for one in user["lists"].values()
                     for item in one),
    }  # fmt: skip
    return Section("recommendations", "Recommendations to look at", "recommendations.html", values)
