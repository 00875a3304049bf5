"""Search methods for cells on CIFAR-10 at equal seconds: NASP, DARTS, random-ws, a CPU's size.

Every method gets one supernet's first weights, the same images and the same CPU seconds of one
thread, planned by the cost of a few steps: as many stretches of --steps steps as fit, the final
choice of random search (with weight sharing) included. After each stretch the selection that would
be exported is judged on the validation part as a network of its own, off the clock. What was found
is trained from scratch, equally long for all, and judged once on images that no search has seen;
the test part is not read.

    OMP_NUM_THREADS=1 python benchmarks/cells.py --method nasp --seed 0 --output FOLDER
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from held_out import parts_of, told, vision_of

from sif.config import load_config
from sif.config.cnn import CNNConfig
from sif.core.method import ChoosesAtEnd, LearnsArchitecture, Plan
from sif.core.proximal import weight_step
from sif.data.images.load import load_images
from sif.methods import configuration
from sif.methods.registry import METHODS
from sif.problems.images import EXPORTED, ImageProblem
from sif.spaces.cnn.operations import multiply_adds
from sif.spaces.cnn.supernet import cells_of, expression
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint, write_json_atomic
from sif.utils.device import make_runtime
from sif.utils.environment import environment
from sif.utils.random import generator

SHARING = tuple(name for name, kind in METHODS.items() if not kind.samples)
TRIALS = 4
"""Steps by which a method's epochs are planned, after a first one that allocates."""


def configured(values: argparse.Namespace, epochs: int) -> CNNConfig:
    """The preset for a CPU."""
    sets = [
        f"method={values.method}", f"space={values.space}", f"search.epochs={epochs}",
        f"methods.nasp.complexity_penalty={values.penalty}",
        f"search.steps_per_epoch={values.steps}", *values.set,
    ]  # fmt: skip
    flags = {"seed": values.seed, "dataset": values.dataset}
    return cast(CNNConfig, load_config("cnn", file=values.config, sets=sets, flags=flags))


class Race:
    """One method on one seed's images."""

    def __init__(self, values: argparse.Namespace) -> None:
        config = configured(values, 1)
        self.values = values
        self.runtime = make_runtime(values.device, values.seed, values.threads)
        self.images = load_images(
            config.dataset, data_dir=config.data.dir, per_class=config.data.per_class
        )
        self.parts = parts_of(self.images, config, 0.5)

    def vision(self, epochs: int) -> ImageProblem:
        """At work on the parts."""
        return vision_of(configured(self.values, epochs), self.images, self.parts, self.runtime)

    def planned(self) -> int:
        """Epochs that take the asked seconds, or one; by the cost of a few steps."""
        vision = self.vision(1)
        settings, space = vision.config.search, vision.space()
        chosen = configuration.configured(self.values.method, vision.config.method_values())
        draws = generator(self.runtime, "trial", device=torch.device("cpu"))
        method = chosen.make(space, Plan(1, lr=settings.lr), draws)
        stream = vision.source.stream(
            self.parts[0], settings.batch_size, vision.preparation(), "trial"
        )
        optimizer = torch.optim.SGD(space.weight_parameters(), settings.lr)
        weight, arch = [], []
        for step in range(TRIALS + 1):
            batch, start = stream.next(), time.perf_counter()
            if isinstance(method, LearnsArchitecture):
                method.arch_step(space, batch, batch)
            between = time.perf_counter()
            weight_step(space, batch, method.weight_gates(step), optimizer, settings.max_norm)
            weight.append(time.perf_counter() - between)
            arch.append(between - start)
        per_step, per_arch = float(np.mean(weight[1:])), float(np.mean(arch[1:]))
        at_the_end = 0.0
        if isinstance(method, ChoosesAtEnd):
            start = time.perf_counter()
            method.choose(lambda gates: vision.judge(space, gates))
            at_the_end = time.perf_counter() - start

        def off(epochs: int) -> float:
            warm = chosen.settings.warmup_steps(epochs, 1)
            each = epochs * per_step + (epochs - warm) * per_arch
            spent = float(self.values.steps) * each + at_the_end
            return abs(spent - float(self.values.seconds))

        return min(range(1, 1000), key=off)

    def run(self) -> dict[str, Any]:
        """Search, training from scratch, and what came of them."""
        epochs = self.values.epochs or self.planned()
        vision = self.vision(epochs)
        found = vision.search(NullTracker(), NoCheckpoint(), told, self.values.method)
        trained = vision.train(cells_of(found.genotype), NullTracker(), NoCheckpoint(), told)
        height, width, channels = vision.shape
        return {
            "method": self.values.method, "seed": self.values.seed, "space": self.values.space,
            "penalty": self.values.penalty, "epochs": epochs, "steps": found.steps,
            "seconds": found.seconds,
            "genotype": found.genotype.to_json(), "cells": expression(cells_of(found.genotype)),
            "exported_error": found.history[-1]["judged"][EXPORTED],
            "curve": [
                {"seconds": e["seconds"], EXPORTED: e["judged"][EXPORTED],
                 "selection": e["selection"]}
                for e in found.history
            ],
            "diagnostics": found.diagnostics,
            "trained": {name: table.tolist() for name, table in found.trained.items()},
            "scratch": {
                "error": trained.result.valid["error"], "epochs": trained.result.epochs,
                "seconds": trained.result.seconds, "parameters": trained.network.counted(),
                "multiply_adds": multiply_adds(trained.network, (channels, height, width)),
            },
            "images": [len(part) for part in self.parts],
            "environment": environment(self.runtime),
            "config": vision.config.model_dump(mode="json"),
        }  # fmt: skip


def main() -> None:
    """Runs one method on one seed and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=SHARING, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--steps", type=int, default=20, help="weight steps of an epoch")
    parser.add_argument("--epochs", type=int, help="in place of seconds")
    parser.add_argument("--space", default="nasp-7op")
    parser.add_argument("--penalty", type=float, default=0.0, help="eta")
    parser.add_argument("--dataset", default="cifar10-jpeg")
    parser.add_argument("--config", default="cnn/cpu")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    if values.device == "cpu":
        # The loops' clock: what else the machine does must not decide a race at equal seconds.
        time.perf_counter = time.process_time
    result = Race(values).run()
    values.output.mkdir(parents=True, exist_ok=True)
    name = f"{values.method}-{values.space}-eta{values.penalty:g}-seed{values.seed}.json"
    write_json_atomic(values.output / name, result)
    print(values.output / name)


if __name__ == "__main__":
    main()
