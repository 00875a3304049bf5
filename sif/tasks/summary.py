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
    metric, against = study.problem.metric, results.verdict.against
    order = sorted(results.entries.values(), key=lambda e: -merit(metric, e.valid[metric]))
    cells = [study.row(entry) for entry in order]
    ours = study.entrants.ours
    served = "" if results.choice is None else results.named(results.choice.name, ours)
    ended = {entry.name: entry.edge for entry in order if entry.edge}
    controls = [entry.name for entry in order if entry.name in study.entrants.paced]
    marks = ((" *", against), (" +", served), *((" ^", name) for name in ended))
    marks += tuple((" °", name) for name in controls)
    names = [
        "".join([entry.name, *(mark for mark, name in marks if name == entry.name)])
        for entry in order
    ]
    rows = [[name, *row.values()] for name, row in zip(names, cells, strict=True)]
    text = table(["model", *cells[0]], rows)
    mark = "" if against is None else "\n* the baseline that validation ranks best"
    mark += "\n+ the model that is served" if served else ""
    if ended:
        told = "; ".join(f"{', '.join(edge)} of {name}" for name, edge in ended.items())
        mark += f"\n^ the best setting is at an end of what was tried: {told}"
    mark += "\n° the control of the search, tested as first fitted" if controls else ""
    alike = "".join(
        f"\n{name}: {_alike(name, ours, results)}"
        for name in namesakes(results.designs, results.entries, ours)
    )
    return f"{text}\n{study.legend}{mark}{alike}"


def _alike(name: str, ours: str, results: Results) -> str:
    """Why the verdict does not compare ours with a model."""
    if name == results.stands:
        return f"stands for {ours}, and the verdict leaves it out"
    return f"the same design as {ours}, which the verdict leaves out"


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
