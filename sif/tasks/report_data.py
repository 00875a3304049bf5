"""The data of a job's page beside its other files, kept to make the page again: `report.json`.

`docs/how-to/report.md` describes its content. Everything is a plain number or text: neither data
nor models are read again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.evaluation.comparison import LEVEL, Comparison, compare, holm
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import higher_is_better
from sif.report.files import VERSION
from sif.tasks.base import Found, Results
from sif.tasks.study import Study
from sif.tasks.summary import namesakes
from sif.utils.device import peak_memory_mb
from sif.utils.random import derive_seed

POOLED = 2_000
"""Users of a bootstrap, at most; more are pooled into groups as large."""
DRAWN, LEAST, MOST = 3e7, 500, 4_000
"""Users drawn in all bootstraps of a page together; resamples of each, at least and at most."""
ENTRIES, ALPHAS = 3_000, 150
"""Entries of a search's history that are kept, at most, and those of them with alpha."""
POINTS = 400
"""Validations of a training that are kept, at most."""
DIGITS = 6
"""Significant digits of the numbers of a history."""


def report_document(study: Study, results: Results) -> dict[str, Any]:
    """Everything that the page shows and no other file of the run folder has.

    Args:
        study: Of the job.
        results: Of the job.
    """
    metric = study.problem.metric
    return {
        "format": "sif-report",
        "version": VERSION,
        "metric": metric,
        "shown": study.problem.shown,
        "units": results.entries[study.entrants.ours].test.unit,
        "higher_is_better": higher_is_better(metric),
        "judged": study.problem.judged,
        "ours": study.entrants.ours,
        "opening": study.opening(),
        "models": models(study, results),
        "search": {name: search_record(found) for name, found in results.found.items()},
        "curves": {name: curve(one.result.history) for name, one in results.trained.items()},
        "memory": {
            "process": peak_memory_mb(study.problem.runtime),
            **{f"search {name}": one.peak_memory_mb for name, one in results.found.items()},
        },
        **study.page_data(results),
    }


def models(study: Study, results: Results) -> list[dict[str, Any]]:
    """All models with intervals, ours compared with each; p-values corrected by their number."""
    entries, ours, metric = results.entries, study.entrants.ours, study.problem.metric
    alike = namesakes(results.designs, entries, ours)
    pooled = {name: few_units(entry.test, metric) for name, entry in entries.items()}
    others = [name for name in entries if name != ours and name not in alike]
    resamples = resamples_of(pooled[ours], len(entries))
    seed = derive_seed(study.config.seed, "report")
    compared = {
        name: compare(pooled[ours], pooled[name], metric, seed=seed, resamples=resamples)
        for name in others
    }
    if results.verdict.against in compared and results.verdict.comparison is not None:
        compared[results.verdict.against] = results.verdict.comparison
    corrected = dict(zip(compared, holm([one.p for one in compared.values()]), strict=True))
    served = ours if results.choice is None else results.choice.name
    return [
        {
            "name": name,
            "kind": _kind(study, name),
            "expression": study.expression(results.designs[name])
            if name in results.designs else "",
            "stands_for": results.stands if name == ours else None,
            "served": name == served,
            "reference": name == results.verdict.against,
            "alike": name in alike,
            "row": study.row(entry),
            "valid": dict(entry.valid),
            "test": dict(entry.test.metrics),
            "interval": interval(pooled[name], metric, resamples, seed),
            "compared": name in compared and _document(compared[name], corrected[name]),
            "seconds": entry.seconds,
            "refit_seconds": entry.refit.get("seconds"),
            "edge": list(entry.edge),
            "tried": tried(entry.tried or (
                results.trained[name].tried if name in results.trained else ()
            )),
        }
        for name, entry in entries.items()
    ]  # fmt: skip


