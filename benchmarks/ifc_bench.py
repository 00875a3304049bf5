"""The trainings of ifc-bench: every interaction function of `primitives` on ML-100K.

Trains what the plan lists with the library's own `InteractionProblem.train`, one CSV row each. What
is in the folder already is skipped, so the same command goes on after an interruption; shards hold
whole functions and may run side by side. Test metrics come with every row and choose nothing.

    OMP_NUM_THREADS=1 python benchmarks/ifc_bench.py --shard 0/2 --minutes 60
    python benchmarks/ifc_bench.py --collect
"""

from __future__ import annotations

import argparse
import csv
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from ifc_bench_report import report

from sif.bench.tabular import plan
from sif.bench.tabular.plan import Planned
from sif.bench.tabular.ranges import genotype_of
from sif.bench.tabular.records import HIGHER_IS_BETTER, MAIN, METRICS
from sif.bench.tabular.store import FILE, MEASURED, SCHEMA, read, write
from sif.config import CFConfig, load_config
from sif.data.interactions import Split, make_split
from sif.data.interactions.load import load_dataset
from sif.problems.base import Trained
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

FOLDER = Path(__file__).parent / "results" / "ifc-bench"
DATASET, SPLIT_SEED = "ml-100k", 0
PROTOCOL = {"rating": "rating-80/10/10", "ranking": "ranking-per-user"}
PRESET = {"rating": "cf/rating", "ranking": "cf/sif-ranking"}
SAMPLED = (
    "train.batch_size=16384", "train.lr=0.01", "train.epochs=960", "train.evaluate_every=8",
    "loss.negatives=8",
)  # fmt: skip
"""Over the ranking preset, for functions that are no product and whose loss is sampled: under the
preset's own steps, which were chosen for exact losses, sampling costs .02 to .05 NDCG@10."""
KEY = ("objective", "operation", "user", "item", "dimension", "seed", "l2")
COLUMNS = (*KEY, *MEASURED, "parameters", "epochs", "best_epoch", "cpu_seconds", "split")
Row = dict[str, str]
Trainer = Callable[[Planned, float], Row]


@functools.cache
def split_of(objective: str, dataset: str = DATASET) -> Split:
    """The one split of an objective."""
    config = config_of(objective, plan.CHOICE_DIMENSION, 0)
    data = load_dataset(dataset, data_dir=config.data.dir, min_rating=config.data.min_rating)
    return make_split(data, PROTOCOL[objective], SPLIT_SEED)


def config_of(objective: str, dimension: int, seed: int, *sets: str) -> CFConfig:
    """The preset of an objective on the space `primitives`."""
    chosen = [f"objective={objective}", "space=primitives", f"train.dimension={dimension}", *sets]
    config = load_config("cf", file=PRESET[objective], sets=chosen, flags={"seed": seed})
    assert isinstance(config, CFConfig)
    return config


@functools.cache
def problem_of(
    objective: str, dimension: int, seed: int, sampled: bool = False
) -> InteractionProblem:
    """The train and validation parts with the loops at work on them."""
    split = split_of(objective)
    config = config_of(objective, dimension, seed, *(SAMPLED if sampled else ()))
    return InteractionProblem(
        split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
    )


def trained(task: Planned, l2: float) -> Row:
    """The row of one training; seconds are the CPU's, validations included, the test part not."""
    sampled = plan.sampled(task.objective, task.names[0])
    problem = problem_of(task.objective, task.dimension, task.seed, sampled)
    start = time.process_time()
    fit = problem.train(genotype_of(task.names), NullTracker(), NoCheckpoint(), l2=l2)
    seconds = time.process_time() - start
    split = split_of(task.objective)
    test = problem.test(fit.network, split).metrics
    row = {
        **_key_of(task, l2),
        "parameters": str(_parameters(fit)),
        "epochs": str(fit.result.epochs),
        "best_epoch": str(fit.result.best_epoch),
        "cpu_seconds": f"{seconds:.3f}",
        "split": split.hash,
    }
    for part, found in (("valid", fit.result.valid), ("test", test)):
        row |= {f"{part}_{m}": f"{found[m]:.6f}" for m in METRICS[task.objective]}
    return row


def _parameters(fit: Trained[InteractionNetwork]) -> int:
    return sum(p.numel() for p in fit.network.parameters() if p.requires_grad)


def _key_of(task: Planned, l2: float) -> Row:
    values = (task.objective, *task.names, str(task.dimension), str(task.seed), f"{l2:g}")
    return dict(zip(KEY, values, strict=True))


def key(row: Row) -> tuple[str, ...]:
    """The identity of a training."""
    return tuple(row[name] for name in KEY)


def read_rows(folder: Path) -> list[Row]:
    """The complete rows of all shards; a last line without an end is none."""
    rows: list[Row] = []
    for path in sorted(folder.glob("*.csv")):
        whole, _, _ = path.read_text().rpartition("\n")
        rows += csv.DictReader(whole.splitlines())
    return rows


def drop_half_line(path: Path) -> None:
    """Cuts what follows the last line end, which a killed process may have left."""
    if path.exists():
        data = path.read_bytes()
        path.write_bytes(data[: data.rfind(b"\n") + 1])


