"""Whole jobs by several objectives through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sif.cli import main as cli

IMAGES = [
    "threads=1", "data.per_class=12", "search.epochs=3", "search.candidate_epochs=1",
    "search.batch_size=24", "search.channels=2", "search.cells=3", "train.epochs=1",
    "train.batch_size=40", "train.channels=4", "train.cells=3", "baselines=[]",
    "methods.nsga2.population=2",
]  # fmt: skip


def test_a_job_on_images_tells_draws_and_records_its_front(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")
    pytest.importorskip("pymoo", reason="needs pymoo, which has NSGA-II")
    run = tmp_path / "run"
    words = ["--task", "cnn", "--method", "nsga2", "--output-dir", str(run), "--no-tracking"]
    sets = [*IMAGES, "search.objectives=[parameters, multiply_adds]", "search.pick=parameters"]
    assert cli.main([*words, "--set", *sets]) == 0
    printed = (run / "log.txt").read_text()
    assert "of 3 candidates on the front, hypervolume" in printed
    assert "picked by parameters" in printed
    assert (run / "plots" / "front-searched.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((run / "report.json").read_text())
    record = report["search"]["searched"]
    values = {one["name"]: one["value"] for one in record["objectives"]}
    # The objective is of the network that was trained.
    assert f"searched: {values['parameters']:,.0f} parameters, valid error" in printed
    assert f"parameters {values['parameters']:,.6g}" in printed
    points = record["front"]["points"]
    assert min(p["values"][1] for p in points) == values["parameters"]
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    volumes = [entry["hypervolume"] for entry in logged if "hypervolume" in entry]
    assert volumes == [pytest.approx(record["front"]["hypervolume"])]
    assert "Candidates by two objectives" in (run / "report.html").read_text()


def test_a_job_on_text_tells_the_objectives_of_its_cell(tmp_path: Path) -> None:
    for part, lines in (("train", 60), ("valid", 30), ("test", 30)):
        words = [f"w{(i * i) % 7} is not w{i % 5} ." for i in range(lines)]
        (tmp_path / f"{part}.txt").write_text("\n".join(words) + "\n")
    run = tmp_path / "run"
    words = ["--task", "rnn", "--dataset", str(tmp_path), "--output-dir", str(run)]
    sets = [
        "threads=1", "search.epochs=1", "search.columns=8", "search.bptt=6", "search.hidden=4",
        "search.nodes=2", "train.epochs=1", "train.columns=8", "train.bptt=6", "train.hidden=6",
        "baselines=[]", "search.objectives=[parameters, memory <= 1]",
    ]  # fmt: skip
    assert cli.main([*words, "--no-tracking", "--quiet", "--set", *sets]) == 0
    record = json.loads((run / "report.json").read_text())["search"]["searched"]
    count, memory = record["objectives"]
    assert 0 < memory["value"] <= memory["most"] == 1
    printed = (run / "log.txt").read_text()
    assert f"searched: {count['value']:,.0f} parameters, valid perplexity" in printed
    assert "(within the bound 1)" in printed
    assert record["front"] is None
