"""The protocol `rolling` as a job: one job per moment, then mean and spread over them.

Every moment's job has a folder of its own, and is a job like any other, with `data.moment`. Nothing
of one moment reaches another, so moments that are done stay done where the job is interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from sif.config import CFConfig, CommonConfig
from sif.data.interactions.chronological import ROLLING
from sif.errors import first_line
from sif.evaluation.comparison import Comparison, Outcome, Verdict
from sif.evaluation.evaluate import MAIN_METRIC
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED, State
from sif.problems.configuration import load_job_config
from sif.report import PAGE, write_page
from sif.tasks.base import InTurn, JobContext, RunOne, RunResult
from sif.tasks.cf.columns import columns
from sif.tasks.checkpoint import LoopCheckpointer
from sif.tasks.console import markdown_table, table
from sif.tasks.job import LEAST
from sif.utils.checkpoint import finite_document, write_json_atomic
from sif.utils.ranks import sharing

Document = Mapping[str, Any]
"""A moment's metrics.json."""
SHOWN = 4
"""Metrics in the table: with their spread, more would not fit its width."""


def in_turn(config: CFConfig) -> InTurn | None:
    """Runs all moments of a configuration; None: it is a job of one split."""
    if config.data.protocol != ROLLING or config.data.moment is not None:
        return None

    def run(context: JobContext, run_one: RunOne) -> RunResult:
        return _Moments(config, context, run_one).run()

    return run


class _Moments:
    """The jobs of all moments in one run folder."""

    def __init__(self, config: CFConfig, context: JobContext, run_one: RunOne) -> None:
        self.config, self.context, self.run_one = config, context, run_one
        self.metric = MAIN_METRIC[config.objective]

    def run(self) -> RunResult:
        """One job after the other, then one table, one metrics.json and one verdict."""
        context, config = self.context, self.config
        context.tracker.log_params(config.model_dump(mode="json"))
        done: list[Document] = []
        for number in range(1, config.data.moments + 1):
            work = self._work(number, sum(one["total_seconds"] for one in done))
            context.console.line(f"moment {number} of {config.data.moments}: {self._name(number)}/")
            done.append(context.stages.run(self._name(number), work, shared=True)["metrics"])
        return sharing().once(lambda: self._finish(done))

    def _finish(self, done: list[Document]) -> RunResult:
        """The results of all jobs, as one."""
        context, config = self.context, self.config
        models = summarized(done, self.metric)
        verdict = over_moments(done, self.metric)
        document = self._document(done, models, verdict)
        write_json_atomic(context.folder / "metrics.json", document)
        try:
            write_page(context.folder)
        except Exception as error:  # as that of one job, it costs nothing else
            context.console.line(f"left out: {PAGE}: {first_line(error)}")
        context.console.result(f"\n{models_table(models, columns(config)[:SHOWN], len(done))}")
        context.console.result(f"\nverdict: {verdict.text}")
        context.console.line(
            f"{document['total_seconds']:.1f} s; everything is in {context.folder}"
        )
        self._record(document, models)
        return RunResult(context.folder, document, verdict)

    @staticmethod
    def _name(number: int) -> str:
        return f"moment-{number}"

    def _work(self, number: int, spent: float) -> Callable[[LoopCheckpointer], State]:
        def work(_: LoopCheckpointer) -> State:
            config, begun = sharing().once(lambda: self._job(number, spent))
            return {"metrics": self.run_one(config, begun).metrics}

        return work

    def _job(self, number: int, spent: float) -> tuple[CommonConfig, bool]:
        """The configuration of a moment's job, and whether it was begun."""
        folder = self.context.folder / self._name(number)
        if not (folder / "config.yaml").is_file():
            return self._config(number, spent), False
        config = load_job_config(None, file=folder / "config.yaml")
        return config.model_copy(update={"output_dir": folder}), True

    def _config(self, number: int, spent: float) -> CFConfig:
        """Of a moment's job, with its share of what is left of the budget."""
        config = self.config
        budget = config.budget
        if budget is not None:
            left = config.data.moments - number + 1
            budget = round(max((budget - spent) / left, LEAST * budget), 1)
        tracking = {"parent": self.context.tracker.run_id or config.tracking.parent}
        if number < config.data.moments:
            tracking["register_as"] = None  # the last moment's model is the newest
        return config.model_copy(
            update={
                "output_dir": self.context.folder / self._name(number),
                "budget": budget,
                "data": config.data.model_copy(update={"moment": number}),
                "tracking": config.tracking.model_copy(update=tracking),
            }
        )

    def _document(
        self, done: Sequence[Document], models: Mapping[str, Document], verdict: Verdict
    ) -> dict[str, Any]:
        """The content of metrics.json."""
        kept = (
            "genotype", "entrant", "protocol", "cold", "verdict", "comparison", "served",
            "total_seconds",
        )  # fmt: skip
        document = {
            **{key: done[0][key] for key in ("task", "dataset", "method", "seed", "metric")},
            "protocol": {"name": ROLLING, "moments": len(done)},
            "test": models[SEARCHED]["mean"],
            "spread": models[SEARCHED]["spread"],
            "valid": models[SEARCHED]["valid"],
            "baselines": {name: one for name, one in models.items() if name != SEARCHED},
            "verdict": verdict.text,
            "comparison": verdict.comparison
            and {**vars(verdict.comparison), "won": won(done, self.metric)},
            "moments": [
                {"folder": self._name(number), **{key: one[key] for key in kept}}
                for number, one in enumerate(done, start=1)
            ],
            "total_seconds": sum(one["total_seconds"] for one in done),
        }
        why = verdict.no_interval
        return finite_document(document, {f"comparison.{end}": why for end in ("low", "high")})

    def _record(self, document: Document, models: Mapping[str, Document]) -> None:
        tracker, folder = self.context.tracker, self.context.folder
        ours = models[SEARCHED]
        test = {f"test.{name}": value for name, value in ours["mean"].items()}
        valid = {f"valid.{name}": value for name, value in ours["valid"].items()}
        spread = {f"spread.{name}": value for name, value in ours["spread"].items()}
        tracker.log({**test, **valid, **spread, "total_seconds": document["total_seconds"]}, 0)
        tracker.log_params({"entrant": SEARCHED, "dimension": self.config.train.dimension})
        tracker.describe(self._description(document, models))
        tracker.set_tags(
            {
                "task": "cf", "dataset": document["dataset"], "protocol": ROLLING,
                "verdict": document["verdict"],
            }
        )  # fmt: skip
        for name in ("metrics.json", "config.yaml", PAGE):
            if (folder / name).exists():
                tracker.log_artifact(folder / name)

    def _description(self, document: Document, models: Mapping[str, Document]) -> str:
        """The verdict and the table in markdown."""
        metrics = columns(self.config)[:SHOWN]
        moments = len(document["moments"])
        rows = markdown_table(*models_rows(models, metrics, moments))
        return f"{document['verdict']}.\n\n{rows}\n\n{_legend(moments)}"


