from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sif.config.sections import TrackingConfig
from sif.errors import TrackingError
from sif.tracking import JsonlTracker, MlflowTracker, NullTracker, Tee, metric_name, mlflow_store
from sif.tracking.open import check_installed, open_tracker


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# JSON lines


def test_jsonl_has_one_strict_object_per_step_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    search = tracker.child("search")
    search.log({"loss": 0.5, "ndcg@10": 1}, step=0)
    assert lines(path) == [{"stage": "search", "step": 0, "loss": 0.5, "ndcg@10": 1.0}]
    search.log({"loss": math.nan, "lr": math.inf}, step=1)
    assert lines(path)[1] == {"stage": "search", "step": 1, "loss": None, "lr": None}
    search.close()
    tracker.log({"rmse": 1.0}, step=2)
    assert lines(path)[2] == {"stage": "run", "step": 2, "rmse": 1.0}
    tracker.close()


def test_a_resumed_file_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log({"loss": 1.0}, step=0)
    state = json.loads(json.dumps(tracker.state()))
    tracker.log({"loss": 2.0}, step=1)
    path.write_bytes(path.read_bytes() + b'{"stage": "ru')  # killed while writing
    again = JsonlTracker(path, state)
    again.log({"loss": 3.0}, step=1)
    assert [line["loss"] for line in lines(path)] == [1.0, 3.0]
    path.write_text("")
    with pytest.raises(TrackingError, match=r"expected at least \d+ bytes to resume, found 0"):
        JsonlTracker(path, state)
    JsonlTracker(path, {}).log({"loss": 4.0}, step=0)
    assert [line["loss"] for line in lines(path)] == [4.0]


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="cannot be opened: No such file"):
        JsonlTracker(tmp_path / "absent" / "metrics.jsonl")


