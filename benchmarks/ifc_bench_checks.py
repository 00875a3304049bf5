"""Doubts about ifc-bench: is a sampled loss exact, is the surrogate of use, does the top hold?

`loss`: products train under the exact whole-data loss, everything else under a sample of it. Here
products are trained under the sample as well. The estimate is compared on trained weights, and the
trainings by NDCG@10. `surrogate`: functions with learned P and Q, drawn and searched, are trained
for ratings and compared with what the surrogate said. Both look at the validation part only.
`top`: the best functions are trained again, under the table's seeds and under others.

    OMP_NUM_THREADS=1 python benchmarks/ifc_bench_checks.py loss
    OMP_NUM_THREADS=1 python benchmarks/ifc_bench_checks.py surrogate --table FILE
    OMP_NUM_THREADS=1 python benchmarks/ifc_bench_checks.py top --table FILE
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from ifc_bench import SAMPLED, config_of, problem_of, split_of, trained

from sif.bench.tabular import Table, genotype_of, read
from sif.bench.tabular.plan import GRID, SAMPLED_GRID, Planned
from sif.bench.tabular.ranges import FIELDS, Names
from sif.bench.tabular.records import HIGHER_IS_BETTER, MAIN
from sif.bench.tabular.store import FILE
from sif.core.genotype import Genotype
from sif.errors import NotInTableError
from sif.problems.base import Trained
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.batches import Drawing, InteractionStream
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.losses import whole_data
from sif.spaces.interaction.transforms import Mlp
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.random import generator

Fit = Trained[InteractionNetwork]
PRODUCTS = (
    ("multiply", "~abs", "~abs"), ("multiply", "+abs", "+abs"),
)  # fmt: skip
DIMENSION, SEEDS, BATCHES = 8, 3, 2000


class Sampled(InteractionProblem):
    """Trains as if no function were a product."""

    def stream(self, part: str, batch_size: int | None, *names: str | int) -> InteractionStream:
        """The stream of the train part without its graph, which the exact loss needs."""
        assert part == "train" and batch_size is not None
        draws = generator(self.runtime, *names, part, device=torch.device("cpu"))
        drawing = Drawing(negatives=0, background=self.config.loss.negatives)
        return InteractionStream(self._train, batch_size, drawing, draws, exact=False)


def sampled_problem(seed: int, preset: bool = False) -> Sampled:
    split = split_of("ranking")
    config = config_of("ranking", DIMENSION, seed, *(() if preset else SAMPLED))
    return Sampled(split.train, split.valid, config, make_runtime("cpu", seed, threads=1))


def fit(problem: InteractionProblem, function: Genotype, l2: float) -> Fit:
    return problem.train(function, NullTracker(), NoCheckpoint(), l2=l2)


def chosen(problem: InteractionProblem, function: Genotype, objective: str) -> Fit:
    """The best on validation over the grid."""
    grid = SAMPLED_GRID if isinstance(problem, Sampled) else GRID[objective]
    fits = [fit(problem, function, l2) for l2 in grid]
    if objective == "rating":
        return min(fits, key=lambda f: f.result.valid["rmse"])
    return max(fits, key=lambda f: f.result.valid["ndcg@10"])


def over_seeds(kind: str, names: Names) -> tuple[list[float], Fit]:
    """NDCG@10 on validation of every seed, by the table's protocol; and the first training."""
    problems = [
        problem_of("ranking", DIMENSION, seed)
        if kind == "exact"
        else sampled_problem(seed, kind == "preset")
        for seed in range(SEEDS)
    ]
    first = chosen(problems[0], genotype_of(names), "ranking")
    fits = [
        first,
        *(fit(problem, genotype_of(names), first.numbers["l2"]) for problem in problems[1:]),
    ]
    return [f.result.valid["ndcg@10"] for f in fits], first


def bias(problem: Sampled, trained: Fit) -> tuple[float, float, float]:
    """Exact data loss of a trained product, mean of the sampled one, and that mean's error."""
    settings = problem.loss_settings
    size = problem.config.train.batch_size
    exact_stream = InteractionProblem.stream(problem, "train", size, "check")
    sampled_stream = problem.stream("train", size, "check")
    with torch.no_grad():
        interaction = trained.network.interaction()
        exact = float(whole_data(interaction, exact_stream.next(), settings))
        drawn = [
            float(whole_data(interaction, sampled_stream.next(), settings)) for _ in range(BATCHES)
        ]
    return exact, statistics.fmean(drawn), statistics.stdev(drawn) / len(drawn) ** 0.5


