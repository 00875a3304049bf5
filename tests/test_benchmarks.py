"""The scripts that compare search methods for cells run to the end, at a toy's size.

They run in this process: a new one takes seconds to import torch. What a script does in processes
of its own, it does here for one method.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from sif.spaces.cnn import cells as published
from sif.spaces.cnn.supernet import cells_of
from sif.spaces.rnn import cells as rnn_cells
from sif.spaces.rnn.supernet import recurrent_cell

pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")

ROOT = Path(__file__).parents[1]
TOY = ("--dataset", "digits", "--config", "cnn/smoke", "--set", "data.per_class=20")


Load = Callable[[str], ModuleType]
Script = Callable[..., str]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Imports a script by its name, as Python does for one that it runs."""
    folder = ROOT / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]


@pytest.fixture
def script(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Script]:
    """Runs a script with these words and returns what it prints."""
    threads = torch.get_num_threads()

    def run(name: str, *words: object) -> str:
        module = load(name)
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            patch.setattr(time, "perf_counter", time.perf_counter)  # which seeds.py replaces
            patch.setattr(sys, "argv", [str(module.__file__), *map(str, words)])
            module.main()
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_race_is_run_and_reported(tmp_path: Path, script: Script) -> None:
    """Slow: three searches, and the figures of two reports."""
    small = ("--set", "search.batch_size=16", "--set", "search.channels=2")
    for method, eta in (("nasp", 0), ("nasp", 10), ("random-ws", 0)):
        words = ("--method", method, "--epochs", 2, "--penalty", eta, "--output", tmp_path / "runs")
        script("cells", *words, *TOY, *small)
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
        "cells_report", tmp_path / "runs", "--tables", tmp_path, "--pictures", tmp_path,
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


@pytest.mark.slow
def test_finishes_are_compared_and_selections_ranked(tmp_path: Path, script: Script) -> None:
    """Slow: searches of some seconds, and trainings of what they find."""
    small = [word for name in ("data.per_class=20", "search.channels=2", "search.batch_size=16",
                               "search.epochs=2", "train.epochs=1", "train.channels=2")
             for word in ("--set", name)]  # fmt: skip
    path = tmp_path / "rows.csv"
    script("finish", "rank", "digits", "--seeds", 0, "--draws", 3, *small, "--output", path)
    with path.open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert [row["supernet"] for row in ranked] == ["nasp", "random-ws"]
    taus = [float(row["tau"]) for row in ranked]  # not a number where all selections tie
    assert all(-1 <= tau <= 1 or tau != tau for tau in taus)
    assert len({(row["best"], row["median"]) for row in ranked}) == 1  # the same trainings
    script("finish", "quality", "digits", "--seeds", 0, "--seconds", 4, "--candidates", 2,
           "--arms", "nasp-finish", "random", *small, "--output", path)  # fmt: skip
    with path.open(newline="") as file:
        finished, random = csv.DictReader(file)
    assert finished["arm"] == "nasp-finish" and finished["changed"] in ("0.0", "1.0")
    assert random["changed"] == ""
    assert all(0 < float(row["cpu_seconds"]) < 6 for row in (finished, random))


def test_the_full_search_runs_small(tmp_path: Path, script: Script) -> None:
    script("full_search", *TOY, "--no-step-cost", "--train-epochs", 1, "--output", tmp_path,
           "--set", "search.batch_size=16", "--device", "cpu")  # fmt: skip
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert found["search"]["epochs"] == 3
    assert found["search"]["peak_memory_mb"] > 0
    assert found["train"].keys() == {"found", "darts-v2"}
    assert all(done["epochs"] == 1 for done in found["train"].values())
    assert found["environment"]["device"] == "cpu"


def test_the_full_search_on_text_runs_small(tmp_path: Path, script: Script) -> None:
    script("full_text", "--dataset", "grammar", "--config", "rnn/smoke", "--no-step-cost",
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


def test_gated_cells_are_compared_on_validation_alone(script: Script, tmp_path: Path) -> None:
    entrants, path = ["nasp", "gru", "drawn-1", "lstm"], tmp_path / "rows.csv"
    search = [f"search.{each}" for each in ("epochs=2", "columns=64", "bptt=16", "hidden=8")]
    train = [f"train.{each}" for each in ("epochs=1", "columns=64", "bptt=16", "hidden=12")]
    script("gated_cells", "--entrants", *entrants, "--output", path, "--set",
           "methods.nasp.warmup=0.5", *search, *train)  # fmt: skip
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["entrant"] for row in found] == entrants
    sizes = [int(row["parameters"]) for row in found]
    assert max(sizes) < 1.15 * min(sizes)
    assert [row["exported"] != "" for row in found] == [True, False, False, False]
    assert all(1 < float(row["valid"]) < 30 for row in found)


Measured = Callable[..., list[dict[str, str]]]


