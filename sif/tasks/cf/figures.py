"""The figures of a job on interactions: their data are collected, and drawn from these alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sif import plots
from sif.core.genotype import Genotype
from sif.data.interactions import Split
from sif.evaluation.histories import sequences_of
from sif.methods.configuration import configured
from sif.problems.base import SEARCHED
from sif.problems.interactions import InteractionProblem
from sif.search.history import shared_entries
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import design_of
from sif.spaces.linear.network import OrderNetwork
from sif.tasks.base import Results
from sif.tasks.cf import splits as protocol
from sif.tasks.cf.beyond import draw_front
from sif.tasks.summary import namesakes

_FORMER_SCORES = {"switch": "replacement_loss"}
"""Kinds of score in older runs, which may be finished or drawn by newer versions."""
_POINTS = 81
_AGES = 100  # items back, of a scale without a window
_REACH = 98.0  # percentile of the embeddings' sizes up to which functions are shown


def figure_data(
    problem: InteractionProblem, results: Results, split: Split, tested: Split
) -> dict[str, Any]:
    """Everything that is shown, as plain JSON values.

    Args:
        problem: Gives fields, metric and settings.
        results: Of the job.
        split: Shown in time.
        tested: Makes the groups, see `sif.tasks.cf.splits.figure_data`.
    """
    config = problem.config
    settings = configured(config.method, config.method_values()).settings
    metric, found, verdict = problem.metric, results.found.get(SEARCHED), results.verdict
    network = results.trained[SEARCHED].network
    return {
        "search": found
        and {
            "history": shared_entries(found.history),
            "blocks": found.operations,
            "score": settings.arch_score,
            "warmup": found.resting,
        },
        "function": _function(problem, results.designs[SEARCHED], network),
        "served": _served(problem, results),
        "comparison": {
            "metric": metric,
            "reference": verdict.against,
            "served": SEARCHED if results.choice is None else results.choice.name,
            "alike": namesakes(results.designs, results.entries, SEARCHED),
            "rows": [
                (name, *protocol.bar(entry.test, metric), name == SEARCHED)
                for name, entry in results.entries.items()
            ],
        },
        "training": {
            "metric": metric,
            "series": {
                name: [(p["seconds"], p[metric]) for p in one.result.history if metric in p]
                for name, one in results.trained.items()
            },
        },
        "protocol": protocol.figure_data(
            results.entries, split, tested, verdict, metric, results.named(SEARCHED, SEARCHED)
        ),
    }


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws every figure from its data; returns the paths."""
    search, function = document["search"], document["function"]
    paths = [folder / f"{name}.png" for name in ("test", "training")]
    if "decays" not in function:
        curves = {name: (function["x"], y) for name, y in function["curves"].items()}
        paths.insert(0, folder / "transforms.png")
        plots.transform_curves(paths[0], curves)
    elif function["decays"]:  # a history without order has none
        paths.insert(0, folder / "decays.png")
        plots.history_decays(paths[0], function["decays"])
    if search is not None:  # None: it diverged
        paths.insert(0, folder / "search.png")
        _draw_search(paths[0], search)
    comparison, training = document["comparison"], document["training"]
    names = shown_names(comparison)
    rows = [(names[name], *row) for name, *row in comparison["rows"] if name in names]
    reference = names.get(comparison["reference"])
    plots.test_comparison(paths[-2], rows, comparison["metric"], reference=reference)
    series = {names[name]: line for name, line in training["series"].items() if name in names}
    plots.validation_against_seconds(paths[-1], series, training["metric"])
    if function["surface"] is not None:
        paths.append(folder / "surface.png")
        plots.interaction_surface(
            paths[-1], function["x"], function["x"], function["surface"], function["expression"]
        )
    paths += draw_front(document.get("goal"), folder)
    return [*paths, *protocol.draw(document.get("protocol", {}), folder)]


def shown_names(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Names of models as they are shown: once each, the one that is served marked."""
    alike, served = comparison.get("alike", []), comparison.get("served")
    names = {name: name for name, *_ in comparison["rows"] if name not in alike}
    names[SEARCHED] = " = ".join([SEARCHED, *alike])
    if served in names:
        names[served] += " (served)"
    return names


def _draw_search(path: Path, search: Mapping[str, Any]) -> None:
    history = _with_todays_scores(search["history"])
    score = _FORMER_SCORES.get(search["score"], search["score"])
    plots.alpha_trajectories(path, history, search["blocks"], score=score, warmup=search["warmup"])


def _with_todays_scores(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**e, "scores": {_FORMER_SCORES.get(kind, kind): t for kind, t in e["scores"].items()}}
        if "scores" in e
        else dict(e)
        for e in history
    ]


def _served(problem: InteractionProblem, results: Results) -> dict[str, Any] | None:
    """A model in order that is served in place of ours; None: there is none."""
    choice, model = results.choice, results.baseline
    if choice is None or model is None or not isinstance(model.trained, OrderNetwork):
        return None
    shown = _function(problem, model.genotype, model.trained)
    return {"name": choice.name, "genotype": json.loads(model.genotype.to_json()), **shown}


def _function(
    problem: InteractionProblem, genotype: Genotype, network: InteractionNetwork | OrderNetwork
) -> dict[str, Any]:
    """Curves of the transforms and the surface of the function over one embedding dimension.

    Of an item-item model the weight of an item by its age, for each time scale; where this fades by
    time, of items as far apart as they typically are.
    """
    if isinstance(network, OrderNetwork):
        decays = network.design.decays
        ages = range(max((d.window or _AGES for d in decays), default=0))
        gap = sequences_of(problem.train_part).usual_gap if network.design.reads_time else 0.0
        weights = {
            str(d): [
                d.gamma**age * math.exp(-age * gap * d.time_rate)
                if age < (d.window or _AGES)
                else 0.0
                for age in ages
            ]
            for d in decays
        }
        return {"expression": network.expression, "surface": None, "decays": weights}
    design, tables = design_of(genotype, problem.fields), network.tables
    with torch.no_grad():
        sizes = torch.cat([t.abs().flatten() for t in (*tables.embeddings, *tables.histories)])
        reach = max(float(np.percentile(sizes.cpu().numpy(), _REACH)), 0.1)
        x = torch.linspace(-reach, reach, _POINTS)
        curves = [transform(x) for transform in design.transforms]
        surface = None
        if len(curves) == 2:
            # O(P(u), Q(v)) with v down the rows; parts that an operation keeps apart are added.
            pair = [curves[0][None, :, None], curves[1][:, None, None]]
            surface = design.operation.combine(pair).sum(dim=-1).tolist()
    named = zip(problem.fields, curves, strict=True)
    return {
        "expression": problem.expression(genotype),
        "x": x.tolist(),
        "curves": {field: curve.tolist() for field, curve in named},
        "surface": surface,
    }
