"""Every public name has an example, and every example runs."""

from __future__ import annotations

import copy
import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import sif

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CLASSES = ("Recommender", "InteractionFunction", "Bench", "Genotype")
"""Those whose own public methods have examples as well, where they have any."""


def public() -> Iterator[tuple[str, Any]]:
    """Public names and the public methods of `Recommender`, with what they stand for."""
    for name in sif.__all__:
        yield name, getattr(sif, name)
    for name, method in inspect.getmembers(sif.Recommender, callable):
        if not name.startswith("_"):
            yield f"Recommender.{name}", method
    yield "InteractionFunction.load", sif.InteractionFunction.load


PUBLIC = dict(public())


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Names that examples may use: the data and the model of the class's own example."""
    (example,) = doctest.DocTestFinder(recurse=False).find(sif.Recommender, "Recommender")
    found: dict[str, Any] = {}
    for one in example.examples[:3]:
        exec(compile(one.source, "Recommender", "exec"), found)
    return {"sif": sif, "pd": pd, "copy": copy, "torch": torch} | found


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs(
    name: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    thing = PUBLIC[name]
    text = inspect.getdoc(thing) or ""
    test = doctest.DocTestParser().get_doctest(text, dict(names), name, None, 0)
    assert test.examples, f"{name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", [name for name in PUBLIC if "." in name])
def test_a_method_tells_arguments_results_and_errors(name: str) -> None:
    method = PUBLIC[name]
    text = inspect.getdoc(method) or ""
    given = [n for n in inspect.signature(method).parameters if n not in ("self", "cls")]
    assert "Returns:" in text
    assert ("Args:" in text) == bool(given)
    for argument in given:
        assert f"    {argument}: " in text, f"{name}: {argument} is not explained"
    if name not in ("Recommender.get_params",):
        assert "Raises:" in text or name == "Recommender.set_params"


def test_there_are_few_names() -> None:
    assert len(sif.__all__) <= 16


def test_the_documents_first_steps_run(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    orders = names["orders"]
    orders.replace("mug1", "mug").to_csv("orders.csv", index=False)
    text = (Path(__file__).parents[1] / "docs" / "recommender.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(code.replace("2min", "1s"), "docs/recommender.md", "exec"), {})
    assert Path("shop", "recommender.safetensors").is_file()
