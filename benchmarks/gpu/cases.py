"""Problems of every kind without data files, and one training step of each as functions.

Nothing is dropped at random, so that all devices compute the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sif.config import load_config
from sif.config.histories import HistoryConfig
from sif.data.images.dataset import Images
from sif.data.interactions import Interactions, Vocabulary
from sif.data.interactions.parts import TEST, VALID
from sif.data.interactions.split import build_split
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.problems.histories import HistoryProblem
from sif.problems.images import ImageProblem, Source
from sif.problems.text import TextProblem
from sif.spaces.cnn.cells import PUBLISHED as IMAGE_CELLS
from sif.spaces.rnn.cells import PUBLISHED as TEXT_CELLS
from sif.spaces.rnn.dropout import draw_masks
from sif.spaces.rnn.networks import cross_entropy
from sif.tasks.registry import task_named
from sif.utils.device import Runtime

NO_DROPOUT = dict.fromkeys(("word", "embedding", "input", "hidden", "output"), 0.0)
DROPOUTS = tuple(f"{s}.dropout.{n}=0.0" for s in ("search", "train") for n in NO_DROPOUT)


@dataclass(frozen=True)
class Step:
    """A training step: what it moves, its loss, and its batches."""

    network: nn.Module
    objective: Callable[[Any], Tensor]
    stream: Any
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Case:
    """A kind of problem.

    Attributes:
        make: Runtime, and whether at a toy's size, to the problem.
        design: Problem to the design that is trained.
        step: Problem and design to a training step.
        draws: Whether batches draw numbers on the device, which differ from device to device.
    """

    make: Callable[[Runtime, bool], Any]
    design: Callable[[Any], Any]
    step: Callable[[Any, Any], Step]
    draws: bool = False


def _interactions(objective: str, space: str) -> Callable[[Runtime, bool], Any]:
    def make(runtime: Runtime, toy: bool) -> Any:
        users, items, width = (60, 40, 8) if toy else (6000, 4000, 128)
        sets = [
            "dataset=planted", f"objective={objective}", f"space={space}", "baselines=[]",
            f"data.planted.users={users}", f"data.planted.items={items}",
            f"data.planted.density={.3 if toy else .05}", "search.epochs=400",
            f"search.dimension={width}", f"train.dimension={width}", "train.epochs=3",
            "train.evaluate_every=1", "train.patience=9",
        ]  # fmt: skip
        return task_named("cf").prepare(load_config("cf", sets=sets), runtime).problem.searched

    return make


def _interaction_step(problem: Any, design: Any) -> Step:
    net, objective, stream, loop = problem._training(design, problem.config.train.l2[0])
    parameters = [p for p in net.parameters() if p.requires_grad]
    return Step(net, objective, stream, loop.make_optimizer(parameters, loop.lr))


def _images(runtime: Runtime, toy: bool) -> Any:
    number, side, width, cells, size = (64, 8, 4, 3, 8) if toy else (4096, 32, 16, 8, 64)
    sets = [
        f"{section}.{key}={value}" for section in ("search", "train")
        for key, value in (("channels", width), ("cells", cells), ("batch_size", size))
    ]  # fmt: skip
    sets += ["train.epochs=2", "train.augment.pad=1", "train.drop_path=0.0"]
    config, draws = load_config("cnn", sets=sets), np.random.default_rng(0)
    labels = np.arange(number) % 4
    pixels = draws.integers(0, 200, (number, side, side, 3)) + 18 * labels[:, None, None, None]
    source = Source(Images("noise", pixels.astype(np.uint8), labels, tuple("abcd")), runtime)
    rows = np.arange(number)
    parts = rows[: number // 2], rows[number // 2 :]
    return ImageProblem(config, source, parts, parts, runtime)


def _image_step(problem: Any, design: Any) -> Step:
    section, network = problem.config.train, problem.network(design)
    prepare = problem.source.preparation(problem.trained[0], section.augment)
    stream = problem.source.stream(
        problem.trained[0], section.batch_size, prepare, "train", "train"
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=section.lr, momentum=0.9)
    return Step(network, lambda batch: problem._objective(network, batch), stream, optimizer)


def _text(runtime: Runtime, toy: bool) -> Any:
    width, columns, steps, words = (8, 4, 6, 600) if toy else (300, 64, 35, 100_000)
    sets = [
        f"{section}.{key}={value}" for section in ("search", "train")
        for key, value in (("hidden", width), ("columns", columns), ("bptt", steps), ("lr", 1.0))
    ]  # fmt: skip
    sets += ["train.epochs=2", "train.vary=false", "train.averaging=null", *DROPOUTS]
    text = grammar_corpus(Grammar(), train=words, valid=words // 4, test=words // 4)
    return TextProblem(load_config("rnn", sets=sets), text, runtime)


def _text_step(problem: Any, design: Any) -> Step:
    section, model = problem.config.train, problem.network(design)
    stream = problem.stream(problem.text, section.columns, section.bptt, "train", "train")

    def objective(batch: Any) -> Tensor:
        masks = draw_masks({}, model.shape, batch.inputs.shape[1], model.bias, batch.seed)
        return cross_entropy(model(batch.inputs, None, masks).logits, batch.targets)

    optimizer = torch.optim.SGD(model.parameters(), lr=section.lr)
    return Step(model, objective, stream, optimizer)


def _histories(reader: str) -> Callable[[Runtime, bool], Any]:
    def make(runtime: Runtime, toy: bool) -> Any:
        users, items, width = (40, 12, 8) if toy else (6000, 3000, 128)
        split = _walks(users, items)
        search = {"users": 16 if toy else 256, "hidden": width, "dropout": NO_DROPOUT}
        train = {**search, "epochs": 2}
        config = HistoryConfig(reader=reader, search=search, train=train)  # type: ignore[arg-type]
        return HistoryProblem(split.train, split.valid, config, runtime)

    return make


def _walks(users: int, items: int) -> Any:
    """Who takes an item takes its successor; the last item is for the test."""
    draws, rows = np.random.default_rng(0), []
    for user in range(users):
        start, length = draws.integers(items), draws.integers(4, 40)
        rows += [(user, (start + k) % items, k, length - 1 - k) for k in range(min(length, items))]
    table = np.array(rows, dtype=np.int64)
    names = tuple(Vocabulary(np.arange(n)) for n in (users, items))
    part = np.select([table[:, 3] == 1, table[:, 3] == 0], [VALID, TEST])
    known = Interactions(table[:, :2], ("user", "item"), names, timestamp=table[:, 2].copy())
    return build_split(known, part, protocol="last-item", seed=0)


def _history_step(problem: Any, design: Any) -> Step:
    model, objective, stream, loop = problem._training(design)
    return Step(model, objective, stream, loop.make_optimizer(list(model.parameters()), loop.lr))


def _multiply(problem: Any) -> Any:
    return problem.kind.multiply(problem.fields)


CASES: Mapping[str, Case] = {
    "cf-ranking": Case(_interactions("ranking", "staged"), _multiply, _interaction_step, True),
    "cf-rating": Case(_interactions("rating", "staged"), _multiply, _interaction_step, True),
    "cf-sif": Case(_interactions("rating", "sif"), _multiply, _interaction_step, True),
    "cnn": Case(_images, lambda problem: IMAGE_CELLS["darts-v2"], _image_step),
    "rnn": Case(_text, lambda problem: TEXT_CELLS["darts-v2"], _text_step),
    "order-cell": Case(_histories("cell"), lambda problem: problem.drawn(0), _history_step),
    "order-scales": Case(_histories("scales"), lambda problem: problem.drawn(0), _history_step),
}


def moved(value: Any, device: torch.device) -> Any:
    """A batch on a device: tensors in nested dataclasses and tuples; all else stays."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, tuple):
        return tuple(moved(one, device) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{name: moved(getattr(value, name), device) for name in names}
        )
    return value


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a batch, in a fixed order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple):
        return [x for one in value for x in tensors(one)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [
            x for entry in dataclasses.fields(value) for x in tensors(getattr(value, entry.name))
        ]
    return []
