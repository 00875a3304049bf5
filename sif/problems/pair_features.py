"""Features of users and items in functions of pairs: they stay only where they clearly help.

A function that a search found with features is trained without them first, as a job without
features trains it. Then it is trained with them: all strengths of L2 for a while, one to the end.
So useless features cost little more than one training, and the model is what it was without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from sif.config import TrainConfig
from sif.core.genotype import Genotype
from sif.data.features.attach import ROLES
from sif.data.interactions import Interactions
from sif.errors import DivergedError
from sif.evaluation.evaluate import evaluate_on
from sif.problems.base import Reporter, Trained
from sif.problems.feature_trial import FeatureTrial, clearly_ahead, not_tried
from sif.problems.part_rows import feature_rows
from sif.spaces.interaction.design import has_features, without_features
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.function import InteractionNetwork

if TYPE_CHECKING:
    from sif.problems.interactions import InteractionProblem

MOST_FRACTION = 0.2
"""Share of the epochs at most, after which one strength goes on."""
Train = Callable[[str, Genotype, TrainConfig], Trained[InteractionNetwork]]
"""Trains a function by its name over a section's grid."""


def features_of(
    part: Interactions, counts: Sequence[Tensor], like: Tensor
) -> tuple[FeatureSums | None, ...]:
    """Features of the users and items of a train part, as functions have them.

    Each row has length 1. What a single user or item has is left out then: it says no more than the
    id.

    Args:
        part: The train part.
        counts: (n_f,) its rows of each user and item.
        like: Any tensor of the dtype and device of tables.

    Returns:
        A field's features, or None where it has none; nothing where neither has any.
    """
    found = list[FeatureSums | None]()
    for field, count in enumerate(counts):
        rows = feature_rows(part, field) if field < len(ROLES) else None
        if rows is None:
            found.append(None)
            continue
        trained = (count > 0).cpu().numpy()
        weighted = rows.weighted(trained)
        several = np.diff(sp.csc_matrix(weighted[trained]).indptr) > 1
        some = sp.csr_matrix(weighted[:, several])
        found.append(FeatureSums.of(some, like) if some.nnz else None)
    return tuple(found) if any(found) else ()


def with_or_without(
    problem: InteractionProblem, name: str, genotype: Genotype, section: TrainConfig,
    train: Train, console: Reporter,
) -> Trained[InteractionNetwork]:  # fmt: skip
    """A trained function, with its features where these are clearly ahead on validation.

    Args:
        problem: Judges.
        name: Of the function; "-features" behind it is that of the second training.
        genotype: The function, with features or without.
        section: Of the trainings.
        train: Trains.
        console: Is told what validation says.

    Raises:
        DivergedError: The training diverged, without features where the function has some.
    """
    if problem.start == genotype:  # that of an earlier model, which decided
        return train(name, genotype, section)
    if not has_features(genotype):
        trained = train(name, genotype, section)
        reason = "the function that the search found has none"
        return replace(trained, features=not_tried(reason)) if problem.described else trained
    bare = train(name, without_features(genotype), section)
    try:
        other = train(f"{name}-features", genotype, further(section))
    except DivergedError as error:
        console.line(f"{name}: without features, with which it diverged: {error}")
        why = {"reason": "the training with them diverged"}
        return replace(bare, features={"tried": True, "kept": False, **why})
    values, known = (merits(problem, one.network) for one in (other, bare))
    ahead = clearly_ahead(values, known)
    if len(values):
        told = "clearly ahead" if ahead else "not clearly ahead, left out"
        mean = float((values - known).mean())
        console.line(
            f"{name}: features {told}: {problem.metric} {mean:+.4f} in the mean over "
            f"{len(values):,} validation users"
        )
    kept, tried = (other if ahead else bare), (*bare.tried, *other.tried)
    seconds = bare.result.seconds + other.result.seconds
    numbers = {**kept.numbers, "prefers": bare.numbers["prefers"]}
    result = replace(kept.result, seconds=seconds)
    metric = problem.metric if problem.config.objective == "ranking" else "squared error"
    trial = FeatureTrial.of(metric, values, known, ahead).document()
    return replace(kept, result=result, numbers=numbers, tried=tried, features=trial)


def further(section: TrainConfig) -> TrainConfig:
    """The grid of the training with features, of which one strength is trained to the end."""
    fraction = min(section.halving_fraction, MOST_FRACTION)
    fewest = {"halving_keep": 1 / len(section.l2), "halving_fraction": fraction, "extend_grid": 0}
    return section.model_copy(update=fewest)


def as_trained(genotype: Genotype, network: InteractionNetwork) -> Genotype:
    """The function without its features, where its network was left without them."""
    return genotype if network.design.features else without_features(genotype)


def merits(problem: InteractionProblem, network: InteractionNetwork) -> NDArray[np.float64]:
    """Of every validation user (n,), the higher the better: the metric, or less squared error."""
    train, valid = problem.judged_parts
    config = problem.config
    found = evaluate_on(
        problem.scorer(network), train, (train,), valid, config.objective, config.metrics_at
    ).per_user
    if config.objective == "rating":
        return -found["squared_error"] / np.maximum(found["count"], 1)
    return found[problem.metric]
