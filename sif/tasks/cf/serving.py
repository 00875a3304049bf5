"""The model that a job serves, where baselines may be served: made of a fit, and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sif.baselines import BASELINES
from sif.data.interactions import Interactions
from sif.errors import ConfigError, DataError
from sif.evaluation.choice import RULE, Choice
from sif.evaluation.cold_start import WithColdStartRule
from sif.evaluation.evaluate import Scorer
from sif.evaluation.goals import Goal
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED, Reporter
from sif.problems.interactions import InteractionProblem
from sif.recommender.approximation import Approximation, with_graph
from sif.recommender.file_checks import FittedOn
from sif.recommender.model import ServedModel
from sif.tasks.base import Results


def served_model(
    problem: InteractionProblem, name: str, params: Mapping[str, Any], scorer: Scorer | None,
    known: Interactions, rows: FittedOn,
) -> ServedModel:  # fmt: skip
    """A baseline as a model.

    Args:
        problem: Whose train part it is fitted on.
        name: Of the baseline.
        params: Its parameters.
        scorer: Its fit, which becomes the model; None: it is fitted now.
        known: Interactions that are not recommended again.
        rows: Which ones the train part is.

    Raises:
        ConfigError, DataError: It cannot be fitted here, or not served.
    """
    serving = BASELINES[name].serving
    scorer = problem.baseline_fits.fitted(name, params) if scorer is None else scorer
    if serving is None or not isinstance(scorer, WithColdStartRule):
        raise ConfigError(f"baseline {name}: expected one that can be served")
    network = serving.network(scorer.scorer, problem.train_part, params)
    model = ServedModel.of_baseline(problem, name, params, network, known)
    return replace(model, fitted_on=rows)


def saved(
    model: ServedModel, folder: Path, seed: int, console: Reporter
) -> Approximation:  # fmt: skip
    """Saves a model, with a graph of its items where that is worth it, and tells so.

    Args:
        model: The model.
        folder: Receives it.
        seed: Draws the users who measure the graph.
        console: Receives reports.
    """
    model.save(folder)
    found = with_graph(model, seed)
    if found.told:
        console.line(found.told)
    if found.model.graph is not None:
        found.model.save(folder)
    if not model.is_personalized:
        told = "ranks items alike for all users; its recommendations are refused"
        if model.baseline:
            told = "is one order of the items; all users get it, without what they have"
        console.line(f"note: {model.expression} {told}")
    return found


def unseen_model(folder: Path) -> ServedModel:
    """A saved model that has not seen the test part.

    Raises:
        DataError: It was fitted on all rows.
        CheckpointError: It cannot be read.
    """
    model = ServedModel.load(folder)
    if model.fitted_on == "all":
        raise DataError(
            f"{folder}: expected a model that has not seen the test part, found one that was "
            "fitted on all rows; what the test said before is in metrics.json"
        )
    return model


def served_document(results: Results, goal: Goal, ours: str) -> dict[str, Any]:
    """The model that is served, for metrics.json.

    Args:
        results: Of the job.
        goal: What validation chooses by.
        ours: The searched function, or what stands for it, on one line.
    """
    choice, baseline = results.choice, results.baseline
    name = SEARCHED if choice is None else choice.name
    entry, served = results.entries[name], results.named(name, SEARCHED)
    led = results.named("" if choice is None else choice.leader, SEARCHED)
    return {
        "name": served,
        "expression": ours if baseline is None else baseline.expression,
        "valid": dict(entry.valid),
        "test": dict(entry.test.metrics),
        "rule": _among(results, goal) + _why(results, goal.metric) + _unable(results, goal.metric),
        **_numbers(choice, served, led),
    }


def _numbers(choice: Choice | None, served: str, led: str) -> dict[str, Any]:
    """Of a choice; empty: there was none."""
    if choice is None:
        return {}
    told = {name: value for name, value in vars(choice).items() if value != ""}
    return {**told, "name": served, "leader": led}


def _among(results: Results, goal: Goal) -> str:
    """The models that the choice is of, before the reason for it; empty: all."""
    if results.choice is not None:
        told = results.choice.among
    else:
        told = goal.among({SEARCHED: goal.shortfall(results.entries[SEARCHED].valid)})
    return told and f"{told}: "


def _unable(results: Results, metric: str) -> str:
    """Baselines that validation ranks higher and that cannot be served."""
    choice, entries = results.choice, results.entries
    if choice is None:
        return ""
    best = merit(metric, entries[choice.leader].valid[metric])
    told = [
        f"{name} ({metric} {entry.valid[metric]:.4f}) cannot be served: expected at most "
        f"{serving.most_items:,.0f} items"
        for name, entry in entries.items()
        if name in BASELINES and (serving := BASELINES[name].serving) is not None
        and entry.merits is None and merit(metric, entry.valid[metric]) > best
    ]  # fmt: skip
    return "".join(f"; {one}" for one in told)


def _why(results: Results, metric: str) -> str:
    """The reason for the choice."""
    choice, entries = results.choice, results.entries
    if choice is None:
        if results.stands is None:
            return "the searched function, without a choice"
        return f"{results.stands} takes the place of the searched function, without a choice"
    best = entries[choice.leader].valid[metric]
    if choice.name == choice.leader:
        return f"validation ranks it first ({metric} {best:.4f})"
    leader, valid = results.named(choice.leader, SEARCHED), entries[choice.name].valid[metric]
    return (
        f"{RULE}, {leader} ({metric} {valid:.4f} against "
        f"{best:.4f}, standard error of the difference {choice.error:.4f})"
    )
