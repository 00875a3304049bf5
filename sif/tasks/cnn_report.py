"""What a job on images reports: the table on the terminal and metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sif.config.cnn import CNNConfig
from sif.genotype import from_json
from sif.spaces.cells import Cells, format_cells
from sif.spaces.cnn import SPECS, cells_of, expression, skip_share
from sif.tasks.cnn_inputs import ImageInputs
from sif.tasks.console import table
from sif.tasks.report import Entry
from sif.tasks.stages import State
from sif.verdict import Verdict
from sif.vision import EXPORTED

METRIC = "error"


def document_of(
    config: CNNConfig, inputs: ImageInputs, found: Mapping[str, State], cells: Cells,
    entries: Mapping[str, Entry], decision: Verdict, total_seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """The content of metrics.json."""
    ours = entries[inputs.ours]
    return {
        "task": "cnn",
        "dataset": inputs.images.name,
        "method": config.method if inputs.ours in found else inputs.ours,
        "seed": config.seed,
        "protocol": inputs.split.description(),
        "genotype": expression(cells),
        "cells": format_cells(cells),
        "valid": dict(ours.valid),
        "test": dict(ours.test.metrics),
        "baselines": {
            name: {
                **entry.test.metrics, "valid": dict(entry.valid), "params": dict(entry.params),
                "seconds": entry.seconds, "search": searched(config.space, found.get(name)),
            }
            for name, entry in entries.items()
            if name != inputs.ours
        },
        "verdict": decision.text,
        "comparison": decision.comparison
        and {"against": decision.against, **vars(decision.comparison)},
        "search": searched(config.space, found.get(inputs.ours)),
        "train": {"seconds": ours.seconds, **ours.params},
        "total_seconds": total_seconds,
    }  # fmt: skip


def searched(space: str, found: State | None) -> dict[str, Any] | None:
    """How a search went, and the watch for collapse: skips, flips, ties, what trained how often."""
    if found is None:
        return None
    return {
        **found["summary"],
        **found["diagnostics"],
        "valid_loss": found["valid_loss"],
        EXPORTED: found[EXPORTED],
        "skip_share": skip_share(cells_of(from_json(found["genotype"]))),
        "trained": trained_steps(space, found["trained"]),
    }


def trained_steps(space: str, trained: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """Block to operation to the weight steps that trained it, over all edges."""
    return {
        block: dict(zip(SPECS[space][block], counts.sum(dim=0).tolist(), strict=True))
        for block, counts in trained.items()
    }


def comparison(entries: Mapping[str, Entry], decision: Verdict) -> str:
    """All networks, best validation first; the one the verdict is against is marked."""
    rows = [
        [
            f"{e.name} *" if e.name == decision.against else e.name,
            f"{e.valid[METRIC]:.2f}",
            f"{e.test.metrics[METRIC]:.2f}",
            f"{e.params['parameters'] / 1e6:.3f}",
            f"{e.params['multiply_adds'] / 1e6:.1f}",
            f"{e.params['search_seconds']:.1f}",
            f"{e.seconds:.1f}",
        ]
        for e in sorted(entries.values(), key=lambda e: e.valid[METRIC])
    ]
    header = ["cells", "valid", "error", "params M", "madds M", "search s", "train s"]
    return (
        f"{table(header, rows)}\n"
        "error: % of the test part; valid: % of the validation part, which chose the epoch\n"
        "* the rival that validation ranks best"
    )
