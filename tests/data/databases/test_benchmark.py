"""The measurement of databases against Parquet runs to its end."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")  # which is skipped where there is no server to start
def test_all_databases_have_the_interactions_of_parquet(tmp_path: Path) -> None:
    """Slow: it starts a server, and a process for each database."""
    pytest.importorskip("duckdb")
    script = ROOT / "benchmarks" / "databases.py"
    command = [sys.executable, script, "--rows", "3000", "--output", tmp_path / "x.csv"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    with (tmp_path / "x.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["source"] for line in lines] == ["parquet", "postgresql", "sqlite", "duckdb"]
    assert {line["same"] for line in lines} == {"True"} and {line["rows"] for line in lines} == {
        "3000"
    }
