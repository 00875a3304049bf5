"""Lines, the progress line on a terminal and without one, and the log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sif.tasks.console import Console


def show(console: Console) -> None:
    console.progress("search", 1, 4, "ndcg@10 0.1")
    console.progress("search", 2, 4, "ndcg@10 0.2")  # too soon after the other
    console.line("a remark")
    console.result("a result")
    console.close()


def test_without_a_terminal_progress_is_rare_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Console(tmp_path / "log.txt"))
    assert capsys.readouterr() == ("a result\n", "search 1/4 ndcg@10 0.1\na remark\n")
    assert (tmp_path / "log.txt").read_text() == "a remark\na result\n"


def test_quiet_shows_results_alone_and_logs_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Console(tmp_path / "log.txt", quiet=True))
    assert capsys.readouterr() == ("a result\n", "")
    assert (tmp_path / "log.txt").read_text() == "a remark\na result\n"


def test_on_a_terminal_progress_is_one_line_that_fits_and_gives_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((50, 20)))
    show(Console(tmp_path / "log.txt"))
    drawn, blank, remark = capsys.readouterr().err.lstrip("\r").split("\r")
    assert drawn == "search                 [#####               ] 1/4"
    assert blank == " " * 49 and remark == "a remark\n"
    assert (tmp_path / "log.txt").read_text() == "a remark\na result\n"
