"""sif without each optional library works as docs/reference/optional-libraries.md promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from sif import Recommender
from sif.cli import main as cli

ROOT = Path(__file__).parents[1]
Board = Callable[..., pd.DataFrame]
Answers = list[tuple[int, list[str], list[str]]]

REQUIRED = {"jinja2", "numpy", "pandas", "pydantic", "pyyaml", "safetensors", "scipy", "torch"}
MODULES = {
    "adbc-driver-postgresql": "adbc_driver_postgresql", "cornac": "cornac", "duckdb": "duckdb",
    "fastapi": "fastapi", "httptools": "httptools", "prometheus-client": "prometheus_client",
    "uvicorn": "uvicorn", "uvloop": "uvloop",
    "implicit": "implicit", "lenskit": "lenskit", "matplotlib": "matplotlib",
    "mlflow": "mlflow", "numba": "numba", "onnx": "onnx", "onnxscript": "onnxscript",
    "optuna": "optuna", "pillow": "PIL", "pooch": "pooch", "pyarrow": "pyarrow",
    "pymoo": "pymoo", "ray": "ray", "rich": "rich", "scikit-learn": "sklearn", "shtab": "shtab",
    "tqdm": "tqdm", "usearch": "usearch",
}  # fmt: skip
"""Optional libraries, and the modules that they install."""
ALL = (*MODULES.values(), "threadpoolctl")
REFUSED = {
    "adbc-driver-postgresql": (
        "--task cf --dataset postgresql://host/shop --set data.table=orders --no-tracking",
        r"postgresql://host/shop: expected adbc-driver-postgresql, found none; .* 'sif\[sql\]'",
    ),
    "duckdb": (
        "--task cf --dataset orders.duckdb --set data.table=orders --no-tracking",
        r".*orders\.duckdb: expected duckdb, found none; pip install 'sif\[sql\]'",
    ),
    "fastapi": ("serve model", r"serve: expected fastapi, found none; .* 'sif\[serve\]'"),
    "implicit": ("export model --to implicit --output a.npz", "implicit.*: not installed"),
    "matplotlib": ("plot run", "figures: expected the package matplotlib"),
    "mlflow": ("--task cf", "tracking: mlflow is not installed; install it or use --no-tracking"),
    "onnx": ("export model --to onnx --output a.onnx", r"onnx: not installed; .* 'sif\[onnx\]'"),
    "onnxscript": ("export model --to onnx --output a.onnx", "onnxscript: not installed; pip"),
    "optuna": ("--task cf --method tpe --no-tracking", r"method tpe: .* 'sif\[bench\]'"),
    "pillow": ("--task cnn --dataset images --no-tracking", r"images: .*\(pip install pillow\)"),
    "prometheus-client": (
        "serve model", r"serve: expected prometheus-client, found none; .* 'sif\[serve\]'"
    ),
    "pooch": ("--task cf --dataset ml-100k --data-dir . --no-tracking", "ml-100k: .*pooch"),
    "pyarrow": (
        "recommend --model model u1 --output a.parquet", r"a\.parquet: .*\(pip install pyarrow\)"
    ),
    "pymoo": ("--task cf --method nsga2 --no-tracking", r"method nsga2: .* 'sif\[bench\]'"),
    "ray": (
        "bench --executor ray --task cf --methods nasp --budget 3epochs --no-tracking",
        r"executor ray: expected ray, found none; pip install 'sif\[ray\]'",
    ),
    "scikit-learn": ("--task cnn --no-tracking", r"digits: .*\(pip install scikit-learn\)"),
    "shtab": ("completion bash", r"completion: .*\(pip install shtab\)"),
    "uvicorn": ("serve model", r"serve: expected uvicorn, found none; .* 'sif\[serve\]'"),
    "usearch": (
        "--task cf --no-tracking --set retrieval=approximate",
        r"approximate retrieval: .* 'sif\[ann\]'",
    ),
}  # fmt: skip
"""Commands that need a library, and their one line."""

SCRIPT = """
import contextlib, io, json, sys
commands, blocked = map(json.loads, sys.argv[1:])
sys.modules |= dict.fromkeys(blocked)
from sif.cli.main import main
answers = []
for words in commands:
    texts = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
        code = main(words)
    answers.append((code, *(text.getvalue().splitlines() for text in texts)))
