"""The report of a bench: a table of methods, and what is missing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sif.bench.plan import Plan
from sif.bench.statistics import Estimate, by_seed, estimate, ranks
from sif.evaluation.metrics import higher_is_better
from sif.tasks.console import markdown_table
from sif.tasks.console import table as aligned

_FILES = (
    "Every trial is a run folder in `trials/`; `results.csv` has one row per trial, `curves.csv` "
    "one per judged point of a search, `job.yaml` what all trials share."
)


@dataclass(frozen=True)
class Line:
    """A method in the table.

    Attributes:
        method: Its name.
        seeds: Finished trials.
        test: Of the test metric over seeds.
        valid: Of the validation metric.
        rank: Mean rank by the test metric over complete seeds; NaN without one.
        minus: Test metric minus that of the reference, paired by seed; None: it is the reference.
        search_seconds: Mean.
        search_steps: Mean weight steps.
    """

    method: str
    seeds: int
    test: Estimate
    valid: Estimate
    rank: float
    minus: Estimate | None
    search_seconds: float
    search_steps: float


@dataclass(frozen=True)
class Comparison:
    """The table of a bench as numbers.

    Attributes:
        metric: The deciding metric; None: nothing has finished.
        lines: One per accepted method, in the order given.
        complete: Seeds over which ranks are.
        against: The reference.
    """

    metric: str | None
    lines: list[Line]
    complete: int
    against: str


def compare(results: pd.DataFrame, plan: Plan) -> Comparison:
    """Compares the methods over what has finished."""
    done = results[results["status"] == "finished"]
    if done.empty:
        return Comparison(None, [], 0, plan.against)
    metric = str(done["metric"].iloc[0])
    accepted = results[results["status"] != "refused"]
    test, valid, seconds, steps = (
        by_seed(accepted, column)
        for column in (f"test.{metric}", f"valid.{metric}", "search_seconds", "search_steps")
    )
    ranked = ranks(test, higher_is_better(metric))
    lines = [
        Line(
            name,
            int(test[name].notna().sum()),
            estimate(test[name]),
            estimate(valid[name]),
            float(ranked[name].mean()) if name in ranked else float("nan"),
            None if name == plan.against else estimate(test[name] - test[plan.against]),
            float(seconds[name].mean()),
            float(steps[name].mean()),
        )
        for name in test.columns
    ]
    return Comparison(metric, lines, len(ranked), plan.against)


def cells(found: Comparison, sign: str = "+-") -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table as text."""
    header = [
        "method", "seeds", f"test {found.metric}", f"valid {found.metric}", "rank",
        f"minus {found.against} (95 %)", "search s", "steps",
    ]  # fmt: skip
    rows = [
        [
            line.method, str(line.seeds), spread(line.test, sign), spread(line.valid, sign),
            number(line.rank, ".2f"),
            "" if line.minus is None else _interval(line.minus),
            number(line.search_seconds, ".1f"), number(line.search_steps, ".0f"),
        ]
        for line in found.lines
    ]  # fmt: skip
    return header, rows


def terminal(found: Comparison) -> str:
    """The table for a terminal, with what it means."""
    if found.metric is None:
        return "no trial has finished"
    return f"{aligned(*cells(found))}\n{textwrap.fill(_legend(found), 100)}"


def markdown(found: Comparison, results: pd.DataFrame, plan: Plan, figures: Sequence[str]) -> str:
    """The content of report.md."""
    job = plan.job
    heading = f"{len(plan.entrants)} methods, {len(plan.seeds)} seeds, {plan.budget} each"
    table = ["No trial has finished."]
    if found.metric is not None:
        table = [markdown_table(*cells(found, "±")), _legend(found)]
    parts = [
        f"# {job.task} on {Path(job.dataset).name}: {heading}",
        *table,
        *_notes(results, plan),
        *(f"![{name}](plots/{name})" for name in figures),
        _FILES,
    ]
    return "\n\n".join(parts) + "\n"


def missing(results: pd.DataFrame) -> list[str]:
    """One line per failed trial, per refused method, and for all that have not run."""
    lines = []
    for row in results[results["status"] == "failed"].itertuples():
        lines.append(f"failed: {row.method}-{row.seed}: {row.reason}")
    for row in results[results["status"] == "refused"].drop_duplicates("method").itertuples():
        lines.append(f"refused: {row.method}: {row.reason}")
    pending = results[results["status"] == "pending"]
    if len(pending):
        names = [f"{row.method}-{row.seed}" for row in pending.itertuples()]
        lines.append(f"not finished: {', '.join(names)}")
    return lines


def _notes(results: pd.DataFrame, plan: Plan) -> list[str]:
    notes = [f"- {line}" for line in missing(results)]
    splits = results.dropna(subset="split_hash").groupby("seed")["split_hash"].nunique()
    for seed in splits[splits > 1].index:
        notes.append(f"- seed {seed}: methods saw different splits; they cannot be compared")
    variants = [entrant for entrant in plan.entrants if entrant.sets]
    notes += [f"- {e.name}: {e.method} with {', '.join(e.sets)}" for e in variants]
    return ["\n".join(notes)] if notes else []


def _legend(found: Comparison) -> str:
    direction = "higher" if higher_is_better(str(found.metric)) else "lower"
    return (
        f"{found.metric}: {direction} is better; of what a method picked, trained from scratch and "
        "tested once. Means over seeds with their standard deviation; rank: mean over the "
        f"{found.complete} seeds that all finished; minus {found.against}: test, paired by seed, "
        "95 % t-interval over seeds, not corrected for the number of methods."
    )


def spread(found: Estimate, sign: str) -> str:
    """Mean and standard deviation as text, such as "0.3459 +- 0.0016"."""
    if not found.n:
        return "-"
    return f"{found.mean:.4f}" + (f" {sign} {found.deviation:.4f}" if found.n > 1 else "")


def _interval(found: Estimate) -> str:
    if not found.n:
        return "-"
    bounds = f" ({found.low:+.4f} to {found.high:+.4f})" if found.n > 1 else ""
    return f"{found.mean:+.4f}{bounds}"


def number(value: float, form: str) -> str:
    """A number as text; "-" where there is none."""
    return "-" if math.isnan(value) else f"{value:{form}}"
