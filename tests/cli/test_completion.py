"""`sif completion`: scripts that shells take, and what bash completes by one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sif.cli import main as cli
from sif.cli.completion import settings

Command = Callable[..., Any]


@pytest.fixture(params=cli.SHELLS)
def script(request: pytest.FixtureRequest, sif: Command, tmp_path: Path) -> tuple[str, Path]:
    done = sif("completion", request.param)
    assert (done.code, done.err) == (0, [])
    path = tmp_path / request.param
    path.write_text(done.out)
    return request.param, path


def test_a_script_knows_commands_and_names_and_its_shell_takes_it(script: tuple[str, Path]) -> None:
    shell, path = script
    text = path.read_text()
    for word in (*cli.VERBS, "ml-latest-small", "train.epochs=", "cf/default", "random-ws"):
        assert word in text, word
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", path], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["rec"], ["recommend"]),
        (["--task", "cf", "--dataset", "ml-100"], ["ml-100k"]),
        (["run", "--set", "train.ep"], ["train.epochs="]),
        (["bench", "--methods", "nas"], ["nasp"]),
    ],
)
def test_bash_completes(words: list[str], found: list[str], sif: Command, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(sif("completion", "bash").out)
    code = """
    source "$1"; shift
    COMP_WORDS=(sif "$@"); COMP_CWORD=$#; _shtab_sif; printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", code, "bash", tmp_path / "script", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == found


def test_settings_have_their_full_names() -> None:
    assert {"train.epochs", "search.seconds", "data.dir", "seed"} <= set(settings())
