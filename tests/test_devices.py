"""Every preset on a pretended accelerator: no mixed devices, no hidden waits, no growing memory.

Weights take their steps there as on the CPU, and the host waits for nothing: kernels queue up while
Python prepares the next ones. An architecture step reads its numbers, which the limit counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sif import Recommender, tasks
from sif.config import load_config
from sif.config.files import presets
from sif.config.histories import HistoryConfig
from sif.core.gates import Gates
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import weight_step
from sif.core.selections import Selections
from sif.core.space import ReplacementScored
from sif.data.images.dataset import Images
from sif.data.interactions import Interactions, Vocabulary
from sif.data.interactions.parts import TEST, VALID
from sif.data.interactions.split import build_split
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.methods.configuration import configured
from sif.problems.histories import ENTRANTS, READERS, HistoryProblem
from sif.problems.images import ImageProblem, Source
from sif.problems.pilots import StepTimer
from sif.problems.text import TextProblem
from sif.spaces.cnn.networks import HALVINGS
from sif.spaces.interaction.registry import LOSSES
from sif.spaces.rnn.designs import LSTM
from sif.tasks.registry import task_named
from sif.testing import Accelerator, Usage, toy_problem
from sif.tracking import NullTracker
from sif.training.averaging import Averaged
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import Runtime

SMALL = {
    "cf": ("dataset=planted", "data.planted.users=30", "data.planted.items=20",
           "data.planted.density=0.3", "search.epochs=2", "search.arch_every=1",
           "search.dimension=3", "methods.nasp.settle_steps=0", "methods.nasp.warmup=0",
           "train.epochs=2", "train.dimension=4", "train.evaluate_every=1", "baselines=[]"),
    "cnn": ("search.epochs=1", "search.batch_size=4", "search.channels=2", "search.cells=3",
            "train.epochs=1", "train.batch_size=4", "train.channels=4", "train.cells=3"),
    "rnn": ("search.epochs=1", "search.columns=4", "search.bptt=5", "search.hidden=6",
            "search.nodes=3", "search.steps_per_epoch=4", "methods.nasp.warmup=0",
            "train.epochs=2", "train.columns=4", "train.bptt=5", "train.hidden=6"),
}  # fmt: skip
FURTHER = {
    "cnn/imagenet": ("train.auxiliary=null",),  # which needs 224 pixels a side
    "cf/first": ("data.planted.length=8",),  # of so few films
}
GRAMMAR = Grammar(keys=3, depth=1, fillers=3, shortest=1, longest=2)
FAST = ("cf/rating", "cf/sif-ranking", "cnn/smoke", "rnn/own", "rnn/smoke")
PRESETS = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in presets() if not name.startswith("panel")
]  # fmt: skip
"""Of the others each takes as long; together they would be half of the inner loop."""
MOST_UPLOADS = 9
"""Small tensors that a step may copy to the device, none of which it waits for: rows of a batch and
what an image's augmentation draws."""


@dataclass(frozen=True)
class Case:
    """A problem on the accelerator, and the part for its test."""

    problem: Any
    part: Any


@pytest.fixture
def gpu() -> Iterator[Accelerator]:
    with Accelerator() as accelerator:
        yield accelerator


def images(config: Any, runtime: Runtime) -> Case:
    """Noise, with as many pixels as the network needs."""
    cells = {None: 1, "cifar": 8, "imagenet": 7}[config.train.auxiliary]
    side = max(8, cells * HALVINGS[config.train.stem])
    draws, rows = np.random.default_rng(0), np.arange(30)
    pixels = draws.integers(0, 256, (30, side, side, 3), dtype=np.uint8)
    source = Source(Images("noise", pixels, rows % 3, ("a", "b", "c")), runtime)
    searched, trained = (rows[:8], rows[8:12]), (rows[:16], rows[16:22])
    return Case(ImageProblem(config, source, searched, trained, runtime), rows[22:])


def made(preset: str, runtime: Runtime) -> Case:
    task = preset.split("/", maxsplit=1)[0]
    sets = ("threads=1", *SMALL[task], *FURTHER.get(preset, ()))
    config = load_config(task, file=preset, sets=sets)
    if task == "cnn":
        return images(config, runtime)
    if task == "rnn":
        text = grammar_corpus(GRAMMAR, train=400, valid=120, test=120)
        return Case(TextProblem(config, text, runtime), text.test)
    study = task_named("cf").prepare(config, runtime)
    return Case(study.problem.searched, study.test_part)


