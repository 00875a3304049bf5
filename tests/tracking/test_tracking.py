from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sif.config.sections import TrackingConfig
from sif.errors import TrackingError
from sif.tracking import (
    COMMON,
    Introduction,
    JsonlTracker,
    MlflowTracker,
    NullTracker,
    Tee,
    TrackedData,
    TrackedModel,
    metric_name,
    mlflow_store,
)
from sif.tracking.open import check_installed, open_tracker

OF_A_JOB = Introduction(
    TrackedData("shop", "c0ffee", "local", "/data/shop.csv", {"num_rows": 7, "users": 3}),
    {"dataset": "shop", "protocol": "ranking-per-user", "seed": 0},
    {"searched": {"space": "staged", "method": "nasp"}, "ease": {"method": "baseline"}},
    commit="abc123",
)


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
    def write(_: Path, logged: Any) -> None:
        raise AssertionError("nothing takes it")

    tee = Tee([NullTracker(), JsonlTracker(tmp_path / "a")])
    tee.introduce(OF_A_JOB)
    tee.describe("text")
    tee.log_model(TrackedModel("ease", write, registered="shop"))
    tee.child("search").log_curve("search", [{"epoch": 1, "loss": 1.0}])
    tee.close()
    assert lines(tmp_path / "a") == []


def test_stages_of_one_run_are_told_apart_in_the_file(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    for stage in ("search", "test-searched"):
        tracker.child(stage, "searched").log({"m": 1.0}, 0)
    assert [line["stage"] for line in lines(tmp_path / "metrics.jsonl")] == [
        "search", "test-searched",
    ]  # fmt: skip


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
        assert runs[name].info.user_id == parent.info.user_id
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


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    """Whole runs of an experiment by name."""
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: client.get_run(run.info.run_id) for run in runs}


def test_an_experiment_is_one_of_model_training(client: Any, uri: str) -> None:
    mlflow_kind = "mlflow.experimentKind"
    for name, before, kind in (
        ("new kind", None, "custom_model_development"),
        ("no kind", {}, "custom_model_development"),
        ("own kind", {mlflow_kind: "genai_development"}, "genai_development"),
    ):
        if before is not None:
            client.create_experiment(name, tags=before)
        MlflowTracker(name, "job", uri).close()
        assert client.get_experiment_by_name(name).tags[mlflow_kind] == kind


def test_every_run_of_a_job_says_whose_it_is(client: Any, uri: str) -> None:
    tracker = MlflowTracker("introduced", "shop · nasp · seed 0", uri)
    tracker.introduce(OF_A_JOB)
    tracker.child("search", "searched", "search").log_params({"l2": 2.0})
    tracker.child("retrain-searched-0", "searched", "training", "l2 1").log({"loss": 1.0}, 1)
    tracker.child("baseline-ease", "ease").log_params({"l2": 500.0, "dimension": 64})
    tracker.log_params({"entrant": "searched", "method": "nasp"})
    tracker.close()
    runs = runs_of(client, "introduced")
    ids = {name: run.info.run_id for name, run in runs.items()}
    parents = {
        name: next((n for n, i in ids.items() if i == run.data.tags.get("mlflow.parentRunId")), "")
        for name, run in runs.items()
    }
    assert parents == {
        "shop · nasp · seed 0": "", "searched": "shop · nasp · seed 0",
        "ease": "shop · nasp · seed 0", "search · searched": "searched",
        "training · searched": "searched", "l2 1 · searched": "training · searched",
    }  # fmt: skip
    for run in runs.values():
        assert set(COMMON) <= set(run.data.params)
        assert run.data.params["dataset"] == "shop" and run.data.params["seed"] == "0"
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("shop", "c0ffee")
        assert json.loads(given.dataset.source) == {"uri": "/data/shop.csv"}
        assert json.loads(given.dataset.profile) == {"num_rows": 7, "users": 3}
        assert run.info.user_id not in ("", "unknown", None)
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        assert run.data.tags["mlflow.source.name"]
        assert run.data.tags["mlflow.source.git.commit"]
    params = {name: run.data.params for name, run in runs.items()}
    assert [params["search · searched"][key] for key in ("entrant", "space", "l2")] == [
        "searched", "staged", "2.0",
    ]  # fmt: skip
    assert [params["ease"][key] for key in ("method", "space", "dimension")] == [
        "baseline", "none", "64",
    ]  # fmt: skip


def test_a_run_lasts_from_its_first_work_to_its_last(client: Any, uri: str) -> None:
    tracker = MlflowTracker("times", "job", uri)
    tracker.introduce(OF_A_JOB)
    time.sleep(0.05)
    trial = tracker.child("retrain-searched-0", "searched", "training", "l2 1")
    trial.log({"loss": 1.0}, 1)
    time.sleep(0.05)
    trial.close()  # at the cut; nobody closes the training itself
    time.sleep(0.05)
    ease = tracker.child("baseline-ease", "ease")
    time.sleep(0.05)
    ease.log({"test.ndcg@10": 1.0}, 0)
    ease.close()
    assert client.get_run(trial.run_id).info.status == "FINISHED"
    again = tracker.child("retrain-searched-0", "searched", "training", "l2 1")
    assert again is trial
    again.log({"loss": 0.5}, 2)
    assert client.get_run(trial.run_id).info.status == "RUNNING"
    time.sleep(0.05)
    again.close()
    ended = int(time.time() * 1000)
    time.sleep(0.05)
    tracker.close()
    at = {name: run.info for name, run in runs_of(client, "times").items()}
    order = (
        at["job"].start_time + 50, at["l2 1 · searched"].start_time + 100, at["ease"].start_time,
        at["ease"].end_time - 50, at["l2 1 · searched"].end_time - 50,
    )  # fmt: skip
    assert list(order) == sorted(order)
    for name in ("searched", "training · searched"):  # they only hold the other
        assert at["job"].start_time < at[name].start_time <= at["l2 1 · searched"].start_time
        assert at[name].end_time == at["l2 1 · searched"].end_time <= ended < at["job"].end_time


def test_runs_that_ended_are_not_opened_by_a_job_that_is_resumed(client: Any, uri: str) -> None:
    killed = MlflowTracker("resumed times", "job", uri)
    killed.introduce(OF_A_JOB)
    killed.child("test-searched", "searched").log({"test.ndcg@10": 1.0}, 0)
    killed.child("test-searched", "searched").close()
    before = client.get_run(killed.child("", "searched").run_id).info
    time.sleep(0.02)
    again = MlflowTracker("resumed times", "job", uri, killed.state())
    again.introduce(OF_A_JOB)
    assert again.child("train-searched", "searched").run_id == before.run_id
    again.child("train-searched", "searched").close()
    again.close()
    after = client.get_run(before.run_id)
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.end_time)
    assert len(after.inputs.dataset_inputs) == 1


def test_a_job_that_breaks_off_leaves_its_parameters_open(client: Any, uri: str) -> None:
    tracker = MlflowTracker("open", "job", uri)
    tracker.introduce(OF_A_JOB)
    tracker.close("KILLED")
    again = MlflowTracker("open", "job", uri, tracker.state())
    again.introduce(OF_A_JOB)
    again.log_params({"l2": 3.0})
    again.close()
    assert client.get_run(again.run_id).data.params["l2"] == "3.0"


def test_a_curve_stands_beside_the_result(client: Any, uri: str) -> None:
    tracker = MlflowTracker("curves", "job", uri)
    history = [{"epoch": n, "loss": 1 / n, "valid.ndcg@10": n / 10} for n in (5, 10)]
    tracker.child("test-searched", "searched").log_curve("training", history)
    tracker.close()
    run_id = tracker.child("", "searched").run_id
    assert steps(client, run_id, "training/valid.ndcg_at_10") == [(5, 0.5), (10, 1.0)]
    assert "training/epoch" not in client.get_run(run_id).data.metrics


def test_a_server_shows_a_run_as_model_training(
    client: Any, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MlflowTracker("pages", "job", uri)
    assert tracker.page is None  # nobody knows at which port somebody will look
    experiment = client.get_experiment_by_name("pages").experiment_id
    monkeypatch.setattr(tracker._store, "uri", "https://me:secret@host:5000/ml/")
    shown = f"https://host:5000/ml/#/experiments/{experiment}/runs/{tracker.run_id}"
    assert Tee([NullTracker(), tracker]).page == f"{shown}?workflowType=machine_learning"
    monkeypatch.setattr(tracker._store, "usable", False)
    assert Tee([NullTracker(), tracker]).page is None


def test_a_description_is_cut_to_what_a_store_takes(client: Any, uri: str) -> None:
    tracker = MlflowTracker("notes", "job", uri)
    tracker.describe("short")
    tracker.child("search").describe("x" * 20_000)
    tracker.close()
    runs = runs_of(client, "notes")
    assert runs["job"].data.tags["mlflow.note.content"] == "short"
    assert 7_000 < len(runs["search"].data.tags["mlflow.note.content"]) <= 8_000


def test_a_model_is_logged_linked_and_registered_if_asked(
    client: Any, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(folder: Path, logged: Any) -> None:
        (folder / "MLmodel").write_text(f"flavors: {{}}\nmodel_id: {logged.model_id}")

    for name in (None, "shop", "shop"):
        tracker = MlflowTracker("models", "job", uri)
        tracker.introduce(OF_A_JOB)
        tracker.child("baseline-ease", "ease").log({"test.ndcg@10": 0.25}, 0)
        tracker.log({"test.ndcg@10": 0.125}, 0)
        tracker.log_model(
            TrackedModel(
                "ease",
                write,
                params={"l2": 500.0},
                metrics={"test.ndcg@10": 0.25},
                tags={"a": "b"},
                registered=name,
            )
        )
        tracker.close()
        run = client.get_run(tracker.run_id)
        (output,) = run.outputs.model_outputs
        assert not client.get_run(tracker.child("", "ease").run_id).outputs.model_outputs
        model = client.get_logged_model(output.model_id)
        assert (model.name, model.status.value, model.tags["a"]) == ("model", "READY", "b")
        assert model.source_run_id == tracker.run_id
        assert model.params["l2"] == "500.0" and model.params["dataset"] == "shop"
        (metric,) = model.metrics
        assert (metric.key, metric.value) == ("test.ndcg_at_10", 0.25)
        assert (metric.dataset_name, metric.dataset_digest) == ("shop", "c0ffee")
        assert run.data.metrics["test.ndcg_at_10"] == 0.125  # of the searched model
        file = Path(model.artifact_location.removeprefix("file://")) / "MLmodel"
        assert f"model_id: {output.model_id}" in file.read_text()
    versions = client.search_model_versions("name = 'shop'")
    assert sorted(int(found.version) for found in versions) == [1, 2]
    newest = client.get_model_version("shop", "2")
    assert (newest.run_id, newest.source) == (tracker.run_id, model.artifact_location)
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "shop", "version": "2"}]
    assert capfd.readouterr().err == ""
    again = MlflowTracker("models", "job", uri, tracker.state())  # has its model
    again.log_model(TrackedModel("ease", write))
    again.close()
    assert len(client.get_run(again.run_id).outputs.model_outputs) == 1


