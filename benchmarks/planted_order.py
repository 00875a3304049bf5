"""Does the search find the time scales of generated sequences?

Kinds of data, each with its own truth per seed:

- history: one scale, gamma from .6 to .95 (1 - gamma drawn evenly by its logarithm).
- scales: two scales side by side, gamma from .25 to .5 and from .9 to .97.
- time: one scale that fades by time alone, half-life from 20 minutes to a day (by its logarithm).
  Users come in bursts, 5 minutes from item to item, with pauses of a day in one of five.
- set: the tastes of users, in an order that says nothing.
- shuffled history, shuffled scales: the first two, each user's items in another order.

A window ends where an item weighs 1 to 10 % of the latest one (drawn evenly by its logarithm); the
space has 3 % for all. The last item of each user is the validation part, the test part is unused.

Found, as it was laid down before the first measurement: the target is right ("any item" for sets
and shuffled data, else "next item"); the number of scales is right; and each gamma, in ascending
order, is the one of the space's choices that is nearest to the truth by the logarithm of 1 - gamma,
or its neighbor among all choices of all scales in ascending order. Of "time" a half-life is asked
for instead, the choice that is nearest to the truth by its logarithm, or its neighbor; scales by
rank may stand beside it, since the space always has one. The other kinds must have no half-life.

    python benchmarks/planted_order.py --output benchmarks/results/planted-order.csv
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from sif.config import CFConfig, load_config
from sif.data.interactions import (
    Interactions,
    PlantedScale,
    make_split,
    planted_order,
    shuffled,
)
from sif.problems.interactions import InteractionProblem
from sif.problems.order import METHOD, order_problem
from sif.spaces.linear.design import (
    SCALES,
    LinearDesign,
    decay_of,
    half_lives_of,
    linear_design,
)
from sif.spaces.linear.sequences import duration
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

USERS, ITEMS, LENGTH, SUCCESSORS, NOISE = 2000, 300, 40, 3, 0.1
WINDOW_ENDS = (0.01, 0.1)
"""Weights, relative to the latest item's, between which a planted window ends."""
SHORT, LONG, SINGLE = (0.5, 0.75), (0.03, 0.1), (0.05, 0.4)
"""Ranges of 1 - gamma."""
CHOICES = sorted(
    {decay.gamma for names in SCALES.values() for name in names if (decay := decay_of(name))}
)
WEIGHTS = (1.0, 4.0)
"""Of the first and the second scale: the second one spreads over many more items."""
RANGES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "history": (SINGLE,),
    "scales": (SHORT, LONG),
    "set": (),
}
HALF_LIVES = (1200.0, 86400.0)
KINDS = ("history", "scales", "time", "set", "shuffled history", "shuffled scales")


def truth(kind: str, seed: int) -> tuple[PlantedScale, ...]:
    """The scales of a kind, ascending."""
    if kind == "time":
        draws = np.random.default_rng([seed, 7])
        return (PlantedScale(1.0, half_life=math.exp(draws.uniform(*map(math.log, HALF_LIVES)))),)
    draws = np.random.default_rng([seed, len(RANGES[kind])])
    scales = []
    for low, high in RANGES[kind]:
        gamma = 1 - math.exp(draws.uniform(math.log(low), math.log(high)))
        weight = math.exp(draws.uniform(*map(math.log, WINDOW_ENDS)))
        window = math.ceil(math.log(weight) / math.log(gamma))
        scales.append(PlantedScale(gamma, window, WEIGHTS[len(scales)]))
    return tuple(scales)


def data(kind: str, seed: int) -> tuple[Interactions, tuple[PlantedScale, ...]]:
    """Generated interactions, and the scales that are to be found."""
    source = kind.removeprefix("shuffled ")
    scales = truth(source, seed)
    made = planted_order(
        USERS, ITEMS, scales=scales, length=LENGTH, successors=SUCCESSORS, noise=NOISE, seed=seed
    )
    return (shuffled(made, seed), ()) if source != kind else (made, scales)


def searched(made: Interactions, seed: int) -> tuple[LinearDesign, tuple[float, ...]]:
    """The design that the search finds, and the half-lives among which it chose."""
    dataset = SimpleNamespace(name="planted", interactions=made, official_parts=None, notes=[])
    split = make_split(dataset, "last-item", seed)
    config = load_config("cf", sets=[f"seed={seed}", "threads=1"])
    assert isinstance(config, CFConfig)
    runtime = make_runtime("cpu", seed, 1)
    problem = order_problem(InteractionProblem(split.train, split.valid, config, runtime))
    assert problem is not None
    found = problem.search(NullTracker(), NoCheckpoint(), method=METHOD).genotype
    return linear_design(found), tuple(map(float, half_lives_of(problem.sequences)))


def is_found(
    design: LinearDesign, scales: Sequence[PlantedScale], half_lives: tuple[float, ...]
) -> bool:
    """True if a design is the truth, as the head of this file defines it."""
    timed = [scale.half_life for scale in scales if scale.half_life is not None]
    if timed:
        found = [half_lives.index(d.half_life) for d in design.decays if d.half_life is not None]
        off = [abs(math.log(one / timed[0])) for one in half_lives]
        return bool(found) and not design.ahead and abs(found[0] - off.index(min(off))) <= 1
    if design.reads_time:
        return False
    gammas = sorted(decay.gamma for decay in design.decays)
    if len(gammas) != len(scales) or design.ahead:
        return False
    planted = sorted(scale.gamma for scale in scales)
    return all(
        abs(CHOICES.index(gamma) - _nearest(true)) <= 1
        for gamma, true in zip(gammas, planted, strict=True)
    )


def _nearest(gamma: float) -> int:
    """Rank of the choice nearest to a gamma below 1."""
    gaps = [
        math.inf if choice == 1 else abs(math.log((1 - choice) / (1 - gamma))) for choice in CHOICES
    ]
    return gaps.index(min(gaps))


def _told(scale: PlantedScale) -> str:
    if scale.half_life is not None:
        return f"half-life {duration(scale.half_life)}"
    return f"{scale.gamma:.3g}, last {scale.window}"


def main() -> None:
    """Writes one CSV row per kind and seed as they come, and prints how many were found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    torch.set_num_threads(1)
    values.output.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[bool]] = {kind: [] for kind in values.kinds}
    with values.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "seed", "truth", "found", "ok", "seconds"])
        for seed in range(values.first_seed, values.first_seed + values.seeds):
            for kind in values.kinds:
                made, scales = data(kind, seed)
                begin = time.process_time()
                design, half_lives = searched(made, seed)
                seconds = time.process_time() - begin
                ok = is_found(design, scales, half_lives)
                found[kind].append(ok)
                told = "; ".join(map(_told, scales)) or "set"
                row = [kind, seed, told, design.expression, int(ok), f"{seconds:.1f}"]
                writer.writerow(row)
                file.flush()
                print(*row, sep="  ", flush=True)
    for kind, results in found.items():
        print(f"{kind}: {sum(results)} of {len(results)}")


if __name__ == "__main__":
    main()
