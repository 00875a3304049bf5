"""Results of small jobs of every kind, number for number, before and after a refactoring.

A refactoring must not change what is found, trained or answered. This script runs small jobs
through the command line alone, each for a few seconds. It records genotype, metrics, verdict, all
logged values and the answers of the exported model, without what may vary, such as seconds and
memory. On one machine with the same libraries two records of the same code are equal bit for bit.
A record belongs to its machine and is not kept in the repository. The one before a refactoring:

    git worktree add ../before 4c03358
    python benchmarks/golden.py record before.json --checkout ../before

Then, after every step:

    python benchmarks/golden.py check before.json                      this checkout against it
    python benchmarks/golden.py compare before.json after.json         two records
    python benchmarks/golden.py pace --other ../before --rounds 3      CPU seconds, in turn

Differences are printed one a line; the exit code is 1 if there are any. A name that changes on
purpose goes into `RENAMED` or `REWORDED`. The job on MovieLens 100K needs $SIF_DATA_DIR.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RENAMED: dict[str, str] = {}
"""Keys of metrics, genotypes and logs: the name at 4c03358 to the name of today."""
REWORDED: dict[str, str] = {
    "rich": "staged", "switch": "replacement_loss", "leave-one-out": "last-item",
}  # fmt: skip
"""The same of words inside of texts and keys, such as the names of spaces and stages."""
VARYING = ("seconds", "peak_memory_mb", "plan", "selected_loss", "refit")
"""Ends of the keys that two runs of the same job need not agree in."""
ADDED = (
    "@20", "populations", "warm_comparison", "new_users", "recent-popularity", "markov",
    "decayed-ridge", "item-knn", "rp3beta", "slim", "edge", "served",
)  # fmt: skip
"""Ends of keys that only the later of two records may have."""
OURS = {"refit": "refit=none", "serve": "serve=searched"}
"""Settings of the jobs of interactions where a checkout has them: a record is of the first fits and
of searched functions."""
SHOWN = 20
"""Differences of a job that are printed."""

USERS = tuple(f"u{number:04}" for number in range(1, 13))
ITEMS = tuple(f"i{number:04}" for number in range(1, 7))
"""Whom and what an exported model of generated data is asked about."""

REFUSED = "2"
"""Exit code of a command that says in one line why it does nothing."""
Commands = Sequence[Sequence[str]]
END = "\x1e"
IN_TURN = f"""
import json, runpy, sys
script, commands = sys.argv[1:]
for words in json.loads(commands):
    sys.argv = [script, *words]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        print({END!r}, end.code, flush=True)
"""
"""Runs run.py with one command line after the other: starting Python is most of what they take."""


@dataclass(frozen=True)
class Job:
    """A command of `run.py`, with what its model is asked afterwards.

    Attributes:
        words: Of the command, without where its results go.
        users: Who get recommendations; none: the model is evaluated and asked nothing.
        items: Whose neighbors are asked for.
        needs: Folder of $SIF_DATA_DIR without which the job is skipped.
        bench: Whether the command leaves the tables of a bench instead of a run.
    """

    words: tuple[str, ...]
    users: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    needs: str = ""
    bench: bool = False


PLANTED = "data.planted.users=120 data.planted.items=80 data.planted.density=0.2 "
SMALL = (
    "search.epochs=30 search.dimension=8 search.batch_size=512 search.arch_every=3 search.settle=2 "
    "train.epochs=20 train.dimension=8 train.batch_size=512 train.l2=[1,3] "
)
RATED = SMALL + "objective=rating "
FEW = "baselines=[popularity] rivals=[fixed-multiply] "
FEW_RATED = "baselines=[bias-only] rivals=[fixed-multiply] "
ALONE = "baselines=[] rivals=[] "
"""The searched function is kept even if validation prefers another."""
SHORT = "search.epochs=12 search.candidates=10 search.candidate_epochs=4 "


def cf(settings: str, *words: str, answers: bool = True, generated: bool = True) -> Job:
    """A job of interactions; one of generated data, or of the files that `write_inputs` makes."""
    sets = f"threads=1 {PLANTED if generated else ''}{settings}".split()
    asked = (USERS, ITEMS) if answers else ((), ())
    return Job(("--task", "cf", "--device", "cpu", *words, "--set", *sets), *asked)


def cells(task: str, method: str, settings: str) -> Job:
    """A job of images or text at the size of the task's smoke test."""
    words = ("--task", task, "--config", f"{task}/smoke", "--method", method, "--device", "cpu")
    return Job((*words, "--set", "threads=1", *settings.split()))


