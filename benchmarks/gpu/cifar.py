"""A search for cells on CIFAR-10 with seven operations in minutes: its cells and their test error.

Search and training get as many epochs as fit into their seconds, by a pilot on the card. Channels
and cells are those of the published search (DARTS, ICLR 2019, appendix A.1.1); a network of that
size is trained, too, with the published augmentation, so that its error is that of minutes, not of
the published 600 epochs.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from machine import about, device, is_toy, runtime, write

from sif.config import load_config
from sif.config.cnn import CNNConfig
from sif.problems.images import ImageProblem
from sif.problems.pilots import training_cost
from sif.spaces.cnn.supernet import expression
from sif.tasks.cnn import prepare
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import peak_memory_mb, reset_peak_memory

SEARCH_SECONDS, TRAIN_SECONDS = 120.0, 150.0
ARCHIVE = "cifar10-jpeg.tar.xz"
SETS = (
    "dataset=cifar10-jpeg", "baselines=[]", "search.channels=16", "search.cells=8",
    "search.batch_size=64", "methods.nasp.arch_lr=0.003", "train.channels=16", "train.cells=8",
    "train.batch_size=96", "train.auxiliary=null", "train.drop_path=0.0",
)  # fmt: skip
TOY = (
    "data.per_class=10", "search.channels=2", "search.cells=3", "search.batch_size=8",
    "train.channels=2", "train.cells=3", "train.batch_size=8",
)  # fmt: skip


def configured(name: str, *sets: str) -> CNNConfig:
    """The job with further settings."""
    folder = os.environ.get("SIF_DATA_DIR", "")
    if not (Path(folder) / ARCHIVE).is_file():
        print(f"cifar: expected {ARCHIVE} in the folder SIF_DATA_DIR, found {folder or 'nothing'}",
              file=sys.stderr)  # fmt: skip
        raise SystemExit(2)
    toy = TOY if is_toy(name) else ()
    config = load_config("cnn", sets=[*SETS, *toy, f"data.dir={folder}", *sets])
    assert isinstance(config, CNNConfig)
    return config


def with_epochs(problem: ImageProblem, section: str, epochs: int) -> ImageProblem:
    """The problem with another length of a section."""
    part = getattr(problem.config, section).model_copy(update={"epochs": epochs})
    return problem.changed(config=problem.config.model_copy(update={section: part}))


def fitting(epoch: float, seconds: float) -> int:
    """Epochs that fit into the seconds, two at least."""
    return max(2, int(seconds / epoch))


def main() -> int:
    """Searches, trains, tests; prints and writes one row."""
    name = device()
    toy, begin = is_toy(name), time.perf_counter()
    config, run = configured(name), runtime(name)
    study = prepare(config, run)
    problem: Any = study.problem
    forecast = problem.method_run().forecast("nasp", 0.1 if toy else 10.0)
    epochs = 2 if toy else fitting(forecast.epoch, SEARCH_SECONDS)
    problem = with_epochs(problem, "search", epochs)
    found = problem.search(NullTracker(), NoCheckpoint())
    row = {**about(name), "space": config.space, "search_epochs": epochs,
           "search_seconds": round(found.seconds, 1), "search_steps": found.steps,
           "search_peak_mb": round(peak_memory_mb(run), 1)}  # fmt: skip
    print(f"search: {epochs} epochs, {found.seconds:.0f} s", flush=True)
    design = problem.design(found.genotype)
    cost = training_cost(problem, design)
    epochs = 2 if toy else fitting(cost.epoch(), TRAIN_SECONDS)
    problem = with_epochs(problem, "train", epochs)
    reset_peak_memory(run)
    trained = problem.train(design, NullTracker(), NoCheckpoint())
    row |= {"train_epochs": epochs, "train_seconds": round(trained.result.seconds, 1),
            "train_peak_mb": round(peak_memory_mb(run), 1),
            "parameters": trained.numbers["parameters"],
            "valid_error": trained.result.valid["error"]}  # fmt: skip
    error = problem.test(trained.network, study.test_part).metrics["error"]
    row |= {"test_error": round(error, 3), "seconds": round(time.perf_counter() - begin, 1),
            "cells": expression(design)}  # fmt: skip
    print(f"training: {epochs} epochs, {trained.result.seconds:.0f} s; test error {error:.2f} %")
    write(name, "cifar", [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
