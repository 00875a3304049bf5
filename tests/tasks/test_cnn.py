"""Whole jobs on images through the command line."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sif.cli import main as cli
from sif.config import CommonConfig, load_config
from sif.config.cnn import CNNConfig
from sif.core.genotype import Genotype, read
from sif.core.method import Plan
from sif.data.images.dataset import Images
from sif.data.images.load import load_images
from sif.data.images.split import make_image_split
from sif.errors import CheckpointError, ConfigError, ShapeError
from sif.methods.configuration import configured
from sif.methods.kind import MethodKind
from sif.methods.nasp import NaspSettings
from sif.problems.image_classifier import ImageClassifier
from sif.problems.images import ImageProblem
from sif.spaces.cnn.cells import PUBLISHED, format_cells
from sif.spaces.cnn.supernet import CNNSpace, cells_of, expression
from sif.tasks import cnn
from sif.tasks.checkpoint import StageFolder
from sif.tracking import NullTracker
from sif.utils import checkpoint
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")

TINY = [
    "threads=1", "data.per_class=12", "search.epochs=2", "search.batch_size=24",
    "search.channels=2", "search.cells=3", "train.epochs=2", "train.batch_size=40",
    "train.channels=2", "train.cells=3", "train.drop_path=0.3", "checkpoint_seconds=0",
]  # fmt: skip


NAMES = ("searched", "random-ws", "darts-1")


def job(run: Path, *further: str, sets: tuple[str, ...] = ()) -> list[str]:
    words = ["--task", "cnn", "--output-dir", str(run), "--no-tracking", "--quiet"]
    return [*words, *further, "--set", *TINY, *sets]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cnn") / "run"
    assert cli.main(job(run, sets=("baselines=[random-ws, darts-1]",))) == 0
    return run


def document(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def test_a_job_leaves_what_a_run_folder_holds(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.yaml", "genotype.json", "metrics.json", "metrics.jsonl", "checkpoint", "model",
        "plots", "environment.json", "log.txt", "report.html", "report.json",
    }  # fmt: skip
    names = {path.name for path in (finished / "plots").iterdir()}
    assert names == {
        "figures.json", "training.png", "search.png",
        *(f"cells-{n}.{kind}" for n in NAMES for kind in ("png", "svg")),
        *(f"gates-{n}.png" for n in NAMES),
    }  # fmt: skip
    svg = (finished / "plots" / "cells-searched.svg").read_text()
    assert svg.count("<svg ") == 1
    assert (finished / "plots" / "training.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_json_says_what_was_found_and_against_what(finished: Path) -> None:
    found = document(finished)
    assert (found["task"], found["dataset"], found["method"]) == ("cnn", "digits", "nasp")
    assert set(found["baselines"]) == {"random-ws", "darts-1"}
    assert found["genotype"] == expression(cells_of(read(finished / "genotype.json")))
    assert found["protocol"]["counts"]["test"] == 20
    trained = found["search"]["trained"]
    steps = found["search"]["steps"]
    assert {block: sum(counts.values()) for block, counts in trained.items()} == {
        "normal": 8 * steps, "reduce": 8 * steps,
    }  # fmt: skip
    for entry in (found, *found["baselines"].values()):
        watch = entry["search"]
        assert watch.keys() >= {"flips", "ties", "arch_steps", "trained", "exported_error"}
        assert watch["watched"].keys() == {"skip_share.normal", "skip_share.reduce"}
    skips = found["genotype"].split("; reduce")[0].count("skip_connect")
    assert found["search"]["watched"]["skip_share.normal"] == skips / 8
    assert found["comparison"]["against"] in found["baselines"]
    assert "over 20 images" in found["verdict"]
    for entry in found["baselines"].values():
        assert entry["params"]["parameters"] > 0
        assert entry["error"] % 5 == 0  # of 20 images


def test_the_saved_classifier_repeats_the_test_error(finished: Path) -> None:
    model = ImageClassifier.load(finished / "model")
    images = load_images("digits", per_class=12)
    config = load_config(None, file=finished / "config.yaml")
    inputs = cnn.prepare(config, make_runtime("cpu", 0, threads=1))
    rows = inputs.split.test
    assert isinstance(images, Images)
    probabilities = model.predict(images.pixels[rows], batch_size=7)
    assert probabilities.shape == (20, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    wrong = 100 * np.mean(probabilities.argmax(1) != images.labels[rows])
    assert wrong == pytest.approx(document(finished)["test"]["error"])
    assert format_cells(model.cells) == format_cells(cells_of(read(finished / "genotype.json")))
    assert model.predict(images.pixels[:0]).shape == (0, 10)
    with pytest.raises(ShapeError, match=r"expected uint8 \(n, 8, 8, 1\), found float64"):
        model.predict(images.pixels[:2] / 255)


def test_evaluate_repeats_the_test_error_and_plot_the_figures(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(finished)]) == 0
    assert json.loads(capsys.readouterr().out) == document(finished)["test"]
    before = (finished / "plots" / "gates-searched.png").read_bytes()
    assert cli.main(["plot", str(finished)]) == 0
    assert (finished / "plots" / "gates-searched.png").read_bytes() == before


def test_the_exported_selection_is_judged_after_every_epoch(finished: Path) -> None:
    folder, found = finished / "checkpoint", document(finished)
    for name in NAMES:
        state = checkpoint.load(folder / f"search-{name}.safetensors", "stage")["state"]
        errors = [entry["judged"]["exported_error"] for entry in state["history"]]
        assert len(errors) == 2 + (name == "random-ws")  # which chooses once more at the end
        assert all(0 <= error <= 100 for error in errors)
        # What the last selection was judged by is what the report says: no gap.
        report = found["search"] if name == "searched" else found["baselines"][name]["search"]
        assert errors[-1] == report["exported_error"]
        last = state["history"][-1]["selection"]
        genotype = Genotype.from_json(state["genotype"])
        for block, chosen in genotype.blocks.items():
            assert [e for e, k in enumerate(last[block]) if k >= 0] == [e for e, _ in chosen]
    lines = [json.loads(x) for x in (finished / "metrics.jsonl").read_text().splitlines()]
    assert sum("exported_error" in str(line) for line in lines) >= 6


def class_folders(root: Path, side: int) -> None:
    """Two classes, a dark and a bright one: 30 images of each to train on, 6 to test."""
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    rng = np.random.default_rng(0)
    for part, n in (("train", 30), ("test", 6)):
        for label in range(2):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(n):
                noise = rng.integers(0, 128, (side, side, 3)).astype(np.uint8)
                image.fromarray(noise + np.uint8(100 * label)).save(folder / f"{number}.png")


@pytest.mark.usefixtures("without_figures")
def test_images_that_stay_on_disk_give_the_same_kind_of_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "data", 8)
    monkeypatch.setattr("sif.tasks.cnn.load_images", functools.partial(load_images, memory=1000))
    sets = ("data.per_class=30", "baselines=[]")
    words = job(tmp_path / "run", "--dataset", str(tmp_path / "data"), sets=sets)
    assert cli.main(words) == 0, capsys.readouterr().err
    assert document(tmp_path / "run")["protocol"]["counts"] == {
        "train": 54, "valid": 6, "test": 12,
    }  # fmt: skip
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("imagenet", 1000, "4.719"), ("tiny-imagenet", 200, "4.104")],
)
def test_a_published_preset_trains_the_published_network(
    name: str, classes: int, parameters: str
) -> None:
    config = load_config("cnn", file=f"cnn/{name}", flags={"dataset": "elsewhere"})
    assert isinstance(config, CNNConfig)
    side = config.data.size
    images = SimpleNamespace(classes=range(classes), shape=(side, side, 3))
    none = (np.arange(0), np.arange(0))
    source: Any = SimpleNamespace(images=images)
    vision = ImageProblem(config, source, none, none, make_runtime("cpu", 0, threads=1))
    vision.check()
    network = vision.network(PUBLISHED["darts-v2"])
    assert f"{network.counted() / 1e6:.3f}" == parameters
    logits, second = network.logits(torch.zeros(2, 3, side, side))
    assert second is not None and second.shape == logits.shape == (2, classes)


@pytest.mark.usefixtures("without_figures")
def test_the_preset_of_tiny_imagenet_at_a_small_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "data", 66)  # resized to 64
    augment = [f"train.augment.{key}" for key in ("scale=0.5", "jitter=0.4", "hue=0.2")]
    words = job(
        tmp_path / "run", "--config", "cnn/tiny-imagenet", "--dataset", str(tmp_path / "data"),
        # Below 16 channels, strided 1 x 1 convolutions of images of this size write past their
        # memory on CPUs (uxlfoundation/oneDNN, issue 6035); the search's first reduction has 16.
        sets=("search.batch_size=8", "search.channels=8", "train.batch_size=16",
              "train.channels=16", "baselines=[]",
              *augment),
    )  # fmt: skip
    assert cli.main(words) == 0, capsys.readouterr().err
    config = load_config(None, file=tmp_path / "run" / "config.yaml")
    assert isinstance(config, CNNConfig)
    assert (config.train.stem, config.train.auxiliary) == ("tiny-imagenet", "imagenet")
    assert (config.train.augment.rotate, config.train.augment.hue) == (20, 0.2)
    assert document(tmp_path / "run")["protocol"]["counts"]["test"] == 12
    model = ImageClassifier.load(tmp_path / "run" / "model")
    assert model.predict(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 2)


def test_given_cells_are_trained_without_a_search(finished: Path, tmp_path: Path) -> None:
    file = finished / "genotype.json"
    sets = (f"cells={file}", "baselines=[darts-v2, nasnet-a]")
    assert cli.main(job(tmp_path / "run", sets=sets)) == 0
    found = document(tmp_path / "run")
    assert (found["method"], found["search"]) == ("given", None)
    assert found["genotype"] == document(finished)["genotype"]
    # The same cells, first weights, images and steps: the same network.
    assert found["valid"] == document(finished)["valid"]
    assert found["test"] == document(finished)["test"]
    assert found["baselines"].keys() == {"darts-v2", "nasnet-a"}
    assert f"the network of the cells of {file}" in found["verdict"]
    assert {p.name for p in (tmp_path / "run" / "plots").iterdir()} == {
        "figures.json", "training.png",
        *(f"cells-{n}.{k}" for n in ("given", "darts-v2", "nasnet-a") for k in ("png", "svg")),
    }  # fmt: skip
    assert ImageClassifier.load(tmp_path / "run" / "model").network.counted() > 0


@pytest.mark.parametrize(
    ("where", "lower"),
    [
        (
            "spaces.cnn.supernet.CNNSpace.loss",
            "lower search.batch_size (24), search.channels (2)",
        ),
        (
            "spaces.cnn.supernet.CNNSpace.extract",
            "lower search.batch_size (24), search.channels (2)",
        ),
        (
            "problems.images.ImageProblem._objective",
            "lower train.batch_size (40), train.channels (2)",
        ),
    ],
)
def test_too_little_memory_is_one_line_that_says_what_to_lower(
    where: str, lower: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*arguments: Any, **options: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")

    monkeypatch.setattr(f"sif.{where}", full)
    assert cli.main(job(tmp_path / "run")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"cpu: out of memory for another 2.00 GiB; {lower}" in line


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": "other"}, "expected an object"),
        ({"version": 9}, "expected version 1, found 9"),
        ({"cells": "__import__('os')"}, "expected one Genotype"),
        ({"classes": None}, "malformed"),
        ({"classes": ["a"]}, "expected 10 different classes, found 1"),
        ({"cells": 5}, "malformed"),
        ({"statistics": {"mean": [0.0], "std": [0.0]}}, "above 0"),
        ({"layout": {"channels": 3}}, "malformed"),
        ({"statistics": {"mean": [0.5], "std": [1e30]}}, "numbers from 0 to 1"),
        ({"statistics": {"mean": [-2.0], "std": [0.2]}}, "numbers from 0 to 1"),
        ({"shape": [10**6, 8, 1]}, "shape: expected"),
        ({"layout.normalized_pools": 0}, "layout.normalized_pools: .* valid boolean"),
        ({"layout.norm": {"affine": 1e30, "running": True}}, "layout.norm.affine"),
    ],
)
def test_a_damaged_classifier_is_refused(
    finished: Path, tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    for path in (finished / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = tmp_path / "classifier.json"
    found = json.loads(about.read_text())
    del found["digest"]  # as in files of version 0.1: the content itself is checked
    for name, value in edit.items():
        part, _, key = name.rpartition(".")
        (found[part] if part else found)[key] = value
    about.write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=message) as caught:
        ImageClassifier.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_settings_reach_what_they_name() -> None:
    sets = [*TINY, "methods={nasp: {probe_rows: 0.25, probe_operations: 0.5, warmup: 0.5}}",
            "methods.nasp.arch_lr=0.01", "methods.gdas.arch_lr=0.02", "search.lr=0.07",
            "methods.nasp.explore=0.3",
            "methods.nasp.complexity_penalty=0.5", "methods.random-ws.candidates=3",
            "search.cost=multiply_adds", "precision=bfloat16"]  # fmt: skip
    config = load_config("cnn", sets=sets)
    vision = cnn.prepare(config, make_runtime("cpu", 0, threads=1)).problem
    space = vision.space()
    assert space.precision == "bfloat16"
    assert space.blocks[0].costs != CNNSpace(space.name, space.layout).blocks[0].costs
    methods = vision.config.method_values()
    nasp, gdas, snas = (
        configured(name, methods).make(space, Plan(9, 7), torch.Generator()).settings
        for name in ("nasp", "gdas", "snas")
    )
    assert (nasp.probe_rows, nasp.probe_operations, nasp.explore) == (0.25, 0.5, 0.3)
    assert (nasp.arch_lr, nasp.complexity_penalty) == (0.01, 0.5)
    assert (gdas.arch_lr, snas.arch_lr) == (0.02, 3e-4)
    plans: list[Plan] = []

    def make(space: Any, settings: Any, plan: Plan, draws: torch.Generator) -> Any:
        plans.append(plan)
        raise ConfigError("seen")

    run = vision.method_run()
    kind = MethodKind(make, settings=NaspSettings)
    with pytest.raises(ConfigError, match="seen"):
        run.run("nasp", NullTracker(), NoCheckpoint(), lambda *_: None, kind)
    per_epoch = run.streams()[0].steps_per_pass
    assert plans == [Plan(per_epoch * config.search.epochs, per_epoch, per_epoch, 0.07)]


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("at", "controls"),
    [
        ("search-searched.partial", []),
        pytest.param("search-random-ws.partial", ["random-ws"], marks=pytest.mark.slow),
        pytest.param("search-darts-1.partial", ["darts-1"], marks=pytest.mark.slow),
        ("train-searched.partial", []),
        ("train-random-ws", ["random-ws"]),
    ],
)
def test_a_killed_job_goes_on_to_the_same_end(
    at: str, controls: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow where a control, too, is searched, killed and searched again."""
    write = StageFolder.write

    def dying(stages: StageFolder, name: str, state: Any) -> None:
        write(stages, name, state)
        if name == at:
            raise Killed

    sets = (f"baselines=[{','.join(controls)}]",)
    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "write", dying)
        with pytest.raises(Killed):
            cli.main(job(tmp_path / "run", sets=sets))
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert cli.main(["--resume", str(tmp_path / "run"), "--no-tracking", "--quiet"]) == 0
    entrants = ["searched", *controls]
    for name in (f"{kind}-{n}" for kind in ("search", "train", "test") for n in entrants):
        ours, theirs = (
            checkpoint.load(run / "checkpoint" / f"{name}.safetensors", "stage")["state"]
            for run in (tmp_path / "run", finished)
        )
        for key in ("genotype", "network", "test", "valid"):
            assert_same(ours.get(key), theirs.get(key))


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert np.array_equal(a, b)