def tried(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Designs and settings among which validation chose, see `Trained`."""
    return [rounded(dict(one)) for one in spaced(found, POINTS)]


def _kind(study: Study, name: str) -> str:
    if name == study.entrants.ours:
        return "searched"
    if name in study.entrants.paced:
        return "control, first fit"
    if name in study.entrants.methods:
        return "search"
    return "given" if name in study.entrants.given else "baseline"


def _document(comparison: Comparison, p: float) -> dict[str, Any]:
    """A comparison as one of several."""
    stands = comparison.outcome != "undecided" and p < LEVEL
    outcome = comparison.outcome if stands else "undecided"
    return {**vars(comparison), "outcome": outcome, "corrected_p": p}


def resamples_of(found: Evaluation, models: int) -> int:
    """Resamples of each bootstrap of a page with so many models."""
    return int(min(max(DRAWN / (2 * models * max(len(found.users), 1)), LEAST), MOST))


def few_units(found: Evaluation, metric: str) -> Evaluation:
    """An evaluation whose users, where they are many, are pooled into random groups.

    Users are drawn independently, so intervals over thousands of such groups are those over users.
    """
    n = len(found.users)
    if n <= POOLED:
        return found
    group = np.random.default_rng(0).permutation(np.arange(n) % POOLED)
    sizes = np.bincount(group)
    kept: dict[str, NDArray[np.float64]] = {}
    for name, values in found.per_user.items():
        sums = np.bincount(group, values).astype(np.float64)
        if metric in found.per_user:  # means, which groups of unlike sizes must not move
            means = sums / sizes
            sums = means + (values.mean() - means.mean())
        kept[name] = sums
    return replace(found, users=np.arange(POOLED), per_user=kept)


def interval(found: Evaluation, metric: str, resamples: int, seed: int) -> list[float] | None:
    """The ends of a model's 95 % interval over users; None where a single user has none."""
    nothing = replace(
        found,
        per_user={
            name: values if name == "count" else np.zeros_like(values)
            for name, values in found.per_user.items()
        },
    )
    around = compare(found, nothing, metric, seed=seed, resamples=resamples)
    ends = [around.low, around.high]
    return ends if all(map(math.isfinite, ends)) else None


def search_record(found: Found) -> dict[str, Any]:
    """A search's history in short: every selection with its judgment, some with alpha."""
    history = spaced(found.history, ENTRIES)
    with_alpha = {id(entry) for entry in spaced(history, ALPHAS)}
    return {
        "operations": {name: list(names) for name, names in found.operations.items()},
        "resting": found.resting,
        "at_rest": found.at_rest,
        "trained": {name: counts.tolist() for name, counts in found.trained.items()},
        "seconds": found.summary["seconds"],
        "epochs": found.epochs,
        "objectives": [dict(one) for one in found.objectives],
        "front": found.front and dict(found.front),
        "steps": found.steps,
        "history": [_entry(entry, id(entry) in with_alpha) for entry in history],
    }


_KEPT = ("seconds", "steps", "loss", "selected_loss", "valid_loss", "selection", "judged",
         "candidate")  # fmt: skip


def _entry(entry: Mapping[str, Any], with_alpha: bool) -> dict[str, Any]:
    names = (*_KEPT, "alpha") if with_alpha else _KEPT
    kept: dict[str, Any] = rounded({name: entry[name] for name in names if name in entry})
    return kept


def curve(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The validations of a training."""
    return [rounded(dict(entry)) for entry in spaced(history, POINTS)]


def spaced(entries: Sequence[Any], most: int) -> list[Any]:
    """At most so many of some entries, evenly spaced, the first and the last among them."""
    if len(entries) <= most:
        return list(entries)
    places = np.linspace(0, len(entries) - 1, most).round().astype(int)
    return [entries[place] for place in dict.fromkeys(places.tolist())]


def rounded(value: Any) -> Any:
    """Nested values with a few digits of every float."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value


def histogram(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Numbers of users or items by their number of rows, in ranges that double.

    Args:
        counts: (n,) rows of each.
    """
    most = int(counts.max()) if len(counts) else 0
    edges = [0, 1, *(2**k for k in range(1, max(most, 1).bit_length() + 1))]
    heights, _ = np.histogram(counts, bins=[*edges, edges[-1] * 2])
    labels = [
        str(low) if high - low == 1 else f"{low:,}\N{EN DASH}{high - 1:,}"
        for low, high in zip(edges, [*edges[1:], edges[-1] * 2], strict=True)
    ]
    filled = np.flatnonzero(heights)
    shown = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
    return {
        "labels": labels[shown], "counts": heights[shown].tolist(), "most": most,
        "median": float(np.median(counts)) if len(counts) else 0.0,
    }  # fmt: skip
