"""The job on text: what a contest of recurrent cells searches, trains and tests there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from sif.config.rnn import RNNConfig
from sif.core.genotype import Genotype
from sif.evaluation.evaluate import Evaluation
from sif.problems.text import EXPORTED, lstm_width, nats, perplexity, recurrence_of
from sif.problems.text_model import TextModel
from sif.search.loop import SearchResult
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, expression, format_cell
from sif.spaces.rnn.networks import LanguageModel, LSTMRecurrence
from sif.spaces.rnn.supernet import BLOCK, recurrent_cell
from sif.tasks.base import JobContext
from sif.tasks.cells.entrants import SEARCHED
from sif.tasks.cells.job import CellJob
from sif.tasks.cells.work import Results, Show
from sif.tasks.checkpoint import LoopCheckpointer
from sif.tasks.rnn import figures as rnn_figures
from sif.tasks.rnn.inputs import Design, TextInputs, prepare
from sif.tracking import Tracker
from sif.training.loop import TrainResult
from sif.utils.device import Runtime

NO_DOWNLOAD = (
    "dataset grammar: generated sentences; the paper's setting: --dataset ptb (downloads), or a "
    "folder with train.txt, valid.txt and test.txt"
)
BLOCK_STEPS = 32
"""Words of a column that make one unit of the comparison: neighbors are not independent."""


class RNNWork:
    """Recurrent cells on text (`sif.tasks.cells.job.Work`)."""

    task = "rnn"
    metric, shown, unit = "nats", "perplexity", ""
    judged = EXPORTED

    def __init__(self, config: RNNConfig, inputs: TextInputs) -> None:
        self.config, self.inputs, self.language = config, inputs, inputs.language
        self.entrants = inputs.entrants
        searched = self.entrants.ours == SEARCHED
        self.origin = f"found by {config.method}" if searched else f"of {config.cells}"
        self.operations: Mapping[str, Sequence[str]] = {BLOCK: tuple(ACTIVATIONS)}
        self.epochs = config.search.epochs, config.train.epochs

    def opening(self) -> list[str]:
        """The text, its parts, and what there is to reach."""
        corpus = self.inputs.corpus
        counts = " / ".join(f"{len(ids):,}" for ids in corpus.parts.values())
        lines = [NO_DOWNLOAD] if self.config.dataset == "grammar" else []
        lines.append(
            f"{corpus.name}: {len(corpus.words):,} different words, train / valid / test {counts} "
            f"words, content {corpus.content_hash}"
        )
        if corpus.entropy is not None:
            lines.append(f"best possible perplexity {math.exp(corpus.entropy):.3f}")
        model = self.inputs.ngram
        lines.append(
            f"n-grams (Kneser-Ney, order {model.order} chosen on validation): perplexity, valid "
            f"{model.perplexity(corpus.valid):.2f}"
        )
        return lines + [f"note: {note}" for note in corpus.notes]

    def tags(self) -> dict[str, str]:
        """Data set and hashes."""
        name, content = self.inputs.corpus.name, self.inputs.data_hash
        return {"dataset": name, "dataset_hash": content, "split_hash": content,
                "protocol": "given parts"}  # fmt: skip

    def protocol(self) -> dict[str, Any]:
        """The text, the best there can be, and n-grams on the test part."""
        corpus = self.inputs.corpus
        best = None if corpus.entropy is None else math.exp(corpus.entropy)
        model = self.inputs.ngram
        return corpus.description() | {
            "best_perplexity": best,
            "ngram": {"order": model.order, "perplexity": model.perplexity(corpus.test)},
        }

    def search(
        self, method: str, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[SearchResult, float]:
        """As `TextProblem.search`."""
        return self.language.search(method, tracker, checkpointer, show)

    def design(self, genotype: Genotype) -> RecurrentCell:
        """The cell."""
        return recurrent_cell(genotype)

    def spelled(self, design: Design) -> tuple[str, str]:
        """On one line, and as in the published code."""
        if isinstance(design, str):
            return design, design
        return expression(design), format_cell(design)

    def watched(self, design: RecurrentCell) -> dict[str, float]:
        """Share of nodes that pass on what they read."""
        names = [name for name, _ in design.nodes]
        return {"identity_share": names.count("identity") / len(names)}

    def network(self, design: Design) -> LanguageModel:
        """A cell of the configured width, or an LSTM with as many weights as ours has."""
        if isinstance(design, RecurrentCell):
            return self.language.model(recurrence_of(design))
        return self.language.model(LSTMRecurrence, self._lstm_width())

    def _lstm_width(self) -> int:
        nodes = self.config.search.nodes
        given = self.entrants.given.get(self.entrants.ours)
        if isinstance(given, RecurrentCell):
            nodes = len(given.nodes)
        width, words = self.config.train.hidden, len(self.inputs.corpus.words)
        weights = words * (width + 1) + (4 + 2 * nodes) * width**2
        return lstm_width(words, weights)

    def train(
        self, design: Design, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[TrainResult, nn.Module]:
        """As `TextProblem.train`."""
        trained = self.language.train(self.network(design), tracker, checkpointer, show)
        return trained.result, trained.model

    def sizes(self, network: nn.Module) -> dict[str, int]:
        """Weights."""
        return {"parameters": cast(LanguageModel, network).counted()}

    def test(self, network: nn.Module) -> Evaluation:
        """Perplexity and nats per word; for comparisons by block of words."""
        corpus = self.inputs.corpus
        found = nats(cast(LanguageModel, network), self.language.windows(corpus.test))
        parts = np.array_split(found, max(1, len(found) // BLOCK_STEPS))
        sums = np.concatenate([part.sum(axis=0) for part in parts])
        # Scaled so that the mean over blocks is that over words, whatever the blocks' lengths.
        per_block = sums * (len(sums) / found.size)
        metrics = {"perplexity": perplexity(found), "nats": float(found.mean())}
        return Evaluation(metrics, np.arange(len(sums)), {self.metric: per_block}, 0, "blocks")

    def save(self, folder: Path, design: Design, network: nn.Module) -> None:
        """The language model."""
        TextModel(cast(LanguageModel, network), self.spelled(design)[1],
                  self.inputs.corpus.words).save(folder)  # fmt: skip

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Everything that is drawn."""
        return rnn_figures.figure_data(self.config, results)

    def draw(self, document: Mapping[str, Any], folder: Path) -> list[Path]:
        """Draws it."""
        return rnn_figures.draw(document, folder)


def job(config: RNNConfig, inputs: TextInputs, context: JobContext) -> CellJob:
    """A contest on text."""
    return CellJob(config, RNNWork(config, inputs), context)


def evaluate_again(config: RNNConfig, runtime: Runtime, folder: Path) -> dict[str, float]:
    """Test perplexity of the model that a finished run saved.

    Raises:
        CheckpointError, DataError: The model or the text cannot be read.
    """
    model = TextModel.load(folder / "model")
    inputs = prepare(config, runtime)
    network = model.network.to(runtime.device, runtime.dtype)
    return RNNWork(config, inputs).test(network).metrics
