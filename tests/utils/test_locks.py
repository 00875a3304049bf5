"""One process in a folder at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sif.errors import ConfigError
from sif.utils.locks import locked

pytest.importorskip("fcntl")
HOLDER = """
import sys, time
from pathlib import Path
from sif.utils.locks import locked
with locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_held_folder_is_refused_until_its_process_dies(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=f"{tmp_path}: somebody is there"),
            locked(tmp_path, "somebody is there"),
        ):
            raise AssertionError("it is held")
        process.kill()
    with locked(tmp_path, "somebody is there") as inherited:
        assert len(inherited) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_may_not_hold_a_folder_twice(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "x"),
        pytest.raises(ConfigError, match="somebody is there"),
        locked(tmp_path, "somebody is there"),
    ):
        raise AssertionError("it is held")
