"""The promises of every search method, on a small space of every kind.

A new method joins by its row in `METHODS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from sif import testing as contracts
from sif.config import load_config
from sif.config.cells import CellSearchSection
from sif.config.rnn import RNNConfig
from sif.core.gates import Gates, Selection
from sif.core.method import Plan
from sif.core.selections import Selections
from sif.core.space import Space
from sif.core.stream import Permutation, Stream
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.errors import ConfigError
from sif.methods.fixed import Fixed
from sif.methods.kind import MethodKind
from sif.methods.nasp import NaspSettings
from sif.methods.random_search import RandomSampling
from sif.methods.registry import METHODS
from sif.methods.settings import MethodSettings
from sif.problems.text import TextProblem
from sif.search.budget import planned
from sif.search.run import MethodRun
from sif.spaces.cnn.networks import Layout
from sif.spaces.cnn.supernet import CNNSpace, ImageBatch
from sif.testing import Trial, toy_run
from sif.testing.methods import _alike
from sif.testing.toys import BUDGET
from sif.training.optim import constant, momentum
from sif.utils.device import make_runtime
from sif.utils.random import seeded

RUNTIME = make_runtime("cpu", 0, threads=1)


def functions(space: str, *sets: str) -> MethodRun:
    """The job on 20 users and 15 items with a planted function."""
    return toy_run(f"space={space}", *sets)


class Images:
    """Endless batches of twelve random images."""

    def __init__(self, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        self.images = torch.randn(12, 1, 4, 4, generator=draws)
        self.labels = torch.randint(3, (12,), generator=draws)
        self.order = Permutation(12, 4, draws)
        self.steps_per_pass = self.order.steps_per_pass
        self.state_dict, self.load_state_dict = self.order.state_dict, self.order.load_state_dict

    def next(self) -> ImageBatch:
        rows = self.order.next()
        return ImageBatch(self.images[rows], self.labels[rows])


def images() -> MethodRun:
    section = CellSearchSection(
        epochs=3, steps=3, candidate_epochs=1, lr=0.05, weight_decay=1e-4, max_norm=5.0,
    )  # fmt: skip
    nasp = {"warmup": 0.4, "arch_lr": 0.1, "arch_optimizer": "plain", "explore": 0.5}
    methods = {"nasp": nasp, "nsga2": {"population": 2}, "bayesnas": {"hessian_draws": 1}}

    def space(mixed: bool) -> CNNSpace:
        with seeded(RUNTIME, "space"):
            return CNNSpace("nasp-7op", Layout(3, 1, 3, image_channels=1, stem_multiplier=1))

    def judge(space: Any, gates: Gates) -> float:
        data = Images(2)
        with torch.no_grad():
            return float(space.loss(ImageBatch(data.images, data.labels), gates))

    def streams() -> tuple[Stream, Stream]:
        return Images(1), Images(2)

    return MethodRun(
        space, streams, judge, "error", section, momentum(1e-4), constant, RUNTIME, 2, 5.0,
        methods=methods,
    )  # fmt: skip


def text(*further: str) -> MethodRun:
    sets = [
        "search.columns=8", "search.bptt=4", "search.hidden=4", "search.nodes=2",
        "search.steps_per_epoch=2", "methods.nasp.arch_lr=0.1", "train.bptt=6", *BUDGET, *further,
    ]  # fmt: skip
    config = load_config("rnn", sets=sets)
    assert isinstance(config, RNNConfig)
    grammar = Grammar(keys=3, depth=1, fillers=3, shortest=1, longest=2)
    corpus = grammar_corpus(grammar, train=600, valid=100, test=100)
    return TextProblem(config, corpus, RUNTIME).method_run()


RUNS: dict[str, Callable[[], MethodRun]] = {
    "primitives": lambda: functions("primitives"),
    "sif": lambda: functions("sif", "objective=rating"),
    "cnn": images,
    "rnn": text,
    "gated": lambda: text("space=gated"),
}
PRUNING, DRAWING = ("asap", "bayesnas"), ("asng", "enas")
NEEDS = {"tpe": "optuna", "nsga2": "pymoo"}
REFUSED = {("exhaustive", "cnn"): "at most 10,000 selections, found ~1e18"}


COSTLY = {("darts-2", "cnn"), ("bayesnas", "cnn")}


@pytest.mark.parametrize(
    ("method", "space"),
    [
        pytest.param(m, s, marks=pytest.mark.slow if (m, s) in COSTLY else ())
        for m in METHODS
        for s in RUNS
    ],
)
def test_a_method_keeps_its_promises(method: str, space: str) -> None:
    """Slow where second derivatives go through every operation of a supernet of cells."""
    if method in NEEDS:
        pytest.importorskip(NEEDS[method])
    trial = Trial(method, RUNS[space]())
    if (method, space) in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[method, space]):
            trial.run.check(method)
        return
    trial.run.check(method)
    found = contracts.check_method(trial, kills=(1,) if space == "cnn" else (1, 2))
    if METHODS[method].samples:
        budget = trial.run.section.steps
        assert budget is not None
        assert found.steps == budget - 1  # one candidate more would not have fitted
        told = {str(entry["candidate"]["selection"]) for entry in found.history}
        assert len(told) == found.steps // 2


@pytest.mark.parametrize("space", ["primitives", "sif", "cnn", "rnn", "staged"])
def test_candidates_of_every_space_may_be_trained_by_other_processes(
    space: str, elsewhere: Callable[[int], Any]
) -> None:
    """What a training needs travels, and its result comes back the same."""
    run = RUNS[space]() if space in RUNS else functions(space)
    found, calls = Trial("random", run).search(), elsewhere(2)
    away = replace(run, runtime=replace(run.runtime, calls=calls))
    _alike(found, Trial("random", away).search(), "a search on copies")
    assert calls.started != []


@pytest.mark.parametrize(
    "method", ["random", "nasp", "snas", "gdas", "random-ws", *PRUNING, *DRAWING]
)
def test_other_seeds_search_otherwise(method: str) -> None:
    run = functions("primitives")
    other = replace(run, runtime=make_runtime("cpu", 1, threads=1))
    ours, theirs = (Trial(method, r).search() for r in (run, other))
    assert ours.history[0]["alpha"] != theirs.history[0]["alpha"]


@pytest.mark.parametrize(
    "method", ["darts-1", "darts-2", "snas", "gdas", "random-ws", *PRUNING, *DRAWING]
)
def test_methods_that_share_weights_refuse_a_space_that_does_not(method: str) -> None:
    run = functions("staged")
    told = f"method: expected one of nasp, .* in the space staged, .*, found {method};"
    with pytest.raises(ConfigError, match=told):
        run.check(method)
    for fit in ("nasp", "random", "exhaustive"):
        run.check(fit)


def test_samplers_train_what_staged_offers() -> None:
    trial = Trial("random", functions("staged"))
    contracts.check_method(trial, kills=(1,))


def outside(make: Callable[[Space], Any], **further: Any) -> Trial:
    """A method that this package does not know, on text."""
    return Trial("mine", text(), MethodKind(lambda s, c, p, g: make(s), **further))


def first(space: Space) -> Gates:
    return Selections(space.blocks).numbered(0).to_gates(space.blocks)


class Wrong(Fixed):
    """Hands out what it was given."""

    def __init__(self, space: Space, change: Callable[[Gates], Gates]) -> None:
        super().__init__(space, change(first(space)), 1.0)


def two(gates: Gates) -> Gates:
    weights = {name: w.clone() for name, w in gates.weights.items()}
    weights["recurrent"][0, 1] = 1.0
    return Gates(weights, gates.active)


def other(gates: Gates, *edges: int) -> Gates:
    return Gates(gates.weights, Selection({"recurrent": edges}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (two, "expected operation 0 alone on edge 0, found weights"),
        (lambda g: Gates({n: w[:2] for n, w in g.weights.items()}, g.active),
         r"expected weights of shape \(3, 4\), found shape \(2, 4\)"),
        (lambda g: other(g, 0, 7, -1), "operations from 0 to 3, found 7"),
        (lambda g: other(g, 0, 0, 0), "1 kept edges into node 1, found 2"),
        (lambda g: other(g, 0, 0), "each of 3 edges, found 2"),
        (lambda g: Gates({}, g.active), "found nothing"),
        (lambda g: Gates({n: w / 0 for n, w in g.weights.items()}, None), "finite weights"),
    ],
)  # fmt: skip
def test_illegal_gates_are_named_and_stopped(change: Callable[[Gates], Gates], told: str) -> None:
    with pytest.raises(ConfigError, match=f"method Wrong: block 'recurrent': .*{told}") as e:
        outside(lambda space: Wrong(space, change)).search()
    assert "\n" not in str(e.value)


def test_an_outside_sampler_is_trained_and_its_illegal_selection_stopped() -> None:
    found = contracts.check_method(
        outside(lambda s: RandomSampling(s, 5), samples=True), kills=(1, 2)
    )
    assert found.steps == 4

    class Bad(RandomSampling):
        def ask(self) -> Selection | None:
            return Selection({"recurrent": (0, 0, 0)})

    with pytest.raises(ConfigError, match="method Bad: block 'recurrent'"):
        outside(lambda s: Bad(s, 5), samples=True).search()


class Greedy(Fixed):
    """Draws from the global generator, and tells nothing of it."""

    def weight_gates(self, step: int) -> Gates:
        torch.rand(1)
        return super().weight_gates(step)


class Forgetful(Fixed):
    """Its selection depends on what it does not save."""

    def __init__(self, space: Space) -> None:
        super().__init__(space, first(space), 1.0)
        self.space, self.asked = space, 0

    def weight_gates(self, step: int) -> Gates:
        self.asked += 1
        return super().weight_gates(step)

    def best_gates(self) -> Gates:
        return (
            Selections(self.space.blocks)
            .from_row((0, self.asked % 4, 0, 0))
            .to_gates(self.space.blocks)
        )


def test_the_contract_finds_what_is_broken() -> None:
    with pytest.raises(AssertionError, match="global random generators"):
        contracts.check_method(outside(lambda space: Greedy(space, first(space), 1.0)))
    with pytest.raises(AssertionError, match="resumed from saved state 1"):
        contracts.check_method(outside(Forgetful))

    class Unsaved(Fixed):
        def state_dict(self) -> dict[str, Any]:
            return {"gates": object()}

    with pytest.raises(AssertionError, match="a state that can be saved"):
        contracts.check_method(outside(lambda space: Unsaved(space, first(space), 1.0)))


def test_a_budget_below_one_candidate_is_refused_in_one_line() -> None:
    run = functions("primitives")
    short = replace(run, section=run.section.model_copy(update={"steps": 1}))
    with pytest.raises(ConfigError, match=r"search\.steps: expected at least 2, one candidate"):
        short.check("random")
    none = {"steps": None, "epochs": 2, "candidate_epochs": 3}
    with pytest.raises(ConfigError, match=r"candidate_epochs: expected at most search\.epochs, 2"):
        replace(run, section=run.section.model_copy(update=none)).check("tpe")


def test_a_choice_that_takes_long_leaves_half_of_the_seconds() -> None:
    run = functions("primitives", "methods.random-ws.candidates=405")
    update = {"steps": None, "seconds": 0.6, "epochs": 1000}

    def slow(space: Space, gates: Gates) -> float:
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        return run.judge(space, gates)

    timed = replace(run, section=run.section.model_copy(update=update), judge=slow)
    found = Trial("random-ws", timed).search()
    assert found.steps > 0 and 0.3 < found.cpu_seconds < 1.0


@pytest.mark.parametrize("method", ["nasp", "darts-1", "random-ws", "random"])
def test_seconds_stop_a_search(method: str) -> None:
    run = functions("primitives")
    update = {"steps": None, "seconds": 0.4, "epochs": 1000}
    timed = replace(run, section=run.section.model_copy(update=update))
    found = Trial(method, timed).search()
    assert 0 < found.cpu_seconds < 0.8  # a step, an evaluation, and other load on the machine
    assert found.steps == found.history[-1]["steps"] > 0
    seconds = [entry["cpu_seconds"] for entry in found.history]
    assert seconds == sorted(seconds) and seconds[-1] == found.cpu_seconds


@pytest.mark.parametrize("method", ["nasp", "random-ws", "random"])
def test_seconds_for_nothing_are_refused_in_one_line(method: str) -> None:
    run = functions("primitives")
    update = {"steps": None, "seconds": 1e-4}
    timed = replace(run, section=run.section.model_copy(update=update))
    with pytest.raises(ConfigError, match=r"search\.seconds: expected"):
        Trial(method, timed).search()


def test_a_resumed_search_of_seconds_keeps_its_plan_and_its_clock() -> None:
    run = functions("primitives")
    update = {"steps": None, "seconds": 0.3}
    timed = replace(run, section=run.section.model_copy(update=update))
    kept: list[dict[str, Any]] = []

    class Keeps:
        def restore(self) -> dict[str, Any] | None:
            return kept[0] if kept else None

        def offer(self, state: Callable[[], dict[str, Any]]) -> None:
            kept.append(state())
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Trial("nasp", timed).search(Keeps())
    saved = dict(kept[0])
    plan = saved["budget"]["steps"]

    class Goes(Keeps):
        def offer(self, state: Callable[[], dict[str, Any]]) -> None:
            assert state()["budget"]["steps"] == plan

    found = Trial("nasp", timed).search(Goes())
    assert found.steps <= plan
    assert found.cpu_seconds > saved["cpu_seconds"]


@pytest.mark.parametrize("method", ["darts-1", "darts-2", "snas", "gdas", "asap", *DRAWING])
@pytest.mark.parametrize("budget", [{}, {"steps": None, "epochs": 3}])
def test_all_but_nasp_step_alpha_after_every_weight_step(
    method: str, budget: dict[str, int | None]
) -> None:
    run = functions("primitives")
    run = starved(run, **budget)
    found = Trial(method, run).search()
    assert found.diagnostics["arch_steps"] == found.steps == (6 if budget else 5)


def test_the_section_says_how_often_nasp_steps_alpha() -> None:
    run = functions("primitives", "search.arch_every=2", "methods.nasp.arch_start=0.4")
    assert Trial("nasp", run).search().diagnostics["arch_steps"] == 2  # before 2 and 4


def starved(run: MethodRun, **update: Any) -> MethodRun:
    """The same with few steps of alpha, the first of them late."""
    section = run.section.model_copy(update={"arch_every": 50, **update})
    nasp = {**run.methods["nasp"], "arch_start": 0.28, "warmup": 0.98}
    return replace(run, section=section, methods={**run.methods, "nasp": nasp})


@pytest.mark.parametrize(
    ("budget", "told"),
    [({"steps": 40}, r"search\.steps: expected at least 51, found 40; .* before step 50"),
     ({"steps": None, "epochs": 20}, r"search\.epochs: expected at least 26, found 20"),
     ({"steps": 50}, r"search\.steps: expected at least 51, found 50")],
)  # fmt: skip
def test_a_search_without_a_step_of_alpha_is_refused_in_one_line(
    budget: dict[str, int | None], told: str
) -> None:
    run = functions("primitives")
    short = starved(run, **budget)
    for refuses in (lambda: short.check("nasp"), lambda: Trial("nasp", short).search()):
        with pytest.raises(ConfigError, match=told) as e:
            refuses()
        assert "\n" not in str(e.value)
    for other in ("darts-1", "gdas", "random-ws"):
        short.check(other)
    starved(run, steps=51).check("nasp")


def test_seconds_without_a_step_of_alpha_are_refused_in_one_line() -> None:
    run = functions("primitives")
    short = starved(run, arch_every=10**7, steps=None, seconds=0.3)
    short.check("nasp")  # known only after a pilot
    with pytest.raises(ConfigError, match=r"search\.seconds: expected time for more than 10000000"):
        Trial("nasp", short).search()


def test_where_every_choice_has_a_neutral_start_alpha_may_rest() -> None:
    run = functions("staged", "search.stages=[encoding]")
    assert all(block.default_op is not None for block in run.make_space(False).blocks)
    starved(run).check("nasp")


def test_plans_scale_warm_up_with_the_budget() -> None:
    section = functions("primitives").section.model_copy(update={"epochs": 60})
    half = NaspSettings(warmup=0.5, arch_start="half_warmup")
    assert planned(section, half, 7, None) == Plan(420, 210, 105, section.lr)
    assert planned(section, half, 7, 100) == Plan(100, 50, 25, section.lr)
    assert planned(section, NaspSettings(warmup=0.5), 7, 100).resting == 50
    assert planned(section, MethodSettings(), 7, 100) == Plan(100, 0, 0, section.lr)
    waits = NaspSettings(warmup=0.5, arch_start=0.28)
    assert planned(section, waits, 7, 100) == Plan(100, 50, 28, section.lr)
    assert planned(section, waits, 7, None).resting == 17 * 7
    everything = NaspSettings(warmup=0.999)
    assert planned(section, everything, 1, 1).warmup == 0
