"""The examples of panels run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pandas as pd
import pytest

from sif.bench.panel import lists, panel, ranks


@pytest.mark.parametrize("module", [lists, panel, ranks])
def test_the_examples_of_a_module_run(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    orders = pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"]})
    found = doctest.testmod(module, extraglobs={"orders": orders})  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed
