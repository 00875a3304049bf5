"""Recurrent histories at equal seconds: a GRU, a cell that NASP finds, and a random cell.

Each gets the same CPU seconds of training, up to half an epoch: the step size falls with them
along half a cosine, and validation chooses the epoch. NASP's cell is trained twice, once with the
seconds of the search apart and once with them inside. All items are ranked; the test part is looked
at once per trained network.

    OMP_NUM_THREADS=1 python benchmarks/recurrent.py --split-file FILE.npz --seeds 0 1 2 \
      --seconds 80 --search-seconds 25 --set train.exact_items=1000 --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sif.config.histories import HistoryConfig
from sif.data.interactions.split import Split
from sif.data.interactions.split_file import load_split_file
from sif.problems.histories import HistoryProblem
from sif.spaces.histories.models import HistoryDesign
from sif.tracking import NullTracker
from sif.training.loop import TrainSettings
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.environment import environment

METRIC = "ndcg@10"
ENDLESS = 10**6


@dataclass(frozen=True)
class Entrant:
    """What is trained.

    Attributes:
        name: Of the row.
        design: Cell or name of a recurrence.
        search: CPU seconds of the search.
        seconds: Of the training.
    """

    name: str
    design: HistoryDesign
    search: float
    seconds: float


def configured(values: argparse.Namespace) -> HistoryConfig:
    """The configuration with what `--set section.key=JSON` changes."""
    sections: dict[str, Any] = {"search": {"seconds": values.search_seconds}, "train": {}}
    for text in values.set:
        name, _, value = text.partition("=")
        section, _, key = name.partition(".")
        sections[section][key] = json.loads(value)
    return HistoryConfig(**sections)


def entrants(problem: HistoryProblem, values: argparse.Namespace) -> Iterator[Entrant]:
    """All that compete, one after the other."""
    for name in values.published:
        yield Entrant(name, name, 0.0, values.seconds)
    number = problem.runtime.seed
    yield Entrant("random cell", problem.drawn(number), 0.0, values.seconds)
    found = problem.search(NullTracker(), NoCheckpoint())
    cell, spent = problem.design(found.genotype), found.cpu_seconds
    yield Entrant("NASP's cell, search apart", cell, spent, values.seconds)
    yield Entrant("NASP's cell, search inside", cell, spent, values.seconds - spent)


class Timed(HistoryProblem):
    """Trains for `seconds` of the CPU, not for epochs."""

    seconds: float

    def loop_settings(self, **further: Any) -> TrainSettings:
        """Settings of a loop that begins now."""
        last: float = self.config.train.last_lr
        begin, epochs = time.process_time(), [0]

        def spent() -> float:
            return time.process_time() - begin

        def schedule(done: int, all_epochs: int) -> float:
            epochs[0] = done + 1
            share = min(1.0, spent() / self.seconds)
            return last + (1 - last) * (1 + math.cos(math.pi * share)) / 2

        def over() -> bool:
            return spent() * (1 + 0.5 / epochs[0]) > self.seconds

        endless = {"epochs": ENDLESS, "patience": ENDLESS}
        changed = {"schedule": schedule, "out_of_time": over, **endless}
        return super().loop_settings(**{**further, **changed})


def trained(problem: Timed, entrant: Entrant, split: Split) -> dict[str, Any]:
    """The row of an entrant."""
    begin = time.process_time()
    timed = problem.changed(seconds=entrant.seconds)
    done = timed.train(entrant.design, NullTracker(), NoCheckpoint())
    seconds = time.process_time() - begin
    found = problem.test(done.network, split)
    return {
        "seed": problem.runtime.seed,
        "entrant": entrant.name,
        "parameters": done.numbers["parameters"],
        "search_seconds": f"{entrant.search:.1f}",
        "train_seconds": f"{seconds:.1f}",
        "epochs": done.result.epochs,
        "best_epoch": done.result.best_epoch,
        "valid": f"{done.result.valid[METRIC]:.5f}",
        "test": f"{found.metrics[METRIC]:.5f}",
        "cell": problem.expression(entrant.design),
    }


def measured(split: Split, values: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of a seed."""
    runtime = make_runtime("cpu", seed, values.threads)
    problem = Timed(split.train, split.valid, configured(values), runtime)
    about = f"{environment(runtime)['device_name']}, torch {torch.__version__}"
    for entrant in entrants(problem, values):
        yield trained(problem, entrant, split) | {"machine": about}


def main() -> None:
    """Measures all seeds; writes every row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split-file", type=Path, required=True, help="train, valid and test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=240.0, help="CPU seconds of a training")
    parser.add_argument("--search-seconds", type=float, default=60.0, help="CPU seconds of NASP")
    parser.add_argument("--published", nargs="*", default=["gru"], help="gru, lstm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="settings, such as train.hidden=32")
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    split = load_split_file(values.split_file)
    rows: list[dict[str, Any]] = []
    for seed in values.seeds:
        for row in measured(split, values, seed):
            print("  ".join(f"{value!s:<10}" for value in row.values()), flush=True)
            rows.append(row)
            if values.output:
                values.output.parent.mkdir(parents=True, exist_ok=True)
                with values.output.open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)


if __name__ == "__main__":
    main()