def test_a_tee_passes_everything_on_and_merges_states(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    tee = Tee([NullTracker(), *map(JsonlTracker, paths)])
    tee.child("x").log({"m": 1.0}, step=0)
    tee.log_params({"a": 1})
    tee.set_tags({"a": "b"})
    tee.log_artifact(tmp_path)
    assert tee.state()["jsonl_offset"] == paths[0].stat().st_size
    tee.close()
    assert lines(paths[0]) == lines(paths[1]) == [{"stage": "x", "step": 0, "m": 1.0}]


def test_trackers_without_a_store_make_no_model(tmp_path: Path) -> None:
    def write(_: Path) -> None:
        raise AssertionError("nothing takes it")

    tee = Tee([NullTracker(), JsonlTracker(tmp_path / "a")])
    tee.log_model(write, "model", "shop")
    tee.close()


# MLflow


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests of this module: making its tables takes a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/store.db"


@pytest.fixture
def client(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.chdir(tmp_path)  # artifacts of an SQLite store go to ./mlruns
    yield mlflow.MlflowClient(tracking_uri=uri)


def steps(client: Any, run_id: str | None, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_a_job_is_a_run_with_a_nested_run_per_stage(
    client: Any, uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "plots"
    figures.mkdir()
    (figures / "a.png").write_bytes(b"png")
    (tmp_path / "genotype.json").write_text("{}")
    tracker = MlflowTracker("jobs", "cf planted", uri)
    tracker.log_params({"seed": 3, "train": {"lr": 0.1, "l2": (1.0, 2.0)}, "file": None})
    tracker.set_tags({"split_hash": "abc", "genotype": "multiply(u, v)"})
    search = tracker.child("search")
    assert tracker.child("search") is search
    for epoch in range(3):
        search.log({"ndcg@10": epoch / 10, "alpha/plus": math.nan}, step=epoch)
    tracker.child("baseline-ease").log({"recall@10": 0.2}, step=0)
    tracker.log_artifact(tmp_path / "genotype.json")
    tracker.log_artifact(figures, "plots")
    tracker.close()

    (experiment,) = client.search_experiments(filter_string="name = 'jobs'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"cf planted", "search", "baseline-ease"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs["cf planted"]
    assert parent.data.params == {
        "seed": "3",
        "train.lr": "0.1",
        "train.l2": "(1.0, 2.0)",
        "file": "None",
    }
    assert parent.data.tags["split_hash"] == "abc"
    assert parent.data.tags["genotype"] == "multiply(u, v)"
    for name in ("search", "baseline-ease"):
        assert runs[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert steps(client, search.run_id, "ndcg_at_10") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert math.isnan(steps(client, search.run_id, "alpha/plus")[0][1])
    files = {a.path for a in client.list_artifacts(parent.info.run_id)}
    assert files == {"genotype.json", "plots"}
    assert [a.path for a in client.list_artifacts(parent.info.run_id, "plots")] == ["plots/a.png"]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_thousands_of_points_and_hundreds_of_params_arrive_quickly(client: Any, uri: str) -> None:
    tracker = MlflowTracker("many", "many", uri)
    start = time.process_time()  # of the wall it also depends on what else runs
    tracker.log_params({f"p{i}": i for i in range(250)})
    for step in range(600):
        tracker.log({"a": step, "b": -step, "c": 0.0, "d": 1.0}, step=step)
    tracker.close()
    assert time.process_time() - start < 5
    assert steps(client, tracker.run_id, "b") == [(i, -i) for i in range(600)]
    assert len(client.get_run(tracker.run_id).data.params) == 250


def test_a_resumed_job_goes_on_in_the_same_runs_without_repeated_steps(
    client: Any, uri: str
) -> None:
    killed = MlflowTracker("resumed", "job", uri)
    killed.log_params({"device": "cpu"})
    killed.child("search").log({"loss": 1.0}, step=0)
    state = json.loads(json.dumps(killed.state()))
    killed.child("search").log({"loss": 2.0}, step=1)
    killed.child("search").flush()  # this step is in the store but not in the checkpoint

    again = MlflowTracker("resumed", "job", uri, state)
    again.log_params({"device": "cuda", "more": 1})
    assert again.run_id == killed.run_id
    search = again.child("search")
    assert search.run_id == killed.child("search").run_id
    search.log({"loss": 2.0}, step=1)
    search.log({"loss": 3.0}, step=2)
    again.child("retrain").log({"loss": 9.0}, step=0)
    again.close()
    assert steps(client, search.run_id, "loss") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    run = client.get_run(again.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"device": "cpu", "more": "1"}
    assert len(client.search_runs([run.info.experiment_id])) == 3


def test_stages_that_ended_keep_their_status(client: Any, uri: str) -> None:
    tracker = MlflowTracker("statuses", "job", uri)
    done, cut = tracker.child("done"), tracker.child("cut")
    done.close()
    tracker.close("KILLED")
    for one, status in ((tracker, "KILLED"), (done, "FINISHED"), (cut, "KILLED")):
        assert client.get_run(one.run_id).info.status == status


def test_a_model_is_kept_and_registered_if_asked(
    client: Any, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(folder: Path) -> None:
        (folder / "MLmodel").write_text("flavors: {}")

    for name in (None, "shop", "shop"):
        tracker = MlflowTracker("models", "job", uri)
        tracker.log_model(write, "model", name)
        tracker.close()
        assert [f.path for f in client.list_artifacts(tracker.run_id, "model")] == ["model/MLmodel"]
    versions = client.search_model_versions("name = 'shop'")
    assert sorted(int(found.version) for found in versions) == [1, 2]
    assert max(versions, key=lambda v: int(v.version)).run_id == tracker.run_id
    assert capfd.readouterr().err == ""


def test_a_model_that_cannot_be_made_costs_one_warning(
    client: Any, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(_: Path) -> None:
        raise OSError("no space left")

    tracker = MlflowTracker("models", "job", uri)
    tracker.log_model(write, "model", "never")
    tracker.close()
    assert "no space left" in only_warning(capfd)
    assert client.search_model_versions("name = 'never'") == []


def use_everything(tracker: MlflowTracker, folder: Path) -> None:
    tracker.log_params({"a": 1})
    tracker.set_tags({"a": "b"})
    child = tracker.child("search")
    child.log({"loss": 1.0}, step=0)
    tracker.log_artifact(folder)
    assert tracker.state() == ({} if tracker.run_id is None else {"mlflow_run_id": tracker.run_id})
    tracker.close()


def only_warning(capfd: pytest.CaptureFixture[str]) -> str:
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("warning: MLflow store ")
    return line


def test_a_server_that_is_down_costs_one_warning_and_no_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    use_everything(MlflowTracker("e", "r", f"http://me:secret@127.0.0.1:{port}"), tmp_path)
    assert time.monotonic() - start < 15  # by itself MLflow tries for minutes
    warning = only_warning(capfd)
    assert f"http://127.0.0.1:{port} " in warning
    assert "Connection refused" in warning
    assert "secret" not in warning


def test_a_server_that_never_answers_costs_seconds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mlflow_store._FIRST_REQUEST, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        use_everything(
            MlflowTracker("e", "r", f"http://127.0.0.1:{silent.getsockname()[1]}"), tmp_path
        )
        assert time.monotonic() - start < 5  # one request in vain; there would be seven
    assert "timed out" in only_warning(capfd)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"


def test_a_store_that_dies_midway_costs_one_warning(
    client: Any, uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tracker = MlflowTracker("dies", "job", uri)
    search = tracker.child("search")

    def broken(*_: object, **__: object) -> None:
        raise OSError("database is gone\nsecond line")

    monkeypatch.setattr(type(client), "log_batch", broken)
    use_everything(tracker, tmp_path)
    search.log({"loss": 1.0}, step=5)
    assert "database is gone" in only_warning(capfd)


@pytest.mark.parametrize("bad", ["sqlite:////proc/none/x.db", "nonsense://x"])
def test_a_uri_that_cannot_work_costs_one_warning(
    bad: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_everything(MlflowTracker("e", "r", bad), tmp_path)
    assert "MLflow" in only_warning(capfd)


JOB = """
from pathlib import Path
from sif.config import TrackingConfig
from sif.tracking import open_tracker
tracker = open_tracker(Path("."), TrackingConfig(), "default")
tracker.child("search").log({"ndcg@10": 0.25}, step=0)
tracker.close()
"""


def job(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, check=True,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@pytest.mark.slow
def test_the_default_store_is_the_one_that_mlflow_ui_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: a new process imports MLflow and makes a store."""
    import mlflow
    from mlflow.tracking._tracking_service.utils import _get_default_tracking_uri

    done = job(JOB, tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "mlflow.db"}
    monkeypatch.chdir(tmp_path)
    # `mlflow ui` falls back to this very function when it is started bare.
    client = mlflow.MlflowClient(tracking_uri=_get_default_tracking_uri())
    experiment = client.get_experiment_by_name("sif")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["search"].data.metrics == {"ndcg_at_10": 0.25}
    assert lines(tmp_path / "metrics.jsonl") == [{"stage": "search", "step": 0, "ndcg@10": 0.25}]


def test_metric_names() -> None:
    assert metric_name("ndcg@10") == "ndcg_at_10"
    assert metric_name("alpha/P(u)*x") == "alpha/P_u__x"


WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from pathlib import Path
from sif.config import TrackingConfig
from sif.errors import TrackingError
from sif.tracking import open_tracker
tracker = open_tracker(Path("."), TrackingConfig(enabled=False), "x")
tracker.child("search").log({"loss": 1.0}, step=0)
tracker.close()
try:
    open_tracker(Path("."), TrackingConfig(), "x")
except TrackingError as error:
    print(error)
"""


def test_without_mlflow_only_tracking_is_lost(tmp_path: Path) -> None:
    done = job(WITHOUT_MLFLOW, tmp_path)
    assert "mlflow is not installed" in done.stdout
    assert "tracking.enabled=false" in done.stdout


@pytest.mark.parametrize(
    "uri", ["sqlite:////dev/null/x/store.db", "http://127.0.0.1:9", "sqlite:///letter.db"]
)
def test_a_store_that_cannot_be_used_is_told_at_once(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("letter.db").write_text("This is a letter, not a database. " * 20)
    start = time.perf_counter()
    tracker = open_tracker(tmp_path, TrackingConfig(uri=uri), "run")
    assert time.perf_counter() - start < 5  # and not the minutes of MLflow's own attempts
    tracker.log({"loss": 1.0}, 0)
    tracker.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: MLflow store {uri} failed")
    with pytest.raises(TrackingError, match="expected an MLflow store that can be used"):
        check_installed(TrackingConfig(uri=uri, required=True))


@pytest.mark.slow
def test_several_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    """Slow: three processes that each import MLflow."""
    code = (
        "from sif.tracking.mlflow_store import MlflowTracker as T; "
        f"t = T('sif', 'r', 'sqlite:///{tmp_path}/new.db'); t.close(); print(t.run_id is not None)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["True\n"] * 3
