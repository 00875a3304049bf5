"""The scripts that compare search methods for cells run to the end, at a toy's size."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sif.spaces.cnn import cells as published
from sif.spaces.cnn.supernet import cells_of
from sif.spaces.rnn import cells as rnn_cells
from sif.spaces.rnn.supernet import recurrent_cell

pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")

ROOT = Path(__file__).parents[1]
TOY = ("--dataset", "digits", "--config", "cnn/smoke", "--set", "data.per_class=20")


def script(name: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_race_is_run_and_reported(tmp_path: Path) -> None:
    for method, eta in (("nasp", 0), ("nasp", 10), ("random-ws", 0)):
        words = ("--method", method, "--epochs", 2, "--penalty", eta, "--output", tmp_path / "runs")
        script("cells.py", *words, *TOY, "--set", "search.batch_size=16")
    runs = [json.loads(p.read_text()) for p in sorted((tmp_path / "runs").iterdir())]
    for run in runs:
        assert run["images"] == [48, 32, 80]  # none of the 40 test images
        assert [point["seconds"] for point in run["curve"]] == sorted(
            point["seconds"] for point in run["curve"]
        )
        chooses = run["method"] == "random-ws"  # at the end, one point more
        assert len(run["curve"]) == run["epochs"] + chooses == 2 + chooses
        assert run["curve"][-1]["exported_error"] == run["exported_error"]
    out = script(
        "cells_report.py", tmp_path / "runs", "--tables", tmp_path, "--pictures", tmp_path,
        "--step-cost", ROOT / "benchmarks/results/step-cost-nasp-7op.csv",
    )  # fmt: skip
    assert "NASP: 1 seeds" in out and "eta 10: " in out
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["eta"]) for r in rows] == [
        ("nasp", "0.0"), ("nasp", "10.0"), ("random-ws", "0.0"),
    ]  # fmt: skip
    for name in ("cells-seconds", "cells-eta", "step-cost-nasp-7op"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_full_search_runs_small(tmp_path: Path) -> None:
    script("full_search.py", *TOY, "--no-step-cost", "--train-epochs", 1, "--output", tmp_path,
           "--set", "search.batch_size=16", "--device", "cpu")  # fmt: skip
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert found["search"]["epochs"] == 3
    assert found["search"]["peak_memory_mb"] > 0
    assert found["train"].keys() == {"found", "darts-v2"}
    assert all(done["epochs"] == 1 for done in found["train"].values())
    assert found["environment"]["device"] == "cpu"


def test_the_full_search_on_text_runs_small(tmp_path: Path) -> None:
    script("full_text.py", "--dataset", "grammar", "--config", "rnn/smoke", "--no-step-cost",
           "--train-epochs", 1, "--output", tmp_path, "--device", "cpu")  # fmt: skip
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    search = found["search"]
    assert search["epochs"] == len(search["curve"]) == 2
    assert search["exported_perplexity"] == search["curve"][-1][1]
    train = found["text"]["tokens"]["train"]
    assert sum(found["searched"]) == train
    assert found["train"].keys() == {"found", "darts-v2"}
    for done in found["train"].values():
        assert done["epochs"] == 1
        # The last words of the text fill no row, and the seconds of validation do not count.
        assert done["tokens_per_second"] > 0.99 * train / done["seconds"]
    assert found["environment"]["device_name"]


def measured(path: Path, *words: object) -> list[dict[str, str]]:
    script("step_cost.py", "--selections", 1, "--output", path, *words)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_step_costs_are_compared_at_a_toys_size(tmp_path: Path) -> None:
    """Slow: the peak of every method's memory is measured in a process of its own."""
    rows = measured(tmp_path / "a.csv", "--batch", 2, "--channels", 2, "--cells", 3)
    assert {(r["part"], r["selection"]) for r in rows} == {
        ("whole", "uniform"), ("whole", "darts-v2"),
    }  # fmt: skip
    methods = [r["method"] for r in rows if r["selection"] == "uniform"]
    assert methods[0] == "nasp" and {"darts-1", "darts-2", "darts-1, no waste"} < set(methods)
    assert float(rows[0]["over_nasp"]) == 1


def test_tokens_per_second_are_compared_at_a_toys_size(tmp_path: Path) -> None:
    script("tokens.py", "--hidden", 8, "--vocabulary", 30, "--batch", 3, "--steps", 4,
           "--rounds", 1, "--output", tmp_path / "a.csv")  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["model"] for r in rows] == 2 * ["fused", "plain", "as published", "lstm"]
    ours, plain, published, lstm = (int(r["parameters"]) for r in rows[:4])
    assert ours == plain == published and abs(lstm - ours) < ours / 10
    assert all(int(r["tokens_per_second"]) > 0 for r in rows)


