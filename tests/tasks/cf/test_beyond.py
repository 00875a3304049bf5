"""What a job tells beyond accuracy: the second table, metrics, the front of a goal."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sif.evaluation.beyond import BEYOND
from sif.evaluation.choice import Choice
from sif.evaluation.goals import goal_of
from sif.tasks.cf.beyond import beyond_table, draw_front, goal_document
from tests.tasks.cf.conftest import metrics


def test_the_table_and_the_files_tell_of_all_models(finished: Path) -> None:
    log = (finished / "log.txt").read_text()
    found = metrics(finished)
    (head,) = [line for line in log.splitlines() if line.startswith("beyond accuracy")]
    lines = log[log.index(head) :].splitlines()
    assert len(head) <= 80
    for name, entry in (("searched", found["test"]), *found["baselines"].items()):
        (line,) = [one for one in lines if one.split() and one.split()[0] == name][:1]
        cells = line.split()[-len(BEYOND) :]
        values = [float(entry[f"{metric}@10"]) for metric in BEYOND]
        assert [float(cell) for cell in cells] == pytest.approx(values, abs=0.05)
    record = json.loads((finished / "report.json").read_text())
    assert "goal" not in record and record["models"][0]["test"]["novelty@10"] > 0
    page = (finished / "report.html").read_text()
    assert "More than accuracy" in page and f"{found['test']['novelty@10']:.2f}" in page
    # Groups of users are told of accuracy alone.
    assert not any("novelty" in name for group in found["groups"].values() for name in group)


def results(choice: str) -> Any:
    def entry(ndcg: float, coverage: float, arp: float, able: bool) -> Any:
        valid = {"ndcg@10": ndcg, "coverage@10": coverage, "arp@10": arp}
        return SimpleNamespace(valid=valid, merits=np.ones(2) if able else None)

    entries = {
        "searched": entry(0.3, 0.2, 9.0, False), "fixed-multiply": entry(0.1, 0.1, 9.5, False),
        "random-function": entry(0.9, 0.9, 0.0, False), "ease": entry(0.25, 0.5, 7.0, True),
        "popularity": entry(0.2, 0.4, 8.0, True), "bpr": entry(0.5, 0.5, 1.0, False),
    }  # fmt: skip
    designs = {"searched": 1, "fixed-multiply": 2, "random-function": 3}
    return SimpleNamespace(entries=entries, designs=designs, choice=Choice(choice, choice),
                           named=lambda name, ours: name)  # fmt: skip


def test_the_front_is_of_what_may_be_served(tmp_path: Path) -> None:
    goal = goal_of("ndcg@10, coverage@10 >= .3, arp@10 >= 8.5", [10])
    found = goal_document(goal, results("ease"), ["fixed-multiply"])
    assert [one["name"] for one in found["models"]] == [
        "searched", "fixed-multiply", "ease", "popularity",
    ]  # fmt: skip
    # More coverage is better; of popularity the goal wants much, so the popular are ahead.
    assert [one["undominated"] for one in found["models"]] == [
        [True, True], [False, True], [True, False], [False, False],
    ]  # fmt: skip
    assert [one["served"] for one in found["models"]] == [False, False, True, False]
    assert not any(one["keeps"] for one in found["models"])
    again = json.loads(json.dumps(found))
    (path,) = draw_front(again, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw_front(None, tmp_path) == []


def test_the_table_fits_a_terminal() -> None:
    values = {f"{name}@10": 0.12345 for name in BEYOND} | {"arp@10": 12345.6}
    entry: Any = SimpleNamespace(test=SimpleNamespace(metrics=values))
    lines = beyond_table({"random-function": entry}).splitlines()
    assert max(map(len, lines)) <= 88
