"""Search of recurrent cells and training of language models on text.

The test part is not among the arguments of `TextProblem`: a search trains weights on the first part
of the train text and alpha on its end; validation judges, and chooses the epoch of trainings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from sif.config.rnn import RNNConfig
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.pieces import Pieces
from sif.core.stream import Checkpointer, Stream
from sif.data.text.corpus import Corpus
from sif.data.text.stream import Carry, TextStream, text_batches
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import ADAM, Problem, Progress, Trained, quiet
from sif.problems.text_model import TextModel
from sif.search.run import MethodRun
from sif.spaces.rnn import designs
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell
from sif.spaces.rnn.designs import TextDesign
from sif.spaces.rnn.dropout import TextShape, draw_masks
from sif.spaces.rnn.gated_supernet import GatedSpace
from sif.spaces.rnn.networks import LanguageModel, cross_entropy, penalties
from sif.spaces.rnn.pieces import model_pieces
from sif.spaces.rnn.supercell import BLOCK, SPACE
from sif.spaces.rnn.supernet import RNNSpace, TextBatch
from sif.tracking import Tracker
from sif.training.averaging import Averaged
from sif.training.loop import Metrics, train
from sif.training.optim import MakeOptimizer, constant, momentum
from sif.utils.device import Runtime, lowered
from sif.utils.random import derive_seed, generator, seeded

OPTIMIZERS: dict[str, Callable[[float], MakeOptimizer]] = {
    "sgd": lambda decay: momentum(decay, 0.0),
    "adam": lambda decay: partial(torch.optim.Adam, weight_decay=decay),
}
Ids = NDArray[np.int64]

EXPORTED = "exported_perplexity"
"""Validation perplexity of the selection as a model of its own with the supernet's weights."""
WORST = 1e6
"""Perplexity beyond which all models are equally useless."""
RECALIBRATION = 4
"""Windows of all columns over which an extracted model's statistics are taken."""
EVALUATED = 10
"""Columns in which a text is evaluated (eval_batch_size of DARTS' rnn/train.py)."""
BLOCK_STEPS = 32
"""Words of a column that make one unit of the comparison: neighbors are not independent."""


def make_batch(seed: int, text: str, inputs: Tensor, targets: Tensor, carry: Carry) -> TextBatch:
    """A window with the state before it and the seed of its dropout."""
    number = derive_seed(seed, "dropout", text, carry.number)
    return TextBatch(inputs, targets, carry, carry.value, number)


@torch.no_grad()
def nats(model: LanguageModel, windows: Iterator[TextBatch]) -> NDArray[np.float64]:
    """Nats of every word of a text, (words of a column, columns), without dropout."""
    model.eval()
    losses_by_window = []
    for window in windows:
        output = model(window.inputs, window.carry.value)
        window.carry.value = output.state
        losses = F.cross_entropy(
            output.logits.flatten(0, 1), window.targets.flatten(), reduction="none"
        )
        losses_by_window.append(losses.view_as(window.targets).double().cpu())
    return torch.cat(losses_by_window).numpy()


def perplexity(nats_of_words: NDArray[np.float64]) -> float:
    """Exp of the mean; `WORST` where that is larger or no number, as of an unstable selection."""
    mean = float(nats_of_words.mean())
    return math.exp(mean) if mean < math.log(WORST) else WORST