def movielens() -> Job:
    """A ranking of MovieLens 100K under a small budget."""
    settings = (
        "search.epochs=6 search.dimension=8 search.arch_every=10 search.settle=4 train.epochs=6 "
        "train.dimension=16 train.l2=[1,2] train.beyond=0 baselines=[popularity,ease] threads=1"
    )
    words = ("--task", "cf", "--dataset", "ml-100k", "--device", "cpu", "--set", *settings.split())
    return Job(words, ("1", "7", "196", "943"), ("1", "50", "181"), needs="ml-100k")


def bench() -> Job:
    """Two methods over two seeds, one trial at a time."""
    settings = PLANTED + SMALL.replace("search.epochs=30 ", "") + "search.candidate_epochs=2"
    words = (
        "bench", "--task", "cf", "--methods", "nasp", "random", "--seeds", "2",
        "--budget", "8epochs", "--workers", "1", "--device", "cpu", "--quiet",
    )  # fmt: skip
    return Job((*words, "--set", *settings.split()), bench=True)


JOBS: dict[str, Job] = {
    # spaces
    "rich-ranking": cf(SMALL),
    "rich-rating": cf(RATED),
    "rich-stages": cf(
        SMALL + ALONE
        + "search.stages=[encoding,embedding,operation,weighting] search.explore=0.5 seed=1"
    ),
    "sif-ranking": cf(SMALL + ALONE, "--config", "cf/sif-ranking"),
    "sif-rating": cf(SMALL + ALONE, "--config", "cf/sif-paper"),
    "sif-options": cf(
        RATED + FEW_RATED + "space=sif search.tables=shared search.score=gradient search.box=clip "
        "search.arch_optimizer=adam search.penalty=0.01 search.judge=true model.biases=false"
    ),
    "primitives-ranking": cf(SMALL + ALONE + "space=primitives"),
    "primitives-rating": cf(RATED + ALONE + "space=primitives"),
    "three-fields-time": cf(
        SMALL + FEW_RATED + "data.time_buckets=6", "--config", "cf/context", answers=False
    ),
    "three-fields-column": cf(
        RATED + ALONE + "space=primitives data.context=device", "--dataset", "ratings.csv",
        answers=False, generated=False,
    ),
    # losses; whole-data and squared are those of the jobs above
    "loss-bpr": cf(SMALL + FEW + "loss.name=bpr seed=2"),
    "loss-softmax": cf(SMALL + ALONE + "loss.name=softmax seed=3 search.arch_lr=0.3"),
    "loss-bce": cf(SMALL + ALONE + "loss.name=bce space=sif"),
    # protocols; those of a random split are among the jobs above
    "leave-one-out": cf(SMALL + ALONE + "data.protocol=leave-one-out seed=4 search.arch_every=5"),
    "temporal": cf(RATED + ALONE + "data.protocol=temporal seed=5 search.arch_every=5"),
    "split-file": cf(SMALL + FEW, "--split-file", "split.npz", generated=False),
    "split-folder": cf(RATED + ALONE, "--split-file", "split", generated=False),
    # large data's ways
    "blocks": cf(
        SMALL + FEW + "train.block_pairs=400 train.valid_users=60 search.max_interactions=1000"
    ),
    # methods
    "cf-darts": cf(SMALL + ALONE + SHORT + "space=primitives", "--method", "darts-2"),
    "cf-snas": cf(RATED + ALONE + SHORT + "space=sif", "--method", "snas"),
    "cf-random-ws": cf(SMALL + FEW + SHORT + "space=primitives", "--method", "random-ws"),
    "cf-tpe": cf(SMALL + ALONE + SHORT, "--method", "tpe"),
    "cf-nsga2": cf(
        RATED + ALONE + SHORT + "search.population=4 space=primitives", "--method", "nsga2"
    ),
    "cnn-nasp": cells("cnn", "nasp", "baselines=[random-ws,darts-v2]"),
    "cnn-darts": cells("cnn", "darts-1", "baselines=[]"),
    "cnn-random-ws": cells("cnn", "random-ws", "baselines=[] space=nasp-12op"),
    "cnn-probes": cells(
        "cnn", "nasp", "baselines=[] search.probe_operations=0.5 search.probe_rows=0.5 "
        "search.penalty=0.1 train.auxiliary=null train.drop_path=0.2",
    ),
    "rnn-nasp": cells("rnn", "nasp", "baselines=[random-ws,lstm]"),
    "rnn-gdas": cells("rnn", "gdas", "baselines=[lstm]"),
    "rnn-darts": cells("rnn", "darts-1", "baselines=[] search.epochs=1"),
    # real data, and all of it over again
    "ml-100k": movielens(),
    "ml-100k-u1": Job(
        ("--task", "cf", "--dataset", "ml-100k", "--device", "cpu", "--set", "threads=1",
         *(RATED + FEW_RATED).replace("=512", "=16384").split(), "data.protocol=u1"),
        ("1", "7", "196"), ("1", "50", "181"), needs="ml-100k",
    ),
    "bench": bench(),
}  # fmt: skip