print(json.dumps(answers))
"""


def without(modules: Sequence[str], folder: Path, *commands: Sequence[str]) -> Answers:
    """Exit code, output and errors of commands in one process that cannot import the modules."""
    kept = {name: value for name, value in os.environ.items() if name != "SIF_DATA_DIR"}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, words, json.dumps(modules)], cwd=folder,
        env=kept | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: Answers = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture
def folder(checkerboard: Board, tmp_path: Path, tiny: list[str]) -> Path:
    """A folder with model/, a run of which only the figures' data are there, and images/."""
    settings = {
        "train.epochs": 5, "train.l2": [0.003], "train.dimension": 4, "search.epochs": 2,
        "search.dimension": 4,
    }  # fmt: skip
    frame = checkerboard(20, 10)
    Recommender(threads=1, settings=settings).fit(frame).save(tmp_path / "model")
    frame.to_csv(tmp_path / "orders.csv", index=False)
    (tmp_path / "orders.duckdb").write_bytes(bytes(8) + b"DUCK")
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (2, 2)).save(tmp_path / "images" / name / "x.png")
    (tmp_path / "run" / "plots").mkdir(parents=True)
    (tmp_path / "run" / "plots" / "figures.json").write_text("{}")
    (tmp_path / "run" / "config.yaml").write_text("task: cf\n")
    return tmp_path


SERVED = (
    ("recommend", "--model", "model", "u1", "u2", "-n", "2"),
    ("recommend", "--model", "model", "u1", "u2", "-n", "2", "--output", "a.csv"),
    ("similar", "--model", "model", "i1", "-n", "2"),
)


def check_served(answers: Answers, folder: Path) -> None:
    shown, file, near = answers
    assert [code for code, _, _ in answers] == [0, 0, 0], answers
    assert len(shown[1]) == 4 and file[1] == ["a.csv"] and len(near[1]) == 2
    written = pd.read_csv(folder / "a.csv")
    assert written["item"].tolist() == [line.split("\t")[2] for line in shown[1]]


def test_answers_need_no_optional_library(folder: Path) -> None:
    check_served(without(ALL, folder, *SERVED), folder)


@pytest.mark.slow
@pytest.mark.parametrize("library", MODULES)
def test_without_a_library_all_else_works_and_one_line_names_it(
    library: str, folder: Path, tiny: list[str]
) -> None:
    """Two processes' worth of imports and a job; matplotlib is always missing, to draw nothing."""
    words, message = REFUSED.get(library, ("version", ""))
    job = ["--task", "cf", "--no-tracking", "--quiet", "--output-dir", "done", *tiny]
    *served, done, asked = without(
        ("matplotlib", MODULES[library]), folder, *SERVED, job, words.split()
    )
    check_served(served, folder)
    assert done[0] == 0, done[2]
    assert json.loads((folder / "done" / "metrics.json").read_text())["test"]
    if message:
        code, out, errors = asked
        assert (code, out, len(errors)) == (2, [], 1)
        assert re.match(f"error: {message}", errors[0])


@pytest.mark.slow
def test_a_bare_installation_does_all_but_figures_and_implicit_baselines(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole job, and its figures."""
    job = ["--task", "cf", "--no-tracking", "--output-dir", "run", *tiny, "baselines=all"]
    ((code, _, errors),) = without(ALL, tmp_path, job)
    assert code == 0, errors
    assert [line for line in errors if "left out" in line] == [
        f"left out: {what}: expected the package {name} (pip install {name}), found none"
        for what, name in (("baselines als, bpr", "implicit"), ("figures", "matplotlib"))
    ]
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(found["baselines"]) == {
        "fixed-multiply", "random-function", "popularity", "ease",
        "recent-popularity", "markov", "decayed-ridge", "item-knn", "rp3beta", "slim",
    }  # fmt: skip
    assert Recommender.load(tmp_path / "run" / "model").model_.vocabularies
    plots = tmp_path / "run" / "plots"
    assert {path.name for path in plots.iterdir()} == {"figures.json"}
    # Where there is matplotlib, the figures are drawn later.
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", "run"]) == 0
    assert len(list(plots.glob("*.png"))) == 5


def test_a_library_is_required_or_optional_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    apart = {"dev", "docs", "peers-order"}  # the last has an environment of its own, without sif
    named = [*project["dependencies"], *(n for e in extras if e not in apart for n in extras[e])]
    names = {re.split(r"[<>=\[]", name)[0] for name in named}
    assert names == REQUIRED | set(MODULES) and not REQUIRED & set(MODULES)
    text = (ROOT / "docs" / "reference" / "optional-libraries.md").read_text(encoding="utf-8")
    required, table = text.split("## Required and optional libraries")[1].split("| without |")
    assert set(re.findall(r"\w+", required)) >= REQUIRED
    rows = re.findall(r"^\| ([\w, -]+) \|", table, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} - {"---"} == set(MODULES)
