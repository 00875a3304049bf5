"""Histories that are read by gradient steps: a user's items in their order, to the next one.

The reader is searched, decayed sums (`scales`) or a recurrent cell (`cell`), or it is a published
recurrence. A search trains weights on the histories of most users and alpha on those of the others;
validation judges, and chooses the epoch of trainings. The test part is among no argument but that
of `test`, which reads histories of train and valid rows.

    problem = HistoryProblem(split.train, split.valid, HistoryConfig(), make_runtime(seed=0))
    found = problem.search(NullTracker(), NoCheckpoint())
    trained = problem.train(problem.design(found.genotype), NullTracker(), NoCheckpoint())
    problem.test(trained.network, split.test)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.config.histories import HistoryConfig
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer, Stream
from sif.data.interactions.histories import HistoryStream, last_items
from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError, DataError
from sif.evaluation.evaluate import Evaluation, rank_all_items
from sif.evaluation.histories import sequences_of
from sif.problems.base import ADAM, Problem, Progress, Trained, quiet
from sif.search.run import MethodRun
from sif.spaces.histories.catalog_loss import NONE, CatalogLoss
from sif.spaces.histories.cell_supernet import CellHistorySpace
from sif.spaces.histories.models import (
    PUBLISHED,
    HistoryBatch,
    HistoryDesign,
    HistoryModel,
    history_model,
)
from sif.spaces.histories.scales import ScalesDesign, scales_design
from sif.spaces.histories.scales_supernet import ScalesSpace
from sif.spaces.linear.sequences import Sequences
from sif.spaces.rnn.cells import expression
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.supernet import recurrent_cell
from sif.tracking import Tracker
from sif.training.loop import Metrics, train
from sif.training.optim import ADAM_BETAS, MakeOptimizer, constant, cosine
from sif.utils.device import Runtime
from sif.utils.random import derive_seed, generator, numpy_generator, seeded
from sif.utils.registry import unknown

EXPORTED = "exported_error"
"""1 - NDCG@10 on validation of a selection with the weights of its search."""
EVALUATED = 256
"""Users whose histories are read side by side where nothing is trained."""
FEWEST = 2
"""Items of a history with a next item."""
Ids = NDArray[np.int64]



@dataclass(frozen=True)
class ReaderKind:
    """A reader that is searched.

    Attributes:
        space: Sizes, chances of dropout and loss to the supernet.
        design: Genotype to the design that is trained.
        mixes: Whether mixtures of its operations can run.
    """

    space: Callable[[TextShape, Mapping[str, float], CatalogLoss], Any]
    design: Callable[[Genotype], HistoryDesign]
    mixes: bool


READERS: Mapping[str, ReaderKind] = {
    "scales": ReaderKind(ScalesSpace, scales_design, mixes=True),
    "cell": ReaderKind(CellHistorySpace, recurrent_cell, mixes=False),
}


class HistoryScorer:
    """Scores of all items by the states behind users' histories.

    Args:
        model: Trained.
        known: Histories of all users.
        length: Items of a history that are read, the last ones.
    """

    def __init__(self, model: HistoryModel, known: Sequences, length: int) -> None:
        self._model = model.eval()
        self._states = last_states(model, known, length)

    def scores(self, users: Ids) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        states = self._states[torch.from_numpy(users)]
        return np.asarray(self._model.scores(states).float().cpu(), dtype=np.float32)


def last_states(model: HistoryModel, known: Sequences, length: int) -> Tensor:
    """States (n_users, hidden) behind the histories of all users, zeros of users without any."""
    states = model.bias.new_zeros(known.n_users, model.shape.hidden)
    sorted_users = np.argsort(np.minimum(known.lengths, length), kind="stable")
    for users in np.split(sorted_users, range(EVALUATED, known.n_users, EVALUATED)):
        found = last_items(known.items, known.starts, users, length, NONE).to(states.device)
        states[torch.from_numpy(users).to(states.device)] = model.last_states(found)
    return states


def adam(weight_decay: float) -> MakeOptimizer:
    """Adam with L2."""
    return partial(torch.optim.Adam, betas=ADAM_BETAS, weight_decay=weight_decay)


class HistoryProblem(Problem[HistoryDesign, HistoryModel]):
    """Readers of histories, on a train and a validation part in order.

    Args:
        train_part: Histories, and their next items.
        valid_part: For choices; its rows are read as history at the test alone.
        config: Settings.
        runtime: Device, dtype, seed.

    Raises:
        DataError: Nothing tells the order, or no user has two train rows.
    """

    metric, shown, format, judged = "ndcg@10", "ndcg@10", ".4f", EXPORTED
    memory_settings = ("users", "length", "hidden")

    def __init__(
        self,
        train_part: Interactions,
        valid_part: Interactions,
        config: HistoryConfig,
        runtime: Runtime,
    ) -> None:
        self.config, self.runtime = config, runtime
        self.train_part, self.valid_part = train_part, valid_part
        self.known = sequences_of(train_part)
        self.learned = np.flatnonzero(self.known.lengths >= FEWEST)
        if len(self.learned) < FEWEST:
            raise DataError(
                f"recurrent histories: expected at least {FEWEST} users with {FEWEST} train rows, "
                f"found {len(self.learned)}"
            )

    @property
    def n_items(self) -> int:
        """Size of the catalog."""
        return self.known.n_items

    def memory_needs(self) -> dict[str, float]:
        """Of embeddings, and of the states of a batch."""
        needs = {}
        for name, section in (("search", self.config.search), ("train", self.config.train)):
            states = 4 * section.users * min(section.length, int(self.known.lengths.max()))
            needs[f"{name}.hidden"] = float(section.hidden) * (states + ADAM * self.n_items)
        return needs

    def loss(self, samples: int) -> CatalogLoss:
        """The loss, with so many drawn items if the catalog is large."""
        counts, train = np.bincount(self.known.items, minlength=self.n_items), self.config.train
        return CatalogLoss.of(counts, samples, train.exact_items, train.loss)

    @property
    def _kind(self) -> ReaderKind:
        return READERS[self.config.reader]

    def space(self, mixed: bool = False) -> Any:
        """A supernet with fresh weights, the same for all methods.

        Args:
            mixed: True is refused for cells: mixtures need states normalized over a batch, which
                padding would enter.

        Raises:
            ConfigError: The method runs mixtures of operations.
        """
        if mixed and not self._kind.mixes:
            raise ConfigError(
                "recurrent histories: expected a method that runs one operation per node, such as "
                "nasp, gdas or random, found one that runs mixtures"
            )
        settings = self.config.search
        shape = TextShape(self.n_items, settings.hidden, settings.nodes)
        with seeded(self.runtime, "search", "space"):
            loss = self.loss(settings.samples)
            space = self._kind.space(shape, dict(settings.dropout), loss)
        return space.to(self.runtime.device, self.runtime.dtype)

    def stream(self, users: Ids, columns: int, length: int, *names: str) -> HistoryStream:
        """Endless batches of users' histories, drawn from the named random stream.

        Args:
            users: Of the stream.
            columns: Users of a batch.
            length: Items of a history, without the one that is only a target.
            names: Of the random stream.
        """
        draws = generator(self.runtime, *names, device=torch.device("cpu"))

        def make(histories: Tensor, number: int) -> HistoryBatch:
            return HistoryBatch.of(histories, derive_seed(self.runtime.seed, *names, number))

        return HistoryStream(
            self.known.items, self.known.starts, users, columns, length + 1, draws, make,
            self.runtime.device, NONE,
        )  # fmt: skip

    def method_run(self) -> MethodRun:
        """The run that methods search with."""
        settings = self.config.search
        return self.run_with(
            adam(settings.weight_decay), constant,
            steps_per_epoch=settings.steps_per_epoch, max_norm=settings.max_norm,
        )  # fmt: skip

    def streams(self) -> tuple[Stream, Stream]:
        """Histories of the users that train weights, and of those that alpha sees."""
        settings = self.config.search
        users = numpy_generator(self.runtime, "search", "users").permutation(self.learned)
        n_valid = min(max(1, round(settings.valid_share * len(users))), len(users) - 1)
        parts = zip(("train", "valid"), (users[n_valid:], users[:n_valid]), strict=True)
        weights, alphas = (
            self.stream(np.sort(part), settings.users, settings.length, "search", name)
            for name, part in parts
        )
        return weights, alphas

    def judge(self, space: Any, gates: Gates) -> float:
        """1 - NDCG@10 on validation of the selection with the weights of the search."""
        model = space.extract(gates)
        return 1 - self.validated(model, self.config.search.length)[self.metric]

    def validated(self, model: HistoryModel, length: int) -> Metrics:
        """Metrics on validation: all items are ranked, those of train rows are left out."""
        scorer = HistoryScorer(model, self.known, length)
        return rank_all_items(scorer, (self.train_part,), self.valid_part).metrics

    def design(self, genotype: Genotype) -> HistoryDesign:
        """The decayed sums, or the cell."""
        return self._kind.design(genotype)

    def expression(self, design: HistoryDesign) -> str:
        """The function of decayed sums, the nodes of a cell, or a published recurrence's name."""
        if isinstance(design, str):
            return design
        return design.expression if isinstance(design, ScalesDesign) else expression(design)

    def network(self, design: HistoryDesign) -> HistoryModel:
        """An untrained recommender.

        Raises:
            ConfigError: An unknown name.
        """
        if isinstance(design, str) and design not in PUBLISHED:
            raise unknown("recurrent histories: recurrence", design, PUBLISHED, ConfigError)
        shape = TextShape(self.n_items, self.config.train.hidden)
        with seeded(self.runtime, "train", "network"):
            model = history_model(shape, design)
        return model.to(self.runtime.device, self.runtime.dtype)

    def train(
        self, design: HistoryDesign, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[HistoryModel]:  # fmt: skip
        """Trains a recommender; validation chooses the epoch."""
        model, settings = self.network(design), self.config.train
        chances, by = dict(settings.dropout), self.loss(settings.samples)

        def objective(batch: HistoryBatch) -> Tensor:
            model.train()
            return model.loss(batch, chances, by)

        stream = self.stream(self.learned, settings.users, settings.length, "train", "train")
        loop = self.loop_settings(
            make_optimizer=adam(settings.weight_decay), schedule=cosine(settings.last_lr)
        )
        validate = partial(self.validated, model, settings.length)
        result = train(model, objective, stream, validate, loop, tracker, checkpointer, on_epoch)
        return Trained(model, result, {"parameters": model.counted()})

    def test(self, network: HistoryModel, part: Interactions) -> Evaluation:
        """Ranks all items behind histories of train and valid rows, those rows left out."""
        with self.enough_memory("train"):
            network.to(self.runtime.device, self.runtime.dtype)
            known = sequences_of(joined(self.train_part, self.valid_part))
            scorer = HistoryScorer(network, known, self.config.train.length)
        return rank_all_items(scorer, (self.train_part, self.valid_part), part)


def joined(one: Interactions, other: Interactions) -> Interactions:
    """The rows of two parts of the same data, under the same vocabularies."""

    def both(a: Ids | None, b: Ids | None) -> Ids | None:
        return None if a is None or b is None else np.concatenate([a, b])

    return replace(
        one,
        ids=np.concatenate([one.ids, other.ids]),
        rating=None,
        timestamp=both(one.timestamp, other.timestamp),
        place=both(one.place, other.place),
    )
