"""Small problems on planted data, which a suite's searches and trainings take a second on."""

from __future__ import annotations

from dataclasses import replace

from sif.config import CFConfig, load_config
from sif.data.interactions import Split, make_split
from sif.data.interactions.load import load_dataset
from sif.problems.interactions import InteractionProblem
from sif.search.run import MethodRun
from sif.utils.device import make_runtime

PROTOCOLS = {"ranking": "ranking-per-user", "rating": "rating-80/10/10"}
SMALL = (
    "data.planted.users=20", "data.planted.items=15", "data.planted.density=0.3",
    "search.dimension=3", "search.arch_every=1", "search.batch_size=40", "search.epochs=2",
    "train.epochs=10", "train.dimension=4", "train.l2=[1.0]",
)  # fmt: skip
# Five steps are three epochs of two, the last one cut short; a candidate takes two of them.
BUDGET = ("search.steps=5", "search.candidate_epochs=1")


def toy_problem(*sets: str, seed: int = 0, device: str = "cpu") -> tuple[InteractionProblem, Split]:
    """A job of interaction functions on 20 users and 15 items, on one thread.

    Args:
        sets: Settings over those of the toy, such as "space=metric" or "loss.name=tempered".
        seed: Seed of data and job.
        device: "cpu" or "cuda", the latter also within an `Accelerator`.

    Returns:
        The problem, and the split whose test part it has not seen.

    Examples:
        >>> from sif.testing import toy_problem
        >>> problem, split = toy_problem("space=primitives")
        >>> problem.metric
        'ndcg@10'
    """
    config = load_config("cf", sets=["threads=1", *SMALL, *sets], flags={"seed": seed})
    assert isinstance(config, CFConfig)  # noqa: S101 (of the task that was asked for)
    kind = "clicks" if config.objective == "ranking" else "ratings"
    planted = {**config.data.planted.arguments(), "seed": seed, "kind": kind}
    split = make_split(load_dataset("planted", planted=planted), PROTOCOLS[config.objective], seed)
    runtime = make_runtime(device, seed, threads=1)
    return InteractionProblem(split.train, split.valid, config, runtime), split


def toy_run(*sets: str) -> MethodRun:
    """A run of five steps for a method, see `toy_problem`; for a `Trial`.

    Examples:
        >>> from sif.testing import Trial, toy_run
        >>> Trial("random", toy_run("space=primitives")).samples
        True
    """
    problem, _ = toy_problem(*BUDGET, *sets)
    return replace(problem.method_run(), steps_per_epoch=2)
