"""The script behind ifc-bench: what it resumes, collects and refuses, with a toy for a trainer."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from types import ModuleType

import pytest

from sif.bench import tabular as ifcbench
from sif.bench.tabular import plan
from sif.bench.tabular.plan import Planned
from sif.bench.tabular.ranges import Names
from sif.bench.tabular.records import METRICS, PARTS, Training
from sif.spaces.interaction.transforms import PRIMITIVES

ROOT = Path(__file__).parents[3]
FUNCTIONS = (("multiply", "~abs", "~abs"), ("plus", "~abs", "~abs"))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import ifc_bench

    return ifc_bench


class Toy:
    """Trains nothing: RMSE 1 + 0.01 |l2 - 10|, a little more with every seed."""

    def __init__(self, bench: ModuleType) -> None:
        self.bench, self.asked = bench, list[tuple[Planned, float]]()

    def __call__(self, task: Planned, l2: float) -> dict[str, str]:
        self.asked.append((task, l2))
        value = 1 + 0.01 * abs(l2 - 10) + 0.001 * task.seed
        metrics = {f"{p}_{m}": f"{value:.6f}" for p in PARTS for m in METRICS[task.objective]}
        made = {"parameters": "7", "epochs": "5", "best_epoch": "5", "cpu_seconds": "0.5"}
        key = self.bench._key_of(task, l2)
        return {**key, **metrics, **made, "split": "abc"}


def tasks() -> list[Planned]:
    """Two functions for ratings at d = 8: three strengths of seed 0, then two seeds."""
    everything = plan.planned(("rating",))
    return [t for t in everything if t.names in FUNCTIONS and t.dimension == 8]


def run(bench: ModuleType, folder: Path, toy: Toy, name: str = "a.csv") -> list[bool]:
    return [new for _, new in bench.run(tasks(), folder, name, math.inf, toy)]


def test_what_is_there_is_not_trained_again(bench: ModuleType, tmp_path: Path) -> None:
    toy = Toy(bench)
    made = bench.run(tasks(), tmp_path, "a.csv", math.inf, toy)
    list(itertools.islice(made, 4))
    made.close()
    path = tmp_path / "a.csv"
    path.write_text(path.read_text() + "rating,plus,~abs")  # killed in the middle of a line
    assert run(bench, tmp_path, toy) == [False] * 4 + [True] * 6
    assert run(bench, tmp_path, toy, "b.csv") == [False] * 10  # another shard's file counts
    assert len(toy.asked) == 10
    # Seeds 1 and 2 take the strength that was best at seed 0.
    assert {l2 for task, l2 in toy.asked if task.seed} == {10.0}
    assert len(bench.read_rows(tmp_path)) == 10


def test_time_that_is_over_trains_nothing(bench: ModuleType, tmp_path: Path) -> None:
    toy = Toy(bench)
    assert list(bench.run(tasks(), tmp_path, "a.csv", -math.inf, toy)) == []
    assert toy.asked == []


def test_shards_part_the_functions_and_keep_them_whole() -> None:
    shards = [list(plan.planned(shard=i, shards=3)) for i in range(3)]
    everything = list(plan.planned())
    assert sorted(map(str, itertools.chain(*shards))) == sorted(map(str, everything))
    owners = [{(task.objective, task.names) for task in shard} for shard in shards]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]


def test_a_collection_has_no_hole_unless_asked(bench: ModuleType, tmp_path: Path) -> None:
    run(bench, tmp_path / "rows", Toy(bench))
    path = tmp_path / "t.parquet"
    with pytest.raises(SystemExit, match=f"{2885 - 10} trainings are missing"):
        bench.collect(tmp_path / "rows", path, partial=False)
    assert not path.exists()
    bench.collect(tmp_path / "rows", path, partial=True)
    table = ifcbench.read(path)
    assert table.query(FUNCTIONS[0]).test == pytest.approx(1.001)
    assert sorted(r.l2 for r in table.trainings if r.seed == 0 and r.chosen) == [10.0, 10.0]
    assert table.metadata["splits"] == {"rating": "abc"}
    assert "All: 10 trainings" in bench.report(table)


def test_repeats_that_differ_are_refused(bench: ModuleType, tmp_path: Path) -> None:
    run(bench, tmp_path, Toy(bench))
    other = (tmp_path / "a.csv").read_text().replace("1.001000", "1.005000")
    (tmp_path / "b.csv").write_text(other)
    with pytest.raises(SystemExit, match="trained twice, with different results"):
        bench.collect(tmp_path, tmp_path / "t.parquet", partial=True)


def test_one_training_of_the_real_thing(
    bench: ModuleType, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = bench.split_of("rating")
    assert split.hash == bench.read_rows(bench.FOLDER)[0]["split"]
    task = Planned("rating", ("multiply", "~square", "+sqrt"), 8, 0, 25.0)
    known = next(r for r in bench.read_rows(bench.FOLDER) if bench.key(r) == bench.key(
        bench._key_of(task, 25.0)))  # fmt: skip
    again = bench.trained(task, 25.0)
    assert float(again["test_rmse"]) == pytest.approx(float(known["test_rmse"]), abs=2e-3)
    assert again["parameters"] == known["parameters"]


def test_simulated_searches_draw_what_their_seed_knows(bench: ModuleType) -> None:
    import ifc_bench_report

    def training(names: Names, seed: int, value: float) -> Training:
        metrics = {f"{part}_rmse": value for part in PARTS}
        return Training("rating", names, 8, seed, 10.0, True, metrics, 1, 1, 1.0)

    names = [("multiply", "~abs", item) for item in list(PRIMITIVES)[:8]]
    rows = [training(n, 0, 1.0 + k) for k, n in enumerate(names)]
    rows += [training(n, 1, 1.0 + k) for k, n in enumerate(names[:2])]  # the best two
    table = ifcbench.Table(tuple(rows))
    (line,) = ifc_bench_report.searches(table, "rating", 8, (1, 2, 8))
    one, two, all_ = (float(told.split(": ")[1]) for told in line.split(":", 1)[1].split(", "))
    regrets = [table.regret(n) for n in names]
    half = statistics.fmean(regrets), statistics.fmean(regrets[:2])  # by seed, drawing one
    assert one == pytest.approx(statistics.fmean(half), abs=0.25)
    pairs = [min(pair) for pair in itertools.combinations(regrets, 2)]
    assert two == pytest.approx((statistics.fmean(pairs) + regrets[0]) / 2, abs=0.15)
    assert all_ == 0
