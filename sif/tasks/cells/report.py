"""What a contest of cells reports: the table on the terminal and metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sif.config import CommonConfig
from sif.core.genotype import from_json
from sif.evaluation.comparison import Verdict
from sif.tasks.cells.work import CellProblem, Results
from sif.tasks.checkpoint import State
from sif.tasks.console import table
from sif.tasks.report import Entry


def document_of(config: CommonConfig, work: CellProblem, results: Results) -> dict[str, Any]:
    """The content of metrics.json."""
    ours, decision = results.entries[work.entrants.ours], results.decision
    text, published = work.spelled(results.designs[work.entrants.ours])
    return {
        "task": work.task,
        "dataset": work.tags()["dataset"],
        "method": config.method if work.entrants.ours in results.found else work.entrants.ours,
        "seed": config.seed,
        "metric": work.shown,
        "protocol": work.protocol(),
        "genotype": text,
        "cells": published,
        "valid": dict(ours.valid),
        "test": dict(ours.test.metrics),
        "baselines": {
            name: {
                **entry.test.metrics, "valid": dict(entry.valid), "params": dict(entry.params),
                "seconds": entry.seconds, "search": searched(work, results.found.get(name)),
            }
            for name, entry in results.entries.items()
            if name != work.entrants.ours
        },
        "verdict": decision.text,
        "comparison": decision.comparison
        and {"against": decision.against, **vars(decision.comparison)},
        "search": searched(work, results.found.get(work.entrants.ours)),
        "train": {"seconds": ours.seconds, **ours.params},
        "total_seconds": results.seconds,
    }  # fmt: skip


def searched(work: CellProblem, found: State | None) -> dict[str, Any] | None:
    """How a search went, and the watch for collapse: skips, flips, ties, what trained how often."""
    if found is None:
        return None
    return {
        **found["summary"],
        **found["diagnostics"],
        "valid_loss": found["valid_loss"],
        work.judged: found[work.judged],
        "watched": work.watched(work.design(from_json(found["genotype"]))),
        "trained": trained_steps(work.operations, found["trained"]),
    }


def trained_steps(
    operations: Mapping[str, Sequence[str]], trained: Mapping[str, Tensor]
) -> dict[str, dict[str, int]]:
    """Block to operation to the weight steps that trained it, over all edges."""
    return {
        block: dict(zip(operations[block], counts.sum(dim=0).tolist(), strict=True))
        for block, counts in trained.items()
    }


def comparison(metric: str, entries: Mapping[str, Entry], decision: Verdict) -> str:
    """All networks, best validation first; the one the verdict is against is marked."""
    first = next(iter(entries.values()))
    metrics = list(first.test.metrics)
    sizes = [name for name in first.params if name != "search_seconds"]
    rows = [
        [
            f"{e.name} *" if e.name == decision.against else e.name,
            f"{e.valid[metrics[0]]:.2f}",
            *(f"{e.test.metrics[name]:.4g}" for name in metrics),
            *(f"{e.params[name] / 1e6:.3f}" for name in sizes),
            f"{e.params['search_seconds']:.1f}",
            f"{e.seconds:.1f}",
        ]
        for e in sorted(entries.values(), key=lambda e: e.valid[metric])
    ]
    millions = [f"{name.replace('_', ' ')} M" for name in sizes]
    header = ["cells", f"valid {metrics[0]}", *metrics, *millions, "search s", "train s"]
    return (
        f"{table(header, rows)}\n"
        "valid: of the validation part, which chose the epoch; then of the test part\n"
        "* the rival that validation ranks best"
    )
