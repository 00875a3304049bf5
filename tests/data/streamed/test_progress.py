"""The line that tells how far a reading is."""

from __future__ import annotations

import io
import sys

import pytest

from sif.data.streamed.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rows_and_bytes_are_told_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    with progress("some.parquet", 4_000_000, rows=1_000) as advance:
        advance(2_000_000, 1_000_000)
        advance(2_000_000, 3_000_000)
    last = seen.getvalue().split("\r")[-1]
    assert "read some.parquet: 100%" in last and "4.00M/4.00M" in last
    assert "4,001,000 rows" in last and " rows/s" in last
    assert seen.getvalue().count("\n") == 1


def test_nothing_is_told_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("some.parquet", None) as advance:
        advance(1, 1)
    assert capsys.readouterr().err == ""
