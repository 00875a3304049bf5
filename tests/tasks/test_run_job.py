"""A job from Python is the job of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sif
from sif.errors import ConfigError
from sif.problems.configuration import load_job_config
from sif.tasks import cnn, rnn
from sif.tasks.base import RunResult
from sif.tasks.cf import opening

TINY: dict[str, Any] = {
    "data": {"planted": {"users": 40, "items": 30, "density": 0.3}},
    "search": {
        "epochs": 6, "dimension": 4, "arch_every": 1,
        "stages": ["encoding", "operation", "weighting"],
    },
    "train": {"epochs": 10, "dimension": 4, "l2": [2.0]},
    "baselines": ["popularity"], "threads": 1, "tracking": {"enabled": False},
}  # fmt: skip


@pytest.mark.parametrize("task", ["cf", "cnn", "rnn"])
def test_what_is_not_given_is_that_of_the_presets(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sif.CFConfig] = []
    monkeypatch.setattr("sif.tasks.run", lambda config, **_: made.append(config))
    monkeypatch.chdir(tmp_path)
    kinds = {"cf": sif.CFConfig, "cnn": sif.CNNConfig, "rnn": sif.RNNConfig}
    given = {"seed": 3, "search": {"epochs": 7}} | ({"objective": "rating"} if task == "cf" else {})
    sif.run_job(kinds[task](**given))
    sif.run_job(load_job_config(task, layers=[("given", given)]))
    expected = load_job_config(task, layers=[("given", given)])
    for config in made:
        assert config.model_copy(update={"output_dir": None}) == expected
        assert config.output_dir is not None
        assert config.output_dir.parts[0] == "runs" and task in config.output_dir.name


def test_a_job_leaves_a_recommender(tmp_path: Path, without_figures: None) -> None:
    config = sif.CFConfig(**TINY, output_dir=tmp_path / "a")
    result = sif.run_job(config)
    assert isinstance(result, RunResult) and result.folder == tmp_path / "a"
    assert "baseline that validation ranks best" in result.verdict.text
    model = sif.Recommender.load(result.folder)
    assert len(model.recommend(model.model_.vocabularies[0].ids[:3], n=2)) == 6
    with pytest.raises(sif.ConfigError, match="the run folder exists"):
        sif.run_job(config)
    short = sif.CFConfig(output_dir=tmp_path / "a")  # the rest is as it was
    assert sif.run_job(short, resume=True).metrics["test"] == result.metrics["test"]
    other = sif.CFConfig(output_dir=tmp_path / "a", train={"epochs": 11})
    with pytest.raises(sif.ConfigError, match=r"other settings \(train\.epochs: 11 or 10\)"):
        sif.run_job(other, resume=True)
    with pytest.raises(sif.ConfigError, match="expected the folder of a run to resume"):
        sif.run_job(sif.CFConfig(output_dir=tmp_path / "b"), resume=True)


def test_what_a_filter_drops_changes_answers_and_no_metric(
    tmp_path: Path, without_figures: None
) -> None:
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{i}") for u in range(25) for i in rng.choice(20, 9, replace=False)]
    frame = pd.DataFrame(pairs, columns=["customer", "sku"])
    frame["rating"] = rng.choice([1, 2, 5], len(frame), p=[0.2, 0.2, 0.6])
    frame = pd.concat([frame, pd.DataFrame([("grump", "i0", 1), ("u0", "flop", 1)],
                                           columns=frame.columns)])  # fmt: skip
    frame.to_csv(tmp_path / "all.csv", index=False)
    frame[frame.rating >= 4].to_csv(tmp_path / "good.csv", index=False)
    section = {"user": "customer", "item": "sku", "min_rating": 4}
    results = {
        name: sif.run_job(sif.CFConfig(
            **{**TINY, "data": section, "search": {"epochs": 1}}, output_dir=tmp_path / name,
            dataset=str(tmp_path / f"{name}.csv"),
        ))
        for name in ("all", "good")
    }  # fmt: skip
    assert results["all"].metrics["test"] == results["good"].metrics["test"]
    model, clean = (sif.Recommender.load(result.folder) for result in results.values())
    for user, rows in frame.groupby("customer"):
        own = set(rows["sku"])
        assert not set(model.recommend(user, n=30)["item"]) & own
        if user != "grump":
            best = clean.recommend(user, n=30)["item"]
            expected = [item for item in best if item not in own]
            assert model.recommend(user, n=30)["item"].tolist() == expected
    popular = clean.recommend_new([], n=30, exclude_items=["i0"])["item"].tolist()
    assert model.recommend("grump", n=30)["item"].tolist() == popular
    assert "flop" not in set(model.recommend_new(["flop"], n=30)["item"])


def test_openings_speak_to_python_and_the_command_line_alike() -> None:
    for text in (opening.NO_DOWNLOAD, cnn.NO_DOWNLOAD, rnn.NO_DOWNLOAD):
        assert "--" not in text and "dataset" in text


@pytest.mark.parametrize(
    ("old", "new"), [("whole-data", "vhole-data"), ("nasp", "oasp"), ("cpu", "cqu")]
)
def test_a_damaged_setting_of_a_run_is_told_with_its_file(
    old: str, new: str, tmp_path: Path
) -> None:
    file = tmp_path / "run" / "config.yaml"
    sif.run_job(sif.CFConfig(**TINY, output_dir=file.parent))
    text = file.read_text()
    assert f" {old}\n" in text
    file.write_text(text.replace(f" {old}\n", f" {new}\n"))
    with pytest.raises(ConfigError, match=r"config\.yaml: ") as caught:
        sif.run_job(sif.CFConfig(output_dir=file.parent), resume=True)
    assert new in str(caught.value) and "\n" not in str(caught.value)