@pytest.fixture
def measured(load: Load, script: Script, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The rows of step_cost.py; the peak of a method's memory is its place among the methods."""
    module = load("step_cost")

    def peak(values: argparse.Namespace, sizes: Any, method: str) -> float:
        case = module.KINDS[values.space].make(values.space, sizes, values.device)
        assert module.memory(module.Bench(case, values.device), method) >= 0
        return float(1 + module.METHODS.index(method))

    monkeypatch.setattr(module, "peak", peak)

    def rows(path: Path, *words: object) -> list[dict[str, str]]:
        script("step_cost", "--selections", 1, "--output", path, *words)
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return rows


@pytest.mark.slow
def test_step_costs_are_compared_at_a_toys_size(tmp_path: Path, measured: Measured) -> None:
    """Slow: each of six methods takes seven steps, and a supernet has no fewer operations."""
    rows = measured(tmp_path / "a.csv", "--batch", 2, "--channels", 2, "--cells", 3)
    assert {(r["part"], r["selection"]) for r in rows} == {
        ("whole", "uniform"), ("whole", "darts-v2"),
    }  # fmt: skip
    methods = [r["method"] for r in rows if r["selection"] == "uniform"]
    peaks = [float(r["peak_mb_above_rest"]) for r in rows if r["selection"] == "uniform"]
    assert peaks == list(range(1, 1 + len(methods)))
    assert methods[0] == "nasp" and {"darts-1", "darts-2", "darts-1, no waste"} < set(methods)
    assert float(rows[0]["over_nasp"]) == 1


def test_precisions_are_compared_at_a_toys_size(tmp_path: Path, script: Script) -> None:
    pytest.importorskip("threadpoolctl")
    script("precision", "--items", 500, "--users", 40, "--calls", 5, "--rounds", 1,
           "--output", tmp_path / "a.csv")  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["precision"] for row in rows] == ["float32", "float16", "int8"]
    recall, size = ([float(row[name]) for row in rows] for name in ("recall@10", "bytes"))
    assert recall[0] == 1 and recall[1] >= recall[2] > 0.9
    assert size[1] < 0.55 * size[0] and size[2] < 0.3 * size[0]


def test_tokens_per_second_are_compared_at_a_toys_size(tmp_path: Path, script: Script) -> None:
    script("tokens", "--hidden", 8, "--vocabulary", 30, "--batch", 3, "--steps", 4,
           "--rounds", 1, "--output", tmp_path / "a.csv")  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["model"] for r in rows] == 2 * ["fused", "plain", "as published", "lstm"]
    ours, plain, published, lstm = (int(r["parameters"]) for r in rows[:4])
    assert ours == plain == published and abs(lstm - ours) < ours / 10
    assert all(int(r["tokens_per_second"]) > 0 for r in rows)


def test_recurrent_histories_compete_at_a_toys_size(tmp_path: Path, script: Script) -> None:
    draws = np.random.default_rng(0)
    user, place = (x.ravel() for x in np.indices((40, 6)))
    item = (draws.integers(12, size=40)[user] + place) % 12
    part = np.maximum(place - 3, 0)  # the last one test, the one before valid
    np.savez(tmp_path / "a.npz", user=user, item=item, part=part, timestamp=place)
    script("histories", "--split-file", tmp_path / "a.npz", "--seconds", 0.1, "--test",
           "--search-seconds", 0.3, "--output", tmp_path / "a.csv", "--set", "search.hidden=4",
           "search.nodes=2", "train.hidden=4")  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    searched = {
        reader: [f"random {reader}", f"NASP's {reader}, search apart",
                 f"NASP's {reader}, search inside"]
        for reader in ("scales", "cell")
    }  # fmt: skip
    names = ["product", *searched["scales"], "gru", *searched["cell"]]
    assert [r["entrant"] for r in rows] == names
    for apart in (2, 6):
        assert rows[apart]["design"] == rows[apart + 1]["design"]
        assert float(rows[apart]["search_seconds"]) > 0
    assert all(0 <= float(r[name]) <= 1 for r in rows for name in ("valid", "test"))


