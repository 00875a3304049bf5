"""Readers of histories at equal seconds: decayed sums and cells, given, searched and drawn.

Each gets the same CPU seconds of training, up to half an epoch: the step size falls with them
along half a cosine, and validation chooses the epoch. What NASP finds is trained twice, once with
the seconds of the search apart and once with them inside. All items are ranked; the test part is
looked at once per trained network, and only with `--test`. `--set` of another reader than `cell`
begins with its name, such as scales.train.lr=0.004.

    OMP_NUM_THREADS=1 python benchmarks/histories.py --split-file FILE.npz --seeds 0 1 2 \
      --seconds 80 --search-seconds 25 --set train.exact_items=1000 --test --output FILE.csv
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
from sif.problems.histories import READERS, HistoryProblem
from sif.spaces.histories.models import HistoryDesign
from sif.spaces.histories.scales import ORDER, ScalesDesign
from sif.spaces.linear.design import FIRST, decay_of
from sif.tracking import NullTracker
from sif.training.loop import TrainSettings
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.environment import environment

METRIC = "ndcg@10"
PRODUCT = ScalesDesign({name: decay for name in ORDER if (decay := decay_of(FIRST[name]))})
"""The scales where a search begins, summed, times the item: a low-rank form of the closed one."""
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


def configured(values: argparse.Namespace, reader: str) -> HistoryConfig:
    """The configuration of a reader with what `--set [reader.]section.key=JSON` changes."""
    sections: dict[str, Any] = {"search": {"seconds": values.search_seconds}, "train": {}}
    for text in values.set:
        name, _, value = text.partition("=")
        *of, section, key = name.split(".")
        if not of or of == [reader]:
            sections[section][key] = json.loads(value)
    return HistoryConfig(reader=reader, **sections)  # type: ignore[arg-type]


def entrants(
    problem: HistoryProblem, values: argparse.Namespace, asked: list[str]
) -> Iterator[Entrant]:
    """All of a reader that compete, one after the other."""
    reader, number = problem.config.reader, problem.runtime.seed
    for name in values.published if reader == "cell" else ["product"]:
        if name in asked:
            yield Entrant(name, PRODUCT if name == "product" else name, 0.0, values.seconds)
    if f"random {reader}" in asked:
        yield Entrant(f"random {reader}", problem.drawn(number), 0.0, values.seconds)
    if f"NASP {reader}" in asked:
        found = problem.search(NullTracker(), NoCheckpoint())
        design, spent = problem.design(found.genotype), found.cpu_seconds
        yield Entrant(f"NASP's {reader}, search apart", design, spent, values.seconds)
        if not values.apart:
            seconds = values.seconds - spent
            yield Entrant(f"NASP's {reader}, search inside", design, spent, seconds)


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


def trained(problem: Timed, entrant: Entrant, split: Split, test: bool) -> dict[str, Any]:
    """The row of an entrant; its test only if it is asked for."""
    begin = time.process_time()
    timed = problem.changed(seconds=entrant.seconds)
    done = timed.train(entrant.design, NullTracker(), NoCheckpoint())
    seconds = time.process_time() - begin
    valid = done.result.valid[METRIC]
    return {
        "seed": problem.runtime.seed,
        "entrant": entrant.name,
        "parameters": done.numbers["parameters"],
        "search_seconds": f"{entrant.search:.1f}",
        "train_seconds": f"{seconds:.1f}",
        "epochs": done.result.epochs,
        "best_epoch": done.result.best_epoch,
        "valid": f"{valid:.5f}",
        "test": f"{problem.test(done.network, split).metrics[METRIC]:.5f}" if test else "",
        "design": problem.expression(entrant.design),
    }


def measured(split: Split, values: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of a seed."""
    runtime = make_runtime("cpu", seed, values.threads)
    about = f"{environment(runtime)['device_name']}, torch {torch.__version__}"
    every = ["product", *(f"{kind} {r}" for r in READERS for kind in ("random", "NASP"))]
    asked = values.entrants or [*every, *values.published]
    for reader in READERS:
        problem = Timed(split.train, split.valid, configured(values, reader), runtime)
        for entrant in entrants(problem, values, asked):
            yield trained(problem, entrant, split, values.test) | {"machine": about}


def main() -> None:
    """Measures all seeds; writes every row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split-file", type=Path, required=True, help="train, valid and test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=240.0, help="CPU seconds of a training")
    parser.add_argument("--search-seconds", type=float, default=60.0, help="CPU seconds of NASP")
    parser.add_argument("--published", nargs="*", default=["gru"], help="gru, lstm")
    parser.add_argument("--entrants", nargs="*", help="product, gru, 'random cell', 'NASP scales'")
    parser.add_argument("--apart", action="store_true", help="no training with the search inside")
    parser.add_argument("--test", action="store_true", help="look at the test part")
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
