"""Files of earlier versions (tests/fixtures): settings mean the same, models answer the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sif.config import CommonConfig, RenamedSetting, differences
from sif.config.renamed import RENAMED
from sif.data.images.augment import Statistics
from sif.problems.configuration import load_job_config
from sif.problems.image_classifier import ImageClassifier
from sif.spaces.cnn.cells import PUBLISHED
from sif.spaces.cnn.networks import CellNetwork, Layout

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = sorted((FIXTURES / "models").glob("*/*"))
CONFIGS = [*sorted((FIXTURES / "configs").glob("*/*.yaml")), *(m / "config.yaml" for m in MODELS)]


def name_of(path: Path) -> str:
    return "-".join(path.relative_to(FIXTURES).with_suffix("").parts[1:])


def loaded(file: Path) -> CommonConfig:
    with pytest.warns(RenamedSetting) as caught:
        config = load_job_config(None, file=file)
    assert len(caught) == 1
    return config


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("file", CONFIGS, ids=name_of)
def test_a_config_of_then_has_the_same_values_now(file: Path) -> None:
    now = dict(leaves(loaded(file).model_dump(mode="json")))
    then = dict(leaves(yaml.safe_load(file.read_text())))
    assert len(then) > 50
    for key, value in then.items():
        # What no section has any more was true of one method, or of several.
        for today in RENAMED[key].keys if key in RENAMED else (key,):
            expected = RENAMED[key].value(value) if key in RENAMED else value
            assert now[today] == (float(expected) if expected == "5e-07" else expected), key


@pytest.mark.parametrize("task", ["cnn", "rnn"])
def test_a_config_of_then_is_the_job_that_it_was(task: str) -> None:
    (file,) = (FIXTURES / "configs").glob(f"*/{task}.yaml")
    sets = ["baselines=[]", "device=cpu", "threads=1"]
    assert differences(load_job_config(task, file=f"{task}/smoke", sets=sets), loaded(file)) == []


def test_a_classifier_of_then_is_read(tmp_path: Path) -> None:
    network = CellNetwork(PUBLISHED["darts-v2"], Layout(3, 2, 3))
    statistics = Statistics((0.5,) * 3, (0.2,) * 3)
    made = ImageClassifier(network, PUBLISHED["darts-v2"], statistics, ("a", "b", "c"), (8, 8, 3))
    made.save(tmp_path)
    file = tmp_path / "classifier.json"
    about = json.loads(file.read_text().replace("normalized_pools", "normalised_pools"))
    del about["digest"]  # then, there was none
    file.write_text(json.dumps(about))
    pixels = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3), dtype=np.uint8)
    again = ImageClassifier.load(tmp_path)
    np.testing.assert_array_equal(again.predict(pixels), made.predict(pixels))


def test_a_run_of_then_is_resumed_and_told_of_in_one_line(
    sif: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.tasks.cf.figures.draw", lambda *_: [])
    (folder,) = [m for m in MODELS if m.name == "ranking"]
    short = ["search.epochs=2", "train.epochs=2", "train.l2=[1.0]"]
    words = ["--config", folder / "config.yaml", "--output-dir", "run", "--quiet", "--set", *short]
    done = sif(*words)
    assert (done.code, len(done.err)) == (0, 1), done.err
    assert done.err[0].startswith("note: old names of settings: ")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    then = yaml.safe_load((folder / "config.yaml").read_text())
    then["search"]["epochs"], then["train"] = 2, then["train"] | {"epochs": 2, "l2": [1.0]}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(then))
    again = sif("--resume", "run", "--quiet", "--set", *short)
    assert (again.code, len(again.err)) == (0, 1), again.err
    resumed = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert resumed["test"] == metrics["test"]
    refused = sif("--resume", "run", "--set", "search.settle=3")
    assert refused.code == 2
    assert "(methods.nasp.settle_steps: 3 or 2)" in refused.err[-1]
