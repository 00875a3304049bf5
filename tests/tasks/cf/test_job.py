"""Whole jobs through the command line: what they leave, and that it can be relied on."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from sif.config import load_config
from sif.core.genotype import read
from sif.problems.batch_source import MIN_STEPS_PER_PASS
from sif.recommender.recommender import Recommender
from sif.spaces.interaction.registry import expression
from sif.tracking import COMMON
from tests.tasks.cf.conftest import (
    AGAIN,
    FIGURES,
    L2,
    OURS,
    RANKING,
    RATING,
    Command,
    logged,
    metrics,
    same_bits,
    stage,
    without_times,
)


def test_a_job_leaves_every_file_and_nothing_else(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "genotype.json", "metrics.json", "metrics.jsonl", "checkpoint", "model",
        "plots", "environment.json", "log.txt", "report.html", "report.json",
    }  # fmt: skip
    assert {p.name for p in finished.parent.iterdir()} == {"orders.csv", "run"}
    hidden = [p for p in finished.rglob("*") if p.name.startswith(".") or "partial" in p.name]
    assert hidden == []


def test_metrics_json_has_the_promised_keys(finished: Path) -> None:
    found = metrics(finished)
    assert {
        "task", "dataset", "method", "seed", "protocol", "genotype", "valid", "test", "baselines",
        "verdict", "search", "train", "total_seconds",
    } <= set(found)  # fmt: skip
    assert (found["task"], found["dataset"], found["method"]) == ("cf", "orders", "nasp")
    assert set(found["valid"]) == set(found["test"]) == RANKING
    assert set(found["baselines"]) == {"fixed-multiply", "random-function", "popularity", "ease"}
    for entry in found["baselines"].values():
        assert set(entry) >= RANKING
        assert set(entry["valid"]) == RANKING
    for part in ("valid", "test"):
        shares = [v for name, v in found[part].items() if not name.startswith(("novelty", "arp"))]
        assert all(0 <= value <= 1 for value in shares)
    assert {"seconds", "epochs", "steps", "peak_memory_mb"} <= set(found["search"])
    assert {"seconds", "epochs"} <= set(found["train"])
    assert found["search"]["epochs"] == 6
    assert found["total_seconds"] > found["search"]["seconds"] + found["train"]["seconds"] > 0
    assert found["comparison"]["against"] in found["baselines"]
    assert found["comparison"]["against"] in found["verdict"]


def test_metrics_json_says_what_the_search_trained(finished: Path) -> None:
    found = metrics(finished)["search"]
    assert math.isfinite(found["valid_loss"])
    names = {
        "encoding": ["id", "history", "both"],
        "operation": [
            "multiply", "plus", "min", "max", "concat",
            "multiply+plus", "multiply+min", "multiply+max", "min+max",
        ],
        "weighting": ["even", "users", "items", "both"],
    }  # fmt: skip
    assert {block: list(counts) for block, counts in found["trained"].items()} == names
    # Each weight step trains exactly one operation, and one encoding of each field.
    counts = {block: sum(counts.values()) for block, counts in found["trained"].items()}
    steps = 6 * MIN_STEPS_PER_PASS  # six epochs of a part that would fit into one batch
    assert counts == {"encoding": 2 * steps, "operation": steps, "weighting": steps}
    assert found["steps"] == steps


def test_the_protocol_counts_every_interaction(finished: Path, table: pd.DataFrame) -> None:
    protocol = metrics(finished)["protocol"]
    assert protocol["name"] == "ranking-per-user"
    assert sum(protocol["counts"].values()) == len(table)
    assert protocol["sizes"] == {"user": 40, "item": table["item_id"].nunique()}
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["split_hash"] == protocol["split_hash"]
    assert {"versions", "device", "seed", "git_commit", "data_hash"} <= set(environment)


def test_genotype_and_expression_agree(finished: Path) -> None:
    genotype = read(finished / "genotype.json")
    operation = genotype.operation("operation")
    text = metrics(finished)["genotype"]
    assert text == expression(genotype, ("user", "item"))
    assert text.startswith(f"{operation}(")
    assert set(genotype.blocks) == {"encoding", "embedding", "operation", "weighting"}
    assert genotype.operation("embedding") == "identity"  # not searched by the preset
    assert genotype.parameters == {}


def test_every_step_is_logged_once(finished: Path) -> None:
    lines = logged(finished)
    count = Counter((line["stage"], line["step"]) for line in lines)
    assert set(count.values()) == {1}
    assert {stage for stage, _ in count} == {
        "run", "search", "baseline-popularity", "baseline-ease",
        *(f"retrain-{name}-0" for name in OURS), *(f"refit-{name}" for name in AGAIN),
        *(f"test-{name}" for name in OURS),
    }  # fmt: skip
    assert [line["step"] for line in lines if line["stage"] == "search"] == [1, 2, 3, 4, 5, 6, 0]
    (end,) = [line for line in lines if line["stage"] == "run"]
    assert {k: end[f"test.{k}"] for k in RANKING} == metrics(finished)["test"]


def test_figures_are_whole_pngs(finished: Path) -> None:
    from matplotlib.image import imread

    assert {path.stem for path in (finished / "plots").glob("*.png")} == FIGURES
    for path in (finished / "plots").glob("*.png"):
        picture = imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.01  # something is drawn
    rows = json.loads((finished / "plots" / "figures.json").read_text())["comparison"]["rows"]
    assert [name for name, *_, ours in rows if ours] == ["searched"]


def test_the_model_recommends_what_a_user_has_not_had(
    tmp_path: Path, tiny: list[str], table: pd.DataFrame, sif: Command
) -> None:
    table.to_csv(tmp_path / "orders.csv", index=False)
    finished = tmp_path / "run"
    words = ["--dataset", "orders.csv", "--output-dir", finished, "--no-tracking", *tiny]
    assert sif("--task", "cf", *words, "space=staged", "search.stages=[encoding]").code == 0
    history = table.groupby("user_id")["item_id"].agg(set)
    users = list(history.index)
    model = Recommender.load(finished / "model")
    items, scores = model.recommend(users, n=5, as_arrays=True)
    assert items.shape == scores.shape == (40, 5)
    assert (np.diff(scores, axis=1) <= 0).all()
    catalogue = set(table["item_id"])
    for user, row in zip(users, items.tolist(), strict=True):
        assert len(set(row)) == 5
        assert set(row) <= catalogue - history[user]
    done = sif("recommend", finished, users[3], "-k", 5)
    assert [line.split("\t")[:3] for line in done.out.splitlines()] == [
        [users[3], str(rank), item] for rank, item in enumerate(items[3].tolist(), start=1)
    ]


def test_the_model_evaluates_to_the_metrics_of_the_run(finished: Path, sif: Command) -> None:
    assert json.loads(sif("evaluate", finished).out) == metrics(finished)["test"]


def test_figures_are_drawn_again_from_their_data(
    finished: Path, sif: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    pictures = {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")}
    for path in (copy / "plots").glob("*.png"):
        path.unlink()
    assert sif("plot", copy).code == 0
    assert {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")} == pictures


def test_the_configuration_repeats_the_run(
    finished: Path, sif: Command, without_figures: None
) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert load_config(None, file=finished / "config.yaml").model_dump(mode="json") == {
        **config,
        "output_dir": None,
    }
    again = sif("--task", "cf", "--config", finished / "config.yaml", "--output-dir", "again")
    assert again.code == 0
    assert without_times(metrics(Path("again"))) == without_times(metrics(finished))
    for name in ("genotype.json", "config.yaml"):
        assert Path("again", name).read_bytes() == (finished / name).read_bytes()
    assert without_times(logged(Path("again"))) == without_times(logged(finished))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("space", ["sif", "primitives", "staged"])
def test_ratings_are_predicted_in_their_own_units(
    space: str, sif: Command, tiny: list[str], table: pd.DataFrame
) -> None:
    table.to_csv("orders.csv", index=False)
    baselines = "baselines=[global-mean,bias-only]"
    done = sif(
        "--task", "cf", "--dataset", "orders.csv", "--output-dir", "run", "--no-tracking", *tiny,
        baselines, "objective=rating", f"space={space}",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = metrics(Path("run"))
    assert set(found["test"]) == set(found["valid"]) == RATING
    deviation = found["test"]["rmse"] / found["test"]["rmse_std"]
    assert 0.5 < deviation < 2  # of ratings from 1 to 5
    assert "verdict: " in done.out
    predicted = Recommender.load(Path("run/model")).predict(
        table["user_id"].tolist(), table["item_id"].tolist()
    )
    truth = table["rating"].to_numpy()
    assert np.abs(predicted - truth).mean() < np.abs(truth.mean() - truth).mean()


def test_a_function_that_ranks_alike_for_everybody_says_so(finished: Path, sif: Command) -> None:
    assert metrics(finished)["genotype"].startswith(("plus", "concat"))
    assert "ranks items alike for all users; its rec" in (finished / "log.txt").read_text()
    (line,) = sif("recommend", finished, "Kundin 0/00").err
    assert "ranks items alike for all users" in line


def test_three_formats_of_the_same_interactions_give_the_same_run(
    sif: Command, tiny: list[str], table: pd.DataFrame, without_figures: None
) -> None:
    pytest.importorskip("pyarrow")
    table.to_csv("orders.csv", index=False)
    table.to_parquet("orders.parquet", index=False)
    types = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
    typed = table.rename(columns={name: f"{name}:{kind}" for name, kind in types.items()})
    typed.to_csv("orders.inter", sep="\t", index=False)
    found = []
    for suffix in ("csv", "inter", "parquet"):
        job = ["--dataset", f"orders.{suffix}", "--output-dir", suffix, "--no-tracking", *tiny]
        assert sif("--task", "cf", *job).code == 0
        found.append(without_times(metrics(Path(suffix))))
        assert same_bits(stage(Path(suffix), "searched-0"), stage(Path("csv"), "searched-0"))
    assert found[0] == found[1] == found[2]
    assert len({run["protocol"]["split_hash"] for run in found}) == 1


# Tracking


def mlflow_tree(uri: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """A client, the runs of the experiment by name, and the name of each run's parent."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sif")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: client.get_run(run.info.run_id) for run in found}
    assert len(runs) == len(found)
    names = {run.info.run_id: name for name, run in runs.items()}
    parents = {
        name: names.get(run.data.tags.get("mlflow.parentRunId"), "") for name, run in runs.items()
    }
    return client, runs, parents