def summarized(done: Sequence[Document], metric: str) -> dict[str, dict[str, Any]]:
    """Model to its "mean", "spread" and "valid" over moments and their number; best "valid" first.

    The spread is the standard deviation of a sample; of one moment it is not known.

    Args:
        done: The moments.
        metric: That validation decides by.
    """
    found: dict[str, dict[str, Any]] = {}
    names = dict.fromkeys([SEARCHED, *(name for one in done for name in one["baselines"])])
    for name in names:
        rows = [_model(one, name) for one in done if name == SEARCHED or name in one["baselines"]]
        tests = {key: _numbers(test[key] for test, _ in rows) for key in done[0]["test"]}
        valid = _numbers(values[metric] for _, values in rows)
        found[name] = {
            "mean": {key: float(values.mean()) for key, values in tests.items()},
            "spread": {
                key: float(values.std(ddof=1)) if len(values) > 1 else math.nan
                for key, values in tests.items()
            },
            "valid": {metric: float(valid.mean())},
            "moments": len(rows),
        }
    order = sorted(found, key=lambda name: -merit(metric, found[name]["valid"][metric]))
    return {name: found[name] for name in order}


def _model(document: Document, name: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Test and validation metrics of a model at a moment."""
    if name == SEARCHED:
        return document["test"], document["valid"]
    one = document["baselines"][name]
    return one, one["valid"]


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Of metrics.json, where None stands for what is not finite."""
    return np.array(list(values), dtype=np.float64)


def differences(done: Sequence[Document]) -> NDArray[np.float64]:
    """Ours less the baseline that validation ranks best, at every moment that has one."""
    return _numbers(one["comparison"]["difference"] for one in done if one["comparison"])


def won(done: Sequence[Document], metric: str) -> int:
    """Moments at which ours is ahead of the baseline that validation ranks best."""
    return sum(merit(metric, float(difference)) > 0 for difference in differences(done))


def over_moments(done: Sequence[Document], metric: str) -> Verdict:
    """Moments won, and the 95 % interval of the paired differences over moments (Student's t).

    Args:
        done: The moments, two or more.
        metric: That is compared.
    """
    values = differences(done)
    if not len(values):
        return Verdict("no verdict: no baseline was trained", None, None)
    mean, n = float(values.mean()), len(values)
    # The moments differ, too, so their own spread counts and not that of users within one.
    half = math.nan
    if n > 1:
        half = float(student.ppf(0.975, n - 1) * values.std(ddof=1)) / math.sqrt(n)
    low, high = mean - half, mean + half
    ends = merit(metric, low), merit(metric, high)
    outcome: Outcome = "undecided"
    if n > 1 and min(ends) > 0:
        outcome = "better"
    elif n > 1 and max(ends) < 0:
        outcome = "worse"
    comparison = Comparison(mean, low, high, outcome)
    why = "" if n > 1 else "one moment has a comparison"
    interval = f"95 % interval over {n} moments {low:+.4f} to {high:+.4f}" if n > 1 else why
    text = (
        f"the searched functions are {comparison.relation} the baselines that validation ranks"
        f" best: ahead at {won(done, metric)} of {n} moments, {metric} difference on test"
        f" {mean:+.4f} ({interval})"
    )
    return Verdict(text, None, comparison, why)


def models_table(models: Mapping[str, Document], metrics: Sequence[str], moments: int) -> str:
    """All models with mean and spread over moments, best validation first."""
    return f"{table(*models_rows(models, metrics, moments))}\n{_legend(moments)}"


def _legend(moments: int) -> str:
    return f"mean and standard deviation over {moments} moments; valid: the mean"


def models_rows(
    models: Mapping[str, Document], metrics: Sequence[str], moments: int
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    rows = []
    for name, one in models.items():
        part = "" if one["moments"] == moments else f" ({one['moments']} of {moments})"
        cells = [
            f"{one['mean'][key]:.4f}"
            + (f" ± {one['spread'][key]:.4f}" if one["moments"] > 1 else "")
            for key in metrics
        ]
        valid = next(iter(one["valid"].values()))
        rows.append([f"{name}{part}", f"{valid:.4f}", *cells])
    return ["model", "valid", *metrics], rows
