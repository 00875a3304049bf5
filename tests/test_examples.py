"""Every public name has an example, and every example runs."""

from __future__ import annotations

import copy
import doctest
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from reference import documented

import sif
from sif.cli import main as cli

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CLASSES = ("Recommender", "InteractionFunction", "Bench", "Genotype")
"""Those whose own public methods have examples as well, where they have any."""


def public() -> Iterator[tuple[str, Any]]:
    """Names of the reference and the public methods of `Recommender`, with what they stand for."""
    for name, thing in documented():
        if not isinstance(thing, tuple):  # a constant, whose text stands behind it in the source
            yield name.removeprefix("sif.") if name.count(".") == 1 else name, thing
    for name, method in inspect.getmembers(sif.Recommender, callable):
        if not name.startswith("_"):
            yield f"Recommender.{name}", method
    yield "InteractionFunction.load", sif.InteractionFunction.load


PUBLIC = dict(public())
LONG = {"export", "save_model", "check_method", "check_space", "run_job"}
"""Examples that train, write or import what takes seconds."""
EXAMPLES = [
    pytest.param(name, marks=pytest.mark.slow) if name.split(".")[-1] in LONG else name
    for name in PUBLIC
]
METHODS = [name for name in PUBLIC if name.startswith(("Recommender.", "InteractionFunction."))]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Names that examples may use: the data and the model of the class's own example."""
    (example,) = doctest.DocTestFinder(recurse=False).find(sif.Recommender, "Recommender")
    found: dict[str, Any] = {}
    for one in example.examples[:3]:
        exec(compile(one.source, "Recommender", "exec"), found)
    return {"sif": sif, "pd": pd, "copy": copy, "torch": torch} | found


@pytest.mark.parametrize("name", EXAMPLES)
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


@pytest.mark.parametrize("name", METHODS)
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
    guide = Path(__file__).parents[1] / "docs" / "how-to" / "recommender.md"
    text = guide.read_text(encoding="utf-8")
    code, *_ = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(code.replace("2min", "1s"), "docs/how-to/recommender.md", "exec"), {})
    assert Path("shop", "recommender.safetensors").is_file()


QUICK = {
    "search": {"epochs": 2}, "train": {"epochs": 2, "l2": [2.0]}, "baselines": [],
    "threads": 1, "tracking": {"enabled": False},
}  # fmt: skip
ELSEWHERE = ("venv", "mlflow ui", "--dataset ml-100k", "--task cnn", "--task rnn", "bench")
"""Parts of commands that other tests run: they install, serve, or take minutes."""


def shop(folder: Path) -> None:
    """The files that the README's tour begins with: orders, customers, a split, MovieLens."""
    draws = np.random.default_rng(0)
    names = ["mug", *(f"i{i}" for i in range(24))]
    rows = [
        (f"c{c}", item, int(draws.integers(3, 6)), 1_000_000 + c)
        for c in range(40)
        for i, item in enumerate(names)
        if (c + i) % 2 == 0 and draws.random() < 0.8
    ]
    orders = pd.DataFrame(rows, columns=["customer", "item", "rating", "timestamp"])
    orders.to_csv(folder / "orders.csv", index=False)
    (folder / "customers.csv").write_text("c1\nc2\nc3\n")
    (folder / "my-split").mkdir()
    parts = draws.choice(["train", "valid", "test"], len(orders), p=[0.8, 0.1, 0.1])
    for part in ("train", "valid", "test"):
        some = orders[parts == part].rename(columns={"customer": "user"})
        some.to_csv(folder / "my-split" / f"{part}.csv", index=False)
    films = ["50", "181", "172", *(str(i) for i in range(22))]
    numbered = orders.replace({"item": dict(zip(names, films, strict=True))})
    numbered["customer"] = numbered["customer"].replace("c1", "196").str.removeprefix("c")
    (folder / "ml-100k").mkdir()
    numbered.to_csv(folder / "ml-100k" / "u.data", sep="\t", index=False, header=False)
    lines = [f"{film}|Film {film}|01-Jan-1995||" for film in films]
    (folder / "ml-100k" / "u.item").write_text("\n".join(lines), encoding="latin-1")


@pytest.mark.slow
def test_the_tour_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands and snippets in the README's order, some of which train."""
    monkeypatch.chdir(tmp_path)
    shop(tmp_path)
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    sets = [
        f"{key}={json.dumps(value)}" if name is None else f"{key}.{name}={json.dumps(value)}"
        for key, section in QUICK.items()
        for name, value in (section.items() if isinstance(section, dict) else [(None, section)])
    ]
    known: dict[str, Any] = {"quick": QUICK}
    ran = 0
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.M | re.S):
        if language == "python":
            short = block.replace("2min", "1s")
            exec(compile(short, "README.md", "exec"), known)
            ran += 1
            continue
        for line in block.splitlines():
            if any(part in line for part in ELSEWHERE):
                continue
            words = shlex.split(line.removeprefix("python run.py "))
            if "--task" in words:
                words += ["--set", *sets]
            assert cli.main(words) == 0, f"{line}\n{capsys.readouterr().err}"
            ran += 1
    assert ran >= 3
