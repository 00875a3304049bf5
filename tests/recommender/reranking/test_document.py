"""Every Python snippet of docs/how-to/beyond-accuracy.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sif

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "beyond-accuracy.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    rows = [(f"u{u}", f"i{i}") for u in range(20) for i in range(12) if (u + i * (u % 3 + 1)) % 3]
    orders = pd.DataFrame(rows, columns=["user", "item"])
    late = orders.groupby("user").tail(1)
    settings = {"search.epochs": 2, "train.epochs": 3, "train.l2": [1.0]}
    made = sif.Recommender(dimension=4, threads=1, baselines=[], settings=settings)
    model = made.fit(orders.drop(late.index), refit="none")
    kinds = {f"i{i}": ["tea", "mug"][i % 2] for i in range(12)}
    return {"model": model, "late": late, "kinds": kinds}


def test_snippets_run_in_their_order(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(SNIPPETS) == 3
    for snippet in SNIPPETS:
        exec(compile(snippet, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("0.8\n") and "Gap(gap=0.2" in printed
    assert "diversity@10" in printed and "undecided" in printed
