"""Every Python snippet of docs/how-to/adapters.md runs, where its library is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "adapters.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LIBRARIES = ("lenskit", "cornac")


def library(snippet: str) -> str:
    found = [name for name in LIBRARIES if re.search(rf"^(import|from) {name}", snippet, re.M)]
    return found[0] if found else "torch"


def test_there_is_one_for_each() -> None:
    assert sorted(map(library, SNIPPETS)) == ["cornac", "lenskit", *["torch"] * 4]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split("\n")[0])
def test_it_runs(
    snippet: str, make: Any, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library(snippet))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "recommender": make("max"), "product": make("multiply"), "frame": frame,
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
