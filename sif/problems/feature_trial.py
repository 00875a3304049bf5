"""The trial of features: a model with them against the one without, on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_USERS = 20
"""Validation users without whom nothing is clear."""
CLEARLY = 2.0
"""Standard errors by which the mean over validation users has to be ahead: by chance in one of 40
cases, and in some more since the best of a few weights is taken."""


@dataclass(frozen=True)
class FeatureTrial:
    """The trial of features in one kind of design.

    Attributes:
        metric: Of the figures; "squared error" of ratings, where less is better.
        with_features: Mean over validation users with features.
        without: Mean without them, of the best model that they have to be ahead of.
        lead: Mean by which features are better; negative: worse.
        error: Standard error of the lead; None: too few users.
        users: Validation users.
        kept: Whether the model has its features.
    """

    metric: str
    with_features: float
    without: float
    lead: float
    error: float | None
    users: int
    kept: bool

    @classmethod
    def of(
        cls, metric: str, values: NDArray[np.float64], known: NDArray[np.float64], kept: bool
    ) -> FeatureTrial:
        """The trial of merits (n,) of users with features and without, the higher the better."""
        ahead, count = values - known, len(values)
        error = float(ahead.std(ddof=1)) / math.sqrt(count) if count > 1 else None
        mean, other, lead = (float(one.mean()) if count else 0.0 for one in (values, known, ahead))
        # Merits of ratings are squared errors below zero.
        return cls(metric, abs(mean), abs(other), lead, error, count, kept)

    def document(self) -> dict[str, Any]:
        """The trial as metrics.json has it."""
        found = {key: value for key, value in vars(self).items() if key != "with_features"}
        return {"tried": True, "with": self.with_features, **found}


def not_tried(reason: str) -> dict[str, Any]:
    """The document of a kind of design that was not tried with features.

    Args:
        reason: In a few words.
    """
    return {"tried": False, "kept": False, "reason": reason}


def clearly_ahead(values: NDArray[np.float64], known: NDArray[np.float64]) -> bool:
    """True if values (n,) of users are ahead of others of theirs by `CLEARLY` in the mean."""
    ahead = values - known
    if len(ahead) < LEAST_USERS:
        return False
    return float(ahead.mean()) > CLEARLY * float(ahead.std(ddof=1)) / math.sqrt(len(ahead))


KINDS = {"closed": "closed form", "order": "model in order", "searched": "function of pairs"}
"""Kinds of designs that may have features, by their entrants."""


def features_document(
    trials: Mapping[str, Mapping[str, Any]], served: str, missing: Mapping[str, str]
) -> dict[str, Any]:
    """The trials of features, for metrics.json.

    Args:
        trials: Of each entrant that was trained; empty of one that had nothing to try.
        served: Name of the entrant that is served.
        missing: Reasons by entrants that were left out.

    Returns:
        "text" in words, "kinds" with the trial of each kind of design, and "served": the "name" of
        the model and whether it "uses" features of known items and users.
    """
    kinds = {
        kind: dict(trials.get(name) or not_tried(_reason(name, name in trials, missing)))
        for name, kind in KINDS.items()
    }
    uses = bool(trials.get(served, {}).get("kept"))
    document = {"kinds": kinds, "served": {"name": served, "uses": uses}}
    return {"text": " ".join(feature_lines(document)), **document}


def _reason(name: str, trained: bool, missing: Mapping[str, str]) -> str:
    """Why a kind of design has no trial."""
    if trained:
        return "an earlier model decided, or the table has no features that it can take"
    return missing.get(name, "no model of this kind was trained")


def feature_lines(document: Mapping[str, Any]) -> list[str]:
    """Sentences: the answer on the served model first, then one on each kind of design."""
    served = document["served"]
    uses = "uses features" if served["uses"] else "does not use features"
    lines = [f"The served model, {served['name']}, {uses} for known users and items."]
    return lines + [f"{kind.capitalize()}: {_told(one)}." for kind, one in
                    document["kinds"].items()]  # fmt: skip


def _told(trial: Mapping[str, Any]) -> str:
    if not trial["tried"]:
        return f"features were not tried, since {trial['reason']}"
    if "metric" not in trial:
        return f"features were left out, since {trial['reason']}"
    outcome = (
        "clearly better, so they were kept" if trial["kept"]
        else "not clearly better, so they were left out"
    )  # fmt: skip
    error = "" if trial["error"] is None else f" with standard error {trial['error']:.4f}"
    return (
        f"features are {outcome}: validation {trial['metric']} {trial['with']:.4f} with features, "
        f"{trial['without']:.4f} without (lead {trial['lead']:+.4f}{error}, "
        f"{trial['users']:,} users)"
    )
