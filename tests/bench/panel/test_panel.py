"""Whole panels: tables that say what the jobs say, failures, going on, the figure."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from sif import tasks
from sif.bench.panel import Panel
from sif.bench.panel.plan import PanelFolder, PanelTrial
from sif.bench.panel.results import SERVED, result_of
from sif.bench.processes import Work
from sif.cli import main as cli
from sif.errors import ConfigError

RunAll = Callable[..., None]
CHEAP = {
    "search": {"epochs": 4, "dimension": 4, "stages": ["encoding", "operation"]},
    "train": {"epochs": 5, "dimension": 4, "l2": [2]},
    "baselines": ["popularity", "ease"], "controls": ["fixed-multiply"], "threads": 1,
    "budget": None, "checkpoint_seconds": 0,
}  # fmt: skip
ENTRIES = [
    {"data": "rows.csv", "metric": "recall@5",
     "highest": {"value": 0.75, "model": "Best", "source": "a paper of theirs"}},
    {"data": "split.npz", "name": "cut"},
]  # fmt: skip
BAD = {"data": "bad.csv", "metric": "ndcg@10"}
TIMES = ["seconds", "seconds_deviation", "peak_memory_mb"]


def write_data(folder: Path) -> None:
    """Two tastes: as a table, as a split without a valid part, and a table with a gap."""
    draws = np.random.default_rng(0)
    pairs = [(u, i) for u in range(30) for i in range(20) if (u + i) % 2 == 0]
    pairs = [pair for pair in pairs if draws.random() < 0.8]
    text = "user,item\n" + "".join(f"u{u},i{i}\n" for u, i in pairs)
    (folder / "rows.csv").write_text(text)
    (folder / "bad.csv").write_text(text + "u1,\n")
    user, item = np.array(pairs).T
    part = np.where(draws.random(len(user)) < 0.2, 2, 0)
    np.savez(folder / "split.npz", user=user, item=item, part=part)


def write_list(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "list.yaml"
    path.write_text(yaml.safe_dump({"settings": CHEAP, "data": list(entries)}))
    return path


def command(listed: Path, folder: Path, *more: str) -> list[str]:
    return ["panel", "--data", str(listed), "--output-dir", str(folder), "--no-tracking", *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory, run_here: RunAll) -> Path:
    """A panel of two data sets and two seeds; do not change it."""
    folder = tmp_path_factory.mktemp("panel") / "two"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.bench.executor.run_all", run_here)
        patch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
        words = command(write_list(data, *ENTRIES), folder, "--seeds", "2", "--quiet")
        assert cli.main(words) == 0
    return folder


def jobs(folder: Path, name: str) -> list[dict[str, Any]]:
    paths = [folder / f"trials/{name}-{seed}/metrics.json" for seed in (0, 1)]
    return [json.loads(path.read_text()) for path in paths]


def test_a_panel_leaves_a_table_a_report_a_figure_and_run_folders(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "panel.yaml", "jobs", "trials", "log.txt", "report.md", "panel.csv", "trials.csv", "plots",
    }  # fmt: skip
    assert (finished / "plots/ranks.png").read_bytes()[1:4] == b"PNG"
    table, trials = (pd.read_csv(finished / f"{name}.csv") for name in ("panel", "trials"))
    assert list(table["data"]) == ["rows", "cut"]
    assert list(table["protocol"]) == ["ranking-per-user", "file"]
    assert list(zip(trials["data"], trials["seed"], strict=True)) == [
        ("rows", 0), ("rows", 1), ("cut", 0), ("cut", 1)
    ]  # fmt: skip
    assert set(trials["status"]) == set(table["status"]) == {"finished"}


@pytest.mark.parametrize(("name", "metric"), [("rows", "recall@5"), ("cut", "ndcg@10")])
def test_the_figures_are_those_of_the_jobs(finished: Path, name: str, metric: str) -> None:
    table = pd.read_csv(finished / "panel.csv").set_index("data")
    row, documents = table.loc[name], jobs(finished, name)
    first = documents[0]
    assert row["metric"] == metric
    assert (row["rows"], row["users"], row["items"]) == (
        sum(first["protocol"]["counts"].values()), *first["protocol"]["sizes"].values()
    )  # fmt: skip
    against = [one["comparison"]["against"] for one in documents]
    expected = {
        "served": [one["served"]["test"][metric] for one in documents],
        "searched": [one["test"][metric] for one in documents],
        "baseline": [
            one["baselines"][name][metric] for one, name in zip(documents, against, strict=True)
        ],
    }
    for key, values in expected.items():
        assert row[f"{key}_value"] == pytest.approx(np.mean(values), rel=1e-12)
        assert row[f"{key}_deviation"] == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-12)
    assert row["seconds"] == pytest.approx(np.mean([one["total_seconds"] for one in documents]))
    assert row["peak_memory_mb"] > 50
    assert row["found"] == "; ".join(dict.fromkeys(one["genotype"] for one in documents))
    assert row["verdict"].endswith("of 2 seeds")


def test_a_job_that_spared_its_search_is_told_as_any_other(finished: Path, tmp_path: Path) -> None:
    run = finished / "trials" / "rows-0"
    document = json.loads((run / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps(document | {"search": None}))
    before, after = (result_of(folder, "ndcg@10") for folder in (run, tmp_path))
    assert after == before | {"peak_memory_mb": None}


def test_what_stands_for_the_searched_function_is_named(finished: Path, tmp_path: Path) -> None:
    trials = pd.read_csv(finished / "trials.csv")
    entrants = [one["entrant"] for name in ("rows", "cut") for one in jobs(finished, name)]
    assert list(trials["searched"]) == entrants
    whole = tmp_path / "whole"
    shutil.copytree(finished, whole)
    for path in whole.glob("trials/rows-*/metrics.json"):
        document = json.loads(path.read_text()) | {"entrant": "closed", "genotype": "filter(P)"}
        path.write_text(json.dumps(document))
    found = Panel.open(whole).report()
    (row,) = [line for line in found.text.splitlines() if line.startswith("rows ")]
    assert f"closed {found.table['searched_value'][0]:.4f}" in row
    assert found.table["searched"][0] == "closed" and found.table["found"][0] == "filter(P)"
    path = next(whole.glob("trials/cut-0/metrics.json"))
    former = {k: v for k, v in json.loads(path.read_text()).items() if k != "entrant"}
    path.write_text(json.dumps(former))
    assert result_of(path.parent, "ndcg@10")["searched"] == "searched"


def test_a_known_figure_stands_beside_ours_with_its_source(finished: Path) -> None:
    table = pd.read_csv(finished / "panel.csv").set_index("data")
    assert tuple(table.loc["rows", ["highest", "highest_model"]]) == (0.75, "Best")
    assert math.isnan(table.loc["cut", "highest"])
    report = (finished / "report.md").read_text()
    assert "| Best 0.7500 |" in report
    assert "- rows: a paper of theirs" in report
    assert "![ranks.png](plots/ranks.png)" in report


def test_ranks_are_of_models_that_all_have_with_the_served_one_beside(finished: Path) -> None:
    found = Panel.open(finished).report().ranking
    names = {one.name for one in found.models}
    assert names == {SERVED, "searched", "fixed-multiply", "popularity", "ease"}
    for place, (name, metric) in enumerate([("rows", "recall@5"), ("cut", "ndcg@10")]):
        figures: dict[str, list[float]] = {}
        for document in jobs(finished, name):
            one = {"searched": document["test"], SERVED: document["served"]["test"]}
            one |= document["baselines"]
            for model, test in one.items():
                figures.setdefault(model, []).append(test[metric])
        means = pd.Series({model: np.mean(values) for model, values in figures.items()})
        expected = means.rank(ascending=False)
        for model in found.models:
            assert model.ranks[place] == expected[model.name]
            assert model.low <= model.mean + 1 and model.high >= model.mean - 1
    assert found.meaning.startswith("bars: 95 % bootstrap over users")


def test_values_of_users_are_those_of_the_tested_models(finished: Path) -> None:
    found = tasks.evaluations_of(finished / "trials/rows-0")
    document = jobs(finished, "rows")[0]
    assert set(found) == {"searched", *document["baselines"]}
    for name, one in found.items():
        test = document["test"] if name == "searched" else document["baselines"][name]
        assert one.per_user["recall@5"].mean() == pytest.approx(test["recall@5"], rel=1e-12)


def test_a_finished_panel_is_told_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "report.md").read_text()
    assert cli.main(["panel", "--report", str(finished)]) == 0
    told = capsys.readouterr().out
    assert (finished / "report.md").read_text() == before
    assert told.splitlines()[0].split()[:3] == ["data", "metric", "seeds"]
    assert "rows: ranking-per-user," in told
    assert "average ranks: " in told
    panel = Panel.open(finished)
    assert repr(panel) == f"Panel('{finished}': rows, cut; 2 seeds)"


@pytest.fixture
def begun(finished: Path, tmp_path: Path) -> Path:
    """The finished panel, but that of the first data set one seed has failed, one not begun."""
    folder = tmp_path / "two"
    shutil.copytree(finished, folder)
    for seed in (0, 1):
        shutil.rmtree(folder / f"trials/rows-{seed}")
    (folder / "trials/rows-1.json").unlink()
    state = {"status": "failed", "reason": "ended by signal 9 (SIGKILL)"}
    (folder / "trials/rows-0.json").write_text(json.dumps(state))
    return folder


def test_what_is_missing_runs_and_the_rest_does_not(
    begun: Path, finished: Path, data: Path, run_here: RunAll, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    report = Panel.open(begun).report()
    assert report.missing == ["failed: rows: ended by signal 9 (SIGKILL)"]
    assert report.table["status"].tolist() == ["failed", "finished"]
    assert report.failed == ["rows-0"]
    ran: list[str] = []

    def one_then_interrupted(works: list[Work[PanelTrial]], *given: Any) -> None:
        run_here(works[:1], *given)
        ran.append(works[0].trial.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    monkeypatch.setattr("sif.bench.executor.run_all", one_then_interrupted)
    assert cli.main(command(data / "list.yaml", begun)) == 130
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "2 data set(s) x 2 seeds; finished before: cut-0, cut-1"
    assert told[-1] == f"interrupted: go on with: sif panel --output-dir {begun}"

    def rest(works: list[Work[PanelTrial]], *given: Any) -> None:
        ran.extend(one.trial.name for one in works)
        run_here(works, *given)

    monkeypatch.setattr("sif.bench.executor.run_all", rest)
    assert cli.main(["panel", "--output-dir", str(begun), "--no-tracking"]) == 0
    assert ran == ["rows-0", "rows-1"]
    for name in ("panel", "trials"):
        ours, theirs = (pd.read_csv(folder / f"{name}.csv") for folder in (begun, finished))
        drop = [column for column in TIMES if column in ours]
        pd.testing.assert_frame_equal(ours.drop(columns=drop), theirs.drop(columns=drop))


def test_a_panel_only_grows_and_keeps_its_settings(finished: Path, data: Path) -> None:
    listed = [data / "list.yaml"]
    plan = Panel.of([*listed, "planted"], finished, seeds=[5]).plan
    assert [entry.name for entry in plan.entries] == ["rows", "cut", "planted"]
    assert plan.seeds == (0, 1, 5)
    assert Panel.of(folder=finished, seeds=3).plan.seeds == (0, 1, 2)
    assert Panel.of(folder=finished, settings={"tracking": {"enabled": True}}).tracking.enabled
    for asked, told in (
        ({"data": listed, "sets": ["train.epochs=9"]}, r"\(rows: train.epochs: 9 or 5\); give ano"),
        ({"sets": ["train.epochs=9"]}, "goes on with the settings that it began with, found train"),
        ({"settings": {"budget": "9s"}}, "began with, found budget"),
        ({"file": "cf/quick"}, "began with, found cf/quick"),
    ):
        with pytest.raises(ConfigError, match=told):
            Panel.of(folder=finished, **asked)  # type: ignore[arg-type]


def test_a_data_set_that_fails_is_a_line_and_the_others_go_on(
    data: Path, tmp_path: Path, run_here: RunAll, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sif.bench.executor.run_all", run_here)
    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    listed = write_list(tmp_path, *({**one, "data": str(data / one["data"])} for one in
                                    (BAD, ENTRIES[1])))  # fmt: skip
    folder = tmp_path / "panel"
    assert cli.main(command(listed, folder)) == 1
    printed = capsys.readouterr()
    told = printed.err.splitlines()
    assert told[-1] == (
        f"error: 1 of 2 jobs failed: bad-0; try them again with: sif panel --output-dir {folder}"
    )
    row = pd.read_csv(folder / "panel.csv").set_index("data").loc["bad"]
    assert row["status"] == "failed"
    line = len((data / "bad.csv").read_text().splitlines())
    assert f"bad.csv line {line}: item" in row["message"]
    assert f"failed: bad: {row['message']}" in printed.out
    assert f"| failed: {row['message']} |" in (folder / "report.md").read_text()
    assert pd.read_csv(folder / "panel.csv").set_index("data").loc["cut", "status"] == "finished"
    assert (folder / "plots/ranks.png").is_file()


def test_nothing_but_failures_is_told_too(
    data: Path, tmp_path: Path, run_here: RunAll, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sif.bench.executor.run_all", run_here)
    assert cli.main(command(data / "bad.csv", tmp_path / "panel")) == 1
    out = capsys.readouterr().out
    assert "failed: bad: " in out
    assert "average ranks" not in out


def test_jobs_side_by_side_share_the_cores(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def run(works: list[Work[PanelTrial]], workers: int, *given: Any) -> None:
        seen.append((workers, given[-1], [one.command for one in works]))
        raise KeyboardInterrupt

    monkeypatch.setattr("sif.bench.executor.run_all", run)
    monkeypatch.setattr("sif.bench.executor.usable_cores", lambda: 6)
    for count, threads in ((1, None), (3, 2), (9, 1)):
        panel = Panel.of(
            [data / "rows.csv"], tmp_path / str(count), sets=["tracking.enabled=false"]
        )
        with pytest.raises(KeyboardInterrupt):
            panel.run(count, quiet=True)
        workers, given, (words,) = seen[-1]
        assert (workers, given) == (count, threads)
        assert (f"threads={threads}" in words) == (threads is not None)
        assert words[words.index("--seed") + 1] == "0"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"version": 2}, "written in format version 2, this sif reads 1"),
        ({"seeds": ["x"]}, "expected the settings of a panel"),
        ({"data": [{"name": "rows"}]}, "expected the settings of a panel"),
        ({"data": 3}, "expected the settings of a panel"),
    ],
)
def test_a_damaged_panel_is_one_line(
    finished: Path, tmp_path: Path, changed: dict[str, Any], expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(finished / "jobs", tmp_path / "jobs")
    saved = yaml.safe_load((finished / "panel.yaml").read_text())
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump(saved | changed))
    assert cli.main(["panel", "--report", str(tmp_path)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert expected in told


def alive(folder: Path) -> list[int]:
    """Processes that have the folder in their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_an_interruption_leaves_no_orphan_and_the_same_command_ends_as_if_nothing_had_been(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    """Slow: processes of their own, which import torch, and a job that ends in the middle."""
    folder = tmp_path / "two"
    shutil.copytree(finished, folder)
    name = "rows-1"
    shutil.rmtree(folder / "trials" / name)
    (folder / f"trials/{name}.json").unlink()
    words = [sys.executable, "-m", "sif", *command(data / "list.yaml", folder, "--seeds", "2")]
    begun = subprocess.Popen(words, env=os.environ, stderr=subprocess.PIPE, text=True)
    checkpoint, end = folder / "trials" / name / "checkpoint", time.monotonic() + 600
    while not any(checkpoint.glob("search*")) and time.monotonic() < end:
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    _, told = begun.communicate(timeout=600)
    assert begun.returncode == 130, told
    assert told.splitlines()[-1] == f"interrupted: go on with: sif panel --output-dir {folder}"
    assert alive(folder) == []
    panel = Panel.open(folder)
    trial = PanelTrial(panel.plan.entries[0], 1)
    assert PanelFolder(folder).state(trial).status == "pending"

    done = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = (pd.read_csv(place / "trials.csv") for place in (folder, finished))
    drop = ["seconds", "peak_memory_mb"]
    pd.testing.assert_frame_equal(ours.drop(columns=drop), theirs.drop(columns=drop))
    state = json.loads((folder / f"trials/{name}.json").read_text())
    assert state["peak_memory_mb"] > 50


@pytest.mark.slow
def test_mlflow_has_a_run_of_the_panel_with_those_of_its_jobs_in_it(
    finished: Path, tmp_path: Path
) -> None:
    """Slow: making a store takes MLflow several seconds."""
    mlflow = pytest.importorskip("mlflow")
    folder, uri = tmp_path / "cup", f"sqlite:///{tmp_path}/store.db"
    shutil.copytree(finished, folder)
    asked = {"tracking.enabled": True, "tracking.uri": uri}
    found = Panel.of(folder=folder, settings=asked).run(quiet=True)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("cup")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "summary of cup"
    assert run.data.params["data"] == "rows, cut"
    key = "rows.served.recall_at_5"
    assert run.data.metrics[key] == found.lines[0].served_value.mean
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"report.md", "panel.csv", "trials.csv", "panel.yaml", "plots"}
