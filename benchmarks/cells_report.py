"""Tables and pictures of what cells.py and step_cost.py measured.

python benchmarks/cells_report.py FOLDER --tables benchmarks/results/cells --pictures docs/img
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pictures import Choice, cost_bars, trade_off

from sif import plots
from sif.core.genotype import Genotype
from sif.problems.images import EXPORTED
from sif.spaces.cnn.supernet import SPECS, cells_of, skip_share

Run = dict[str, Any]
NAMES = {
    "nasp": "NASP", "darts-1": "DARTS, first order", "darts-2": "DARTS, second order",
    "random-ws": "random search",
}  # fmt: skip


def read(folder: Path) -> list[Run]:
    """All runs, by method, eta and seed; of one space.

    Raises:
        SystemExit: Runs of several spaces, which cannot be averaged.
    """
    runs = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    spaces = sorted({run["space"] for run in runs})
    if len(spaces) != 1:
        raise SystemExit(f"{folder}: expected runs of one space, found {spaces}")
    order = list(NAMES)
    return sorted(runs, key=lambda r: (order.index(r["method"]), r["penalty"], r["seed"]))


def row(run: Run) -> dict[str, object]:
    """A run in figures: what it found and the watch for collapse."""
    counts, scratch = run["diagnostics"], run["scratch"]
    skips = skip_share(cells_of(Genotype.from_json(run["genotype"])))
    shares = {
        block: np.array(table).sum(axis=0) / np.sum(table)
        for block, table in run["trained"].items()
    }
    return {
        "method": run["method"], "eta": run["penalty"], "seed": run["seed"],
        "epochs": run["epochs"], "steps": run["steps"], "seconds": round(run["seconds"], 1),
        "exported_error": run["exported_error"], "scratch_error": scratch["error"],
        "parameters": scratch["parameters"], "multiply_adds": scratch["multiply_adds"],
        "skips_normal": skips["normal"], "skips_reduce": skips["reduce"],
        "flips": counts["flips"], "arch_steps": counts["arch_steps"], "ties": counts["ties"],
        "least_trained": round(min(float(s.min()) for s in shares.values()), 4),
        "most_trained": round(max(float(s.max()) for s in shares.values()), 4),
        "cells": run["cells"],
    }  # fmt: skip


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    found = list(values)
    deviation = f" +- {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.2f}{deviation}"


def mean_curve(runs: Sequence[Run]) -> list[tuple[float, float]]:
    """The mean over seeds, epoch by epoch as far as all seeds went."""
    epochs = min(len(run["curve"]) for run in runs)
    return [
        tuple(np.mean([(r["curve"][e]["seconds"], r["curve"][e][EXPORTED]) for r in runs], axis=0))
        for e in range(epochs)
    ]


def trained_shares(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Share of all weight steps' operations, by block and operation, over runs."""
    space = runs[0]["space"]
    return {
        block: dict(
            zip(
                names,
                (np.sum([np.sum(r["trained"][block], axis=0) for r in runs], axis=0)
                 / np.sum([r["trained"][block] for r in runs])).round(4).tolist(),
                strict=True,
            )
        )
        for block, names in SPECS[space].items()
    }  # fmt: skip


def race(runs: Sequence[Run], pictures: Path) -> None:
    """Methods at eta 0: the table on the terminal and the picture of error against seconds."""
    by_method = {m: [r for r in runs if r["method"] == m and r["penalty"] == 0] for m in NAMES}
    by_method = {m: found for m, found in by_method.items() if found}
    for method, found in by_method.items():
        told = [
            f"{len(found)} seeds", f"steps {sorted(r['steps'] for r in found)}",
            f"seconds {spread(r['seconds'] for r in found)}",
            f"exported {spread(r['exported_error'] for r in found)}",
            f"from scratch {spread(r['scratch']['error'] for r in found)}",
            f"parameters {spread(r['scratch']['parameters'] / 1e3 for r in found)} k",
        ]  # fmt: skip
        print(f"{NAMES[method]}: {', '.join(told)}")
        for block, shares in trained_shares(found).items():
            print(f"  {block}: " + ", ".join(f"{n} {100 * s:.1f}" for n, s in shares.items()))
    plots.validation_against_seconds(
        pictures / "cells-seconds.png",
        {NAMES[m]: mean_curve(found) for m, found in by_method.items()}, "error",
        clock="search time (CPU seconds)", of=" if exported, %",
    )  # fmt: skip


def sweep(runs: Sequence[Run], pictures: Path) -> None:
    """NASP's networks by eta: size against error from scratch; nothing with less than two etas."""
    found = [run for run in runs if run["method"] == "nasp"]
    choices, etas = [], sorted({run["penalty"] for run in found})
    if len(etas) < 2:
        return
    for eta in etas:
        points = [
            (r["scratch"]["parameters"] / 1e3, r["scratch"]["error"])
            for r in found
            if r["penalty"] == eta
        ]
        choices.append(Choice(f"eta {eta:g}", points))
        print(f"eta {eta:g}: " + ", ".join(f"{p:.1f} k, {e:.2f} %" for p, e in points))
    trade_off(
        pictures / "cells-eta.png", choices, "parameters of the found network (thousands)",
        "error from scratch (%, lower is better)",
    )  # fmt: skip


def step_cost(tables: Sequence[Path], pictures: Path) -> None:
    """Bars of step_cost.py's results for whole steps."""
    for path in tables:
        with path.open(newline="") as file:
            wanted = "whole", "uniform"
            rows = [r for r in csv.DictReader(file) if (r["part"], r["selection"]) == wanted]
        cost_bars(
            pictures / f"{path.stem}.png",
            [(r["method"], (float(r["arch"]), float(r["weight"]))) for r in rows],
            ("architecture step", "weight step"),
            f"{'CPU' if rows[0].get('clock', 'cpu') == 'cpu' else 'wall'} seconds per search step",
        )  # fmt: skip


def main() -> None:
    """Writes tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of cells.py's results")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--step-cost", type=Path, nargs="*", default=[])
    values = parser.parse_args()
    runs = read(values.folder)
    write(values.tables / "runs.csv", [row(run) for run in runs])
    write(
        values.tables / "curves.csv",
        [
            {"method": run["method"], "eta": run["penalty"], "seed": run["seed"], "epoch": epoch,
             "seconds": round(point["seconds"], 1), EXPORTED: point[EXPORTED]}
            for run in runs
            for epoch, point in enumerate(run["curve"], start=1)
        ],
    )  # fmt: skip
    race(runs, values.pictures)
    sweep(runs, values.pictures)
    step_cost(values.step_cost, values.pictures)


if __name__ == "__main__":
    main()