@pytest.mark.slow
def test_throughput_is_measured_at_a_toys_size(tmp_path: Path) -> None:
    """Slow: the peak of every function's memory is measured in a process of its own."""
    pytest.importorskip("implicit", reason="needs implicit, the rival")
    script("throughput.py", "--sizes", "300x90x4", "--sample", 280, "--rounds", 1, "--calls", 3,
           "--output", tmp_path / "a.csv")  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["implicit", "multiply", "max", "min", "plus", "multiply+max"]
    assert [r["function"] for r in rows] == names
    assert [int(r["peak_users"]) for r in rows] == [280, 300, 280, 280, 280, 280]
    for r in rows:
        assert float(r["p50_ms"]) <= float(r["p99_ms"])
        ratio = float(r["users_per_second"]) / float(rows[0]["users_per_second"])
        assert float(r["times_implicit"]) == pytest.approx(ratio, rel=1e-3)
    assert float(rows[1]["over_multiply"]) == 1


def test_runs_of_several_seeds_become_one_table(tmp_path: Path) -> None:
    runs = [tmp_path / f"seed{seed}" for seed in (0, 1)]
    script("seeds.py", "--seeds", 0, 1, "--output", tmp_path, "--",
           "--task", "rnn", "--config", "rnn/smoke", "--quiet")  # fmt: skip
    out = script("seeds_report.py", *runs, "--table", tmp_path / "a.csv", "--pictures", tmp_path)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["seed"], r["network"]) for r in rows] == [
        (seed, name) for seed in "01" for name in ("searched", "random-ws", "lstm")
    ]
    for row, run in zip(rows[::3], runs, strict=True):
        document = json.loads((run / "metrics.json").read_text())
        assert float(row["test"]) == pytest.approx(document["test"]["perplexity"], abs=1e-3)
        assert float(row["exported"]) > 1
    assert rows[2]["exported"] == "" and float(rows[2]["search_seconds"]) == 0
    mean = (float(rows[0]["test"]) + float(rows[3]["test"])) / 2
    assert f"test {mean:.2f} +- " in out.splitlines()[0]
    for name in ("rnn-searches", "rnn-trainings"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_step_costs_on_text_are_those_of_the_step_and_of_the_cell(tmp_path: Path) -> None:
    """Slow: the peak of every method's memory is measured in a process of its own."""
    sizes = ("--batch", 4, "--bptt", 5, "--hidden", 6, "--vocabulary", 30)
    rows = measured(tmp_path / "a.csv", "--space", "nasp-ptb", *sizes)
    assert list(dict.fromkeys((r["part"], r["selection"]) for r in rows)) == [
        ("whole", "uniform"), ("whole", "darts-v2"),
        ("cell alone", "uniform"), ("cell alone", "darts-v2"),
    ]  # fmt: skip
    for part in ("whole", "cell alone"):
        ours = next(r for r in rows if r["part"] == part)
        assert (ours["method"], float(ours["over_nasp"])) == ("nasp", 1)
        assert float(ours["peak_mb_above_rest"]) > 0


def cases() -> ModuleType:
    place = importlib.util.spec_from_file_location("cases", ROOT / "benchmarks/step_cases.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module  # dataclasses look there
    place.loader.exec_module(module)
    return module


@pytest.mark.parametrize("space", ["nasp-7op", "nasp-12op", "nasp-ptb"])
def test_a_case_knows_its_published_cell_and_starts_every_step_alike(space: str) -> None:
    kind = cases().KINDS[space]
    small = {"batch": 2, "channels": 2, "cells": 3, "bptt": 4, "hidden": 6, "vocabulary": 12}
    case = kind.make(space, {name: small[name] for name in kind.sizes}, "cpu")
    name, gates = case.published
    with torch.no_grad():
        losses = [float(case.space.loss(case.batch(), gates)) for _ in range(3)]
    assert losses[0] == losses[1] == losses[2]  # the state that a window leaves goes nowhere
    genotype = case.space.genotype(gates)
    if space == "nasp-ptb":
        assert case.batch().carry.value is None
        assert recurrent_cell(genotype) == rnn_cells.PUBLISHED[name]
        return
    for block in ("normal", "reduce"):
        found = getattr(cells_of(genotype), block).nodes
        expected = getattr(published.PUBLISHED[name], block).nodes
        assert [set(node) for node in found] == [set(node) for node in expected]


def test_sizes_that_a_space_does_not_have_are_refused() -> None:
    module = cases()
    given = dict.fromkeys(module.SETTINGS) | {"batch": 3}
    assert module.sizes_of("nasp-7op", given) == {"batch": 3, "channels": 16, "cells": 8}
    with pytest.raises(SystemExit, match=r"nasp-ptb: expected sizes batch, .*, found channels"):
        module.sizes_of("nasp-ptb", given | {"channels": 2})


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_strangers_are_folded_in_at_a_toys_size(tmp_path: Path) -> None:
    quick = ("search.epochs=2", "search.dimension=4", "train.epochs=3", "train.dimension=4",
             "train.l2=[0.003]")  # fmt: skip
    script(
        "fold_in.py", "--seeds", 0, "--users", 5, "--output", tmp_path / "a.csv", "--set", *quick
    )
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["searched", "fixed-multiply", "implicit ALS"]
    for row in rows:
        assert 0 < float(row["folded"]) <= 1 and float(row["ms_per_user"]) > 0
        share = float(row["folded"]) / float(row["trained_again"])
        assert share == pytest.approx(float(row["share"]), abs=1e-3)