def write_inputs(folder: Path) -> None:
    """The files that some jobs read, generated: ratings with a device, and two splits of them."""
    draws = np.random.default_rng(0)
    pairs = draws.permutation(100 * 60)[:1800]
    user, item = pairs // 60, pairs % 60
    device = draws.integers(3, size=len(pairs))
    taste = draws.normal(size=(100, 2)) @ draws.normal(size=(2, 60))
    rating = np.clip(np.round(3 + taste[user, item] + 0.5 * device), 1, 5)
    frame = pd.DataFrame({
        "user": [f"u{number + 1:04}" for number in user],
        "item": [f"i{number + 1:04}" for number in item],
        "rating": rating,
        "timestamp": 1_000_000_000 + draws.permutation(len(pairs)) * 60,
        "device": np.array(["desk", "phone", "tablet"])[device],
    })  # fmt: skip
    frame.to_csv(folder / "ratings.csv", index=False)
    part = draws.choice(3, size=len(pairs), p=(0.7, 0.15, 0.15))
    np.savez(
        folder / "split.npz", user=user, item=item, part=part, rating=rating,
        user_ids=np.array([f"u{number:04}" for number in range(1, 101)]),
        item_ids=np.array([f"i{number:04}" for number in range(1, 61)]),
    )  # fmt: skip
    (folder / "split").mkdir()
    for number, name in enumerate(("train", "valid", "test")):
        frame[part == number].to_csv(folder / "split" / f"{name}.csv", index=False)


