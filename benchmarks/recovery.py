"""Does the search recover a planted interaction function?

For every truth and seed: ratings are generated with a known function, every class of functions is
trained to the end (the exhaustive answer), and the search picks a class, once descending on the
switch score and once on the gradient. Functions that free embeddings make equal count as one class.

    python benchmarks/recovery.py --space sif --output benchmarks/results/recovery-sif.csv
    python benchmarks/recovery.py --summarize --output benchmarks/results/recovery-primitives.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import make_split, planted
from sif.data.interactions.split import Split
from sif.problems.interactions import InteractionProblem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

USERS, ITEMS, DIMENSION, DENSITY, NOISE = 600, 400, 2, 0.1, 0.3
SCORES = {"switch": "replacement_loss", "gradient": "gradient"}
"""Names in the results to values of methods.nasp.score."""
TOLERANCE = 1.01  # of the best class's RMSE
NEGATED = {"+": "-", "-": "+", "~": "~"}
SIGN_CLASS = {"+": "+", "-": "-", "~": "R"}
SIF_TRUTHS = [(op, "~abs", "~abs") for op in ("multiply", "plus", "max", "min")]
PRIMITIVE_TRUTHS = [
    ("multiply", "+abs", "~abs"),
    ("plus", "~abs", "+sqrt"),
    ("max", "+abs", "~abs"),
    ("min", "~square", "~abs"),
]
Triple = tuple[str, str, str]


def class_of(operation: str, user: str, item: str) -> str:
    """The operation and the ranges that a function comes to when embeddings and readout are free.

    A transform matters by its range alone (R, + or -). multiply absorbs signs in the readout;
    min(a, b) = -max(-a, -b); plus and concat are a bias-only model whatever the transforms.
    max(+, -) is its first argument and max(-, +) its second.
    """
    if operation in ("plus", "concat"):
        return "plus"
    signs = (user[0], item[0])
    if operation == "multiply":
        return "multiply " + "".join("R" if s == "~" else "+" for s in signs)
    if operation == "min":
        signs = (NEGATED[signs[0]], NEGATED[signs[1]])
    return "max " + "".join(SIGN_CLASS[s] for s in signs)


ALONE = {"max +-": "user alone", "max -+": "item alone"}
"""Ranges of max that hear one side: w^T max(|p|, -|q|) = w^T |p|."""


def planted_class(ranges: str) -> str:
    """The class of a function, by its ranges, in a model with a constant of its own.

    max(a + t, b + t) = max(a, b) + t: the vectors take any shift and the constant takes it back. So
    a max over any ranges holds the max over any others, except for those in `ALONE`.
    `tests/test_recovery_classes.py` writes the planted functions in every spelling of their class.

    Args:
        ranges: From `class_of`, such as "max +R".
    """
    if ranges in ALONE:
        return ALONE[ranges]
    return "max" if ranges.startswith("max ") else ranges


def members(space: str) -> dict[str, list[Triple]]:
    """The functions that stand for every class that the space can tell apart.

    max and min classes are trained in both spellings: readouts start at +1, and which spelling
    that helps depends on the truth.
    """
    signs = ("~",) if space == "sif" else ("~", "+", "-")
    found: dict[str, list[Triple]] = {"plus": [("plus", "~abs", "~abs")]}
    for operation in ("multiply", "max", "min"):
        for user in signs:
            for item in signs:
                triple = (operation, f"{user}abs", f"{item}abs")
                known = found.setdefault(class_of(*triple), [])
                if operation != "multiply" or not known:
                    known.append(triple)
    return found


@dataclass(frozen=True)
class Trained:
    """A class trained to the end: squared errors on test of the L2 strength validation chose."""

    rmse: float
    errors: np.ndarray


def problem(split: Split, space: str, score: str, seed: int) -> InteractionProblem:
    """The planted problem under its preset; alpha follows the gradient as in the published code."""
    sets = [f"space={space}", f"methods.nasp.score={SCORES[score]}"]
    if score == "gradient":
        sets += ["methods.nasp.arch_optimizer=adam", "methods.nasp.arch_lr=0.01"]
    config = load_config("cf", file="cf/recovery", sets=sets, flags={"seed": seed})
    assert isinstance(config, CFConfig)
    runtime = make_runtime("cpu", seed, threads=1)
    return InteractionProblem(split.train, split.valid, config, runtime)


def function(operation: str, user: str, item: str) -> Genotype:
    """A function of the finite space."""
    return Genotype(
        "primitives", {"operation": ((0, operation),), "user": ((0, user),), "item": ((0, item),)}
    )


def exhaustive(split: Split, space: str, seed: int) -> dict[str, Trained]:
    """Every class, trained over the L2 grid."""
    task = problem(split, space, "switch", seed)
    target = split.test.rating
    result = {}
    for name, triples in members(space).items():
        fits = [
            task.train(function(*triple), NullTracker(), NoCheckpoint(), l2=l2)
            for triple in triples
            for l2 in task.config.train.l2
        ]
        best = min(fits, key=lambda f: f.result.valid["rmse"])
        errors = (task.scorer(best.network).predict(split.test.ids) - target) ** 2
        result[name] = Trained(float(np.sqrt(errors.mean())), errors)
    return result


def simplest_best(trained: Mapping[str, Trained]) -> str:
    """The simplest class within one paired standard error of the best (plus, then by R's)."""
    best = min(trained.values(), key=lambda t: t.rmse)
    close = []
    for name, fit in trained.items():
        gap = fit.errors - best.errors
        if gap.mean() <= gap.std() / np.sqrt(len(gap)):
            close.append(name)
    return min(close, key=lambda name: (name != "plus", name.count("R"), trained[name].rmse))


def rows(space: str, seeds: range) -> Iterator[dict[str, object]]:
    """One row per truth and seed."""
    for truth in SIF_TRUTHS if space == "sif" else PRIMITIVE_TRUTHS:
        for seed in seeds:
            interactions, _ = planted(
                USERS, ITEMS, operation=truth[0], transforms=truth[1:], dimension=DIMENSION,
                density=DENSITY, noise=NOISE, seed=seed,
            )  # fmt: skip
            dataset = SimpleNamespace(
                name="planted", interactions=interactions, official_parts=None, notes=[]
            )
            split = make_split(dataset, "rating-80/10/10", seed)
            start = time.process_time()
            trained = exhaustive(split, space, seed)
            row: dict[str, object] = {
                "truth": f"{truth[0]}({truth[1]}, {truth[2]})",
                "truth_class": class_of(*truth),
                "seed": seed,
                "best_class": simplest_best(trained),
                "best_rmse": min(t.rmse for t in trained.values()),
                "exhaustive_seconds": time.process_time() - start,
            }
            for score in ("switch", "gradient"):
                row |= _picked(split, space, score, seed, trained, str(row["best_class"]))
            yield row


def _picked(
    split: Split, space: str, score: str, seed: int, trained: Mapping[str, Trained], best: str
) -> dict[str, object]:
    start = time.process_time()
    found = problem(split, space, score, seed).search(NullTracker(), NoCheckpoint())
    seconds = time.process_time() - start
    genotype = found.genotype
    user, item = (
        (genotype.operation(f) for f in ("user", "item")) if space == "primitives" else ("~", "~")
    )
    picked = class_of(genotype.operation("operation"), user, item)
    lowest = min(t.rmse for t in trained.values())
    good = picked == best or trained[picked].rmse <= TOLERANCE * lowest
    return {
        f"{score}_pick": picked,
        f"{score}_rmse": trained[picked].rmse,
        f"{score}_good": int(good),
        f"{score}_seconds": seconds,
    }


def main() -> None:
    """Writes one CSV row per truth and seed as they come, and prints the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=("sif", "primitives"), default="sif")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--summarize", action="store_true", help="only print the output's table")
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    if not values.summarize:
        run(values.space, range(values.first_seed, values.first_seed + values.seeds), values.output)
    print(summary(values.output))


def run(space: str, seeds: range, output: Path) -> None:
    """Writes the rows of a space."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    output.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    with output.open("w", newline="") as file:
        for row in rows(space, seeds):
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
            file.flush()
            print(
                f"{row['truth']:<28} seed {row['seed']:>2}: best {row['best_class']}, "
                f"switch {row['switch_pick']} {'ok' if row['switch_good'] else 'MISS'}, "
                f"gradient {row['gradient_pick']} {'ok' if row['gradient_good'] else 'miss'}",
                flush=True,
            )


def found(row: Mapping[str, str], score: str) -> bool:
    """True if a pick is of the planted function's class, or within 1 % of the best RMSE."""
    same = planted_class(row[f"{score}_pick"]) == planted_class(row["truth_class"])
    return same or float(row[f"{score}_rmse"]) <= TOLERANCE * float(row["best_rmse"])


def summary(path: Path) -> str:
    """The table of docs/results/recovery.md: one line per truth and one for all."""
    with path.open(newline="") as file:
        made = list(csv.DictReader(file))
    header = (
        "| truth | seeds | exhaustive finds its class | switch: its class or within 1 % "
        "| gradient: the same | by ranges: switch, gradient "
        "| CPU s: exhaustive, switch, gradient |"
    )
    lines = [header, "|---|---|---|---|---|---|---|"]
    truths = list(dict.fromkeys(row["truth"] for row in made))
    for truth in [*truths, "all"]:
        part = [row for row in made if truth in (row["truth"], "all")]
        n = len(part)
        own = sum(
            planted_class(row["best_class"]) == planted_class(row["truth_class"]) for row in part
        )
        good = [sum(found(row, score) for row in part) for score in SCORES]
        strict = [sum(int(row[f"{score}_good"]) for row in part) for score in SCORES]
        times = [
            f"{sum(float(row[f'{kind}_seconds']) for row in part) / n:.1f}"
            for kind in ("exhaustive", *SCORES)
        ]
        shares = " | ".join(f"{count / n:.1%} ({count}/{n})" for count in good)
        ranges = ", ".join(f"{count / n:.1%}" for count in strict)
        lines.append(
            f"| {truth} | {n} | {own / n:.0%} | {shares} | {ranges} | {', '.join(times)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
