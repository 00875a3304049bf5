"""The figure of a panel: data in one JSON file, from which it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif import plots
from sif.bench.panel.ranks import Ranking


def figure_data(ranking: Ranking) -> dict[str, Any]:
    """Everything that is shown."""
    return {
        "ranks": {
            "models": [vars(one) for one in ranking.models],
            "data": list(ranking.data),
            "meaning": ranking.meaning,
        }
    }


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws it from its data; returns the paths."""
    found, path = document["ranks"], folder / "ranks.png"
    rows = [
        plots.RankRow(one["name"], one["ranks"], *(one[key] for key in ("mean", "low", "high")))
        for one in found["models"]
    ]
    plots.average_ranks(path, rows, len(found["data"]), found["meaning"])
    return [path]
