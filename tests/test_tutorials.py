"""The tutorials run as scripts in an empty folder, and show what their texts promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "examples").glob("*.py"))
LIMIT = 600
"""Seconds, on a busy machine; an idle core takes under 60."""

pytestmark = pytest.mark.slow


def told(number: str, folder: Path) -> str:
    """What a tutorial prints, run in a folder on one thread."""
    (script,) = (path for path in TUTORIALS if path.name.startswith(number))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment = kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def number_in(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"no {pattern!r} in:\n{text[-3000:]}"
    return float(found[1])


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_a_tutorial_can_become_a_page(path: Path) -> None:
    _, *cells = re.split(r"^# %%(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kinds, bodies = cells[::2], cells[1::2]
    assert set(kinds) == {"", " [markdown]"}
    assert kinds[0] == " [markdown]" and bodies[0].strip().startswith("# # ")
    for kind, body in zip(kinds, bodies, strict=True):
        lines = [line for line in body.splitlines() if line.strip()]
        assert lines and (not kind or all(line.startswith("#") for line in lines)), body


def test_the_saved_recommender_answers_over_http(tmp_path: Path) -> None:
    text = told("01", tmp_path)
    suiting = number_in(r"of the customer's hobby: (\d+) of 96", text)
    assert suiting > 60  # of 96, of which a guess has twelve
    _, served = text.split('{"user": "Ada"} -> ')
    ada, history, item, stopped = served.splitlines()
    table = text[text.index("She may like:") :].splitlines()[2:5]
    assert ada.split(", ") == [re.sub(r"\s+\S+\s+\d$", "", line).strip() for line in table]
    photography = {"zoom lens", "flash", "memory card", "camera bag", "lens cap", "photo album"}
    answers = history.partition(" -> ")[2].split(", ")
    assert len(set(answers) & photography) >= 2, answers
    assert item.startswith('{"item": "flour"} -> ') and "flour" not in item.partition("->")[2]
    assert stopped == "the server has stopped"
    assert (tmp_path / "shop" / "recommender.safetensors").is_file()


def test_order_wins_where_the_split_is_in_order_and_half_lives_are_found(tmp_path: Path) -> None:
    text = told("02", tmp_path)
    rows = text[text.index("Test NDCG@10 by split") :].splitlines()
    assert rows[1].split() == ["ranking-per-user", "last-item", "time-cut"]
    table = {line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in rows[2:6]}
    searched, ease = table["searched"], table["ease"]
    assert searched[1] > ease[1] + 0.1 and searched[2] > ease[2]
    assert ease[0] > ease[1]  # a random split tells what comes after
    assert "history(" in rows[6]
    planted, found = (
        [float(one) for one in re.findall(r"[\d.]+", line)]
        for line in re.findall(r"half-lives (?:planted|found): (.*) films", text)
    )
    assert len(planted) == len(found) == 2
    assert all(1 / 2 <= a / b <= 2 for a, b in zip(found, planted, strict=True))
    assert "within a factor of two: True" in text
    for name in ("last-item", "planted"):
        assert (tmp_path / "runs" / name / "report.html").stat().st_size > 10_000


def test_verdicts_are_read_and_runs_are_compared_in_mlflow(tmp_path: Path) -> None:
    text = told("03", tmp_path)
    assert text.count("verdict: ") == 2
    _, books, canteen = text.split("\n== ")
    row = r"^{} .*?\d\.\d+ +(\d\.\d+)"  # validation, then test
    values = [
        [number_in(f"(?m){row.format(name)}", part) for name in ("searched", "popularity")]
        for part in (books, canteen)
    ]
    assert values[0][0] > 1.5 * values[0][1]  # people have tastes
    assert values[1][0] < 1.1 * values[1][1]  # nobody has
    lines = re.findall(r"^ *(books|canteen) +(.+?) +(\S+) +(\S+) +([\d.]+)$", text, re.MULTILINE)
    for data, (searched, popularity) in zip(("books", "canteen"), values, strict=True):
        runs = {
            name: (method, l2, float(test)) for of, name, method, l2, test in lines if of == data
        }
        assert runs["searched"] == runs[f"{data} · nasp · seed 0"]
        assert runs["searched"] == ("nasp", "2.0", pytest.approx(searched, abs=2e-4))
        assert runs["popularity"] == ("baseline", "none", pytest.approx(popularity, abs=2e-4))
        assert runs["fixed-multiply"][0] == "given" and runs["ease"][1] != "none"
    report = (tmp_path / "benches" / "books" / "report.md").read_text()
    assert re.findall(r"^\| (\S+) \| 1 \|", report, re.MULTILINE) == ["nasp", "random"]
    assert report.strip().splitlines()[0] in text and "minus nasp" in report
    assert (tmp_path / "benches" / "books" / "plots" / "methods.png").is_file()


def test_ideas_of_another_package_are_checked_and_used_by_name(tmp_path: Path) -> None:
    text = told("04", tmp_path)
    for name in ("annealing", "margin", "dozen"):
        assert f"{name} keeps the promises of a " in text
    assert re.search(r"^ContractError: expected .* negatives=True", text, re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith(("methods:", "spaces:"))] == [
        "methods: annealing", "spaces: dozen",
    ]  # fmt: skip
    assert re.search(r"^found: (multiply|plus|max)\(", text, re.MULTILINE)
    assert 2 <= number_in(r"candidates trained from scratch: (\d+)", text) <= 12
    assert (tmp_path / "runs" / "ideas" / "report.html").is_file()


def test_cells_of_images_and_text_are_searched_and_drawn(tmp_path: Path) -> None:
    text = told("05", tmp_path)
    assert number_in(r"wrong on test digits: ([\d.]+) %", text) < 50  # a guess has 90
    assert number_in(r"perplexity on test paragraphs: (\d+)", text) < 150  # of 500 words
    drawings = re.findall(r"look at (\S+)", text)
    assert any("digits" in name for name in drawings) and any("manual" in n for n in drawings)
    for name in drawings:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