@pytest.mark.usefixtures("without_figures")
def test_nothing_is_fitted_on_the_test_part(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: Any, **options: Any) -> Images:
        images = load_images(*arguments, **options)
        assert isinstance(images, Images)
        config: CommonConfig = load_config("cnn", sets=TINY)
        split = make_image_split(images, valid_share=0.2, seed=config.seed)
        pixels = images.pixels.copy()
        pixels[split.test] = 255 - pixels[split.test]
        return dataclasses.replace(images, pixels=pixels)

    monkeypatch.setattr("sif.tasks.cnn.load_images", changed)
    assert cli.main(job(tmp_path / "run", sets=("baselines=[random-ws]",))) == 0
    for name in ("search-searched", "train-searched", "train-random-ws"):
        ours, theirs = (
            checkpoint.load(run / "checkpoint" / f"{name}.safetensors", "stage")["state"]
            for run in (tmp_path / "run", finished)
        )
        for key in ("genotype", "network", "valid", "valid_loss"):
            assert_same(ours.get(key), theirs.get(key))
    ours, theirs = (
        json.loads((run / "environment.json").read_text()) for run in (tmp_path / "run", finished)
    )
    assert ours["data_hash"] != theirs["data_hash"]


@pytest.mark.parametrize(
    ("words", "sets", "message"),
    [
        (["--dataset", "digit"], (), "did you mean 'digits'?"),
        (["--method", "darts"], (), "method: expected one of nasp, darts-1"),
        ([], ("space=nasp-8op",), "space: expected one of nasp-7op, nasp-12op, found 'nasp-8op'"),
        ([], ("baselines=[rand]",), "baselines: expected one of"),
        ([], ("cells=darts-v3",), "cells: expected a genotype file or one of nasnet-a"),
        ([], ("baselines=[darts-v3]",), "did you mean 'darts-v"),
        ([], ("search.batch_size=500",), "search.batch_size: expected at most"),
        ([], ("train.batch_size=500",), "train.batch_size: expected at most"),
        ([], ("train.stem=imagenet",), "multiples of 32, found 8 x 8; set data.size"),
        ([], ("search.cells=2",), "search.cells"),
        ([], ("train.auxiliary=cifar",), "at least 32 pixels a side"),
        ([], ("train.stem=imagenet", "train.channels=3"), "expected an even number"),
        ([], ("methods.nasp.warmup=0.9",), "search.epochs: expected at least"),
        ([], ("search.valid_share=0.999",), "found none of"),
        ([], ("search.valid_share=0",), "search.valid_share"),
        (["--split-file", "x.npz"], (), "data.split_file"),
        (["--dataset", "ml-100k"], (), "expected images"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], sets: tuple[str, ...], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert cli.main(job(tmp_path / "run", *words, sets=sets)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []
