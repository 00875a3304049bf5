"""Whole jobs on text through the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from markupsafe import escape

from sif.cli import main as cli
from sif.core.genotype import read
from sif.core.method import ArchReport
from sif.data.text.load import load_corpus
from sif.errors import CheckpointError, ShapeError
from sif.methods.darts import Darts
from sif.methods.nasp import Nasp
from sif.problems.text_model import TextModel
from sif.spaces.rnn import gated_cells
from sif.spaces.rnn.cells import expression
from sif.spaces.rnn.gated_cells import PUBLISHED, equations, parse_gated
from sif.spaces.rnn.gated_supernet import gated_cell
from sif.spaces.rnn.supercell import BLOCK
from sif.spaces.rnn.supernet import recurrent_cell
from sif.tasks.checkpoint import StageFolder
from sif.utils import checkpoint

TINY = [
    "threads=1", "search.epochs=2", "methods.nasp.warmup=0.5", "search.columns=8", "search.bptt=6",
    "search.hidden=6", "search.nodes=3", "train.epochs=2", "train.columns=8", "train.bptt=6",
    "train.hidden=8", "train.vary=true", "train.averaging=1", "train.dropout.hidden=0.2",
    "checkpoint_seconds=0",
]  # fmt: skip
NAMES = ("searched", "random-ws", "darts-1", "lstm", "enas")
BASELINES = "baselines=[random-ws, darts-1, lstm, enas]"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text: 40 lines of five words."""
    folder = tmp_path_factory.mktemp("text")
    for part, lines in (("train", 120), ("valid", 40), ("test", 40)):
        words = [f"w{(i * i + part.count('t')) % 7} is not w{i % 5} ." for i in range(lines)]
        (folder / f"{part}.txt").write_text("\n".join(words) + "\n")
    return folder


def job(run: Path, text: Path, *further: str, sets: tuple[str, ...] = ()) -> list[str]:
    words = ["--task", "rnn", "--dataset", str(text), "--output-dir", str(run)]
    return [*words, "--no-tracking", "--quiet", *further, "--set", *TINY, BASELINES, *sets]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    run = tmp_path_factory.mktemp("rnn") / "run"
    assert cli.main(job(run, text)) == 0
    return run


def document(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def test_a_job_leaves_what_a_run_folder_holds(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.yaml", "genotype.json", "metrics.json", "metrics.jsonl", "checkpoint", "model",
        "plots", "environment.json", "log.txt", "report.html", "report.json",
    }  # fmt: skip
    searched = ("searched", "random-ws", "darts-1")
    assert {path.name for path in (finished / "plots").iterdir()} == {
        "figures.json", "training.png", "search.png",
        *(f"cell-{n}.{kind}" for n in (*searched, "enas") for kind in ("png", "svg")),
        *(f"gates-{n}.png" for n in searched),
    }  # fmt: skip


def test_metrics_json_says_what_was_found_and_against_what(finished: Path) -> None:
    found = document(finished)
    assert (found["task"], found["method"]) == ("rnn", "nasp")
    assert set(found["baselines"]) == set(NAMES[1:])
    assert found["genotype"] == expression(recurrent_cell(read(finished / "genotype.json")))
    assert found["protocol"]["ngram"]["perplexity"] > 1
    for entry in (found["test"], *found["baselines"].values()):
        assert entry["perplexity"] == pytest.approx(math.exp(entry["nats"]))
    steps = found["search"]["steps"]
    assert sum(found["search"]["trained"]["recurrent"].values()) == 3 * steps
    ours = found["train"]["parameters"]
    assert abs(found["baselines"]["lstm"]["params"]["parameters"] - ours) < 0.2 * ours
    assert found["comparison"]["against"] in found["baselines"]


def test_evaluate_repeats_the_test_perplexity_and_plot_the_figures(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(finished)]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(document(finished)["test"])
    before = (finished / "plots" / "cell-searched.png").read_bytes()
    assert cli.main(["plot", str(finished)]) == 0
    assert (finished / "plots" / "cell-searched.png").read_bytes() == before


def test_the_saved_model_rates_and_continues_text(finished: Path, text: Path) -> None:
    model = TextModel.load(finished / "model")
    assert model.words == load_corpus(text).words
    chances = model.log_probabilities(["w1", "is", "nonsense"])
    assert len(chances) == 3 and all(chance < 0 for chance in chances)
    likely = model.next_words(["w1", "is"], most=3)
    assert len(likely) == 3 and likely[0][1] >= likely[1][1]
    every = model.next_words(["w1"], most=10_000)
    assert sum(p for _, p in every) == pytest.approx(1, abs=1e-5)
    word, chance = every[0]
    assert model.log_probabilities(["w1", word])[1] == pytest.approx(math.log(chance), abs=1e-5)
    with pytest.raises(ShapeError, match="at least one"):
        model.log_probabilities([])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": "other"}, "expected an object"),
        ({"version": 9}, "expected version 1, found 9"),
        ({"recurrence": "__import__('os')"}, "expected one Genotype"),
        ({"words": ["a"]}, "words, found 1"),
        ({"shape": {"hidden": 3}}, "malformed"),
    ],
)
def test_a_damaged_model_is_refused(
    finished: Path, tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    for path in (finished / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = tmp_path / "language-model.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | edit))
    with pytest.raises(CheckpointError, match=message):
        TextModel.load(tmp_path)


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    "at",
    ["search-searched.partial", "search-random-ws.partial", "train-lstm.partial", "train-enas"],
)
def test_a_killed_job_goes_on_to_the_same_end(
    at: str, finished: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = StageFolder.write

    def dying(stages: StageFolder, name: str, state: Any) -> None:
        write(stages, name, state)
        if name == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "write", dying)
        with pytest.raises(Killed):
            cli.main(job(tmp_path / "run", text))
    assert cli.main(["--resume", str(tmp_path / "run"), "--no-tracking", "--quiet"]) == 0
    assert document(tmp_path / "run")["test"] == document(finished)["test"]
    for name in NAMES:
        ours, theirs = (
            checkpoint.load(run / "checkpoint" / f"train-{name}.safetensors", "stage")["state"]
            for run in (tmp_path / "run", finished)
        )
        for key, value in ours["network"].items():
            assert torch.equal(value, theirs["network"][key]), (name, key)


@pytest.mark.usefixtures("without_figures")
def test_a_given_cell_is_trained_without_a_search(
    finished: Path, text: Path, tmp_path: Path
) -> None:
    sets = (f"cells={finished / 'genotype.json'}", "baselines=[lstm]")
    assert cli.main(job(tmp_path / "run", text, sets=sets)) == 0
    found = document(tmp_path / "run")
    assert (found["method"], found["search"]) == ("given", None)
    assert found["test"] == document(finished)["test"]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    run = tmp_path_factory.mktemp("rnn") / "gated"
    assert cli.main(job(run, text, sets=("space=gated", "baselines=[lstm, gru]"))) == 0
    return run


def test_a_job_with_gated_cells_is_drawn_told_and_served(
    gated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = gated_cell(read(gated / "genotype.json"))
    found = document(gated)
    assert found["genotype"] == gated_cells.expression(cell)
    assert parse_gated(found["cells"]) == cell
    plots = {path.name for path in (gated / "plots").iterdir()}
    drawn = {f"cell-{name}.{kind}" for name in ("searched", "gru") for kind in ("png", "svg")}
    assert drawn | {"gates-searched.png"} <= plots and "cell-lstm.png" not in plots
    page = (gated / "report.html").read_text()
    assert escape("\n".join(equations(cell))) in page
    assert escape("\n".join(equations(PUBLISHED["gru"]))) in page
    ours = found["train"]["parameters"]
    for other in found["baselines"].values():
        assert abs(other["params"]["parameters"] - ours) < 0.2 * ours
    assert TextModel.load(gated / "model").network.recurrence.cell == cell
    assert cli.main(["evaluate", str(gated)]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(found["test"])


@pytest.mark.usefixtures("without_figures")
def test_a_gated_cell_is_trained_from_its_file_beside_any_space(
    gated: Path, text: Path, tmp_path: Path
) -> None:
    sets = (f"cells={gated / 'genotype.json'}", "baselines=[lstm]")
    assert cli.main(job(tmp_path / "run", text, sets=sets)) == 0
    assert document(tmp_path / "run")["test"] == document(gated)["test"]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("at", ["search-searched.partial", "train-searched.partial"])
def test_a_killed_job_with_gated_cells_goes_on_to_the_same_end(
    at: str, gated: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = StageFolder.write

    def dying(stages: StageFolder, name: str, state: Any) -> None:
        write(stages, name, state)
        if name == at:
            raise Killed

    sets = ("space=gated", "baselines=[lstm, gru]")
    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "write", dying)
        with pytest.raises(Killed):
            cli.main(job(tmp_path / "run", text, sets=sets))
    assert cli.main(["--resume", str(tmp_path / "run"), "--no-tracking", "--quiet"]) == 0
    assert document(tmp_path / "run")["test"] == document(gated)["test"]


@pytest.mark.parametrize(
    ("words", "sets", "message"),
    [
        ([], ("space=gatd",), "space: expected 'nasp-ptb' or 'gated', found 'gatd'"),
        ([], ("space=gated", "search.choices={input: [gate]}"), "found 'gate'"),
        (["--dataset", "pbt"], (), "did you mean 'ptb'?"),
        (["--method", "darts"], (), "method: expected one of nasp, darts-1"),
        ([], ("baselines=[lstmm]",), "did you mean 'lstm'?"),
        ([], ("cells=darts-v3",), "cells: expected a genotype file or one of enas"),
        ([], ("search.bptt=5000",), "search: expected at least"),
        ([], ("train.columns=5000",), "train: expected at least"),
        ([], ("search.columns=1",), "search.columns"),
        ([], ("methods.nasp.warmup=0.9",), "search.epochs: expected at least"),
        ([], ("data.max_words=3",), "data.max_words"),
        (["--split-file", "x.npz"], (), "data.split_file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], sets: tuple[str, ...], message: str, text: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert cli.main(job(tmp_path / "run", text, *words, sets=sets)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("valid", None, "valid"),
        ("test", b"", "test"),
        ("train", b"caf\xe9 is\n", "train.txt: byte 3"),
        ("train", b"a a a\n" * 40, "word"),
    ],
)
def test_bad_texts_are_one_line(
    part: str, content: bytes | None, message: str, text: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "text"
    folder.mkdir()
    for path in text.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    target = folder / f"{part}.txt"
    target.unlink() if content is None else target.write_bytes(content)
    assert cli.main(job(tmp_path / "run", folder)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_figures")
def test_a_rival_that_diverges_is_named_and_left_out(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Darts.arch_step

    def diverging(self: Darts, *batches: Any) -> ArchReport:
        report = step(self, *batches)
        return ArchReport(float("nan"), report.scores)

    monkeypatch.setattr(Darts, "arch_step", diverging)
    words = [w for w in job(tmp_path / "run", text) if w != "--quiet"]
    assert cli.main(words) == 0
    assert "left out: darts-1: search diverged in epoch 1: " in capsys.readouterr().err
    assert set(document(tmp_path / "run")["baselines"]) == {"random-ws", "lstm", "enas"}


@pytest.mark.usefixtures("without_figures")
def test_a_job_whose_own_search_diverges_serves_the_best_of_the_others(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slopes = {"gradient": {BLOCK: torch.full((6, 4), float("nan"))}}
    monkeypatch.setattr(Nasp, "arch_step", lambda *_: ArchReport(1.0, slopes))
    words = job(tmp_path / "run", text, sets=("baselines=[lstm]",))
    assert cli.main([word for word in words if word != "--quiet"]) == 0
    error = capsys.readouterr().err
    assert "left out: searched: search diverged in epoch 2: " in error
    assert "lower search.lr=" in error and "of lstm, as searched diverged" in error
    assert list(document(tmp_path / "run")["left_out"]) == ["searched"]
    alone = job(tmp_path / "alone", text, sets=("baselines=[]",))
    assert cli.main(alone) == 2
    assert capsys.readouterr().err.startswith("error: search diverged in epoch 2: ")
    assert not (tmp_path / "alone" / "metrics.json").exists()
