"""Interactions, images and text keep what every problem promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sif.config import load_config
from sif.tasks.registry import task_named
from sif.testing import check_problem
from sif.utils.device import make_runtime

SMALL = {
    "cf": ("data.planted.users=30", "data.planted.items=20", "data.planted.density=0.3",
           "search.epochs=2", "search.dimension=3", "train.epochs=10", "train.dimension=4",
           "search.stages=[operation,weighting]"),
    "cnn": ("data.per_class=8", "search.epochs=1", "search.batch_size=16", "search.channels=1",
            "search.cells=3", "methods.nasp.warmup=0", "train.epochs=2", "train.batch_size=16",
            "train.channels=1", "train.cells=3"),
    "rnn": ("search.epochs=1", "methods.nasp.warmup=0", "search.columns=8", "search.bptt=6",
            "search.hidden=6", "search.nodes=2", "search.steps_per_epoch=4", "train.epochs=2",
            "train.columns=64", "train.bptt=35", "train.hidden=6"),
}  # fmt: skip


def study(task: str, *sets: str) -> Any:
    """The study of a small job."""
    config = load_config(task, sets=["threads=1", "baselines=[]", *SMALL[task], *sets])
    return task_named(task).prepare(config, make_runtime("cpu", 0, threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("task", SMALL)
def test_the_problems_of_this_package_keep_their_promises(task: str) -> None:
    if task == "cnn":
        pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")
    found = study(task)
    check_problem(found.problem, found.test_part)


def with_fresh_weights(problem: Any) -> None:
    network = problem.network
    problem.network = lambda design: _moved(network(design))


def _moved(network: Any) -> Any:
    for number in network.parameters():
        number.data += torch.rand(())
    return network


def without_its_metric(problem: Any) -> None:
    problem.metric = "accuracy"


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (with_fresh_weights, "two networks of a design to have the same weights"),
        (without_its_metric, "validation's accuracy"),
    ],
)
def test_a_broken_promise_is_named(breaks: Callable[[Any], None], message: str) -> None:
    found = study("cf", "objective=rating")
    breaks(found.problem)
    with pytest.raises(AssertionError, match=message):
        check_problem(found.problem, found.test_part)
