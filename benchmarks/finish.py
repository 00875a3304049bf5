"""Searches with and without a finish at equal CPU seconds, and how well shared weights rank.

`quality` searches with NASP, NASP with a finish, successive halving and random search in the same
seconds, and trains what each found from scratch. Random selections finished in the same way are the
method successive-halving at the same budget. `rank` trains a supernet by NASP and by random-ws, and
compares its errors of random selections with those after trainings of their own: Kendall's tau.

Digits are judged on images that no search has seen, the others on the validation part, which the
judge of the search has seen. No test part is read.

    OMP_NUM_THREADS=1 python benchmarks/finish.py quality digits --seeds 0 1 --output FILE.csv
    OMP_NUM_THREADS=1 python benchmarks/finish.py rank digits --draws 20 --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from held_out import parts_of, vision_of
from scipy.stats import kendalltau

from sif.config import CFConfig, CommonConfig, load_config
from sif.config.cnn import CNNConfig
from sif.config.rnn import RNNConfig
from sif.core.genotype import Genotype
from sif.core.selections import Selections
from sif.data.images.load import load_images
from sif.data.text.load import load_corpus
from sif.problems.base import Problem
from sif.problems.text import TextProblem
from sif.search.run import MethodRun
from sif.tasks.cf.inputs import prepare
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import Runtime, make_runtime

ARMS = {
    "nasp": "nasp", "nasp-finish": "nasp", "successive-halving": "successive-halving",
    "random": "random",
}  # fmt: skip
"""Name of an arm to its method."""
SUPERNETS = ("nasp", "random-ws")
Loaded = Problem[Any, Any]


def digits(config: CommonConfig, runtime: Runtime) -> Loaded:
    """Cells on 8 x 8 images."""
    config = cast(CNNConfig, config)
    images = load_images("digits", data_dir=config.data.dir, per_class=config.data.per_class)
    return vision_of(config, images, parts_of(images, config, 0.3), runtime)


def grammar(config: CommonConfig, runtime: Runtime) -> Loaded:
    """Recurrent cells on generated sentences."""
    config = cast(RNNConfig, config)
    corpus = load_corpus("grammar", data_dir=config.data.dir, max_words=config.data.max_words)
    return TextProblem(config, corpus, runtime)


def ml_100k(config: CommonConfig, runtime: Runtime) -> Loaded:
    """Interaction functions for ratings."""
    return prepare(cast(CFConfig, config), runtime).problem


DATA: dict[str, tuple[str, Callable[[CommonConfig, Runtime], Loaded], tuple[str, ...]]] = {
    "digits": ("cnn", digits, ("dataset=digits",)),
    "grammar": ("rnn", grammar, ("dataset=grammar",)),
    "ml-100k": ("cf", ml_100k, ("dataset=ml-100k", "objective=rating", "space=primitives")),
}


def problem_of(values: argparse.Namespace, seed: int, *sets: str) -> Loaded:
    """The problem of a data set on one thread, with further settings."""
    task, make, own = DATA[values.data]
    sets = ("threads=1", *own, *values.set, *sets)
    config = load_config(task, sets=sets, flags={"seed": seed})
    return make(config, make_runtime("cpu", seed, 1))


def alone(problem: Loaded, genotype: Genotype) -> dict[str, float]:
    """Validation of what was found after a training from scratch, and its seconds."""
    trained = problem.train(problem.design(genotype), NullTracker(), NoCheckpoint())
    return {"quality": trained.result.valid[problem.shown], "train_seconds": trained.result.seconds}


def quality(values: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per seed and arm."""
    for seed in values.seeds:
        for arm in values.arms:
            share = values.share if arm.endswith("-finish") else 0.0
            problem = problem_of(
                values, seed, f"search.seconds={values.seconds}", f"search.finish.share={share}",
                f"search.finish.candidates={values.candidates}",
            )  # fmt: skip
            found = problem.search(NullTracker(), NoCheckpoint(), method=ARMS[arm])
            yield {
                "data": values.data, "seed": seed, "arm": arm, "share": share,
                "candidates": values.candidates, "cpu_seconds": found.cpu_seconds,
                "steps": found.steps, "judged": found.history[-1]["judged"].get(problem.judged),
                "changed": found.diagnostics.get("finish_changed"),
                **alone(problem, found.genotype),
            }  # fmt: skip


def supernet(run: MethodRun, method: str) -> Any:
    """The space of a search with a method, with the weights that it trained."""
    spaces: list[Any] = []

    def make(mixed: bool) -> Any:
        spaces.append(run.make_space(mixed))
        return spaces[-1]

    replace(run, make_space=make).run(method, NullTracker(), NoCheckpoint(), lambda *_: None)
    return spaces[-1]


def rank(values: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per seed and supernet."""
    for seed in values.seeds:
        problem = problem_of(values, seed)
        run = problem.method_run()
        blocks = run.make_space(False).blocks
        drawn = Selections(blocks).distinct(values.draws, torch.Generator().manual_seed(seed))
        gates = [one.to_gates(blocks) for one in drawn]
        space = run.make_space(False)
        by_itself = [alone(problem, space.genotype(one))["quality"] for one in gates]
        for method in values.methods:
            space = supernet(run, method)
            shared = [run.judge(space, one) for one in gates]
            tau = kendalltau(shared, by_itself)
            yield {
                "data": values.data, "seed": seed, "supernet": method, "draws": len(drawn),
                "tau": float(tau.statistic), "p": float(tau.pvalue),
                "best": min(by_itself), "median": sorted(by_itself)[len(drawn) // 2],
                "chosen": by_itself[shared.index(min(shared))],
            }  # fmt: skip


def main() -> None:
    """Runs one of the comparisons and writes its rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", choices=("quality", "rank"))
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60.0, help="of a search, CPU")
    parser.add_argument("--share", type=float, default=0.5, help="of the finish")
    parser.add_argument("--candidates", type=int, default=9, help="of the finish")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--draws", type=int, default=20, help="random selections to rank")
    parser.add_argument("--methods", nargs="+", default=list(SUPERNETS), help="of supernets")
    parser.add_argument("--set", action="append", default=[], help="settings, key=value")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    values = parser.parse_args()
    rows = {"quality": quality, "rank": rank}[values.comparison](values)
    with values.output.open("w", newline="") as file:
        writer = None
        for row in rows:
            writer = writer or csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