@pytest.mark.slow
def test_mlflow_holds_a_run_per_job_with_one_per_entrant(
    sif: Command, tiny: list[str], store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Slow: a whole job with MLflow, and all its figures.

    The job is interrupted once, which must not show in the store.
    """

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    job = ["--task", "cf", "--output-dir", "run", "--tracking-uri", store, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr("sif.baselines.base.fit_best", interrupt)
        assert sif(*job, *tiny, "train.evaluate_every=2").code == 130
    done = sif("--resume", "run", "--quiet")
    assert (done.code, done.err) == (0, [])

    client, runs, parents = mlflow_tree(store)
    top = "planted · nasp · seed 0"
    expected = {top: "", "search · searched": "searched"}
    for name in (*OURS, "popularity", "ease"):
        expected[name] = top
    for name in OURS:
        expected[f"training · {name}"] = name
        expected[f"l2 {L2:g} · {name}"] = f"training · {name}"
    expected |= {f"second fit · {name}": name for name in AGAIN}
    if "kept: " in (tmp_path / "run" / "log.txt").read_text():  # fixed multiply, fitted again once
        expected.pop("second fit · searched")
    assert parents == expected
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    _assert_told_alike(runs)
    _assert_times(runs, parents)

    found, parent = metrics(Path("run")), runs[top]
    tags = {name: parent.data.tags[name] for name in ("dataset", "split_hash", "genotype")}
    assert tags == {
        "dataset": "planted", "split_hash": found["protocol"]["split_hash"],
        "genotype": found["genotype"],
    }  # fmt: skip
    assert parent.data.tags["verdict"] == found["verdict"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(found["verdict"]) and "| model |" in note
    assert f"python -m sif run --config {tmp_path}/run/config.yaml" in note
    environment = json.loads(Path("run/environment.json").read_text())
    assert parent.data.tags["git_commit"] == str(environment["git_commit"])
    for name, value in found["test"].items():
        key = name.replace("@", "_at_")
        assert parent.data.metrics[f"test.{key}"] == value
        assert parent.data.metrics[f"valid.{key}"] == found["valid"][name]
    group = parent.data.metrics["test.groups/warm.ndcg_at_10"]
    assert group == found["groups"]["warm"]["ndcg@10"]
    for name in ("popularity", "ease"):
        kept = runs[name].data.metrics["test.ndcg_at_10"]
        assert kept == found["baselines"][name]["ndcg@10"]
    assert runs["ease"].data.params["l2"] == str(found["baselines"]["ease"]["params"]["l2"])
    assert parent.data.params["search.epochs"] == "6"

    def steps(run: str, metric: str) -> list[int]:
        history = client.get_metric_history(runs[run].info.run_id, metric)
        return sorted(point.step for point in history)

    assert steps("search · searched", "loss") == [1, 2, 3, 4, 5, 6]
    assert steps("search · searched", "alpha.operation.multiply") == [1, 2, 3, 4, 5, 6]
    assert steps("searched", "search/loss") == [1, 2, 3, 4, 5, 6]
    for name in OURS:  # 1: the cut
        assert steps(f"l2 {L2:g} · {name}", "valid.ndcg_at_10") == [1, 2, 4, 6, 8, 10]
        assert steps(name, "training/valid.ndcg_at_10") == [1, 2, 4, 6, 8, 10]
    assert steps(top, "training/loss") == [1, 2, 4, 6, 8, 10]

    def artifacts(folder: str | None = None) -> set[str]:
        return {file.path for file in client.list_artifacts(parent.info.run_id, folder)}

    assert artifacts("plots") == {f"plots/{name}.png" for name in FIGURES}
    assert artifacts() == {"plots", "genotype.json", "metrics.json", "config.yaml", "report.html"}
    _assert_logged_model(client, store, runs, found)


def _assert_told_alike(runs: dict[str, Any]) -> None:
    """Data, source, user, description and the common parameters of every run."""
    for name, run in runs.items():
        assert set(COMMON) <= set(run.data.params), name
        assert run.data.params["dataset"] == "planted" and run.data.params["seed"] == "0"
        (given,) = run.inputs.dataset_inputs
        assert given.dataset.name == "planted" and len(given.dataset.digest) == 16
        assert set(json.loads(given.dataset.profile)) == {"num_rows", "users", "items"}
        assert run.data.tags["mlflow.user"] == run.info.user_id != "unknown"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        assert run.data.tags.get("mlflow.note.content"), name
    params = {name: run.data.params for name, run in runs.items()}
    assert params["searched"]["method"] == "nasp" and params["ease"]["method"] == "baseline"
    assert params["searched"]["l2"] == params[f"l2 {L2:g} · searched"]["l2"] == str(L2)
    assert params["popularity"]["l2"] == "none" != params["ease"]["l2"]
    assert params["planted · nasp · seed 0"]["l2"] == str(L2)


def _assert_times(runs: dict[str, Any], parents: dict[str, str]) -> None:
    """Runs begin and end within those that hold them, and stages come one after the other."""
    for name, parent in parents.items():
        if parent:
            inner, outer = runs[name].info, runs[parent].info
            assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time, name
    stages = [runs[name].info for name in ("search · searched", "training · searched", "ease")]
    for one, other in pairwise(stages):
        assert one.start_time < one.end_time <= other.start_time < other.end_time
    begun = {name: run.data.metrics for name, run in runs.items() if name in OURS}
    for name, numbers in begun.items():  # at least the seconds that the loops took
        lasted = runs[name].info.end_time - runs[name].info.start_time
        assert lasted >= 1000 * numbers["training/seconds"]


def _assert_logged_model(
    client: Any, uri: str, runs: dict[str, Any], found: dict[str, Any]
) -> None:
    """The logged model answers as the run folder's, and has the metrics of the served entrant."""
    import mlflow

    top = runs["planted · nasp · seed 0"]
    (output,) = top.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.source_run_id == top.info.run_id and logged.status.value == "READY"
    for name in (*OURS, "popularity", "ease"):
        (one,) = (client.get_logged_model(m.model_id) for m in runs[name].outputs.model_outputs)
        numbers = {metric.key: metric.value for metric in one.metrics}
        assert numbers["test.ndcg_at_10"] == runs[name].data.metrics["test.ndcg_at_10"]
        assert (one.name, one.source_run_id) == (name, runs[name].info.run_id)
    values = {metric.key: metric.value for metric in logged.metrics}
    assert values["test.ndcg_at_10"] == found["served"]["test"]["ndcg@10"]
    assert logged.tags["expression"] == found["served"]["expression"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            model = mlflow.pyfunc.load_model(f"runs:/{top.info.run_id}/model")
        finally:
            mlflow.set_tracking_uri(None)
    ours = Recommender.load(Path("run/model"))
    for user in ours.fitted_model().vocabularies[0].ids[:3].tolist():
        answer = model.predict(pd.DataFrame({"user": [user]}), params={"n": 5})
        assert list(answer["items"][0]) == ours.recommend(user, n=5)["item"].tolist()


@pytest.mark.usefixtures("without_figures")
@pytest.mark.slow
def test_a_large_model_stays_in_the_run_folder(
    sif: Command, tiny: list[str], store: str, tmp_path: Path
) -> None:
    """Slow: a whole job with MLflow."""
    few = ["tracking.model_mb=0.001", "tracking.run_name=mine", "controls=[]", "baselines=[]"]
    done = sif("--task", "cf", "--output-dir", "run", "--tracking-uri", store, *tiny, *few)
    assert done.code == 0
    assert any("tracking.model_mb is 0.001" in line for line in done.err)
    client, runs, _ = mlflow_tree(store)
    (output,) = runs["mine"].outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.tags["folder"] == str(tmp_path / "run" / "model")
    assert not list(Path(logged.artifact_location.removeprefix("file://")).rglob("*"))


@pytest.mark.usefixtures("without_figures")
def test_a_tracking_server_that_is_down_costs_one_line(sif: Command, tiny: list[str]) -> None:
    uri = "http://127.0.0.1:9"
    done = sif("--task", "cf", "--output-dir", "run", "--tracking-uri", uri, "--quiet", *tiny)
    assert done.code == 0
    (line,) = done.err
    assert line.startswith(f"warning: MLflow store {uri} failed")
    assert "verdict: " in done.out
    assert metrics(Path("run"))["test"]
    assert {line["stage"] for line in logged(Path("run"))} >= {"search", "retrain-searched-0"}


def test_tracking_without_mlflow_is_refused_before_anything_is_written(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = sif("--task", "cf", *tiny)
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: tracking: mlflow") and "--no-tracking" in line
    assert list(tmp_path.iterdir()) == []
