"""Error against parameters: NSGA-II's front and NASP under several complexity penalties.

Both get the same CPU seconds per seed: NSGA-II in one search, NASP a share for each eta. What they
hand over, every member of the front and every pick, is trained from scratch alike and judged once
on images that no search has seen; the test part is not read. A front's hypervolume is the area that
it dominates: larger is better.

    OMP_NUM_THREADS=1 python benchmarks/front.py --seeds 0 1 2 --output FOLDER
    python benchmarks/front.py --report FOLDER --figure front.png
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from held_out import parts_of, told, vision_of
from numpy.typing import NDArray
from pictures import fronts
from pymoo.indicators.hv import HV

from sif.config import load_config
from sif.config.cnn import CNNConfig
from sif.core.gates import Selection
from sif.core.genotype import Genotype
from sif.data.images.load import load_images
from sif.problems.images import ImageProblem
from sif.spaces.cnn.supernet import cells_of, expression
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

COLUMNS = ("seed", "method", "eta", "parameters", "error", "search_seconds", "cells")
BEYOND = 1.1
"""Reference point over the worst of all, as is usual, so that the ends of a front count."""
NSGA2, NASP = METHODS = ("NSGA-II", "NASP, one search per eta")


def vision(values: argparse.Namespace, seed: int, *sets: str) -> ImageProblem:
    """At work on the images of a seed, half of them kept from every search."""
    flags = {"seed": seed, "dataset": values.dataset}
    config = cast(
        CNNConfig, load_config("cnn", file=values.config, sets=[*values.set, *sets], flags=flags)
    )
    images = load_images(config.dataset, data_dir=config.data.dir, per_class=config.data.per_class)
    parts = parts_of(images, config, 0.5)
    return vision_of(config, images, parts, make_runtime("cpu", seed, threads=1))


def front_of(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The candidates that no other is both cheaper and better than, the cheapest first."""
    judged = [entry["candidate"] for entry in history]
    kept: list[Mapping[str, Any]] = []
    for candidate in sorted(judged, key=lambda c: (c["cost"], *c["judged"].values())):
        error = next(iter(candidate["judged"].values()))
        if not kept or error < next(iter(kept[-1]["judged"].values())):
            kept.append(candidate)
    return kept


def nsga2_picks(values: argparse.Namespace, seed: int) -> Iterator[tuple[str, float, Genotype]]:
    """("", seconds, genotype) of the front of one search."""
    work = vision(values, seed, f"search.seconds={values.seconds}")
    start = time.process_time()
    found = work.search(NullTracker(), NoCheckpoint(), told, "nsga2")
    seconds, space = time.process_time() - start, work.space()
    for candidate in front_of(found.history):
        gates = Selection(candidate["selection"]).to_gates(space.blocks)
        yield "", seconds, space.genotype(gates)


def nasp_picks(values: argparse.Namespace, seed: int) -> Iterator[tuple[str, float, Genotype]]:
    """(eta, seconds, genotype) of a search per eta."""
    for eta in values.etas:
        share = values.seconds / len(values.etas)
        penalty = f"methods.nasp.complexity_penalty={eta}"
        work = vision(values, seed, f"search.seconds={share}", penalty)
        start = time.process_time()
        found = work.search(NullTracker(), NoCheckpoint(), told, "nasp")
        yield f"{eta:g}", time.process_time() - start, found.genotype


def rows(values: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    """A row for every network that is handed over."""
    for method, picks in ((NSGA2, nsga2_picks), (NASP, nasp_picks)):
        for eta, seconds, genotype in picks(values, seed):
            cells = cells_of(genotype)
            trained = vision(values, seed).train(cells, NullTracker(), NoCheckpoint(), told)
            yield {
                "seed": seed, "method": method, "eta": eta,
                "parameters": trained.network.counted(),
                "error": f"{trained.result.valid['error']:.3f}",
                "search_seconds": f"{seconds:.1f}", "cells": expression(cells),
            }  # fmt: skip


def points(found: Sequence[Mapping[str, Any]], method: str, seed: int) -> NDArray[np.float64]:
    """(n, 2) parameters and error of what a method handed over with a seed."""
    mine = [r for r in found if r["method"] == method and int(r["seed"]) == seed]
    return np.array([(float(r["parameters"]), float(r["error"])) for r in mine])


def report(folder: Path, figure: Path | None) -> None:
    """Hypervolume of every method and seed in shares of the reference box; the picture."""
    found = [r for p in sorted(folder.glob("front-*.csv")) for r in csv.DictReader(p.open())]
    seeds = sorted({int(r["seed"]) for r in found})
    every = np.concatenate([points(found, m, s) for m in METHODS for s in seeds])
    reference = BEYOND * every.max(axis=0)
    for method in METHODS:
        volumes = [
            float(HV(ref_point=np.ones(2))(points(found, method, seed) / reference))
            for seed in seeds
        ]
        told = ", ".join(f"{volume:.3f}" for volume in volumes)
        deviation = f" +- {np.std(volumes, ddof=1):.3f}" if len(volumes) > 1 else ""
        print(f"{method}: hypervolume {np.mean(volumes):.3f}{deviation} ({told})")
    if figure is not None:
        groups = {
            method: [(x / 1000, y) for s in seeds for x, y in points(found, method, s).tolist()]
            for method in METHODS
        }
        fronts(figure, groups, "thousand parameters", "error (%) on images that no search saw")


def main() -> None:
    """Searches and trains, or reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=200.0, help="CPU, of each method")
    parser.add_argument("--etas", type=float, nargs="+", default=[0.0, 0.01, 0.1, 1.0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--config", default="cnn/digits")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--figure", type=Path)
    values = parser.parse_args()
    if values.report is not None:
        report(values.report, values.figure)
        return
    values.output.mkdir(parents=True, exist_ok=True)
    for seed in values.seeds:
        made = list(rows(values, seed))
        with (values.output / f"front-{seed}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(made)
    report(values.output, values.figure)


if __name__ == "__main__":
    main()
