"""The summary of a finished job: its table and the content of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.evaluation.comparison import Verdict
from sif.evaluation.metrics import merit
from sif.tasks.base import Entry, Results
from sif.tasks.console import table
from sif.tasks.study import Study
from sif.utils.checkpoint import finite_document


def comparison_table(study: Study, results: Results) -> str:
    """All models, best validation first; marked are whom the verdict is against, and the served."""
    return "\n".join([table(*comparison_rows(study, results)), *comparison_notes(study, results)])


def comparison_rows(study: Study, results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of models."""
    metric = study.problem.metric
    order = sorted(results.entries.values(), key=lambda e: -merit(metric, e.valid[metric]))
    cells = [study.row(entry) for entry in order]
    marks = _marks(study, results)
    names = [
        "".join([entry.name, *(mark for mark, name in marks if name == entry.name)])
        for entry in order
    ]
    rows = [[name, *row.values()] for name, row in zip(names, cells, strict=True)]
    return ["model", *cells[0]], rows


def _served(study: Study, results: Results) -> str:
    """Name of the entrant that is chosen to be served; empty: ours is, without a choice."""
    if results.choice is None:
        return ""
    return results.named(results.choice.name, study.entrants.ours)


def _marks(study: Study, results: Results) -> list[tuple[str, str | None]]:
    """Marks behind names, and the names."""
    entries, controls = results.entries.values(), study.entrants.paced
    marks = [(" *", results.verdict.against), (" +", _served(study, results))]
    marks += [(" ^", entry.name) for entry in entries if entry.edge]
    return marks + [(" °", entry.name) for entry in entries if entry.name in controls]


def comparison_notes(study: Study, results: Results) -> list[str]:
    """Lines below the table of models."""
    metric, ours = study.problem.metric, study.entrants.ours
    order = sorted(results.entries.values(), key=lambda e: -merit(metric, e.valid[metric]))
    lines = [study.legend]
    if results.verdict.against is not None:
        lines.append("* the baseline that validation ranks best")
    if _served(study, results):
        lines.append("+ the model that is served")
    if ended := [f"{', '.join(entry.edge)} of {entry.name}" for entry in order if entry.edge]:
        lines.append(f"^ the best setting is at an end of what was tried: {'; '.join(ended)}")
    if any(entry.name in study.entrants.paced for entry in order):
        lines.append("° the control of the search, tested as first fitted")
    alike = namesakes(results.designs, results.entries, ours)
    return lines + [f"{name}: {_alike(name, ours, results)}" for name in alike]


def _alike(name: str, ours: str, results: Results) -> str:
    """Why the verdict does not compare ours with a model."""
    if name == results.stands:
        return f"this model takes the place of {ours}, so both rows are the same model"
    return f"the same design as {ours}, so the verdict does not compare the two"


def namesakes(designs: Mapping[str, Any], entries: Mapping[str, Entry], ours: str) -> list[str]:
    """The other entries whose design is ours: a comparison with them says nothing."""
    others = [name for name in designs if name in entries and name != ours]
    return [name for name in others if designs[name] == designs[ours]]


def _searching_document(searching: Verdict | None) -> dict[str, Any]:
    """Numbers of the verdict on the search, for metrics.json."""
    if searching is None or searching.comparison is None:
        return {}
    compared = {"against": searching.against, **vars(searching.comparison)}
    return {"searching": {"text": searching.text, **compared}}


def metrics_document(study: Study, results: Results) -> dict[str, Any]:
    """The content of metrics.json; its keys are part of the run folder's contract."""
    name, config, verdict = study.entrants.ours, study.config, results.verdict
    ours, comparison = results.entries[name], verdict.comparison
    document = {
        "task": study.task,
        "dataset": study.label,
        "method": config.method if name in results.found else name,
        "seed": config.seed,
        "metric": study.problem.shown,
        "protocol": study.protocol(),
        "genotype": study.expression(results.designs[name]),
        "entrant": results.named(name, name),
        **study.in_document(results),
        "valid": dict(ours.valid),
        "test": dict(ours.test.metrics),
        "baselines": {
            entry.name: {
                **entry.test.metrics,
                "valid": dict(entry.valid),
                "params": dict(entry.params),
                "seconds": entry.seconds,
                **({"edge": list(entry.edge)} if entry.edge else {}),
                **study.in_entrant(entry, results),
            }
            for entry in results.entries.values()
            if entry is not ours
        },
        "verdict": verdict.text,
        "comparison": comparison and {"against": verdict.against, **vars(comparison)},
        **_searching_document(results.searching),
        "search": study.search_document(results.found.get(name)),
        "train": study.in_training(results),
        "total_seconds": results.seconds,
    }
    if results.left_out:
        document["left_out"] = dict(results.left_out)
    compared = {"comparison": verdict, "searching": results.searching}
    reasons = {
        f"{name}.{end}": f"no interval: {one.no_interval}"
        for name, one in compared.items()
        if one is not None
        for end in ("low", "high")
    }
    return finite_document(document, reasons)