def run_commands(
    checkout: Path, commands: Commands, folder: Path, may_refuse: bool = False
) -> tuple[list[str], float]:
    """Runs commands of a checkout in one process of one thread, in a folder.

    Args:
        checkout: Whose run.py.
        commands: Its arguments, each time.
        folder: Working directory.
        may_refuse: Whether a command may decline in one line; its output is then "refused".

    Returns:
        What each of them printed; CPU seconds, those of the process's own processes included.

    Raises:
        RuntimeError: One of them failed.
    """
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment = {**os.environ, **one, "PYTHONPATH": str(checkout), "MPLBACKEND": "agg"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(
            [sys.executable, "-c", IN_TURN, str(checkout / "run.py"), json.dumps(commands)],
            cwd=folder, env=environment, stdout=out, stderr=err,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        *printed, _ = re.split(f"{END} (.*)\n", out.read())
        texts, codes = printed[::2], printed[1::2]
        allowed = {"0", REFUSED} if may_refuse else {"0"}
        if len(codes) < len(commands) or set(codes) - allowed:
            raise RuntimeError(f"{commands}: exit {codes[-1:]}\n{err.read()}")
        ends = zip(codes, texts, strict=True)
        answered = ["refused" if code == REFUSED else text for code, text in ends]
        return answered, used.ru_utime + used.ru_stime


def told(value: Any, folder: Path) -> Any:
    """A value under its names of 4c03358, without what may vary."""
    if isinstance(value, dict):
        before = {new: old for old, new in RENAMED.items()}
        kept = {key: part for key, part in value.items() if not key.endswith(VARYING)}
        return {
            told(before.get(key, key), folder): told(part, folder) for key, part in kept.items()
        }
    if isinstance(value, list):
        return [told(part, folder) for part in value]
    if isinstance(value, str):
        value = value.replace(str(folder), ".")
        for old, new in REWORDED.items():
            value = value.replace(new, old)
    return value


def unmarked(name: str) -> str:
    """A metric of the log under the name of 4c03358, which did not say that it is of the test."""
    return name.replace("test.groups/", "group.").removeprefix("test.")


def of_run(run: Path) -> dict[str, Any]:
    """The genotype and metrics of a run; the log by stage, in the order of its entries."""
    log: dict[str, list[Any]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        log.setdefault(entry.pop("stage"), []).append({unmarked(k): v for k, v in entry.items()})
    return {
        "genotype": json.loads((run / "genotype.json").read_text()),
        "metrics": json.loads((run / "metrics.json").read_text()),
        "log": log,
    }


def of_bench(folder: Path) -> dict[str, Any]:
    """The two tables of a bench, text as it stands in them."""
    found = {}
    for name in ("results", "curves"):
        with (folder / f"{name}.csv").open(newline="") as file:
            found[name] = list(csv.DictReader(file))
    return found


def answers(checkout: Path, job: Job, run: Path) -> dict[str, Any]:
    """Answers of the exported model: its test metrics again, recommendations, neighbors."""
    folder, name = run.parent, run.name
    commands = [["evaluate", name]]
    if job.users:
        pd.DataFrame({"user": job.users}).to_csv(folder / "users.csv", index=False)
        asked = ["--users", "users.csv", "-n", "8", "--output", "recommended.parquet"]
        commands += [["recommend", name, *asked], ["similar", name, *job.items, "-n", "5"]]
    printed, _ = run_commands(checkout, commands, folder, may_refuse=True)
    found: dict[str, Any] = {w[0]: text for w, text in zip(commands, printed, strict=True)}
    found["evaluate"] = json.loads(found["evaluate"])
    table = folder / "recommended.parquet"
    if table.is_file():
        found["recommend"] = {
            str(user): [[row.item, float(row.score)] for row in rows.itertuples()]
            for user, rows in pd.read_parquet(table).groupby("user", sort=False)
        }
    if "similar" in found:
        found["similar"] = found["similar"].splitlines()
    return found


def start(checkout: Path, name: str, folder: Path) -> tuple[Path, float]:
    """Runs a job in a folder; where its results are, and CPU seconds."""
    write_inputs(folder)
    words = list(JOBS[name].words)
    settings = checkout / "sif" / "config" / "cf.py"  # earlier checkouts have it elsewhere
    known = settings.read_text() if settings.is_file() else ""
    if words[words.index("--task") + 1] == "cf":  # after --set, which ends them all
        words += [setting for name, setting in OURS.items() if f"    {name}: " in known]
    words += ["--no-tracking", "--output-dir", name]
    return folder / name, run_commands(checkout, [words], folder)[1]


def missing(name: str) -> str:
    """The reason why a job cannot run here; empty if it can."""
    needs = JOBS[name].needs
    data = os.environ.get("SIF_DATA_DIR", "")
    if needs and not (data and (Path(data) / needs).is_dir()):
        return f"SIF_DATA_DIR names no folder with {needs}/"
    return ""


def of_job(checkout: Path, name: str) -> tuple[Any, float]:
    """Runs a job and asks its model; what came of it, and CPU seconds of the job alone."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        target, seconds = start(checkout, name, folder)
        if JOBS[name].bench:
            return told(of_bench(target), folder), seconds
        values = {**of_run(target), "answers": answers(checkout, JOBS[name], target)}
        return told(values, folder), seconds


def record(checkout: Path, names: Sequence[str]) -> dict[str, Any]:
    """Runs jobs of a checkout one after the other; values, CPU seconds, and what has none."""
    found: dict[str, Any] = {"values": {}, "cpu_seconds": {}, "skipped": {}}
    for name in names:
        reason = missing(name)
        if not reason:
            try:
                found["values"][name], found["cpu_seconds"][name] = of_job(checkout, name)
                print(f"{name}: {found['cpu_seconds'][name]:.1f} CPU s", flush=True)
                continue
            except RuntimeError as error:
                reason = f"failed: {error}"
        found["skipped"][name] = reason
        print(f"{name}: {reason}", flush=True)
    return found


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths at which two values differ, with both values; numbers by every digit, NaN as NaN."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            place = f"{path}/{key}"
            if key not in after:
                yield f"{place}: {shown(before[key])} -> missing"
            elif key not in before:
                if key.endswith(ADDED):
                    continue
                yield f"{place}: missing -> {shown(after[key])}"
            else:
                yield from differences(before[key], after[key], place)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(before)} entries -> {len(after)} entries"
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differences(one, other, f"{path}/{number}")
    elif json.dumps(before) != json.dumps(after):
        yield f"{path}: {shown(before)} -> {shown(after)}"


def shown(value: Any) -> str:
    """A value in one line that is not too long."""
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."


def compare(before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]) -> int:
    """Prints what is equal and what differs; the number of jobs that differ.

    Args:
        before: A record.
        after: Another one.
        names: Of the jobs to compare; none: all that either record has.
    """
    different = 0
    known = [*before["values"], *after["values"], *before["skipped"], *after["skipped"]]
    for name in names or dict.fromkeys(known):
        sides = [side["values"].get(name) for side in (before, after)]
        if sides == [None, None]:
            print(f"{name}: skipped in both")
            continue
        alone = ["recorded on one side alone"]
        found = alone if None in sides else list(differences(*sides))
        different += bool(found)
        print(f"{name}: {'differs' if found else 'equal'}")
        for line in found[:SHOWN]:
            print(f"  {line}")
        if len(found) > SHOWN:
            print(f"  and {len(found) - SHOWN} more")
    return different


def pace(checkout: Path, other: Path, names: Sequence[str], rounds: int) -> None:
    """Runs jobs of two checkouts in turn and prints ratios of CPU seconds, ours to theirs."""
    overall = []
    for name in [name for name in names if not missing(name)]:
        ratios, ours = [], []
        for _ in range(rounds):
            pair = []
            for side in (checkout, other):
                with tempfile.TemporaryDirectory() as scratch:
                    pair.append(start(side, name, Path(scratch).resolve())[1])
            ours.append(pair[0])
            ratios.append(pair[0] / pair[1])
        overall.append(statistics.median(ratios))
        each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        seconds = statistics.median(ours)
        print(f"{name}: {overall[-1]:.3f} of {each}; {seconds:.1f} CPU s", flush=True)
    if overall:
        print(f"median over {len(overall)} jobs: {statistics.median(overall):.3f}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--only", "--jobs", nargs="+", choices=tuple(JOBS), default=[], metavar="JOB")
    both.add_argument("--checkout", type=Path, default=ROOT, help="default: the script's own")
    recorder = commands.add_parser("record", parents=[both], help="run jobs, write a record")
    recorder.add_argument("file", type=Path)
    checker = commands.add_parser("check", parents=[both], help="run jobs, compare with a record")
    checker.add_argument("file", type=Path)
    checker.add_argument("--output", type=Path, help="where the new record goes, if anywhere")
    comparer = commands.add_parser("compare", parents=[both], help="compare two records")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    pacer = commands.add_parser("pace", parents=[both], help="CPU seconds of two checkouts")
    pacer.add_argument("--other", type=Path, required=True, help="the checkout to compare with")
    pacer.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Does what the command line asks for; exit code 1 where something differs."""
    values = arguments()
    names, checkout = values.only or list(JOBS), values.checkout.resolve()
    if values.command == "pace":
        pace(checkout, values.other.resolve(), names, values.rounds)
    elif values.command == "record":
        values.file.write_text(json.dumps(record(checkout, names), indent=1) + "\n")
    elif values.command == "check":
        before = json.loads(values.file.read_text())
        names = values.only or [*before["values"], *before["skipped"]]
        after = record(checkout, names)
        if values.output:
            values.output.write_text(json.dumps(after, indent=1) + "\n")
        raise SystemExit(min(compare(before, after, names), 1))
    else:
        before, after = (json.loads(p.read_text()) for p in (values.before, values.after))
        raise SystemExit(min(compare(before, after, values.only), 1))


if __name__ == "__main__":
    main()