def test_throughput_is_measured_at_a_toys_size(
    tmp_path: Path, load: Load, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("implicit", reason="needs implicit, the rival")
    module = load("throughput")

    def peak(size: str, name: str, values: argparse.Namespace) -> dict[str, Any]:
        return dict(module.peak(module.Bench(size, values.threads), name, values))

    monkeypatch.setattr(module, "peak_in_a_process", peak)
    script("throughput", "--sizes", "300x90x4", "--sample", 280, "--rounds", 1, "--calls", 3,
           "--threads", 1, "--output", tmp_path / "a.csv")  # fmt: skip
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


def test_retrieval_is_measured_at_a_toys_size(tmp_path: Path, script: Script) -> None:
    pytest.importorskip("usearch")
    script("retrieval", "--items", 1500, "--dimension", 8, "--users", 40, "--exact-users", 20,
           "--output", tmp_path / "a.csv")  # fmt: skip
    with open(tmp_path / "a.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["library"], row["items"], row["users"]) == ("usearch", "1500", "40")
    assert float(row["recall"]) > 0.9
    assert all(float(row[name]) > 0 for name in ("users_per_second", "cpu_us", "exact_cpu_us"))


def test_runs_of_several_seeds_become_one_table(tmp_path: Path, script: Script) -> None:
    runs = [tmp_path / f"seed{seed}" for seed in (0, 1)]
    for part, lines in (("train", 120), ("valid", 40), ("test", 40)):
        text = "\n".join(f"w{(i * i) % 7} is not w{i % 5} ." for i in range(lines))
        (tmp_path / f"{part}.txt").write_text(text)
    script("seeds", "--seeds", 0, 1, "--output", tmp_path, "--",
           "--task", "rnn", "--config", "rnn/smoke", "--dataset", tmp_path, "--quiet", "--set",
           "search.columns=8", "search.bptt=6", "train.columns=8", "train.bptt=6")  # fmt: skip
    out = script("seeds_report", *runs, "--table", tmp_path / "a.csv", "--pictures", tmp_path)
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


def test_step_costs_on_text_are_those_of_the_step_and_of_the_cell(
    tmp_path: Path, measured: Measured
) -> None:
    sizes = ("--batch", 4, "--bptt", 5, "--hidden", 6, "--vocabulary", 30)
    rows = measured(tmp_path / "a.csv", "--space", "nasp-ptb", *sizes)
    assert list(dict.fromkeys((r["part"], r["selection"]) for r in rows)) == [
        ("whole", "uniform"), ("whole", "darts-v2"),
        ("cell alone", "uniform"), ("cell alone", "darts-v2"),
    ]  # fmt: skip
    for part in ("whole", "cell alone"):
        ours = next(r for r in rows if r["part"] == part)
        assert (ours["method"], float(ours["over_nasp"])) == ("nasp", 1)
        assert float(ours["peak_mb_above_rest"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step_cost", "throughput"])
def test_a_peak_of_memory_is_that_of_a_process_of_its_own(
    name: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: the process imports torch, and the case must be larger than what that varies by."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    module = load(name)
    if name == "throughput":
        values = argparse.Namespace(threads=1, sample=2000)
        row = module.peak_in_a_process("2000x4000x8", "max", values)
        assert row["peak_users"] == 2000
        peak = row["peak_mb_above_rest"]
    else:
        values = argparse.Namespace(space="nasp-ptb", device="cpu")
        sizes = {"batch": 64, "bptt": 20, "hidden": 100, "vocabulary": 1000}
        peak = module.peak(values, sizes, "nasp")
        # The logits of a batch alone.
        assert peak > 4 * 64 * 20 * 1000 / 2**20
    assert 0 < peak < 2000


def test_a_script_is_run_from_its_folder_or_any_other(tmp_path: Path) -> None:
    """In a process, as its first lines say."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "seeds_report.py"), "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage: seeds_report.py" in done.stdout


@pytest.mark.parametrize("space", ["nasp-7op", "nasp-12op", "nasp-ptb"])
def test_a_case_knows_its_published_cell_and_starts_every_step_alike(
    space: str, load: Load
) -> None:
    kind = load("step_cases").KINDS[space]
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


def test_sizes_that_a_space_does_not_have_are_refused(load: Load) -> None:
    module = load("step_cases")
    given = dict.fromkeys(module.SETTINGS) | {"batch": 3}
    assert module.sizes_of("nasp-7op", given) == {"batch": 3, "channels": 16, "cells": 8}
    with pytest.raises(SystemExit, match=r"nasp-ptb: expected sizes batch, .*, found channels"):
        module.sizes_of("nasp-ptb", given | {"channels": 2})


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_strangers_are_folded_in_at_a_toys_size(tmp_path: Path, script: Script) -> None:
    """Slow: reads MovieLens 100K and trains three models on it."""
    quick = ("search.epochs=2", "search.dimension=4", "train.epochs=3", "train.dimension=4",
             "train.l2=[0.003]")  # fmt: skip
    script("fold_in", "--seeds", 0, "--users", 5, "--output", tmp_path / "a.csv", "--set", *quick)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["searched", "fixed-multiply", "implicit ALS"]
    for row in rows:
        assert 0 < float(row["folded"]) <= 1 and float(row["ms_per_user"]) > 0
        share = float(row["folded"]) / float(row["trained_again"])
        assert share == pytest.approx(float(row["share"]), abs=1e-3)


def test_growth_of_jobs_is_an_exponent(load: Load) -> None:
    jobs = load("jobs")
    assert jobs.exponent([10, 100, 1000], [2.0, 20.0, 200.0]) == pytest.approx(1.0)
    found = {n: {"search": 3.0, "training": n / 100} for n in (1000, 100, 10_000)}
    found[10_000]["training"] = 1000.0
    header, search, training = jobs.table(found)
    assert header == ("part", "100", "1,000", "10,000", "exponent", "at the end")
    assert search == ("search", "3.00", "3.00", "3.00", "0.00", "0.00")
    assert training == ("training", "1.00", "10.00", "1000.00", "1.50", "2.00")
