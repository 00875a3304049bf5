"""Search of recurrent cells and training of language models on text.

The test part is not among the arguments of `Language`: a search trains weights on the first part of
the train text and alpha on its end; validation judges, and chooses the epoch of trainings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from sif.config.rnn import DropoutConfig, RNNConfig
from sif.core.gates import Gates
from sif.core.stream import Checkpointer, Stream
from sif.data.text import Carry, Corpus, TextStream, text_batches
from sif.search.loop import SearchResult
from sif.search.run import MethodRun, lowering
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import Dropouts, TextShape, draw_masks
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel, cross_entropy, penalties
from sif.spaces.rnn.supernet import RNNSpace, TextBatch
from sif.tracking import Tracker
from sif.training.averaging import Averaged
from sif.training.loop import Metrics, TrainResult, TrainSettings, train
from sif.training.optim import MakeOptimizer, constant, momentum
from sif.utils.device import Runtime, reset_peak_memory
from sif.utils.random import derive_seed, generator, seeded

OPTIMIZERS: dict[str, Callable[[float], MakeOptimizer]] = {
    "sgd": lambda decay: momentum(decay, 0.0),
    "adam": lambda decay: partial(torch.optim.Adam, weight_decay=decay),
}
Ids = NDArray[np.int64]
Progress = Callable[[int, Any], None]

EXPORTED = "exported_perplexity"
"""Validation perplexity of the selection as a model of its own with the supernet's weights."""
WORST = 1e6
"""Perplexity at which one model is as useless as another."""
RECALIBRATION = 4
"""Windows of all columns over which an extracted model's statistics are taken."""
EVALUATED = 10
"""Columns in which a text is evaluated (eval_batch_size of DARTS' rnn/train.py)."""


def make_batch(seed: int, text: str, inputs: Tensor, targets: Tensor, carry: Carry) -> TextBatch:
    """A window with the state before it and the seed of its dropout."""
    number = derive_seed(seed, "dropout", text, carry.number)
    return TextBatch(inputs, targets, carry, carry.value, number)


@torch.no_grad()
def nats(model: LanguageModel, windows: Iterator[TextBatch]) -> NDArray[np.float64]:
    """Nats of every word of a text, (words of a column, columns), without dropout."""
    model.eval()
    found = []
    for window in windows:
        made = model(window.inputs, window.carry.value)
        window.carry.value = made.state
        losses = F.cross_entropy(
            made.logits.flatten(0, 1), window.targets.flatten(), reduction="none"
        )
        found.append(losses.view_as(window.targets).double().cpu())
    return torch.cat(found).numpy()


def perplexity(nats_of_words: NDArray[np.float64]) -> float:
    """Exp of the mean; `WORST` where that is larger or no number, as of an unstable selection."""
    mean = float(nats_of_words.mean())
    return math.exp(mean) if mean < math.log(WORST) else WORST


class Carrying(nn.Module):
    """A model of one argument, a window, that hands its state on to the next; for `update_bn`."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, window: TextBatch) -> None:
        """Passes a window through the model."""
        window.carry.value = self.model(window.inputs, window.carry.value).state


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained language model.

    Attributes:
        model: With its best weights by validation.
        result: How training went.
    """

    model: LanguageModel
    result: TrainResult


MakeRecurrence = Callable[[TextShape], nn.Module]


