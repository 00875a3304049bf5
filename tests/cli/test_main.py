from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import sif
from sif.bench import RayExecutor
from sif.cli import main as cli
from sif.config import CFConfig
from sif.errors import DataError, SifError
from sif.problems.configuration import load_job_config
from sif.utils.paths import nearest


class Jobs(types.ModuleType):
    """Stands for sif.tasks: records what the command line asked for, or fails as told."""

    def __init__(self) -> None:
        super().__init__("sif.tasks")
        self.runs: list[tuple[CFConfig, dict[str, Any]]] = []
        self.failure: BaseException | None = None

    def run(self, config: CFConfig, **options: Any) -> None:
        self.runs.append((config, options))
        if self.failure is not None:
            raise self.failure

    def evaluate(self, folder: Path) -> None:
        print("evaluated", folder.name)

    def plot(self, folder: Path) -> list[Path]:
        return [folder / "plots" / "a.png"]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Jobs:
    module = Jobs()
    monkeypatch.setitem(sys.modules, "sif.tasks", module)
    monkeypatch.setattr(sif, "tasks", module, raising=False)
    monkeypatch.chdir(tmp_path)
    return module


def line(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    (only,) = printed.err.splitlines()
    return only


def test_flags_reach_the_configuration(jobs: Jobs, tmp_path: Path) -> None:
    arguments = (
        "--task cf --dataset ml-100k --split-file s.npz --set objective=rating train.epochs=7 "
        "--set search.epochs=9 --method other --seed 4 --device cpu --data-dir d "
        "--output-dir out --tracking-uri sqlite:///x.db --quiet"
    )
    assert cli.main(arguments.split()) == 0
    assert cli.main(["run", *arguments.split()]) == 0
    assert jobs.runs[0] == jobs.runs[1]
    config, options = jobs.runs[0]
    assert options == {"resume": False, "quiet": True, "finish": False, "executor": None}
    assert (config.dataset, config.objective, config.method) == ("ml-100k", "rating", "other")
    assert (config.train.epochs, config.search.epochs, config.seed) == (7, 9, 4)
    assert (config.data.split_file, config.data.dir) == (tmp_path / "s.npz", tmp_path / "d")
    assert (config.output_dir, config.device) == (Path("out"), "cpu")
    assert (config.tracking.uri, config.tracking.enabled) == ("sqlite:///x.db", True)


def test_options_of_ray_make_its_executor(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.bench.cluster.executor.check_installed", lambda: None)
    words = "--task cf --executor ray --ray-address 10.0.0.1:6379 --memory 2GB --gpus 0.5"
    assert cli.main(words.split()) == 0
    assert cli.main(["--task", "cf", "--executor", "local"]) == 0
    (_, ray), (_, local) = jobs.runs
    assert ray["executor"] == RayExecutor("10.0.0.1:6379", "2GB", 0.5)
    assert local["executor"] is None


def test_without_flags_the_presets_decide(jobs: Jobs) -> None:
    assert cli.main(["--task", "cf", "--no-tracking"]) == 0
    config, _ = jobs.runs[0]
    assert not config.tracking.enabled
    assert config.output_dir is not None
    assert config.output_dir.parent == Path("runs")
    assert config.output_dir.name.startswith("cf-planted-")
    assert not Path("runs").exists()
    plain = load_job_config("cf", sets=["tracking.enabled=false"], job=True)
    assert config.model_copy(update={"output_dir": None}) == plain


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "--task cff",
            "error: task: expected one of cf, cnn, rnn, found 'cff'; did you mean 'cf'?",
        ),
        ("--dataset ml-100k", "error: task: expected one of cf, cnn, rnn, found none"),
        ("--task cf --dateset x", "error: unknown option --dateset; did you mean '--dataset'?"),
        ("--task cf --zzz=1", "error: unknown option --zzz; settings are given as --set key=v"),
        ("--task cf --data d", "error: unknown option --data; did you mean '--dataset'?"),
        ("recomend run 1", "error: unknown command 'recomend'; did you mean 'recommend'?"),
        ("--task cf --seed one", "error: --seed: invalid int value: 'one'"),
        ("--task cf --seed -1", "error: command line: seed: expected a number greater than"),
        ("--task cf --device tpu", "expected auto, cpu, cuda or cuda:N, found 'tpu'"),
        ("--task", "error: --task: expected one argument"),
        ("--task cf extra", "error: unexpected argument 'extra'"),
        ("--task cf --no-tracking --tracking-uri x", "not allowed with argument"),
        ("--task cf --config absent.yaml", "error: absent.yaml: no such file, and no preset"),
        ("--task cf --set data.protocol=u1 --split-file x.npz", "contradicts data.split_file"),
        ("--resume absent", "error: absent: expected a run folder, found no config.yaml there"),
        ("recommend absent 1", "error: absent: expected a run folder"),
        ("recommend absent 1 -k 0", "error: -n: expected at least 1, found 0"),
        ("version --task cf", "error: unknown option --task"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_2(
    jobs: Jobs, arguments: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(arguments.split()) == 2
    assert expected in line(capsys)
    assert jobs.runs == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (DataError("ratings.csv line 17: rating: expected a number"), "error: ratings.csv line 17"),
        (SifError("two\nlines"), "error: two lines"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "error: No space left on device"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x/y"),
            "error: x/y: Permission denied",
        ),
    ],
)
def test_a_failing_job_is_one_line_and_debug_shows_more(
    jobs: Jobs, failure: Exception, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.failure = failure
    assert cli.main(["--task", "cf"]) == 2
    assert expected in line(capsys)
    assert cli.main(["--task", "cf", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_not_dressed_up_as_bad_input(jobs: Jobs) -> None:
    jobs.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(["--task", "cf"])


def test_an_interruption_says_how_to_go_on(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.failure = KeyboardInterrupt()
    assert cli.main(["--task", "cf", "--output-dir", "out"]) == 130
    assert line(capsys) == "interrupted"
    Path("out/checkpoint").mkdir(parents=True)
    jobs.failure = KeyboardInterrupt()
    Path("out/config.yaml").write_text("task: cf\ndataset: planted")
    for program, named in (("/x/run.py", "python run.py"), ("/bin/sif", "sif run")):
        monkeypatch.setattr(sys, "argv", [program])
        assert cli.main(["--resume", "out"]) == 130
        assert line(capsys) == f"interrupted: go on with: {named} --resume out"


def test_a_run_folder_that_exists_is_refused(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/metrics.json").touch()
    assert cli.main(["--task", "cf", "--output-dir", "out"]) == 2
    assert "error: out: the run folder exists" in line(capsys)
    assert jobs.runs == []


def test_resuming_takes_the_settings_of_the_run(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    from sif.config import dump_config

    config = load_job_config("cf", sets=["train.epochs=7", "seed=3"])
    Path("out").mkdir()
    Path("out/config.yaml").write_text(dump_config(config))
    repeated = "--task cf --set train.epochs=7 --seed 3 --output-dir out --no-tracking"
    for arguments in ("", repeated):
        assert cli.main(["--resume", "out", *arguments.split()]) == 0
        resumed, options = jobs.runs.pop()
        assert options == {"resume": True, "quiet": False, "finish": False, "executor": None}
        assert resumed.output_dir == Path("out")
        assert resumed.tracking.enabled == (arguments == "")
        assert (resumed.train.epochs, resumed.seed) == (7, 3)
    assert cli.main(["--resume", "out", "--set", "train.epochs=8"]) == 2
    assert "other settings (train.epochs: 8 or 7)" in line(capsys)
    assert cli.main(["--resume", "out", "--output-dir", "other"]) == 2
    assert "--output-dir other contradicts --resume out" in line(capsys)
    assert jobs.runs == []


def test_a_finished_run_is_evaluated_and_drawn_again(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/config.yaml").touch()
    for command in ("evaluate out", "plot out", "recommend out u1", "similar --model out i1"):
        assert cli.main(command.split()) == 2
        assert "go on with: sif run --resume out" in capsys.readouterr().err
    Path("out/metrics.json").touch()
    assert cli.main(["evaluate", "out"]) == 0
    assert cli.main(["plot", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == ["evaluated out", "out/plots/a.png"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], []])
def test_help_fits_a_screen_and_shows_examples(
    jobs: Jobs, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments:
        with pytest.raises(SystemExit, match="0"):
            cli.main(arguments)
    else:
        assert cli.main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 44
    assert max(map(len, shown)) <= 88
    text = "\n".join(shown)
    for word in ("--task", "--dataset", "--resume", "--no-tracking", "examples:", *cli.VERBS):
        assert word in text
    examples = [line.split() for line in shown[shown.index("examples:") + 1 :]]
    assert {option for words in examples for option in words if option.startswith("--")} == {
        "--task", "--dataset", "--seed", "--set", "--resume",
    }  # fmt: skip


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 0
    assert capsys.readouterr().out == f"sif {sif.__version__}\n"


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sif", "spaces"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("sif")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("--resume runs/my-rum", "found no config.yaml there; did you mean 'runs/my-run'?"),
        ("recommend runs/my-rum u1", "found no config.yaml there; did you mean 'runs/my-run'?"),
        ("plot", "the following arguments are required: RUN; see sif plot --help"),
    ],
)
def test_an_error_names_the_next_step(
    command: str, told: str, jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/my-run").mkdir(parents=True)
    Path("runs/my-run/config.yaml").touch()
    Path("runs/my-rum.txt").touch()  # no run folder
    assert cli.main(command.split()) == 2
    assert line(capsys).endswith(told)


def test_a_missing_file_is_told_with_the_nearest_beside_it(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").touch()
    for name, near in (("order.csv", "orders.csv"), ("zzz.csv", None)):
        found = nearest(tmp_path / name)
        assert found == ("" if near is None else f"; did you mean '{tmp_path / near}'?")
    assert nearest(tmp_path / "absent" / "orders.csv") == ""


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_help_fits_a_screen(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    assert len(capsys.readouterr().out.splitlines()) <= 44