def on(device: torch.device) -> Runtime:
    return Runtime(device, torch.float32, 1, 0)


class Steps:
    """Takes a few steps of an epoch and notes what each has used."""

    def __init__(self, gpu: Accelerator) -> None:
        self.gpu, self.used = gpu, list[Usage]()

    def __call__(self, steps: int) -> Iterator[int]:
        for number in range(min(steps, 4)):
            before = self.gpu.usage()
            yield number
            self.used.append(self.gpu.usage() - before)


def assert_free(used: Usage, waits: int = 0) -> None:
    assert sum(used.waits.values()) <= waits
    assert sum(used.uploads.values()) <= MOST_UPLOADS


def search_steps(problem: Any, gpu: Accelerator) -> None:
    """Weight steps, then architecture steps, each three times: the first ones allocate."""
    space, run = problem.space(), problem.method_run()
    train, valid = problem.streams()
    optimizer = run.make_optimizer(space.weight_parameters(), 0.01)
    draws = torch.Generator().manual_seed(0)
    gates = Selections(space.blocks).drawn(draws).to_gates(space.blocks)
    for _ in range(3):
        before = gpu.usage()
        weight_step(space, train.next(), gates, optimizer, run.max_norm)
        used = gpu.usage() - before
    assert_free(used)
    assert used.alive == 0  # no growth
    method = run._made(configured("nasp", run.methods), space, Plan(6, lr=0.01))
    for _ in range(2):
        before = gpu.usage()
        method.arch_step(space, train.next(), valid.next())
        used = gpu.usage() - before
    most = len(space.blocks) + 1  # the gates of each, and the loss
    if isinstance(space, ReplacementScored):
        most += 2 * sum(len(block.operations) for block in space.blocks)
    assert sum(used.waits.values()) <= most
    assert used.alive == 0


def training_steps(problem: Any, design: Any, gpu: Accelerator, waits: int = 0) -> Any:
    steps = Steps(gpu)
    trained = problem.at_pace(steps=steps).train(design, NullTracker(), NoCheckpoint())
    for used in steps.used[1:]:
        assert_free(used, waits)
    # Steps of one shape use one amount, but for the loss that the loop keeps of each.
    assert abs(steps.used[-1].alive) <= 64
    return trained


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_searches_trains_and_tests_without_a_hidden_wait(
    preset: str, gpu: Accelerator
) -> None:
    found = made(preset, on(gpu.device))
    problem = found.problem
    search_steps(problem, gpu)
    result = problem.search(NullTracker(), NoCheckpoint())
    design = problem.design(result.genotype)
    trained = training_steps(problem, design, gpu)
    assert all(p.device == gpu.device for p in trained.network.parameters())
    assert np.isfinite(problem.test(trained.network, found.part).metrics[problem.metric])
    assert np.isfinite(served(problem, design, trained.network)).all()


def served(problem: Any, design: Any, network: Any) -> Any:
    """What the finished model answers, where it was trained; functions serve on the CPU."""
    if isinstance(problem, ImageProblem):
        pixels = problem.source.images.pixels[:3]
        return problem.classifier(design, network).predict(pixels)
    if isinstance(problem, TextProblem):
        return problem.model(design, network).log_probabilities(problem.words[2:5])
    interaction = problem.served(network).cpu().interaction()
    return (
        interaction.pairs(torch.zeros(1, len(problem.fields), dtype=torch.int64)).detach().numpy()
    )


SETTINGS = [
    *((f"loss.name={name}",) for name in LOSSES if name != "squared"),
    *(("loss.name=softmax", "loss.samples=5", f"loss.sampling={way}")
      for way in ("uniform", "popularity", "in-batch")),
    ("loss.name=bpr", "loss.sampling=popularity"), ("loss.name=bpr", "loss.sampling=in-batch"),
    ("model.similarity=cosine", "loss.name=softmax"), ("train.block_pairs=30",),
    ("train.block_pairs=30", "loss.name=bce"), ("train.batch_size=20",),
]  # fmt: skip


@pytest.mark.parametrize("sets", SETTINGS, ids=" ".join)
def test_every_loss_and_way_of_drawing_hides_no_wait(
    sets: tuple[str, ...], gpu: Accelerator
) -> None:
    problem, split = toy_problem("train.batch_size=null", *sets, device="cuda")
    # Losses over the catalog score distinct users, whose number is a shape.
    waits = int(problem.loss.shared)
    trained = training_steps(problem, problem.kind.multiply(problem.fields), gpu, waits)
    assert np.isfinite(problem.test(trained.network, split).metrics[problem.metric])


