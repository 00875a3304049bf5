"""`sif completion`: scripts that shells take, and what shells complete by them."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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


CASES = {
    "sif ru\t--ta\tcn\t": "run --task cnn",
    "sif --task cf --datas\tml-100\t": "--task cf --dataset ml-100k",
    "sif run --config cf/fi\t": "run --config cf/first",
    "sif run --set train.ep\t7 search.see\t": "run --set train.epochs=7 search.see",
    "sif bench --methods nas\t": "bench --methods nasp",
    "sif export runs --to on\t": "export runs --to onnx",
    "sif recommend ru\tone\t": "recommend runs/one",
    "sif run --dataset or\t": "run --dataset orders.csv",
}
"""What is typed, and the arguments of the command after it. No setting begins as search.see."""
BEGINS = {
    "bash": "source ./script",
    "zsh": "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D",
}


def answers(shell: str, folder: Path) -> Iterator[str]:
    """The arguments that a shell at a terminal passes for each of the cases."""
    words = [shell, "--norc" if shell == "bash" else "-f", "-i"]
    shown, terminal = pty.openpty()
    with subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder, start_new_session=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"},
    ) as process:  # fmt: skip
        os.close(terminal)
        threading.Thread(target=_drain, args=(shown,), daemon=True).start()
        take = 'sif() { printf %s "$*" > part; mv part args; }'
        os.write(shown, f"{BEGINS[shell]}; {take}; sif begun\r".encode())
        assert _arguments(folder) == "begun"
        for keys in CASES:
            os.write(shown, f"{keys}\r".encode())
            yield _arguments(folder)
        process.kill()


def _drain(shown: int) -> None:
    with contextlib.suppress(OSError):  # its end, once the shell has ended
        while os.read(shown, 1024):
            pass


def _arguments(folder: Path) -> str:
    end = time.monotonic() + 60
    while not (folder / "args").exists():
        assert time.monotonic() < end, "the command did not start"
        time.sleep(0.01)
    found = (folder / "args").read_text().strip().rstrip("/")
    (folder / "args").unlink()
    return found


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_at_a_terminal_completes(shell: str, sif: Command, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "orders.csv").touch()
    (tmp_path / ("_sif" if shell == "zsh" else "script")).write_text(sif("completion", shell).out)
    assert dict(zip(CASES, answers(shell, tmp_path), strict=True)) == CASES


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes(sif: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "orders.csv").touch()
    (tmp_path / "script").write_text(sif("completion", "fish").out)
    expected = {
        "sif ru": ["run"], "sif run --ta": ["--task"], "sif run --task c": ["cf", "cnn"],
        "sif run --task=c": ["--task=cf", "--task=cnn"],
        "sif run --dataset ml-100": ["ml-100k"], "sif run --dataset or": ["orders.csv"],
        "sif run --set train.ep": ["train.epochs="], "sif bench --methods na": ["nasp"],
        "sif export runs --to o": ["onnx"], "sif recommend r": ["runs/"],
    }  # fmt: skip
    code = "source script; for line in $argv; complete -C $line; echo; end"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code, *expected], cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    parts = done.stdout.removesuffix("\n\n").split("\n\n")
    found = [[line.split("\t")[0] for line in part.splitlines()] for part in parts]
    assert dict(zip(expected, found, strict=True)) == expected


def test_settings_have_their_full_names() -> None:
    assert {"train.epochs", "search.seconds", "data.dir", "seed"} <= set(settings())
