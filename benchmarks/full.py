"""The common part of whole runs of a published setting: flags, course of a run, search costs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sif.config import load_config
from sif.config.sections import CommonConfig
from sif.search.loop import SearchResult
from sif.utils.checkpoint import write_json_atomic
from sif.utils.device import Runtime, peak_memory_mb
from sif.utils.environment import environment

REFERENCE = "darts-v2"
"""The published cells that are trained beside the found ones."""
Evaluated = dict[str, Any]


def flags(text: str, dataset: str, train_epochs: int) -> argparse.ArgumentParser:
    """The flags of all tasks."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--dataset", default=dataset)
    parser.add_argument("--config", help="a preset in place of the dataset's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-epochs", type=int, default=train_epochs)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--step-batch", type=int, default=64)
    parser.add_argument("--selections", type=int, default=20)
    parser.add_argument("--no-step-cost", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--output", type=Path, required=True)
    return parser


def configured(task: str, values: argparse.Namespace, *sets: str) -> CommonConfig:
    """The preset with trainings of the asked length and some settings more."""
    given = {"dataset": values.dataset, "seed": values.seed}
    sets = (*sets, f"train.epochs={values.train_epochs}", *values.set)
    return load_config(task, file=values.config, sets=sets, flags=given)


def spent(found: SearchResult, judged: str, runtime: Runtime) -> Evaluated:
    """The result and the cost of a search, judged by the given name."""
    curve = [(entry["seconds"], entry["judged"][judged]) for entry in found.history]
    return {
        "genotype": found.genotype.to_json(),
        "seconds": found.seconds,
        "epochs": found.epochs,
        "steps": found.steps,
        "peak_memory_mb": peak_memory_mb(runtime),
        judged: curve[-1][1],
        "diagnostics": found.diagnostics,
        "curve": curve,
    }


def run(
    name: str, values: argparse.Namespace, runtime: Runtime, about: Mapping[str, Any],
    search: Callable[[], tuple[Any, Evaluated]], train: Callable[[Any], Evaluated], reference: Any,
) -> None:  # fmt: skip
    """Searches, trains what was found and the published cells, and writes it all."""
    values.output.mkdir(parents=True, exist_ok=True)
    target = values.output / f"{name}-seed{values.seed}.json"
    found, took = search()
    result: Evaluated = {"environment": environment(runtime), **about, "search": took}
    write_json_atomic(target, result)  # the long part is safe
    result["train"] = {"found": train(found), REFERENCE: train(reference)}
    write_json_atomic(target, result)
    print(target)


def step_costs(values: argparse.Namespace, spaces: Iterable[str]) -> None:
    """step_cost.py for some spaces, each in a process of its own."""
    if values.no_step_cost:
        return
    script = Path(__file__).with_name("step_cost.py")
    for space in spaces:
        output = values.output / f"step-cost-{space}.csv"
        command = [sys.executable, str(script), "--space", space, "--device", values.device]
        command += ["--batch", str(values.step_batch), "--output", str(output)]
        command += ["--selections", str(values.selections)]
        subprocess.run(command, check=True)
