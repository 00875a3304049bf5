"""cell-bench: what a table answers and refuses, and the script that makes it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sif.bench import cells as cellbench
from sif.bench.cells.recipe import RECIPES, study_of
from sif.bench.cells.store import COLUMNS, KIND, path_of, read, write
from sif.bench.cells.table import CellTable, CellTraining
from sif.core.selections import Selections
from sif.errors import DataError, NotInTableError
from sif.spaces.cnn.supernet import cells_of
from sif.spaces.notation import notation

ROOT = Path(__file__).parents[3]
IMAGES = RECIPES["images"]


def training(cell: str, seed: int, valid: tuple[float, ...], test: float) -> CellTraining:
    return CellTraining(cell, seed, valid, test, 1 + int(np.argmin(valid)), 10, 4.0)


TABLE = CellTable((
    training("a", 0, (9.0, 5.0), 4.0), training("a", 1, (7.0, 8.0), 6.0),
    training("b", 0, (8.0, 7.0), 3.0), training("b", 1, (8.0, 6.0), 3.0),
    training("c", 0, (1.0, 1.0), 1.0),
))  # fmt: skip


def test_entries_are_means_over_seeds() -> None:
    entry = TABLE.query("a")
    assert (entry.valid, entry.test) == (6.0, 5.0)
    assert entry.valid_deviation == pytest.approx(math.sqrt(2))
    assert (entry.seeds, entry.seconds, entry.epochs) == ((0, 1), 4.0, 2)
    assert TABLE.query("a", seed=1).valid == 7.0


def test_the_beginning_of_a_training_costs_its_share() -> None:
    entry = TABLE.query("a", seed=0, epochs=1)
    assert (entry.valid, entry.seconds) == (9.0, 2.0)


def test_the_goal_is_the_best_of_those_with_all_seeds() -> None:
    assert TABLE.best().cell == "b"  # c has one lucky seed
    assert TABLE.best("valid").cell == "a"
    assert TABLE.regret("a") == 2.0
    assert TABLE.regret("b", "valid") == 0.5


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: TABLE.query("d"), "cell: expected one that was trained, found 'd'"),
        (lambda: TABLE.query("a", seed=3), "seed: expected 0 or 1, found 3"),
        (lambda: TABLE.query("a", epochs=3), "epochs: expected 1 to 2, found 3"),
        (lambda: TABLE.best("train"), "part: expected valid or test, found 'train'"),
        (lambda: cellbench.shipped("words"), "table: expected "),
    ],
)
def test_what_was_not_trained_is_named(ask: object, told: str) -> None:
    assert callable(ask)
    with pytest.raises(NotInTableError) as caught:
        ask()
    assert str(caught.value).startswith(told)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    rows = [
        {
            **{name: getattr(one, name) for name in COLUMNS if name != "cpu_seconds"},
            "valid": list(one.valid), "cpu_seconds": one.seconds,
        }
        for one in TABLE.trainings
    ]  # fmt: skip
    write(rows, tmp_path / "t.parquet", {"task": "cnn"})
    found = read(tmp_path / "t.parquet")
    assert found.trainings == TABLE.trainings
    assert found.metadata["task"] == "cnn"
    replace(KIND, version=2).write(rows, tmp_path / "other.parquet", {})
    with pytest.raises(
        DataError, match="expected a table of cell-bench, version 1, found version 2"
    ):
        read(tmp_path / "other.parquet")


def test_every_network_of_the_space_has_a_line_of_its_own() -> None:
    space = study_of(IMAGES, 0).problem.method_run().make_space(False)
    every = Selections(space.blocks)
    # Per cell two edges into node 2 and two of three into node 3, each of three operations or one.
    assert every.count == (3 * 3**4) * 3
    lines, reduced = set(), set()
    for number in range(every.count):
        genotype = space.genotype(every.numbered(number).to_gates(space.blocks))
        lines.add(notation(genotype))
        reduced |= {name for node in cells_of(genotype).reduce.nodes for name, _ in node}
    assert len(lines) == every.count
    assert reduced == {"max_pool_3x3"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cell_bench

    return cell_bench


def test_an_interrupted_run_goes_on_where_it_stopped(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    few = bench.genotypes(IMAGES)[:3]

    def trained(recipe: object, number: int, seed: int) -> dict[str, str]:
        asked.append((number, seed))
        values = dict.fromkeys(COLUMNS, "1")
        return {**values, "cell": notation(few[number]), "seed": str(seed), "valid": "[1.0]"}

    monkeypatch.setattr(bench, "genotypes", lambda recipe: few)
    monkeypatch.setattr(bench, "trained", trained)
    made = bench.run(IMAGES, tmp_path, (0, 1), math.inf)
    for _ in range(4):
        next(made)
    made.close()
    with (tmp_path / "shard-0-of-1.csv").open("a") as file:
        file.write("half a li")
    list(bench.run(IMAGES, tmp_path, (0, 1), math.inf))
    assert sorted(asked) == [(number, seed) for number in range(3) for seed in range(3)]
    assert len(bench.read_rows(tmp_path)) == 9
    with pytest.raises(SystemExit, match="are missing"):
        monkeypatch.setattr(bench, "genotypes", lambda recipe: [*few, *few])
        bench.collect(IMAGES, tmp_path)


@pytest.mark.skipif(not path_of("images").exists(), reason="the table is not made yet")
def test_a_training_of_the_table_is_repeated(bench: ModuleType) -> None:
    number = 100
    row = bench.trained(IMAGES, number, 1)
    entry = cellbench.shipped("images").query(bench.genotypes(IMAGES)[number], seed=1)
    # One image of validation is .35 percent; other processors round sums otherwise.
    assert float(row["test"]) == pytest.approx(entry.test, abs=1.5)
    assert int(row["parameters"]) == entry.parameters
