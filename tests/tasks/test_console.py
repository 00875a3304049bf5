"""Lines, the progress line on a terminal and without one, and the log."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from sif.tasks.console import Console, table
from sif.tasks.live import Clock, LiveLine


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
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show(Console(tmp_path / "log.txt"))
    out, shown = capsys.readouterr()
    drawn, remark = shown.split("\x1b[2K", 1)  # the line is erased before the remark
    assert remark.endswith("a remark\n") and out == "a result\n"
    for line in map(plain, re.split(r"[\r\n]+", drawn)):
        assert len(line) <= 50
        assert not line or line.startswith("search ━━━━━━━━━━━━━━━━ ")
    assert "\x1b[?25l" not in shown  # Ctrl-C may end the process before a cursor comes back
    assert (tmp_path / "log.txt").read_text() == "a remark\na result\n"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_color_and_on_dumb_terminals_lines_are_plain(
    variables: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    for stream in (sys.stderr, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    show(Console(tmp_path / "log.txt"))
    assert capsys.readouterr() == ("a result\n", "search 1/4 ndcg@10 0.1\na remark\n")


def test_the_line_tells_the_best_of_ours_and_of_the_others_and_the_time() -> None:
    line = LiveLine()
    for name, merit, ours in (("als", 0.2, False), ("ease", 0.3, False), ("searched", 0.25, True),
                              ("popularity", 0.1, False)):  # fmt: skip
        line.standings.add(name, merit, f"{merit:.2f}", ours)
    line.clock = Clock(lambda: 35.0, 120.0)
    line.stage, line.done, line.total, line.text = "train searched", 8, 16, "loss 0.1"
    assert line.drawn().plain == (
        f"train searched {'━' * 16} 8/16  valid: searched 0.25, ease 0.30"
        "  35 s of 120 s, 85 s left  loss 0.1"
    )
    assert str(Clock(lambda: 130.0, 120.0)).endswith("0 s left")
    assert str(Clock(lambda: 7.0)) == "7 s"


def test_a_result_on_a_terminal_has_the_same_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text = table(["model", "valid [x]"], [["ease *", "0.3361"], ["a" * 40, "1"]])
    console = Console(tmp_path / "log.txt")
    console.result(f"{text}\nverdict: [bold]undecided")
    shown = capsys.readouterr().out
    assert plain(shown) == f"{text}\nverdict: [bold]undecided\n" and shown != plain(shown)


def plain(text: str) -> str:
    """Text without the codes of colors and cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
