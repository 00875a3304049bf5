"""More than accuracy in a job on interactions: a second table, and the front of a goal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sif import plots
from sif.evaluation.beyond import BEYOND, BY_FEATURES
from sif.evaluation.goals import Goal, undominated
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED
from sif.tasks.base import Entry, Results
from sif.tasks.console import table
from sif.tasks.summary import namesakes

K = 10
"""Length of the lists that are shown."""
HEADS = {
    "coverage": "cover", "gini": "Gini", "novelty": "novel", "arp": "popular", "long_tail": "tail",
    "serendipity": "serendip", "diversity": "diverse", "calibration": "miscal",
}  # fmt: skip
"""Name of a metric to its column: a terminal is narrow."""
FORMATS = {"novelty": ".2f", "arp": ".1f"}
MEANT = {
    "diversity": "\ndistance of two items of a list",
    "calibration": " divergence of its categories from the user's",
}
FRONT = "front.png"


def beyond_table(entries: Mapping[str, Entry]) -> str:
    """The test metrics beyond accuracy of all models.

    Args:
        entries: Of a job of rankings.
    """
    known = [one.test.metrics for one in entries.values()]
    more = [name for name in BY_FEATURES if all(f"{name}@{K}" in one for one in known)]
    names = (*BEYOND, *more)
    rows = [
        [name, *(f"{entry.test.metrics[f'{m}@{K}']:{FORMATS.get(m, '.3f')}}" for m in names)]
        for name, entry in entries.items()
    ]
    told = "".join(f",{MEANT[name]}" for name in more)
    return (
        f"{table(['beyond accuracy', *(HEADS[name] for name in names)], rows)}\n"
        f"test, lists of {K}: share of the items in any list, their inequality, bits of surprise,\n"
        f"users of an item, share of the long tail, hits that popularity misses{told}"
    )


def goal_document(goal: Goal, results: Results, fallbacks: Collection[str]) -> dict[str, Any]:
    """The models that might be served by what they were chosen by, as plain JSON values.

    Args:
        goal: With bounds.
        results: Of the job.
        fallbacks: Names of entrants that might stand for ours.
    """
    entries = results.entries
    alike = namesakes(results.designs, entries, SEARCHED)
    served = SEARCHED if results.choice is None else results.choice.name
    able = {
        name: entry.valid
        for name, entry in entries.items()
        if name not in alike and (name == SEARCHED or name in fallbacks or entry.merits is not None)
    }
    metrics = list(dict.fromkeys(bound.metric for bound in goal.bounds))
    merits = np.array(
        [[merit(name, valid[name]) for name in (goal.metric, *metrics)] for valid in able.values()]
    )
    # Of an accuracy that nobody wants higher a bound says which side is the better one.
    signs = np.array([1.0, *(_sign(goal, name) for name in metrics)])
    fronts = [undominated((merits * signs)[:, [0, 1 + n]]) for n in range(len(metrics))]
    return {
        "metric": goal.metric,
        "bounds": [vars(bound) for bound in goal.bounds],
        "metrics": metrics,
        "models": [
            {
                "name": results.named(name, SEARCHED), "value": valid[goal.metric],
                "others": [valid[metric] for metric in metrics], "served": name == served,
                "keeps": not goal.shortfall(valid),
                "undominated": [bool(front[row]) for front in fronts],
            }
            for row, (name, valid) in enumerate(able.items())
        ],
    }  # fmt: skip


def draw_front(document: Mapping[str, Any] | None, folder: Path) -> list[Path]:
    """Draws the models of a goal; nothing where there is none."""
    if not document:
        return []
    path = folder / FRONT
    bounded = []
    for metric in document["metrics"]:
        own = [one for one in document["bounds"] if one["metric"] == metric]
        low = max((b["value"] for b in own if b["relation"] == ">="), default=-np.inf)
        high = min((b["value"] for b in own if b["relation"] == "<="), default=np.inf)
        bounded.append(plots.Bounded(metric, low, high))
    points = [
        plots.FrontPoint(m["name"], m["value"], m["others"], m["served"], m["undominated"])
        for m in document["models"]
    ]
    plots.objective_front(path, points, document["metric"], bounded)
    return [path]


def _sign(goal: Goal, metric: str) -> float:
    """1 where a bound is on the better side of a metric, else -1."""
    relation = next(bound.relation for bound in goal.bounds if bound.metric == metric)
    wants_more = relation == ">="
    return 1.0 if wants_more == (merit(metric, 1.0) > 0) else -1.0
