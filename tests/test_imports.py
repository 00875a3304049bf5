"""The order of the layers, what `import sif` may load, and how long it may take."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sif

PACKAGE = Path(sif.__file__).parent
# A module imports from its own level or an earlier one.
LEVELS = [
    {"errors", "genotype", "dialects"},
    {"config", "runtime", "tracking", "metrics", "checkpoint"},
    {"prox", "probe", "data", "draws", "pairs", "rows", "streams", "optimisers", "averaging",
     "normalisation", "chunks"},
    {"objectives", "batches", "blocks", "spaces", "methods"},
    {"diagnostics", "search", "train", "evaluate", "verdict", "scoring", "parts", "fitting",
     "cold", "groups", "sources", "search_entries", "sampling", "budgets", "method_runs",
     "contracts", "vision", "language", "grid", "fold", "rivals", "fold_terms", "engine",
     "kernels", "topk", "catalogue", "neighbours", "checked", "ifcbench"},
    {"baselines", "ngram", "served", "learn", "serving", "grow", "recommending", "recommender",
     "saved", "packed", "classifier", "textmodel", "plots"},
    {"adapters", "tasks"},
    {"listing", "verbs", "bench"},
    {"cli"},
]  # fmt: skip
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
CONCRETE_SPACES = {
    path.stem for path in (PACKAGE / "spaces").glob("*.py") if path.stem not in ("__init__", "base")
}
# The modules of one space; only these may import each other. A space in one file needs no entry.
SPACE_OF = dict.fromkeys(
    ("interaction", "elementwise", "operations", "functions", "function_search", "tables",
     "encoders", "members", "rich", "stages", "gated"),
    "interaction",
) | dict.fromkeys(
    ("cells", "cnn_ops", "cnn_networks", "published", "cnn", "cnn_cell"), "cnn"
) | dict.fromkeys(("rnn", "rnn_cells", "rnn_dropout", "rnn_fused", "rnn_networks"), "rnn"
)  # fmt: skip
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(path: Path) -> Iterator[str]:
    """Dotted names below sif that the file imports anywhere in it, e.g. 'spaces.base'."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name[4:] for a in node.names if a.name.startswith("sif."))
        elif isinstance(node, ast.ImportFrom):
            origin = ["sif", *inside][: -node.level] if node.level else []
            base = ".".join([*origin, *filter(None, [node.module])])
            if base == "sif":
                yield from (alias.name for alias in node.names)
            elif base.startswith("sif."):
                yield base[4:]
                yield from (f"{base[4:]}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_level_or_an_earlier_one(path: Path) -> None:
    assert part(path) in LEVEL, "give the new module a level"
    later = {
        name for name in imported(path) if LEVEL.get(name.split(".")[0], -1) > LEVEL[part(path)]
    }
    assert not later


@pytest.mark.parametrize("name", sorted(CONCRETE_SPACES))
def test_spaces_know_neither_each_other_nor_data_nor_loops(name: str) -> None:
    for target in imported(PACKAGE / "spaces" / f"{name}.py"):
        names = target.split(".")
        assert names[0] not in ("data", "search", "train")
        if names[0] == "spaces" and len(names) > 1:
            same_space = SPACE_OF.get(names[1], names[1]) == SPACE_OF.get(name, name)
            assert names[1] not in CONCRETE_SPACES or same_space


@pytest.mark.parametrize("name", ["search", "train", "prox", "probe"])
def test_the_loops_and_the_core_know_no_concrete_space(name: str) -> None:
    for path in MODULES:
        if part(path) == name:
            for target in imported(path):
                names = target.split(".")
                assert names[0] != "spaces" or not CONCRETE_SPACES & set(names[1:])


def test_the_detector_sees_every_form_of_import(tmp_path: Path) -> None:
    nested = PACKAGE / "spaces" / "imaginary.py"

    class Source(type(nested)):  # type: ignore[misc]
        def read_text(self, *_: object) -> str:
            return (
                "import sif.data.interactions\nfrom sif import train\nfrom sif.search.loop import a\n"
                "def f():\n    from . import cnn\n    from ..probe import b\n"
                "    from .base import c\n"
            )

    found = set(imported(Source(nested)))
    assert found >= {"data", "train", "search", "spaces.cnn", "probe", "spaces.base"}


def fresh(code: str) -> str:
    """Output of the code in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


HEAVY = (
    "mlflow", "implicit", "matplotlib", "pooch", "pyarrow", "sklearn", "PIL", "numba", "optuna",
    "pymoo",
)  # fmt: skip


def test_importing_sif_and_its_core_loads_no_optional_library() -> None:
    core = [name for name in sorted(LEVEL) if (PACKAGE / f"{name}.py").is_file()]
    core += [name for name in sorted(LEVEL) if (PACKAGE / name / "__init__.py").is_file()]
    lines = ["import sys, importlib, sif", "[importlib.import_module('sif.' + n) for n in NAMES]"]
    lines += [f"print([n for n in {HEAVY} if n in sys.modules])"]
    code = f"NAMES = {core}\n" + "\n".join(lines)
    # pandas loads pyarrow by itself, and scipy nothing of ours; only what sif adds is judged.
    without = fresh("import sys, torch, numpy, scipy.sparse, pandas\n" + lines[2])
    assert set(ast.literal_eval(fresh(code))) <= set(ast.literal_eval(without))


def test_importing_sif_is_quick() -> None:
    code = (
        "import torch, time\nstart = time.perf_counter()\nimport sif\n"
        "print(time.perf_counter() - start)"
    )
    assert min(float(fresh(code)) for _ in range(2)) < 0.3


def test_public_names_exist() -> None:
    for name in sif.__all__:
        assert getattr(sif, name) is not None
        assert name in dir(sif)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        sif.absent  # noqa: B018
