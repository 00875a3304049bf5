"""The section beyond accuracy: a table of all models, and a figure of the goal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sif.report.beyond import section
from sif.report.files import RunFiles
from sif.report.page import body, run_page
from tests.report.conftest import NASTY, model, written

TEST = {"coverage@10": 0.25, "novelty@10": 3.14159, "arp@10": 41.26}
GOAL: dict[str, Any] = {
    "metric": "ndcg@10",
    "bounds": [{"metric": "coverage@10", "relation": ">=", "value": 0.3}],
    "metrics": ["coverage@10"],
    "models": [
        {"name": NASTY, "value": 0.3, "others": [0.25], "served": False, "keeps": False,
         "undominated": [True]},
        {"name": "ease", "value": 0.28, "others": [0.4], "served": True, "keeps": True,
         "undominated": [True]},
    ],
}  # fmt: skip


@pytest.fixture
def read(documents: dict[str, Any], tmp_path: Path) -> Callable[..., RunFiles]:
    def call(**record: Any) -> RunFiles:
        models = [model("searched", 0.3, test={"ndcg@10": 0.3, **TEST}),
                  model("ease", 0.28, served=True)]  # fmt: skip
        documents["report.json"] |= {"models": models, **record}
        return RunFiles.read(written(tmp_path / "run", documents))

    return call


def test_the_table_has_what_the_models_have(read: Callable[..., RunFiles]) -> None:
    found = section(read())
    assert found is not None and not found.charts
    html = body(found)
    assert ">25.0" not in html and "0.2500" in html and "3.14<" in html and "41.3<" in html
    assert "Gini" not in html and "chosen on validation" not in html
    assert html.count("served") == 1


def test_a_goal_is_told_drawn_and_escaped(read: Callable[..., RunFiles]) -> None:
    run = read(goal=GOAL)
    found = section(run)
    assert found is not None
    html = body(found)
    assert "ndcg@10 as good as possible, coverage@10 &gt;= 0.3" in html
    spec = found.charts["front-0"]
    assert [row["state"] for row in spec["data"]["values"]] == ["breaks a bound", "served"]
    assert 'id="chart-front-0"' in html
    page = run_page(run)
    assert "<script>alert" not in page


def test_runs_without_these_metrics_have_no_section(read: Callable[..., RunFiles]) -> None:
    assert section(read(models=[model("ease", 0.2)])) is None
