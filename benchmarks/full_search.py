"""The published setting, whole: a search on all of CIFAR-10, its cost, and a short training after.

Searches as configs/cnn/cifar-10.yaml says (50 epochs, 16 channels, 8 cells, batches of 64) on nine
tenths of the train images, trains the found network and that of DARTS' second order equally long
on the same images, judges both once on the last tenth, which neither search nor training has seen,
and runs step_cost.py on the same device. The test part is not read. For a GPU; on a CPU --config
cnn/smoke shows that it works.

    python benchmarks/full_search.py --dataset cifar-10 --output benchmarks/results/MACHINE
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import torch
from held_out import parts_of, told, vision_of

from sif.checkpoint import NoCheckpoint, write_json_atomic
from sif.config import load_config
from sif.config.cnn import CNNConfig
from sif.data.images import load_images
from sif.runtime import environment, make_runtime, peak_memory_mb, reset_peak_memory
from sif.spaces.cells import Cells
from sif.spaces.cnn import SPECS, cells_of, expression, skip_share
from sif.spaces.cnn_ops import multiply_adds
from sif.spaces.published import PUBLISHED
from sif.tracking import NullTracker
from sif.vision import Vision

REFERENCE = "darts-v2"
UNSEEN = 0.1
"""Share of the train images that judges."""


def configured(values: argparse.Namespace) -> CNNConfig:
    """The preset with trainings of the asked length."""
    sets = [f"space={values.space}", f"train.epochs={values.train_epochs}", *values.set]
    flags = {"dataset": values.dataset, "seed": values.seed}
    return cast(CNNConfig, load_config("cnn", file=values.config, sets=sets, flags=flags))


def searched(vision: Vision) -> tuple[Cells, dict[str, Any]]:
    """The search and what it took."""
    reset_peak_memory(vision.runtime)
    found, error = vision.search("nasp", NullTracker(), NoCheckpoint(), told)
    return cells_of(found.genotype), {
        "genotype": found.genotype.to_json(),
        "cells": expression(cells_of(found.genotype)),
        "seconds": found.seconds,
        "epochs": found.epochs,
        "steps": found.steps,
        "peak_memory_mb": peak_memory_mb(vision.runtime),
        "exported_error": error,
        "skip_share": skip_share(cells_of(found.genotype)),
        "diagnostics": found.diagnostics,
        "curve": [(e["seconds"], e["judged"]["exported_error"]) for e in found.history],
    }


def trained(vision: Vision, cells: Cells) -> dict[str, Any]:
    """A training from scratch and its size."""
    done = vision.train(cells, NullTracker(), NoCheckpoint(), told)
    height, width, channels = vision.shape
    return {
        "unseen_error": done.result.valid["error"],
        "epochs": done.result.epochs,
        "seconds": done.result.seconds,
        "parameters": done.network.counted(),
        "multiply_adds": multiply_adds(done.network, (channels, height, width)),
    }


def step_costs(values: argparse.Namespace) -> None:
    """step_cost.py for both spaces, each in a process of its own."""
    script = Path(__file__).with_name("step_cost.py")
    for space in SPECS:
        output = values.output / f"step-cost-{space}.csv"
        command = [sys.executable, str(script), "--space", space, "--device", values.device]
        command += ["--batch", str(values.step_batch), "--output", str(output)]
        command += ["--selections", str(values.selections)]
        subprocess.run(command, check=True)


def main() -> None:
    """Runs everything and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cifar-10")
    parser.add_argument("--config", help="a preset in place of the dataset's own")
    parser.add_argument("--space", choices=tuple(SPECS), default="nasp-7op")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-epochs", type=int, default=50)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--step-batch", type=int, default=64)
    parser.add_argument("--selections", type=int, default=20)
    parser.add_argument("--no-step-cost", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    config = configured(values)
    runtime = make_runtime(values.device, values.seed)
    images = load_images(config.dataset, data_dir=config.data.dir, per_class=config.data.per_class)
    parts = parts_of(images, config, UNSEEN)
    vision = vision_of(config, images, parts, runtime)
    values.output.mkdir(parents=True, exist_ok=True)
    found, search = searched(vision)
    result: dict[str, Any] = {
        "environment": environment(runtime),
        "config": config.model_dump(mode="json"),
    }
    result |= {"images": [len(part) for part in parts], "search": search}
    target = values.output / f"full-search-{values.space}-seed{values.seed}.json"
    write_json_atomic(target, result)  # the long part is safe
    result["train"] = {"found": trained(vision, found)}
    result["train"][REFERENCE] = trained(vision, PUBLISHED[REFERENCE])
    write_json_atomic(target, result)
    print(target)
    if not values.no_step_cost:
        step_costs(values)


if __name__ == "__main__":
    main()
