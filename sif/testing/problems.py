"""Promises of every problem: a space on data that is searched, trained and tested."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sif.problems.base import Problem, Trained
from sif.testing.promises import killed_and_resumed, promise
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint


def check_problem(problem: Problem[Any, Any], part: Any) -> Trained[Any]:
    """A problem searches, trains and tests, repeats itself, and goes on after an interruption.

    Args:
        problem: Small: one search and three trainings of at least two validations are made.
        part: For its `test`.

    Examples:
        >>> from sif.testing import check_problem, toy_problem
        >>> problem, split = toy_problem("space=primitives")
        >>> trained = check_problem(problem, split)
    """
    found = problem.search(NullTracker(), NoCheckpoint())
    design = problem.design(found.genotype)
    one, other = problem.network(design), problem.network(design)
    _same_weights(one, other, "two networks of a design")
    trained = problem.train(design, NullTracker(), NoCheckpoint())
    for metric in (problem.metric, problem.shown):
        promise(metric in trained.result.valid, f"validation's {metric}", trained.result.valid)
    resumed = killed_and_resumed(lambda file: problem.train(design, NullTracker(), file))
    _same_weights(trained.network, resumed.network, "trainings, one of them resumed,")
    tested = problem.test(trained.network, part)
    promise(problem.metric in tested.metrics, f"a test {problem.metric}", list(tested.metrics))
    for name, values in tested.per_user.items():
        units = f"{len(tested.users)} values of {name}, one of each of the {tested.unit}"
        promise(len(values) == len(tested.users), units, len(values))
    again = problem.test(Trained.restored(problem.network(design), trained.state()).network, part)
    told = f"a restored network to have the test metrics {tested.metrics}"
    promise(again.metrics == tested.metrics, told, again.metrics)
    return trained


def _same_weights(one: nn.Module, other: nn.Module, what: str) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    promise(same, f"{what} to have the same weights", "others")