READ = {"epochs": 1, "users": 8, "hidden": 6, "dropout": {"embedding": 0.2, "hidden": 0.2}}


@pytest.mark.parametrize("samples", [None, 4])
@pytest.mark.parametrize("reader", ENTRANTS)
def test_readers_of_histories_wait_for_nothing(
    reader: str, samples: int | None, gpu: Accelerator
) -> None:
    rows = [(user, (user + k) % 12, k) for user in range(32) for k in range(3 + user % 4)]
    table = np.array(rows, dtype=np.int64)
    names = tuple(Vocabulary(np.arange(n)) for n in (32, 12))
    known = Interactions(table[:, :2], ("user", "item"), names, timestamp=table[:, 2].copy())
    left = np.bincount(table[:, 0])[table[:, 0]] - 1 - table[:, 2]
    part = np.select([left == 1, left == 0], [VALID, TEST])
    split = build_split(known, part, protocol="last-item", seed=0)
    further = {} if samples is None else {"samples": samples}
    train = {**READ, **further, **({} if samples is None else {"exact_items": 1})}
    config = HistoryConfig(
        reader="scales" if reader == "scales" else "cell",
        search={**READ, **further, "nodes": 2}, train=train,
    )  # fmt: skip
    problem = HistoryProblem(split.train, split.valid, config, on(gpu.device))
    if reader in READERS:
        search_steps(problem, gpu)
        design = problem.design(problem.search(NullTracker(), NoCheckpoint()).genotype)
    trained = training_steps(problem, design if reader in READERS else reader, gpu)
    assert np.isfinite(problem.test(trained.network, split).metrics[problem.metric])


def test_averaging_waits_for_nothing(gpu: Accelerator) -> None:
    found = made("rnn/own", on(gpu.device))
    averaged = Averaged(found.problem.network(LSTM), 1).to(gpu.device)
    for loss in (1.0, 2.0, 1.5):
        averaged.judge(loss)
    before = gpu.usage()
    averaged.note()
    assert averaged.begun() and not (gpu.usage() - before).waits


def test_a_pilot_times_what_the_device_does(gpu: Accelerator) -> None:
    timer = StepTimer(gpu.device)
    before = gpu.usage()
    taken = len(list(timer(3)))
    assert taken == 3 == sum((gpu.usage() - before).waits.values())


WHOLE = {
    "cf": ("search.stages=[closed,order,encoding,operation,weighting]",),
    "cnn": ("dataset=digits", "data.per_class=8"),
    "rnn": ("dataset=grammar", "search.columns=64", "train.columns=64", "train.bptt=35"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", WHOLE)
@pytest.mark.usefixtures("without_figures")
def test_a_whole_job_runs_there_and_serves_on_the_cpu(
    task: str, gpu: Accelerator, tmp_path: Path
) -> None:
    """Slow: whole jobs of all tasks."""
    if task == "cnn":
        pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")
    sets = [*SMALL[task], *WHOLE[task], "threads=1", "tracking.enabled=false", "device=cuda",
            f"output_dir={tmp_path / 'run'}", "baselines=[]"]  # fmt: skip
    result = tasks.run(load_config(task, sets=sets), quiet=True)
    assert load_config(None, file=result.folder / "config.yaml").device == "cuda:0"
    if task == "cf":
        assert len(Recommender.load(result.folder).recommend(["u0001"], n=2)) == 2


def test_an_architecture_step_needs_the_memory_of_one_path(gpu: Accelerator) -> None:
    problem = made("cnn/smoke", on(gpu.device)).problem
    space, batch = problem.space(), problem.streams()[1].next()
    draws = torch.Generator().manual_seed(0)
    chosen = Selections(space.blocks).drawn(draws).to_gates(space.blocks)
    mixed = Gates({name: w.float().softmax(1) for name, w in chosen.weights.items()}, None)
    needed = []
    for gates in (chosen, mixed):
        before = gpu.usage().alive
        torch.cuda.reset_peak_memory_stats(gpu.device)
        gate_gradient(space, batch, gates)
        needed.append(gpu.peak - before)
        assert gpu.usage().alive == before
    assert 2 * needed[0] < needed[1]
