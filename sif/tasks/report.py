"""What a finished job says: the table, and metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sif.config import CFConfig
from sif.core.genotype import from_json
from sif.data.interactions import Split
from sif.evaluation.comparison import Verdict
from sif.evaluation.evaluate import MAIN_METRIC, Evaluation, Objective
from sif.evaluation.metrics import higher_is_better
from sif.spaces.interaction.design import expression
from sif.tasks.console import table

COLUMNS: dict[Objective, tuple[str, ...]] = {
    "ranking": ("ndcg@10", "recall@10", "map@10", "mrr@10", "hit@10"),
    "rating": ("rmse", "rmse_std", "mae"),
}


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the comparison.

    Attributes:
        name: Of the model.
        valid: Its validation metrics.
        test: Its evaluation on the test part.
        seconds: Of its training, grid included where validation chose from one.
        params: What validation chose.
    """

    name: str
    valid: Mapping[str, float]
    test: Evaluation
    seconds: float
    params: Mapping[str, Any]

    def flat(self) -> dict[str, float]:
        """Test metrics under their names and validation metrics with a prefix, for trackers."""
        valid = {f"valid.{name}": value for name, value in self.valid.items()}
        return {**self.test.metrics, **valid, "seconds": self.seconds}


def comparison_table(entries: Mapping[str, Entry], objective: Objective, verdict: Verdict) -> str:
    """All models, best validation first; the one the verdict is against is marked."""
    metric = MAIN_METRIC[objective]
    order = sorted(
        entries.values(), key=lambda e: e.valid[metric], reverse=higher_is_better(metric)
    )
    rows = [
        [
            f"{entry.name} *" if entry.name == verdict.against else entry.name,
            f"{entry.valid[metric]:.4f}",
            *(f"{entry.test.metrics[name]:.4f}" for name in COLUMNS[objective]),
            f"{entry.seconds:.1f}",
        ]
        for entry in order
    ]
    header = ["model", "valid", *COLUMNS[objective], "fit s"]
    return (
        f"{table(header, rows)}\n"
        f"valid: {metric} on the validation part, the others on the test part; "
        "fit s: seconds for the whole grid\n"
        "* the baseline that validation ranks best"
    )


def metrics_document(
    config: CFConfig,
    dataset: str,
    split: Split,
    genotype: str,
    entries: Mapping[str, Entry],
    verdict: Verdict,
    search: Mapping[str, Any],
    training: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """The content of metrics.json; its keys are part of the run folder's contract."""
    ours = entries["searched"]
    baselines = {
        name: {
            **entry.test.metrics,
            "valid": dict(entry.valid),
            "params": dict(entry.params),
            "seconds": entry.seconds,
        }
        for name, entry in entries.items()
        if name != ours.name
    }
    trained = {
        block: dict(zip(names, search["trained"][block].sum(dim=0).tolist(), strict=True))
        for block, names in search["operations"].items()
    }
    comparison = vars(verdict.comparison) if verdict.comparison else None
    return {
        "task": "cf",
        "dataset": dataset,
        "method": config.method,
        "seed": config.seed,
        "metric": MAIN_METRIC[config.objective],
        "protocol": split.description(),
        "genotype": genotype,
        "valid": dict(ours.valid),
        "test": dict(ours.test.metrics),
        "users_left_out": ours.test.left_out,
        "baselines": baselines,
        "verdict": verdict.text,
        "comparison": comparison and {"against": verdict.against, **comparison},
        "search": {
            "found": expression(from_json(search["genotype"]), split.interactions.fields),
            **search["summary"],
            **search["diagnostics"],
            "valid_loss": search["valid_loss"],
            "trained": trained,
        },
        "train": {key: training[key] for key in ("seconds", "epochs", "parameters")},
        "total_seconds": seconds,
    }
