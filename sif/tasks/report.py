"""What a finished job says: the table of models, and metrics.json."""

from __future__ import annotations

from typing import Any

from sif.evaluation.metrics import higher_is_better
from sif.tasks.base import Results
from sif.tasks.console import table
from sif.tasks.study import Study


def comparison_table(study: Study, results: Results) -> str:
    """All models, best validation first; the one the verdict is against is marked."""
    metric, against = study.problem.metric, results.verdict.against
    order = sorted(
        results.entries.values(), key=lambda e: e.valid[metric], reverse=higher_is_better(metric)
    )
    cells = [study.row(entry) for entry in order]
    names = [f"{entry.name} *" if entry.name == against else entry.name for entry in order]
    rows = [[name, *row.values()] for name, row in zip(names, cells, strict=True)]
    text = table(["model", *cells[0]], rows)
    return f"{text}\n{study.legend()}\n* the baseline that validation ranks best"


def metrics_document(study: Study, results: Results) -> dict[str, Any]:
    """The content of metrics.json; its keys are part of the run folder's contract."""
    name, config, verdict = study.entrants.ours, study.config, results.verdict
    ours, comparison = results.entries[name], verdict.comparison
    return {
        "task": study.task,
        "dataset": study.label,
        "method": config.method if name in results.found else name,
        "seed": config.seed,
        "metric": study.problem.shown,
        "protocol": study.protocol(),
        "genotype": study.problem.expression(results.designs[name]),
        **study.in_document(results),
        "valid": dict(ours.valid),
        "test": dict(ours.test.metrics),
        "baselines": {
            entry.name: {
                **entry.test.metrics,
                "valid": dict(entry.valid),
                "params": dict(entry.params),
                "seconds": entry.seconds,
                **study.in_entrant(entry, results),
            }
            for entry in results.entries.values()
            if entry is not ours
        },
        "verdict": verdict.text,
        "comparison": comparison and {"against": verdict.against, **vars(comparison)},
        "search": study.search_document(results.found.get(name)),
        "train": study.in_training(results),
        "total_seconds": results.seconds,
    }
