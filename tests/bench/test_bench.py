"""Benches: plans, statistics against hand-computed numbers, processes, and whole ones."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import yaml

from sif import tasks
from sif.bench import Bench, Budget, Entrant, Request
from sif.bench import mlflow_summary as recording
from sif.bench import processes as trials
from sif.bench.bench import BenchResult
from sif.bench.folder import BenchFolder
from sif.bench.plan import Plan, Trial
from sif.bench.processes import Work, run_all
from sif.bench.report import compare, markdown, missing
from sif.bench.results import curve_of, gather, judgment
from sif.bench.state import State
from sif.bench.statistics import by_seed, estimate, ranks
from sif.cli import main as cli
from sif.config import CommonConfig, TrackingConfig, load_config
from sif.errors import CheckpointError, ConfigError, SifError
from sif.tracking import open as opening

SMALL = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
    "search.dimension=4", "search.arch_every=1", "train.epochs=10", "train.dimension=4",
    "train.l2=[2]", "checkpoint_seconds=0",
)  # fmt: skip
BROKEN = ["broken", "nasp", "search.lr=1e30"]
CLIP = ["nasp-clip", "nasp", "methods.nasp.alpha_constraint=clip"]
TIMES = ["search_seconds", "search_wall_seconds", "train_seconds", "total_seconds",
         "peak_memory_mb"]  # fmt: skip


def arguments(folder: Path, epochs: int = 6, *more: str) -> list[str]:
    return [
        "bench", "--task", "cf", "--methods", "nasp", "--seeds", "1", "--seed", "3",
        "--budget", f"{epochs}epochs", "--set", *SMALL, "--output-dir", str(folder), "--workers",
        "2", "--no-tracking", *more,
    ]  # fmt: skip


# Plans


@pytest.mark.parametrize(
    ("text", "amount", "unit", "settings"),
    [
        ("30s", 30.0, "seconds", {"search.seconds": 30.0}),
        ("2 minutes", 120.0, "seconds", {"search.seconds": 120.0}),
        ("1.5min", 90.0, "seconds", {"search.seconds": 90.0}),
        ("2h", 7200.0, "seconds", {"search.seconds": 7200.0}),
        (" 500steps ", 500.0, "steps", {"search.steps": 500}),
        ("20epochs", 20.0, "epochs", {"search.epochs": 20}),
    ],
)
def test_a_budget_is_read_and_written(
    text: str, amount: float, unit: str, settings: dict[str, Any]
) -> None:
    found = Budget.parse(text)
    assert found == Budget(amount, unit)
    assert found.settings() == settings
    assert Budget.parse(str(found)) == found


@pytest.mark.parametrize("text", ["0s", "0steps", "1.5steps", "-3s", "30", "s", "", "3 days"])
def test_a_budget_that_cannot_be_spent_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"budget: expected CPU seconds.*found '"):
        Budget.parse(text)


def request(**changed: Any) -> Request:
    asked: dict[str, Any] = {"task": "cf", "methods": ["nasp", Entrant.variant(CLIP)],
                             "seeds": [4, 2], "budget": "6epochs", "sets": SMALL}  # fmt: skip
    return Request(**(asked | changed))


def test_a_plan_goes_seed_by_seed_and_leaves_the_method_alone() -> None:
    plan = request().plan()
    names = [trial.name for trial in plan.trials()]
    assert names == ["nasp-4", "nasp-clip-4", "nasp-2", "nasp-clip-2"]
    assert (plan.job.baselines, plan.job.controls) == ((), ())  # type: ignore[attr-defined]
    assert (plan.job.threads, plan.job.seed) == (1, 4)
    assert plan.job.search.epochs == 6  # type: ignore[attr-defined]
    assert plan.job.methods["nasp"]["alpha_constraint"] == "shift"
    assert plan.against == "nasp"


def test_seeds_may_be_a_number_of_them() -> None:
    assert request(seeds=3).plan().seeds == (0, 1, 2)


def test_a_bench_is_asked_for_by_arguments_with_names(tmp_path: Path) -> None:
    for asked, told in (
        ({"bogus": 1}, r"^argument: expected one of task, methods, .*found 'bogus'"),
        ({"methds": ["nasp"]}, "did you mean 'methods'"), ({}, "^budget: expected CPU seconds"),
        ({"folder": 3}, "^folder: expected a text or a path or None, found 3"),
        ({"settings": 3}, "^settings: expected names with values or None"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            Bench.of(**asked)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"nope: expected the folder of a bench"):
        Bench.open(str(tmp_path / "nope"))
    bench = Bench.of(request(), str(tmp_path / "bench"))
    assert repr(bench) == f"Bench('{tmp_path}/bench': nasp, nasp-clip; 2 seeds, 6epochs each)"


def test_a_budget_takes_the_place_of_a_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for inside in ("{seconds: 5}", "{steps: 50}"):
        file.write_text(f"task: cf\nsearch: {inside}\n")
        search = request(file=str(file)).plan().job.search  # type: ignore[attr-defined]
        assert (search.epochs, search.steps, search.seconds) == (6, None, None)
        search = request(file=str(file), budget="7s").plan().job.search  # type: ignore[attr-defined]
        assert (search.steps, search.seconds) == (None, 7.0)


def test_a_variants_settings_win_in_the_check_as_in_its_job() -> None:
    asked = request(flags={"methods": {"nasp": {"alpha_constraint": "shift", "explore": 0.4}}})
    plan = asked.plan()
    assert plan.job.methods["nasp"]["alpha_constraint"] == "shift"
    checked = asked._config("cf", plan.budget, plan.entrants[1]).methods["nasp"]
    assert (checked["alpha_constraint"], checked["explore"]) == ("clip", 0.4)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"methods": ["nasp", "naspp"]}, "found 'naspp'; did you mean 'nasp'?"),
        ({"methods": []}, "methods: expected at least one, found none"),
        ({"methods": ["nasp", "nasp"]}, "methods: expected different names, found 'nasp' twice"),
        ({"seeds": []}, "seeds: expected at least one, all different, found none"),
        ({"seeds": 0}, "seeds: expected at least one, all different, found none"),
        (
            {"seeds": "2"},
            "seeds: expected a list, each a whole number or a whole number, found '2'",
        ),
        ({"methods": 3}, "methods: expected a list, each a text or Entrant, found 3"),
        ({"budget": 3}, "budget: expected a text, found 3"),
        ({"file": 3}, "file: expected a text or a path or None, found 3"),
        ({"sets": 3}, "sets: expected a list, each a text, found 3"),
        ({"flags": 3}, "flags: expected names with values or None, found 3"),
        ({"seeds": [1, 1]}, "seeds: expected at least one, all different, found 1, 1"),
        ({"sets": ["data.protocol=rolling"]}, "one split per trial, found several: set data.mom"),
        ({"against": "nasp-clib"}, "found 'nasp-clib'; did you mean 'nasp-clip'?"),
        ({"task": "cff"}, "did you mean 'cf'?"),
        ({"sets": ["train.epoch=3"]}, "train.epoch: unknown key; did you mean 'epochs'?"),
        ({"sets": ["search.epochs=3"]}, "a bench sets search.epochs itself: give a budget"),
        ({"sets": ["seed=3"]}, "a bench sets seed itself: leave it out"),
        ({"flags": {"baselines": ["ease"]}}, "a bench sets baselines itself: leave it out"),
        ({"flags": {3: 4}}, "flags: expected names with values or None, found {3: 4}"),
        ({"flags": {"search": {"seconds": 3}}}, "a bench sets search.seconds itself"),
        (
            {"methods": [Entrant("a", "nasp", ("methods.nasp.alpha_constrain=clip",))]},
            "did you mean 'alpha_constraint'?",
        ),
        ({"task": "cnn", "sets": ["cells=darts-v2"], "methods": ["nasp"]}, "compares searches"),
    ],
)
def test_a_request_that_makes_no_bench_is_one_line(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        request(**changed).plan()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fast", "nasp"], "variant: expected a name, a method and settings"),
        (
            ["a/b", "nasp", "methods.nasp.alpha_constraint=clip"],
            "expected a name of letters and digits, found 'a/b'",
        ),
        (["fast", "nasp", "search.epochs=1"], "settings of the search other than its budget"),
        (["fast", "nasp", "train.epochs=1"], "found 'train.epochs=1': all entrants share the rest"),
    ],
)
def test_a_variant_differs_in_its_search_alone(words: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Entrant.variant(words)
    if len(words) > 2:
        with pytest.raises(ConfigError, match=expected):
            Entrant(words[0], words[1], tuple(words[2:]))


def refusing(monkeypatch: pytest.MonkeyPatch, refused: Sequence[str]) -> None:
    """Jobs with these boxes cannot run, as if the space refused a method."""

    def check(config: CommonConfig) -> None:
        constraint = config.methods["nasp"]["alpha_constraint"]
        if constraint in refused:
            raise ConfigError(f"method: space sif has no {constraint}")

    monkeypatch.setattr(tasks, "check", check)


def test_what_some_jobs_refuse_is_the_methods_and_what_all_refuse_is_the_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing(monkeypatch, ["shift"])
    plan = request().checked()
    assert plan.refused == {"nasp": "method: space sif has no shift"}
    assert plan.against == "nasp-clip"
    assert [trial.name for trial in plan.trials()] == ["nasp-clip-4", "nasp-clip-2"]
    with pytest.raises(ConfigError, match="against nasp: method: space sif has no shift"):
        request(against="nasp").checked()
    refusing(monkeypatch, ["shift", "clip"])
    with pytest.raises(ConfigError, match=r"^method: space sif has no shift$"):
        request().checked()


# Numbers


def test_an_estimate_is_that_of_students_t() -> None:
    found = estimate([1.0, 2.0, 3.0, math.nan])
    assert (found.mean, found.deviation, found.n) == (2.0, 1.0, 3)
    half = 4.302652729911275 / math.sqrt(3)  # the 97.5 % quantile of t with 2 degrees of freedom
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    alone = estimate([5.0])
    assert (alone.mean, alone.n) == (5.0, 1)
    assert all(map(math.isnan, (alone.deviation, alone.low, alone.high)))
    assert math.isnan(estimate([]).mean)


def test_ranks_are_within_a_seed_with_ties_averaged_and_whole_seeds_only() -> None:
    table = pd.DataFrame(
        {"a": [0.3, 0.2, 0.5], "b": [0.3, 0.1, np.nan], "c": [0.1, 0.4, 0.9], "d": [np.nan] * 3},
        index=[0, 1, 2],
    )
    up = ranks(table, True)
    assert up.to_dict("list") == {"a": [1.5, 2.0], "b": [1.5, 3.0], "c": [3.0, 1.0]}
    assert ranks(table, False).to_dict("list") == {"a": [2.5, 2.0], "b": [2.5, 1.0],
                                                   "c": [1.0, 3.0]}  # fmt: skip


def test_a_difference_is_paired_by_seed() -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, 9.0], "b": [0.5, 1.0, np.nan]})
    found = estimate(table["a"] - table["b"])
    assert (found.mean, found.n) == (0.75, 2)
    # Half the distance of the two differences times 12.7062, the quantile with 1 degree.
    assert found.high - found.mean == pytest.approx(12.706204736432095 * 0.25)


def rows() -> pd.DataFrame:
    """Three methods, three seeds, one trial failed and one method refused."""
    values = {("a", 0): 0.3, ("a", 1): 0.5, ("a", 2): 0.4, ("b", 0): 0.2, ("b", 1): 0.4}
    made = []
    for method in ("a", "b", "c"):
        for seed in range(3):
            row: dict[str, Any] = {"method": method, "seed": seed, "status": "finished",
                                   "reason": "", "metric": "ndcg@10", "split_hash": f"s{seed}",
                                   "search_seconds": 2.0, "search_steps": 7}  # fmt: skip
            if (method, seed) in values:
                row |= {f"{part}.ndcg@10": values[method, seed] for part in ("test", "valid")}
            else:
                status = "refused" if method == "c" else "failed"
                row = {"method": method, "seed": seed, "status": status, "reason": f"why {method}"}
            made.append(row)
    return pd.DataFrame(made)


def test_the_report_compares_what_finished_and_says_what_is_missing() -> None:
    entrants = (Entrant("a", "nasp"), Entrant("b", "nasp"), Entrant("c", "nasp"))
    job = load_config("cf")
    plan = Plan(entrants, (0, 1, 2), Budget(30, "seconds"), "a", job, {"c": "why c"})
    found = compare(rows(), plan)
    first, second = found.lines
    assert (found.metric, found.complete) == ("ndcg@10", 2)
    assert (first.seeds, first.rank, first.minus) == (3, 1.0, None)
    assert (second.seeds, second.rank) == (2, 2.0)
    assert second.minus is not None
    assert (second.minus.low, second.minus.mean) == pytest.approx((-0.1, -0.1))
    assert missing(rows()) == ["failed: b-2: why b", "refused: c: why c"]
    text = markdown(found, rows(), plan, ["methods.png"])
    assert "| a | 3 | 0.4000 ± 0.1000 | 0.4000 ± 0.1000 | 1.00 |  | 2.0 | 7 |" in text
    assert "| b | 2 | 0.3000 ± 0.1414 |" in text
    assert "- failed: b-2: why b\n- refused: c: why c" in text
    odd = rows()
    odd.loc[0, "split_hash"] = "another"
    assert "seed 0: methods saw different splits" in markdown(found, odd, plan, [])
    nothing = compare(rows().assign(status="failed"), plan)
    assert nothing.metric is None
    assert "No trial has finished." in markdown(nothing, rows(), plan, [])


def test_a_table_by_seed_keeps_the_order_of_methods() -> None:
    table = by_seed(rows().iloc[::-1], "test.ndcg@10")
    assert list(table.columns) == ["c", "b", "a"]
    assert table["a"].tolist() == [0.3, 0.5, 0.4]


@pytest.mark.parametrize(
    ("judged", "expected"),
    [({"exported_error": 3, "x": 1.0}, ("error", 3.0)), ({"ndcg@10": 0.2}, ("ndcg@10", 0.2)),
     ({"exported_nats": math.inf}, None), ({}, None)],
)  # fmt: skip
def test_the_first_number_judges(
    judged: dict[str, float], expected: tuple[str, float] | None
) -> None:
    assert judgment({"judged": judged}) == expected


@pytest.mark.parametrize(("name", "best"), [("exported_rmse", [3, 3, 2]), ("ndcg@10", [3, 4, 4])])
def test_a_curve_keeps_the_best_so_far_by_cpu_seconds(
    name: str, best: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = [
        {"seconds": 9.0 * k, "cpu_seconds": float(k), "judged": {name: value},
         "selection": {"o": [k]}}
        for k, value in enumerate([3.0, 4.0, 2.0], 1)
    ]  # fmt: skip
    monkeypatch.setattr("sif.bench.results.search_history", lambda run: history)
    points = curve_of(Path("run"), "nasp", 0)
    assert [p["seconds"] for p in points] == [1.0, 2.0, 3.0]
    assert [p["judged"] for p in points] == [3.0, 4.0, 2.0]
    assert [p["best"] for p in points] == best
    assert json.loads(points[-1]["selection"]) == {"o": [3]}


def test_without_a_search_there_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a run with a finished search, found none"):
        tasks.search_history(tmp_path)


# Processes


def work(tmp_path: Path, name: str, code: str) -> Work:
    trial = Trial(Entrant(name, "nasp"), 0)
    return Work(trial, [sys.executable, "-c", code], tmp_path / f"{trial.name}.log")


def test_processes_run_some_at_a_time_and_say_why_they_failed(tmp_path: Path) -> None:
    ended: dict[str, State] = {}
    most: list[int] = []
    wait = "import time; time.sleep(2); "  # so that the first two are seen together
    works = [
        work(
            tmp_path, "good", wait + "import os, sif; assert os.environ['OMP_NUM_THREADS'] == '1'"
        ),
        work(
            tmp_path, "bad", wait + "import sys; print('a\\nerror: no such file\\n'); sys.exit(2)"
        ),
        work(tmp_path, "mute", "import sys; sys.exit(3)"),
        work(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"),
    ]
    works[1].log.write_text("error: of an earlier sitting\n")
    run_all(
        works, 2, lambda trial, state: ended.update({trial.name: state}),
        lambda running: most.append(len(running)),
    )  # fmt: skip
    assert ended == {
        "good-0": State("finished"),
        "bad-0": State("failed", "no such file"),
        "mute-0": State("failed", "exit code 3"),
        "killed-0": State("failed", "ended by signal 9 (SIGKILL)"),
    }
    assert max(most) == 2


def test_an_interruption_ends_the_processes_first(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\ntry:\n    pathlib.Path(sys.argv[1]).touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path(sys.argv[1] + '.end').touch()"
    )
    begun = tmp_path / "begun"
    one = work(tmp_path, "long", code)
    one = Work(one.trial, [*one.command, str(begun)], one.log)

    def interrupt(_: Sequence[Trial]) -> None:
        if begun.exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run_all([one, one], 1, lambda trial, state: None, interrupt)
    assert (tmp_path / "begun.end").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# Whole benches


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, run_here: Callable[..., None]) -> Path:
    """A bench of three entrants, one of which diverges; do not change it."""
    folder = tmp_path_factory.mktemp("bench") / "one"
    variants = ["--variant", *CLIP, "--variant", *BROKEN]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.bench.executor.run_all", run_here)
        assert cli.main([*arguments(folder, 6, *variants), "--quiet"]) == 2
    return folder


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv").drop(columns=[*TIMES, "reason"])


def test_a_bench_leaves_tables_a_report_figures_and_run_folders(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "bench.yaml", "job.yaml", "log.txt", "report.md", "results.csv",
        "results.parquet", "curves.csv", "curves.parquet", "plots", "trials",
    }  # fmt: skip
    assert [p.name for p in finished.parent.iterdir()] == ["one"]
    found = pd.read_csv(finished / "results.csv")
    whole = pd.read_parquet(finished / "results.parquet")
    assert list(found["method"]) == list(whole["method"]) == ["nasp", "nasp-clip", "broken"]
    assert list(found["status"]) == ["finished", "finished", "failed"]
    row = whole.iloc[0]
    document = json.loads((finished / "trials/nasp-3/metrics.json").read_text())
    assert row["test.ndcg@10"] == document["test"]["ndcg@10"]
    assert row["valid.ndcg@10"] == document["valid"]["ndcg@10"]
    assert row["genotype"] == document["genotype"] == document["search"]["found"]
    assert document["baselines"] == {}
    assert row["search_steps"] == document["search"]["steps"] > 0
    assert row["arch_steps"] == document["search"]["arch_steps"] > 0
    assert row["parameters"] == document["train"]["parameters"] >= 4 * (40 + 30)
    assert whole["split_hash"][0] == whole["split_hash"][1] == document["protocol"]["split_hash"]
    assert (finished / "plots" / "methods.png").is_file()


def test_a_failed_trial_is_reported_and_does_not_sink_the_others(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (finished / "report.md").read_text()
    assert "- failed: broken-3: search diverged in epoch 1" in report
    assert "- nasp-clip: nasp with methods.nasp.alpha_constraint=clip" in report
    assert "| broken | 0 | - | - | - | - | - | - |" in report
    assert cli.main(["bench", "--report", str(finished)]) == 0
    assert "failed: broken-3: search diverged" in capsys.readouterr().out
    assert (finished / "report.md").read_text() == report


def test_the_test_part_is_looked_at_once_per_trial(finished: Path) -> None:
    for name in ("nasp-3", "nasp-clip-3", "broken-3"):
        lines = (finished / "trials" / name / "metrics.jsonl").read_text().splitlines()
        stages = [json.loads(line)["stage"] for line in lines]
        assert stages.count("test-searched") == (0 if name == "broken-3" else 1)
        assert not [s for s in stages if s.startswith(("baseline", "test-fixed", "test-random"))]


Tapped = Callable[[Callable[[subprocess.Popen[bytes]], bool]], None]


@pytest.fixture
def tapped(monkeypatch: pytest.MonkeyPatch) -> Tapped:
    """Has an action called, while trials run, with the latest process until it has acted."""
    processes: list[subprocess.Popen[bytes]] = []

    real = trials._start

    def start(*given: Any) -> Any:
        begun = real(*given)
        processes.append(begun.process)
        return begun

    def tap(action: Callable[[subprocess.Popen[bytes]], bool]) -> None:
        acted = False

        def waiting(_: Sequence[Trial]) -> None:
            nonlocal acted
            acted = acted or action(processes[-1])

        def run(*given: Any) -> None:
            run_all(*given[:3], waiting, *given[4:])

        monkeypatch.setattr("sif.bench.executor.run_all", run)

    monkeypatch.setattr(trials, "_start", start)
    return tap


@pytest.mark.slow
def test_a_bench_that_is_interrupted_and_whose_trial_is_killed_ends_as_if_nothing_had_been(
    finished: Path, tmp_path: Path, tapped: Tapped, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow: three trials in processes of their own, of which two are ended.

    What they end with is what the trial of `finished`, in this process, has ended with.
    """
    folder = tmp_path / "one"
    checkpoint = folder / "trials" / "nasp-3" / "checkpoint"

    def interrupt(_: subprocess.Popen[bytes]) -> bool:
        begun = any(checkpoint.glob("search.*"))
        if begun:
            assert cli.main(["bench", "--resume", str(folder)]) == 2
            assert "a bench or its trials are still at work there" in capsys.readouterr().err
            os.kill(os.getpid(), signal.SIGINT)
        return begun

    tapped(interrupt)
    assert cli.main(arguments(folder)) == 130
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"interrupted: go on with: sif bench --resume {folder}"
    assert not (folder / "results.csv").exists()
    assert BenchFolder(folder).state(Bench.open(folder).plan.trials()[0]) == State("pending")

    def kill(process: subprocess.Popen[bytes]) -> bool:
        begun = any(checkpoint.glob("searched-*"))
        if begun:
            process.kill()
        return begun

    tapped(kill)
    assert cli.main(["bench", "--resume", str(folder)]) == 2
    assert "failed: nasp-3: ended by signal 9 (SIGKILL)" in capsys.readouterr().out

    tapped(lambda _: True)
    assert cli.main(["bench", "--resume", str(folder)]) == 0
    expected = table(finished).iloc[:1]
    pd.testing.assert_frame_equal(table(folder), expected, check_exact=True, check_dtype=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--budget", "7epochs"], "other settings (budget: 7epochs or 6epochs)"),
        (["--seeds", "2"], "other settings (seeds: 3, 4 or 3)"),
        (["--methods", "nasp"], "other settings (methods: nasp or nasp, nasp-clip nasp"),
        (["--against", "nasp-clip"], "other settings (against: nasp-clip or nasp)"),
        (["--set", "train.epochs=9"], "other settings (train.epochs: 9 or 10)"),
        (["--output-dir", "elsewhere"], "--output-dir elsewhere contradicts --resume"),
    ],
)
def test_other_settings_are_refused_when_a_bench_goes_on(
    finished: Path, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--resume", str(finished), *options]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert expected in told


def test_another_version_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trials").mkdir()
    for name in ("bench.yaml", "job.yaml"):
        shutil.copy(finished / name, tmp_path)
    saved = yaml.safe_load((tmp_path / "bench.yaml").read_text())
    for changed, expected in (
        ({"version": 2}, "written in format version 2, this sif reads 1"),
        ({"color": "red"}, "see 'color'"),
        ({"seeds": ["x"]}, "expected the settings of a bench"),
    ):
        (tmp_path / "bench.yaml").write_text(yaml.safe_dump(saved | changed))
        for verb in ("--resume", "--report"):
            assert cli.main(["bench", verb, str(tmp_path)]) == 2
            (told,) = capsys.readouterr().err.splitlines()
            assert expected in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--task cf --methods nasp", "budget: expected --budget, such as 30s"),
        ("--task cf --methods nasp --budget 0s", "budget: expected CPU seconds"),
        ("--task cf --methods naspp --budget 3epochs", "did you mean 'nasp'?"),
        ("--task cf --budget 3epochs", "methods: expected at least one, found none"),
        ("--task cf --methods nasp --seeds 0 --budget 3epochs", "seeds: expected at least 1"),
        ("--task cf --methods nasp --workers 0 --budget 3epochs", "workers: expected at least 1"),
        ("--task cf --methods nasp --budget 3epochs --dataset no.csv", "no.csv"),
        ("--task cf --methods nasp --budget 3epochs --set x=1", "x: unknown key"),
        ("--task cf --method nasp", "unknown option --method; did you mean '--methods'?"),
        ("--resume absent", "absent: expected the folder of a bench, found no bench.yaml"),
        ("--report absent", "absent: expected the folder of a bench, found no bench.yaml"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: str, expected: str, sif: Callable[..., Any], tmp_path: Path
) -> None:
    done = sif("bench", *words.split())
    assert done.code == 2
    (told,) = done.err
    assert expected in told
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(sif: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    done = sif(*arguments(tmp_path))
    assert done.code == 2
    assert f"{tmp_path}: the folder exists; give another --output-dir" in done.err[0]


def test_a_refused_method_is_listed_and_the_others_go_on(finished: Path, tmp_path: Path) -> None:
    for name in ("bench.yaml", "job.yaml"):
        shutil.copy(finished / name, tmp_path)
    shutil.copytree(finished / "trials", tmp_path / "trials")
    bench = Bench.open(tmp_path)
    plan = Plan(**(vars(bench.plan) | {"refused": {"broken": "not in this space"}}))
    results, _ = gather(BenchFolder(tmp_path), plan)
    assert list(results["status"]) == ["finished", "finished", "refused"]
    found = Bench(tmp_path, plan).report()
    assert found.missing == ["refused: broken: not in this space"]
    assert [line.method for line in found.comparison.lines] == ["nasp", "nasp-clip"]


@pytest.mark.slow
def test_mlflow_has_an_experiment_with_a_summary_run(
    finished: Path, store: str, tmp_path: Path
) -> None:
    """Slow: the first store of a process takes MLflow seconds."""
    mlflow = pytest.importorskip("mlflow")
    folder, uri = tmp_path / "cup", store
    shutil.copytree(finished, folder)
    bench = Bench.open(folder, {"enabled": True, "uri": uri})
    assert bench.experiment == "cup"
    command = bench._sitting(BenchFolder(folder), "1e5").command(Trial(Entrant("new", "nasp"), 8))
    assert 'tracking.experiment="cup"' in command
    assert 'tracking.parent="1e5"' in command  # else YAML reads a number
    (name,) = [word for word in command if word.startswith("tracking.run_name=")]
    assert yaml.safe_load(name.partition("=")[2]) == "planted · new · seed 8"
    assert command[-2:] == ["--tracking-uri", uri]
    for _ in range(2):  # a later sitting goes on in the same run
        with recording.summary_of_bench(folder, bench.plan) as summary:
            found = bench.report()
            recording.record_bench(summary, found.results, found.comparison)
    with pytest.raises(SifError), recording.summary_of_bench(folder, bench.plan):
        raise SifError("stopped")
    client = mlflow.MlflowClient(tracking_uri=uri)
    settings = TrackingConfig(experiment="cup", uri=uri, parent=summary.run_id)
    opening.open_tracker(tmp_path, settings, "nasp-0").close()
    experiment = client.get_experiment_by_name("cup")
    (trial,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'nasp-0'")
    assert trial.data.tags["mlflow.parentRunId"] == summary.run_id
    client.delete_run(trial.info.run_id)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "summary of cup"
    assert run.info.status == "FAILED"
    assert run.data.params["budget"] == "6epochs"
    assert run.data.tags["mlflow.note.content"].startswith("# cf on planted")
    assert "![" not in run.data.tags["mlflow.note.content"]
    value = found.comparison.lines[0].test.mean
    assert run.data.metrics["nasp.test.ndcg_at_10"] == value
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept >= {"report.md", "results.csv", "curves.parquet", "plots", "bench.yaml"}


def test_a_result_is_written_as_its_table() -> None:
    table = pd.DataFrame({"status": ["finished"]})
    result = BenchResult(Path("benches/x"), table, table, cast(Any, None), "nasp 0.1", ["a failed"])
    assert repr(result) == "nasp 0.1\na failed\nBenchResult in benches/x"
