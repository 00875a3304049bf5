"""The house: which package may import which, what `import sif` may load, and how long it takes."""

from __future__ import annotations

import ast
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from logging import Logger
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import sif

PACKAGE = Path(sif.__file__).parent
ROOT = PACKAGE.parent
CORE = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in (
        "core",
        "config",
        "utils",
        "methods",
        "spaces",
        "search",
        "training",
        "problems",
        "baselines",
        "recommender",
    )
    for path in (PACKAGE / package).rglob("*.py")
)


@pytest.fixture
def heard() -> Iterator[None]:
    """Loggers are heard afterwards: import-linter switches off all that are there before it."""
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, Logger)]
    before = {one: one.disabled for one in (*known, logging.getLogger("sif"))}
    yield
    for one, disabled in before.items():
        one.disabled = disabled


@pytest.mark.usefixtures("heard")
def test_the_contracts_on_imports_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True) == 0, capsys.readouterr().out


def test_checking_imports_leaves_the_loggers_as_they_were() -> None:
    assert not logging.getLogger("sif").disabled


LIBRARY = sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "cli")


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_errors_of_the_library_name_no_option_of_the_command_line(path: Path) -> None:
    for raised in ast.walk(ast.parse(path.read_text())):
        if isinstance(raised, ast.Raise):
            texts = [node.value for node in ast.walk(raised) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if re.search(r"(^|\W)--[a-z]", str(text))]


def fresh(code: str) -> str:
    """Output of the code in a new interpreter, of which no coverage is measured."""
    kept = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=kept | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


HEAVY = (
    "mlflow", "implicit", "matplotlib", "pooch", "pyarrow", "sklearn", "PIL", "numba", "optuna",
    "pymoo", "ray", "rich", "shtab",
)  # fmt: skip


def test_importing_sif_and_its_core_loads_no_optional_library() -> None:
    # pandas loads pyarrow by itself, and scipy nothing of ours; only what sif adds is judged.
    code = (
        "import importlib, sys, torch, numpy, scipy.sparse, pandas\n"
        f"def loaded(): return {{n for n in {HEAVY} if n in sys.modules}}\n"
        "before = loaded()\nimport sif\n"
        f"for name in {CORE}: importlib.import_module(name)\n"
        "print(loaded() - before or {})"
    )
    assert ast.literal_eval(fresh(code)) == {}


def test_importing_sif_is_quick() -> None:
    # Seconds of the CPU: those of the wall depend on what else runs.
    code = (
        "import torch, time\nstart = time.process_time()\nimport sif\n"
        "print(time.process_time() - start)"
    )
    assert float(fresh(code)) < 0.3


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = [
        alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    ]
    assert sorted(typed) == sorted(sif.__all__) == sorted(sif._MODULES)


def test_public_names_exist() -> None:
    for name in sif.__all__:
        assert getattr(sif, name) is not None
        assert name in dir(sif)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        sif.absent  # noqa: B018
