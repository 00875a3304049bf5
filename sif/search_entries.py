"""Entries of a search's history: made, checked, and flattened for trackers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.method import ArchReport
from sif.errors import DivergedError


def mean_scores(reports: Sequence[ArchReport]) -> dict[str, dict[str, Any]]:
    """Kind of score to block to rows: of what every architecture step of an epoch saw."""
    return {
        kind: {
            name: torch.stack([r.scores[kind][name] for r in reports]).mean(0).tolist()
            for name in reports[0].scores[kind]
        }
        for kind in (reports[0].scores if reports else ())
    }


def rows_of(tables: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tables as nested lists."""
    return {name: table.tolist() for name, table in tables.items()}


def chosen_by(gates: Gates) -> dict[str, list[int]]:
    """A selection as lists."""
    return {name: list(chosen) for name, chosen in gates.selection().items()}


def refuse(report: ArchReport, epoch: int) -> None:
    """Before alpha is read: with numbers that are not finite there is no selection."""
    tables = [table for blocks in report.scores.values() for table in blocks.values()]
    if not math.isfinite(report.loss) or any(bool(t.isnan().any()) for t in tables):
        raise DivergedError(
            f"search diverged in epoch {epoch}: an architecture step: expected finite numbers, "
            f"found loss {report.loss} and slopes that are none; lower search.lr"
        )


def refuse_divergence(entry: Mapping[str, Any], epoch: int) -> None:
    """Raises DivergedError where a loss is no finite number."""
    for name in ("loss", "valid_loss"):
        if entry[name] is not None and not math.isfinite(entry[name]):
            raise DivergedError(
                f"search diverged in epoch {epoch}: {name}: expected a finite number, "
                f"found {entry[name]}; lower search.lr"
            )


def numbers(entry: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, float]:
    """Scalars of a history entry under flat names."""
    found = {k: entry[k] for k in ("loss", "valid_loss", "seconds") if entry[k] is not None}
    found |= entry["judged"]
    for block in blocks:
        rows = entry["alpha"][block.name]
        for edge, row in enumerate(rows):
            where = block.name if len(rows) == 1 else f"{block.name}.{edge}"
            for name, value in zip(block.operations, row, strict=True):
                found[f"alpha.{where}.{_plain(name)}"] = value
            for kind, tables in entry["scores"].items():
                for name, value in zip(block.operations, tables[block.name][edge], strict=True):
                    found[f"{kind}.{where}.{_plain(name)}"] = value
    return found


def _plain(name: str) -> str:
    """An operation's name in characters that every store takes."""
    signed = "pos_" + name[1:] if name.startswith("+") else name
    return signed.replace("+", "_and_").replace("~", "sgn_")