def chosen_strength(rows: Iterable[Row], objective: str) -> float | None:
    """The strength that validation chose among a function's rows; None: not all were trained."""
    metric = f"valid_{MAIN[objective]}"
    rows = list(rows)
    tried = {
        float(row["l2"]): float(row[metric])
        for row in rows
        if plan.chooses(int(row["dimension"]), int(row["seed"]))
    }
    if not rows or set(plan.strengths(objective, rows[0]["operation"])) - set(tried):
        return None
    best = max if HIGHER_IS_BETTER[objective] else min
    return best(tried, key=lambda l2: tried[l2])


def grouped(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Objective and names to a function's rows."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row)[:4], []).append(row)
    return found


def run(
    tasks: Iterable[Planned], folder: Path, name: str, deadline: float, train: Trainer = trained
) -> Iterator[tuple[Row, bool]]:
    """Makes the missing rows in order, appended as they come; yields each and whether it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    drop_half_line(path)
    by_function = grouped(read_rows(folder))
    begin = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if begin:
            writer.writeheader()
        for task in tasks:
            own = by_function.setdefault((task.objective, *task.names), [])
            l2 = chosen_strength(own, task.objective) if task.l2 is None else task.l2
            assert l2 is not None, f"{task.names}: seed 0 has not all strengths"
            wanted = key(_key_of(task, l2))
            known = next((row for row in own if key(row) == wanted), None)
            if known is None and time.monotonic() > deadline:
                return
            row = known or train(task, l2)
            if known is None:
                writer.writerow(row)
                file.flush()
                own.append(row)
            yield row, known is None


def collect(folder: Path, path: Path, partial: bool) -> None:
    """Writes the table; SystemExit for two splits, differing repeats, or holes, unless allowed."""
    found: dict[tuple[str, ...], Row] = {}
    for row in read_rows(folder):
        if (
            found.setdefault(key(row), row)["test_" + MAIN[row["objective"]]]
            != (row["test_" + MAIN[row["objective"]]])
        ):
            raise SystemExit(f"{key(row)}: trained twice, with different results")
    rows: list[dict[str, object]] = []
    for (objective, *_), own in grouped(found.values()).items():
        chosen = chosen_strength(own, objective)
        rows += [{**_typed(row), "chosen": float(row["l2"]) == chosen} for row in own]
    splits = {(row["objective"], row["split"]) for row in found.values()}
    if len(splits) != len({objective for objective, _ in splits}):
        raise SystemExit(f"expected one split per objective, found {sorted(splits)}")
    made = {"dataset": DATASET, "split_seed": SPLIT_SEED, "splits": dict(sorted(splits))}
    write(rows, path, made)
    holes = list(read(path).holes())
    if holes and not partial:
        path.unlink()
        raise SystemExit(f"{len(holes)} trainings are missing, such as {holes[0]}")


def _typed(row: Row) -> dict[str, object]:
    kinds = {"int": int, "float": float, "str": str}
    return {
        name: kinds[kind](row[name])
        for name, kind in SCHEMA.items()
        if name != "chosen" and row[name] != ""
    }


def _told(values: argparse.Namespace) -> None:
    shard, shards = (int(part) for part in values.shard.split("/"))
    objectives = (values.objective,) if values.objective else plan.OBJECTIVES
    everything = plan.planned(objectives, shard, shards)
    tasks = [task for task in everything if task.names[0] in values.operations][: values.limit]
    begin, new = time.monotonic(), 0
    deadline = begin + 60 * values.minutes
    made = run(tasks, values.output, f"shard-{shard}-of-{shards}.csv", deadline)
    for number, (row, fresh) in enumerate(made, start=1):
        new += fresh
        if fresh:
            what = f"{row['objective']} {row['operation']}({row['user']}, {row['item']})"
            main = MAIN[row["objective"]]
            print(
                f"{number}/{len(tasks)} {what} d {row['dimension']} seed {row['seed']} "
                f"l2 {row['l2']}: valid {main} {float(row[f'valid_{main}']):.4f}, "
                f"{row['cpu_seconds']} s ({(time.monotonic() - begin) / new:.1f} s each)",
                flush=True,
            )


def main() -> None:
    """Trains a shard, or turns what was trained into the package's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th function from the i-th on")
    parser.add_argument("--objective", choices=plan.OBJECTIVES)
    parser.add_argument(
        "--operations", nargs="+", choices=tuple(OPERATIONS), default=tuple(OPERATIONS)
    )
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--collect", action="store_true", help="write the table and report")
    parser.add_argument("--partial", action="store_true", help="collect in spite of holes")
    parser.add_argument("--table", type=Path, default=FILE, help="where to collect to")
    parser.add_argument("--limit", type=int, help="only the first trainings")
    parser.add_argument("--output", type=Path, default=FOLDER)
    values = parser.parse_args()
    torch.set_num_threads(1)
    if values.collect:
        collect(values.output, values.table, values.partial)
        print(report(read(values.table)))
    else:
        _told(values)


if __name__ == "__main__":
    sys.exit(main())