class Language:
    """A configuration at work on the train and validation part of a text.

    Args:
        config: Of the job.
        corpus: The text; its test part is not read.
        runtime: Device, seed.
    """

    def __init__(self, config: RNNConfig, corpus: Corpus, runtime: Runtime) -> None:
        self.config, self.runtime, self.words = config, runtime, len(corpus.words)
        self.text, self.valid = corpus.train, corpus.valid
        held = round(config.search.valid_share * len(self.text))
        self.searched = self.text[: len(self.text) - held], self.text[len(self.text) - held :]

    def check(self) -> None:
        """Raises DataError for a text too short for its windows, ConfigError for other misfits."""
        for section, ids in (("search", self.searched[0]), ("search", self.searched[1]),
                             ("train", self.text)):  # fmt: skip
            settings = getattr(self.config, section)
            self.stream(ids, settings.columns, settings.bptt, section)
        self.windows(self.valid)

    def enough_memory(self, section: Literal["search", "train"]) -> AbstractContextManager[None]:
        """A block whose failing allocations say which settings of a section to lower."""
        settings = getattr(self.config, section)
        return lowering(self.runtime, section, settings, ("columns", "bptt", "hidden"))

    def space(self, mixed: bool = False) -> RNNSpace:
        """A supernet with fresh weights, the same for all methods.

        Args:
            mixed: Whether mixtures of all operations will run: a node adds up what all states give
                it, which grows from node to node unless states are normalized.
        """
        settings = self.config.search
        shape = TextShape(self.words, settings.hidden, settings.nodes)
        with seeded(self.runtime, "search", "space"):
            space = RNNSpace(shape, dropouts(settings.dropout), settings.normalize or mixed)
        return space.to(self.runtime.device, self.runtime.dtype)

    def stream(self, ids: Ids, columns: int, bptt: int, *names: str, **options: Any) -> TextStream:
        """Endless windows of some words, drawn from the named random stream."""
        draws = generator(self.runtime, *names, device=torch.device("cpu"))
        make = partial(make_batch, self.runtime.seed, "-".join(names))
        return TextStream(
            ids, columns, bptt, draws, make, self.runtime.device, where=" ".join(names), **options
        )

    def windows(self, ids: Ids, columns: int = EVALUATED) -> Iterator[TextBatch]:
        """One pass over some words."""
        make = partial(make_batch, self.runtime.seed, "evaluate")
        return text_batches(ids, columns, self.config.train.bptt, make, self.runtime.device)

    def search(
        self, method: str, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress
    ) -> tuple[SearchResult, float]:
        """Searches with a method of `METHODS`.

        Returns:
            What was found, and the validation perplexity of exactly that selection with the
            supernet's weights, its normalizations recalibrated on train text.

        Raises:
            DivergedError: The search diverged.
            ConfigError: Memory was too small.
        """
        reset_peak_memory(self.runtime)
        with self.enough_memory("search"):
            found = self.method_run().run(method, tracker, checkpointer, on_epoch)
        return found, float(found.history[-1]["judged"][EXPORTED])

    def check_method(self, name: str) -> None:
        """Raises ConfigError for a method that cannot search here."""
        with self.enough_memory("search"):
            self.method_run().check(name)

    def method_run(self) -> MethodRun:
        """What methods search with."""
        settings = self.config.search
        make_optimizer = OPTIMIZERS[settings.optimizer](settings.weight_decay)
        return MethodRun(
            self.space, self._streams, self.exported, EXPORTED, settings, make_optimizer, constant,
            self.runtime, settings.steps_per_epoch, settings.max_norm, methods=self.config.methods,
        )  # fmt: skip

    def _streams(self) -> tuple[Stream, Stream]:
        settings = self.config.search
        weights, alphas = (
            self.stream(ids, settings.columns, settings.bptt, "search", name)
            for ids, name in zip(self.searched, ("train", "valid"), strict=True)
        )
        return weights, alphas

    def exported(self, space: Any, gates: Gates) -> float:
        """Validation perplexity of the selection as a model of its own, recalibrated."""
        model = space.extract(gates)
        settings, (weights, _) = self.config.search, self.searched
        some = weights[: RECALIBRATION * settings.columns * settings.bptt]
        if space.norms is not None:
            windows = self.windows(some, min(settings.columns, len(some) // 2))
            update_bn(windows, Carrying(model))
        return perplexity(nats(model, self.windows(self.valid)))

    def model(self, make: MakeRecurrence, hidden: int | None = None) -> LanguageModel:
        """An untrained model, of the configured width unless one is given."""
        shape = TextShape(self.words, hidden or self.config.train.hidden)
        with seeded(self.runtime, "train", "network"):
            model = LanguageModel(shape, make(shape))
        return model.to(self.runtime.device, self.runtime.dtype)

    def train(
        self, model: LanguageModel, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> Trained:  # fmt: skip
        """Trains a model; validation chooses the epoch and when weights are averaged.

        Raises:
            DivergedError: The training diverged.
            ConfigError: Memory was too small.
        """
        with self.enough_memory("train"):
            return self._train(model, tracker, checkpointer, on_epoch)

    def _train(
        self, model: LanguageModel, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress
    ) -> Trained:
        settings = self.config.train
        averaged = Averaged(model, settings.averaging)
        averaged.to(self.runtime.device)
        masked = dropouts(settings.dropout)

        def objective(batch: TextBatch) -> Tensor:
            averaged.note()
            model.train()
            columns = batch.inputs.shape[1]
            masks = draw_masks(masked, model.shape, columns, model.bias, batch.seed)
            made = model(batch.inputs, batch.start, masks)
            batch.carry.value = made.state.detach()
            loss = cross_entropy(made.logits, batch.targets)
            return loss + penalties(made, settings.activation, settings.slowness)

        def validate() -> Metrics:
            evaluated = cast(LanguageModel, averaged.evaluated())
            found = nats(evaluated, self.windows(self.valid))
            averaged.judge(float(found.mean()))
            return {"perplexity": perplexity(found), "nats": float(found.mean())}

        stream = self.stream(
            self.text, settings.columns, settings.bptt, "train", "train", vary=settings.vary
        )
        loop = TrainSettings(
            settings.epochs,
            settings.lr,
            "perplexity",
            higher_is_better=False,
            patience=settings.patience,
            make_optimizer=OPTIMIZERS[settings.optimizer](settings.weight_decay),
            max_norm=settings.max_norm,
        )
        result = train(averaged, objective, stream, validate, loop, tracker, checkpointer, on_epoch)
        model.load_state_dict(averaged.evaluated().state_dict())
        return Trained(model, result)


def dropouts(config: DropoutConfig) -> Dropouts:
    """The chances of a section."""
    return Dropouts(**config.model_dump())


def recurrence_of(cell: RecurrentCell) -> MakeRecurrence:
    """What `Language.model` makes a model with."""
    return lambda shape: CellRecurrence(shape, cell)


def lstm_width(words: int, parameters: int) -> int:
    """Width at which a model with an LSTM has the nearest number of weights.

    Args:
        words: Of the vocabulary.
        parameters: Of the model to be like.
    """

    def off(width: int) -> int:
        return abs(words * (width + 1) + 8 * width * width + 8 * width - parameters)

    return min(range(1, 4097), key=off)
