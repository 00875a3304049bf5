"""Whether features helped, in words and numbers."""

from __future__ import annotations

import numpy as np
import pytest

from sif.problems.feature_trial import (
    FeatureTrial,
    clearly_ahead,
    feature_lines,
    features_document,
    not_tried,
)


def trial(lead: float) -> FeatureTrial:
    known = np.linspace(0.1, 0.3, 40)
    values = known + lead + 0.01 * np.sin(np.arange(40.0))
    return FeatureTrial.of("ndcg@10", values, known, clearly_ahead(values, known))


def test_a_trial_has_both_figures_and_the_lead() -> None:
    found = trial(0.05)
    assert found.kept and found.users == 40
    assert found.with_features - found.without == pytest.approx(found.lead)
    assert found.error is not None and 0 < found.error < 0.01
    assert not trial(0.0).kept
    document = found.document()
    assert document["with"] == found.with_features and "with_features" not in document


def test_ratings_are_told_by_their_errors() -> None:
    found = FeatureTrial.of("squared error", -np.full(30, 0.8), -np.full(30, 1.0), True)
    assert (found.with_features, found.without) == (pytest.approx(0.8), pytest.approx(1.0))
    assert found.lead == pytest.approx(0.2)


def test_no_users_and_one_make_no_error() -> None:
    for count in (0, 1):
        found = FeatureTrial.of("ndcg@10", np.ones(count), np.zeros(count), False)
        assert found.error is None and "standard error" not in "".join(
            feature_lines(features_document({"closed": found.document()}, "closed", {}))
        )


def test_each_kind_of_design_and_the_served_model_are_told() -> None:
    trials = {"closed": trial(0.05).document(), "order": not_tried("it has no time scales")}
    found = features_document(trials, "closed", {"searched": "it diverged"})
    assert found["served"] == {"name": "closed", "uses": True}
    served, closed, order, pairs = feature_lines(found)
    assert served == "The served model, closed, uses features for known users and items."
    assert "clearly better, so they were kept" in closed and "40 users" in closed
    assert order == "Model in order: features were not tried, since it has no time scales."
    assert pairs.endswith("since it diverged.")
    assert found["text"] == " ".join([served, closed, order, pairs])
    other = features_document(trials, "ease", {})
    assert not other["served"]["uses"] and "ease, does not use features" in other["text"]
