"""A graph of the items for a served model, where it is asked for and found to be good.

Its recall is measured against exact answers to known users when it is built. A graph that finds too
little, or is slower than exact answers, is left out, and a line says why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sif.config.cf import Retrieval
from sif.errors import ConfigError, ScoreError, first_line
from sif.recommender.model import ServedModel
from sif.retrieval.approximate import (
    EXPANSIONS,
    LENGTH,
    TARGET,
    Recall,
    calibrated,
    head_and_rest,
    may_pay,
    vectors_of,
)
from sif.retrieval.graph import ItemGraph, require_usearch

LEAST_ITEMS = 200_000
"""Items from which "auto" builds a graph: exact answers to fewer take a millisecond."""
USERS = 500
"""Users whose exact answers tell the recall."""


@dataclass(frozen=True, eq=False)
class Approximation:
    """How a model finds the best items, and what that was decided by.

    Attributes:
        model: With a graph of its items, or as it was.
        told: On one line; empty: nothing was asked for.
        document: The same for metrics.json.
    """

    model: ServedModel
    told: str = ""
    document: dict[str, Any] = field(default_factory=dict)


def check_retrieval(retrieval: Retrieval) -> None:
    """Refuses early what would fail once the model is trained.

    Raises:
        ConfigError: Approximate retrieval is asked for and usearch is not installed.
    """
    if retrieval == "approximate":
        require_usearch()


def with_graph(model: ServedModel, seed: int = 0, least_items: int = LEAST_ITEMS) -> Approximation:
    """The model with a graph of its items, where its setting asks for one and it is worth it.

    Args:
        model: Trained, and not changed.
        seed: Draws the users who measure the recall.
        least_items: From which "auto" builds a graph.

    Raises:
        ConfigError: "approximate" asks for usearch, which is not installed.
    """
    if model.retrieval == "exact" or len(model.fields) != 2:
        return Approximation(model)
    if model.retrieval == "auto" and len(model.vocabularies[1]) < least_items:
        return Approximation(model)
    try:
        require_usearch()
    except ConfigError as error:
        if model.retrieval == "approximate":
            raise
        return _exact(model, str(error))
    try:
        return _measured(model, seed)
    except ScoreError:
        return _exact(model, "some scores are not numbers")


def _measured(model: ServedModel, seed: int) -> Approximation:
    """Builds a graph and keeps it if it finds enough."""
    engine, vectors = model.function.engine, vectors_of(model.function.engine)
    rule, sizes = model.rule, [len(ids) for ids in model.vocabularies]
    trained = np.setdiff1d(np.arange(sizes[0]), model.untrained[0])
    rows = np.arange(sizes[1]) if rule is None else np.flatnonzero(~rule.never_recommended)
    if vectors is None:
        return _exact(model, f"{model.expression} is no product of finite vectors")
    if not (may_pay(sizes[1]) and len(trained) and len(rows)):
        return _exact(model, f"no graph of {len(rows):,} items would be faster")
    users = np.random.default_rng(seed).permutation(trained)[:USERS]
    start = time.perf_counter()
    try:
        head, rest = head_and_rest(vectors.numpy(), rows)
        graph = ItemGraph.built(vectors.numpy(), rest, EXPANSIONS[0], engine.threads, head)
    except (MemoryError, RuntimeError) as error:  # of usearch; a fit must not be lost by it
        return _exact(model, f"no graph could be built: {first_line(error)}")
    seconds = time.perf_counter() - start
    recall = calibrated(engine, graph, model.function.known(users))
    assert recall is not None  # noqa: S101
    document = _document(graph, recall, seconds)
    found = (
        f"graph of {len(graph):,} items built in {seconds:.1f} s, {graph.size / 1e6:,.0f} MB; "
        f"recall@{LENGTH} {recall.mean:.3f} (standard error {recall.error:.3f}) against exact "
        f"answers to {recall.users:,} users with {recall.expansion} items in sight"
    )
    if not recall.suffices:
        return _exact(model, f"{found}, expected {TARGET} or more", document)
    return Approximation(replace(model, graph=graph), f"retrieval: approximate; {found}", document)


def _exact(
    model: ServedModel, reason: str, document: dict[str, Any] | None = None
) -> Approximation:
    told = {"kind": "exact", "reason": reason}
    return Approximation(model, f"retrieval: exact; {reason}", {**(document or {}), **told})


def _document(graph: ItemGraph, recall: Recall, seconds: float) -> dict[str, Any]:
    return {
        "kind": "approximate", "items": len(graph), "dimension": graph.dimension,
        f"recall@{LENGTH}": recall.mean, "standard_error": recall.error, "users": recall.users,
        "expansion": recall.expansion, "seconds": seconds, "bytes": graph.size,
    }  # fmt: skip
