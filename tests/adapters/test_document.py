"""Every Python snippet of the pages on other libraries runs, where its library is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sif.baselines import BASELINES
from sif.config import CFConfig, load_config
from sif.problems.interactions import InteractionProblem
from sif.recommender.inputs import parts
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.utils.device import make_runtime

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
TEXT = "".join((PAGES / f"{name}.md").read_text("utf-8") for name in ("adapters", "formats"))
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LIBRARIES = ("lenskit", "cornac", "onnxruntime", "pyarrow")


def library(snippet: str) -> str:
    found = [name for name in LIBRARIES if re.search(rf"^(import|from) {name}", snippet, re.M)]
    return found[0] if found else "torch"


def test_there_is_one_for_each() -> None:
    expected = ["cornac", "lenskit", "onnxruntime", "pyarrow", *["torch"] * 6]
    assert sorted(map(library, SNIPPETS)) == expected


@pytest.fixture(scope="module")
def order(frame: pd.DataFrame) -> Recommender:
    """Serves EASE, an item-item model."""
    config = load_config("cf", sets=["threads=1"], flags={"seed": 0, "device": "cpu"})
    assert isinstance(config, CFConfig)
    known, train, valid = parts(frame, None, 0)
    problem = InteractionProblem(train, valid, config, make_runtime("cpu", 0, 1))
    ease, params = BASELINES["ease"], {"l2": 5.0}
    assert ease.serving is not None
    network = ease.serving.network(ease.fit(train, params, 0, 1), train, params)
    found = Recommender()
    found._serve(ServedModel.of_baseline(problem, "ease", params, network, known))
    return found


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split("\n")[0])
def test_it_runs(
    snippet: str, make: Any, frame: pd.DataFrame, order: Recommender, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip(library(snippet))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "recommender": make("max"), "product": make("multiply"), "frame": frame, "order": order,
    }  # fmt: skip
    exec(compile(snippet, "docs/how-to/adapters.md", "exec"), names)
    if "lists" in names:
        assert len(names["lists"]) == 2
    if "factors" in names:
        expected, _ = make("multiply").recommend("u0", 5, exclude_seen=False, as_arrays=True)
        row = names["factors"].user_ids.tolist().index("u0")
        ids, _ = names["factors"].recommend(row, None, N=5, filter_already_liked_items=False)
        assert names["factors"].item_ids[ids].tolist() == expected.tolist()
    if "best" in names:
        expected, _ = make("max").recommend_new(
            ["i1", "i3"], 3, filter_already_liked=False, as_arrays=True
        )
        assert names["best"] == expected.tolist()
    if "next_best" in names:
        expected, _ = order.recommend_new(["i1", "i3"], 3, exclude_seen=False, as_arrays=True)
        assert names["next_best"] == expected.tolist() and names["known"].shape == (2, 20)
    if "shop" in names:
        assert len(names["shop"].interactions) == len(frame)
        assert names["shop"].items["class"].tolist() == [["tea"], ["mug", "tea"]]
    if "near" in names:
        assert (len(names["answers"]), len(names["one"]), len(names["near"])) == (6, 3, 3)
    if "table" in names:
        assert names["table"].column_names == ["user", "item", "score", "rank"]