def test_a_model_that_stays_apart_is_named_alone(client: Any, uri: str) -> None:
    tracker = MlflowTracker("apart", "job", uri)
    tracker.log_model(TrackedModel("", tags={"folder": "/runs/a/model"}))
    tracker.close()
    (output,) = client.get_run(tracker.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert model.tags["folder"] == "/runs/a/model"
    assert model.tags["mlflow.model.isExternal"] == "true"


def test_models_of_other_entrants_are_named_in_their_runs(client: Any, uri: str) -> None:
    tracker = MlflowTracker("named models", "job", uri)
    tracker.introduce(OF_A_JOB)
    result = {"test.ndcg@10": 0.25, "valid.ndcg@10": 0.5}
    ease = tracker.child("baseline-ease", "ease")
    ease.log(result, 0)
    ease.close()
    before = client.get_run(ease.run_id).info
    time.sleep(0.02)
    model = TrackedModel(
        "ease", name="ease 1.5/b", served=False, params={"l2": 2.0}, metrics=result
    )
    tracker.log_model(model)
    tracker.log_model(replace(model, entrant="nobody"))  # has no run
    state = json.loads(json.dumps(tracker.state()))
    again = MlflowTracker("named models", "job", uri, state)
    again.introduce(OF_A_JOB)
    again.log_model(model)  # is there
    again.close()
    after = client.get_run(ease.run_id)
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.end_time)
    assert not client.get_run(tracker.run_id).outputs.model_outputs
    (output,) = after.outputs.model_outputs
    named = client.get_logged_model(output.model_id)
    assert (named.name, named.status.value) == ("ease 1_5_b", "READY")
    assert named.source_run_id == ease.run_id and named.tags["mlflow.model.isExternal"] == "true"
    assert named.params["l2"] == "2.0" and named.params["dataset"] == "shop"
    assert {metric.key: metric.value for metric in named.metrics} == {
        "test.ndcg_at_10": 0.25, "valid.ndcg_at_10": 0.5,
    }  # fmt: skip
    for key in ("test.ndcg_at_10", "valid.ndcg_at_10"):  # no second point of the same result
        assert len(client.get_metric_history(ease.run_id, key)) == 1


def test_a_model_that_cannot_be_made_costs_one_warning(
    client: Any, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(_: Path, logged: Any) -> None:
        raise OSError("no space left")

    tracker = MlflowTracker("failed models", "job", uri)
    tracker.log_model(TrackedModel("", write, registered="never"))
    tracker.close()
    assert "no space left" in only_warning(capfd)
    assert client.search_model_versions("name = 'never'") == []
    experiment = client.get_experiment_by_name("failed models").experiment_id
    (model,) = client.search_logged_models([experiment])
    assert model.status.value == "FAILED"


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


def test_an_experiment_that_another_job_makes_first_is_used(
    client: Any, uri: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    made = client.create_experiment("at the same time")
    found = mlflow.MlflowClient.get_experiment_by_name
    asked: list[str] = []

    def too_early(self: Any, name: str) -> Any:
        asked.append(name)
        return found(self, name) if len(asked) > 1 else None

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", too_early)
    tracker = MlflowTracker("at the same time", "r", uri)
    tracker.close()
    assert client.get_run(tracker.run_id).info.experiment_id == made
    assert asked == ["at the same time"] * 2
    assert not capfd.readouterr().err


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
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "90"


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