def loss() -> Iterator[str]:
    yield "| function | exact loss | sampled | its error | NDCG exact | sampled | preset steps |"
    yield "|---|---|---|---|---|---|---|"
    for names in PRODUCTS:
        exact, trained = over_seeds("exact", names)
        sampled, preset = (over_seeds(kind, names)[0] for kind in ("sampled", "preset"))
        value, mean, error = bias(sampled_problem(0), trained)
        told = " | ".join(
            f"{statistics.fmean(v):.4f} +- {statistics.stdev(v):.4f}"
            for v in (exact, sampled, preset)
        )
        losses = f"{value:.4f} | {mean:.4f} | {error:.4f}"
        yield f"| {names[0]}({names[1]}, {names[2]}) | {losses} | {told} |"


def drawn_function(number: int) -> Genotype:
    """A function of `sif` with P and Q at x + offset times a random slope's worth of tanh units."""
    draws = torch.Generator().manual_seed(number)
    numbers = {}
    for field in FIELDS:
        offset = float(torch.rand((), generator=draws)) * 2 - 1
        state = Mlp(draws, offset).state_dict()
        for name in ("hidden_weight", "hidden_bias", "output_weight"):
            state[name] = state[name] + 0.3 * torch.randn(state[name].shape, generator=draws)
        for name, value in state.items():
            numbers[f"{field}.{name}"] = (tuple(value.shape), tuple(value.flatten().tolist()))
    operation = ("multiply", "max", "min", "plus")[number % 4]
    return Genotype("sif", {"operation": ((0, operation),)}, numbers)


def searched_function(seed: int) -> Genotype:
    split = split_of("rating")
    config = config_of("rating", DIMENSION, seed, "space=sif", f"search.dimension={DIMENSION}")
    problem = InteractionProblem(
        split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
    )
    return problem.search(NullTracker(), NoCheckpoint()).genotype


def surrogate(table: Table, count: int = 12) -> Iterator[str]:
    yield "| function | family | taken from | guessed valid | trained valid |"
    yield "|---|---|---|---|---|"
    made = [("drawn", drawn_function(n)) for n in range(count)]
    made += [("searched", searched_function(seed)) for seed in range(SEEDS)]
    errors: dict[str, list[float]] = {}
    for how, function in made:
        try:
            guess = table.surrogate(function, "rating", DIMENSION)
        except NotInTableError as error:
            yield f"| {how} | {error} | | | |"
            continue
        value = chosen(problem_of("rating", DIMENSION, 0), function, "rating").result.valid["rmse"]
        errors.setdefault(how, []).append(guess.valid - value)
        operation = function.operation("operation")
        yield (
            f"| {how} {operation} | {', '.join(guess.family)} | {guess.by} of {guess.functions} "
            f"| {guess.valid:.4f} | {value:.4f} |"
        )
    for how, values in errors.items():
        yield f"\n{how}: mean absolute error {statistics.fmean(map(abs, values)):.4f}"


def best_by_test(table: Table, objective: str, count: int) -> list[Names]:
    """The functions that did best on test, which are also the luckiest."""
    found = {
        names: table.query(names, objective, DIMENSION).test
        for kind in table.classes(objective, DIMENSION).values()
        for names in kind.functions
    }
    return sorted(found, key=found.__getitem__, reverse=HIGHER_IS_BETTER[objective])[:count]


def again(objective: str, names: Names, l2: float, seed: int) -> float:
    """The main metric on test of one more training by the table's protocol."""
    row = trained(Planned(objective, names, DIMENSION, seed, l2), l2)
    return float(row[f"test_{MAIN[objective]}"])


def top(table: Table, count: int = 3) -> Iterator[str]:
    yield "| objective | function | table | the same seeds again, furthest off | other seeds |"
    yield "|---|---|---|---|---|"
    for objective in MAIN:
        for names in best_by_test(table, objective, count):
            entry = table.query(names, objective, DIMENSION)
            off = max(
                abs(table.query(names, objective, DIMENSION, seed).test
                    - again(objective, names, entry.l2, seed))
                for seed in entry.seeds
            )  # fmt: skip
            fresh = [again(objective, names, entry.l2, SEEDS + seed) for seed in range(SEEDS)]
            yield (
                f"| {objective} | {names[0]}({names[1]}, {names[2]}) "
                f"| {entry.test:.4f} +- {entry.test_deviation:.4f} | {off:.6f} "
                f"| {statistics.fmean(fresh):.4f} +- {statistics.stdev(fresh):.4f} |"
            )


CHECKS = {
    "loss": lambda table: loss(),
    "surrogate": surrogate,
    "top": top,
}


def main() -> None:
    """Prints the table of one check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=tuple(CHECKS))
    parser.add_argument("--table", type=Path, default=FILE)
    values = parser.parse_args()
    torch.set_num_threads(1)
    for line in CHECKS[values.check](read(values.table)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