class Carrying(nn.Module):
    """A model of one argument, a window, that passes its state to the next; for `update_bn`."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, window: TextBatch) -> None:
        """Passes a window through the model."""
        window.carry.value = self.model(window.inputs, window.carry.value).state


class TextProblem(Problem[TextDesign, LanguageModel]):
    """Recurrent cells on the train and validation part of a text.

    Args:
        config: Of the job.
        corpus: The text; its test part is not read.
        runtime: Device, seed.
        nodes: Of the cell that an LSTM and gated cells are as large as; None: `search.nodes`.
    """

    metric, shown, format, judged = "nats", "perplexity", ".2f", EXPORTED
    memory_settings = ("columns", "bptt", "hidden")

    def __init__(
        self, config: RNNConfig, corpus: Corpus, runtime: Runtime, nodes: int | None = None
    ) -> None:
        self.config, self.runtime, self.words = config, runtime, corpus.words
        self.nodes = nodes or config.search.nodes
        self.text, self.valid = corpus.train, corpus.valid
        n_valid = round(config.search.valid_share * len(self.text))
        self.searched = self.text[: len(self.text) - n_valid], self.text[len(self.text) - n_valid :]

    def memory_needs(self) -> dict[str, float]:
        """Of embeddings, the cell and the states of a window."""
        needs = {}
        for name, section in (("search", self.config.search), ("train", self.config.train)):
            states = 4 * section.columns * section.bptt
            weights = ADAM * (len(self.words) + 2 * section.hidden)
            needs[f"{name}.hidden"] = float(section.hidden) * (states + weights)
        return needs

    def check(self) -> None:
        """Raises DataError for a text too short for its windows, ConfigError for other misfits."""
        for section, ids in (("search", self.searched[0]), ("search", self.searched[1]),
                             ("train", self.text)):  # fmt: skip
            settings = getattr(self.config, section)
            self.stream(ids, settings.columns, settings.bptt, section)
        self.windows(self.valid)

    def space(self, mixed: bool = False) -> RNNSpace | GatedSpace:
        """A supernet with fresh weights, the same for all methods.

        Args:
            mixed: Whether mixtures of all operations will run: a node adds up what all states give
                it, which grows from node to node unless states are normalized.
        """
        settings, precision = self.config.search, self.config.precision
        shape = TextShape(len(self.words), settings.hidden, settings.nodes)
        dropout, normalized = dict(settings.dropout), settings.normalize or mixed
        with seeded(self.runtime, "search", "space"):
            space: RNNSpace | GatedSpace
            if self.config.space == GatedSpace.name:
                space = GatedSpace(shape, dropout, precision)
            else:
                space = RNNSpace(shape, dropout, normalized, precision)
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

    def method_run(self) -> MethodRun:
        """The run that methods search with."""
        settings = self.config.search
        return self.run_with(
            OPTIMIZERS[settings.optimizer](settings.weight_decay), constant,
            steps_per_epoch=settings.steps_per_epoch, max_norm=settings.max_norm,
        )  # fmt: skip

    def streams(self) -> tuple[Stream, Stream]:
        """Windows of the two parts of the train text."""
        settings = self.config.search
        weights, alphas = (
            self.stream(ids, settings.columns, settings.bptt, "search", name)
            for ids, name in zip(self.searched, ("train", "valid"), strict=True)
        )
        return weights, alphas

    def judge(self, space: Any, gates: Gates) -> float:
        """Validation perplexity of the selection as a model of its own, recalibrated."""
        model = space.extract(gates)
        settings, (weights, _) = self.config.search, self.searched
        some = weights[: RECALIBRATION * settings.columns * settings.bptt]
        if space.norms is not None:
            windows = self.windows(some, min(settings.columns, len(some) // 2))
            update_bn(windows, Carrying(model))
        return perplexity(nats(model, self.windows(self.valid)))

    def design(self, genotype: Genotype) -> TextDesign:
        """The cell."""
        return designs.of_genotype(genotype)

    def expression(self, design: TextDesign) -> str:
        """A cell on one line."""
        return designs.expression(design)

    def network(self, design: TextDesign) -> LanguageModel:
        """A cell of the configured width, or an LSTM or a gated cell with as many weights."""
        shape = TextShape(len(self.words), self.width(design))
        with seeded(self.runtime, "train", "network"):
            model = LanguageModel(shape, designs.recurrence(design, shape))
        return model.to(self.runtime.device, self.runtime.dtype)

    def width(self, design: TextDesign) -> int:
        """Width of a design's states and embeddings."""
        width, words = int(self.config.train.hidden), len(self.words)
        if isinstance(design, RecurrentCell):
            return width
        cell = (4 + 2 * self.nodes) * width**2
        return matched_width(design, words, words * (width + 1) + cell)

    def pieces(self) -> Pieces | None:
        """The pieces of the models that are trained, for one window of one text."""
        if self.config.space != SPACE:
            return None
        settings = self.config.train
        shape = TextShape(len(self.words), settings.hidden, self.config.search.nodes)
        like = torch.zeros(1, device=self.runtime.device, dtype=self.runtime.dtype)
        return model_pieces(BLOCK, tuple(ACTIVATIONS), shape, settings.bptt, like)

    def train(
        self, design: TextDesign, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[LanguageModel]:  # fmt: skip
        """Trains a model; validation chooses the epoch and when weights are averaged."""
        model = self.network(design)
        settings = self.config.train
        averaged = Averaged(model, settings.averaging)
        averaged.to(self.runtime.device)
        chances = dict(settings.dropout)

        def objective(batch: TextBatch) -> Tensor:
            averaged.note()
            model.train()
            columns = batch.inputs.shape[1]
            masks = draw_masks(chances, model.shape, columns, model.bias, batch.seed)
            with lowered(self.config.precision, batch.inputs.device):
                made = model(batch.inputs, batch.start, masks)
            batch.carry.value = made.state.detach()
            loss = cross_entropy(made.logits.to(made.raw), batch.targets)
            return loss + penalties(made, settings.activation, settings.slowness)

        def validate() -> Metrics:
            evaluated = cast(LanguageModel, averaged.evaluated())
            losses = nats(evaluated, self.windows(self.valid))
            averaged.judge(float(losses.mean()))
            return {"perplexity": perplexity(losses), "nats": float(losses.mean())}

        stream = self.stream(
            self.text, settings.columns, settings.bptt, "train", "train", vary=settings.vary
        )
        loop = self.loop_settings(
            make_optimizer=OPTIMIZERS[settings.optimizer](settings.weight_decay)
        )
        result = train(averaged, objective, stream, validate, loop, tracker, checkpointer, on_epoch)
        model.load_state_dict(averaged.evaluated().state_dict())
        return Trained(model, result, {"parameters": model.counted()})

    def test(self, network: LanguageModel, part: Ids) -> Evaluation:
        """Perplexity and nats per word; for comparisons by block of words."""
        with self.enough_memory("train"):
            network.to(self.runtime.device, self.runtime.dtype)
            losses = nats(network, self.windows(part))
        blocks = np.array_split(losses, max(1, len(losses) // BLOCK_STEPS))
        sums = np.concatenate([block.sum(axis=0) for block in blocks])
        # Scaled so that the mean over blocks is that over words, for all lengths of blocks.
        per_block = sums * (len(sums) / losses.size)
        metrics = {"perplexity": perplexity(losses), "nats": float(losses.mean())}
        return Evaluation(metrics, np.arange(len(sums)), {self.metric: per_block}, 0, "blocks")

    def model(self, design: TextDesign, network: LanguageModel) -> TextModel:
        """A trained network that rates and continues text."""
        return TextModel(network, designs.format_design(design), self.words)


def matched_width(design: TextDesign, words: int, parameters: int) -> int:
    """Width at which a model with an LSTM or a gated cell has the nearest number of weights.

    Args:
        design: `LSTM` or a gated cell.
        words: Of the vocabulary.
        parameters: Of the model to be like.
    """

    def off(width: int) -> int:
        return abs(words * (width + 1) + designs.size(design, width) - parameters)

    return min(range(1, 4097), key=off)
