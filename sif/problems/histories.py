"""Histories that are read by gradient steps: a user's items in their order, to the next one.

The reader is searched, decayed sums (`scales`) or a recurrent cell (`cell`), or it is a published
recurrence. A search trains weights on the histories of most users and alpha on those of the others;
validation judges, and chooses the epoch of trainings. The test part is among no argument but that
of `test`, which reads histories of train and valid rows.

    problem = HistoryProblem(split.train, split.valid, HistoryConfig(), make_runtime(seed=0))
    found = problem.search(NullTracker(), NoCheckpoint())
    trained = problem.train(problem.design(found.genotype), NullTracker(), NoCheckpoint())
    problem.test(trained.network, split)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.config import CFConfig
from sif.config.histories import HistoryConfig, ReaderName
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer, Stream
from sif.data.interactions.histories import HistoryStream, last_items
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.split import Split
from sif.errors import ConfigError, DataError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.evaluate import CUTOFFS, Evaluation, evaluate, rank_all_items
from sif.evaluation.histories import sequences_of
from sif.evaluation.item_orders import POPULARITY_ORDER, ItemOrder
from sif.problems.base import ADAM, Problem, Progress, Trained, quiet
from sif.problems.interactions import InteractionProblem
from sif.problems.order import METHOD, comes_later
from sif.problems.pilots import training_cost
from sif.problems.plan import EARLY, OwnCost
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
from sif.training.loop import Metrics, TrainSettings, train, train_again
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
PILOT_SECONDS = 0.2
"""CPU seconds of the measurement of a search, unless its fewest steps take more."""
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class ReaderKind:
    """A reader that is searched.

    Attributes:
        name: Of the space, as written in genotypes.
        space: Sizes, chances of dropout and loss to the supernet.
        design: Genotype to the design that is trained.
        mixes: Whether mixtures of its operations can run.
    """

    name: str
    space: Callable[[TextShape, Mapping[str, float], CatalogLoss], Any]
    design: Callable[[Genotype], HistoryDesign]
    mixes: bool


READERS: Mapping[str, ReaderKind] = {
    "scales": ReaderKind(ScalesSpace.name, ScalesSpace, scales_design, mixes=True),
    "cell": ReaderKind(CellHistorySpace.name, CellHistorySpace, recurrent_cell, mixes=False),
}
ENTRANTS = (*READERS, *PUBLISHED)
"""Readers as entrants of a job: those that it searches, and those that are given."""


class StateScorer:
    """Scores of all items by the states behind users' histories.

    Args:
        model: Trained.
        known: Histories of all users.
        length: Items of a history that are read, the last ones.
        cold_start: For users and items that were not trained; None: none is.
    """

    def __init__(
        self, model: HistoryModel, known: Sequences, length: int,
        cold_start: ColdStartRule | None = None,
    ) -> None:  # fmt: skip
        self._model, self._length, self.cold_start = model.eval(), length, cold_start
        self._states = last_states(model, known, length)

    def knowing(self, rows: Interactions) -> StateScorer:
        """The same model where users have these rows alone."""
        return StateScorer(self._model, sequences_of(rows), self._length, self.cold_start)

    def scores(self, users: Ids) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        states = self._states[torch.from_numpy(users)]
        scores = np.asarray(self._model.scores(states).float().cpu(), dtype=np.float32)
        if self.cold_start is None:
            return scores
        return self.cold_start.applied(scores, self.cold_start.cold_users[users])


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
        cutoffs: Lengths of the lists that metrics look at.
        item_order: For users without train rows; they get its first items.

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
        cutoffs: Sequence[int] = CUTOFFS,
        item_order: ItemOrder = POPULARITY_ORDER,
    ) -> None:
        search = config.search.of(config.reader)
        self.config, self.runtime = config.model_copy(update={"search": search}), runtime
        self.cutoffs, self.item_order = tuple(cutoffs), item_order
        self.train_part, self.valid_part = train_part, valid_part
        self.known = sequences_of(train_part)
        self.learned = np.flatnonzero(self.known.lengths >= FEWEST)
        if len(self.learned) < FEWEST:
            raise DataError(
                f"histories: expected at least {FEWEST} users with {FEWEST} train rows, "
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
                "histories: expected a method that runs one operation per node, such as "
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
            number = derive_seed(self.runtime.seed, *names, number)
            return HistoryBatch.of(histories, number, self.runtime.device)

        return HistoryStream(
            self.known.items, self.known.starts, users, columns, length + 1, draws, make, NONE,
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

    @cached_property
    def cold_start(self) -> ColdStartRule:
        """The rule for what the train part does not have."""
        return ColdStartRule.of(self.train_part, self.item_order)

    def scorer(self, model: HistoryModel, length: int) -> StateScorer:
        """Scores of users at the end of their train histories."""
        return StateScorer(model, self.known, length, self.cold_start)

    def validated(self, model: HistoryModel, length: int) -> Metrics:
        """Metrics on validation: all items are ranked, those of train rows are left out."""
        scorer, parts = self.scorer(model, length), (self.train_part,)
        return rank_all_items(scorer, parts, self.valid_part, self.cutoffs).metrics

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
            raise unknown("histories: recurrence", design, PUBLISHED, ConfigError)
        shape = TextShape(self.n_items, self.config.train.hidden)
        with seeded(self.runtime, "train", "network"):
            model = history_model(shape, design)
        return model.to(self.runtime.device, self.runtime.dtype)

    def train(
        self, design: HistoryDesign, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[HistoryModel]:  # fmt: skip
        """Trains a recommender; validation chooses the epoch."""
        model, objective, stream, loop = self._training(design)
        validate = partial(self.validated, model, self.config.train.length)
        result = train(model, objective, stream, validate, loop, tracker, checkpointer, on_epoch)
        return Trained(model, result, {"parameters": model.counted()})

    def _training(
        self, design: HistoryDesign
    ) -> tuple[HistoryModel, Callable[[HistoryBatch], Tensor], Stream, TrainSettings]:
        """An untrained model, its objective, its batches and the settings of its loop."""
        kind: ReaderName = "scales" if isinstance(design, ScalesDesign) else "cell"
        model, settings = self.network(design), self.config.train.of(kind)
        chances, by = dict(settings.dropout), self.loss(settings.samples)

        def objective(batch: HistoryBatch) -> Tensor:
            model.train()
            return model.loss(batch, chances, by)

        stream = self.stream(self.learned, settings.users, settings.length, "train", "train")
        loop = self.loop_settings(
            make_optimizer=adam(settings.weight_decay), schedule=cosine(settings.last_lr),
            lr=settings.lr,
        )  # fmt: skip
        return model, objective, stream, loop

    def test(self, network: HistoryModel, part: Split) -> Evaluation:
        """Ranks all items of the test part behind histories of train and valid rows."""
        with self.enough_memory("train"):
            network.to(self.runtime.device, self.runtime.dtype)
            scorer = self.scorer(network, self.config.train.length)
        return evaluate(scorer, part, "test", "ranking", self.cutoffs)

    # Second fits

    def again(self, rows: Interactions) -> HistoryProblem:
        """The problem of a second fit, on more rows under the same vocabularies."""
        nothing = rows.select(np.zeros(0, dtype=np.int64))
        return HistoryProblem(
            rows, nothing, self.config, self.runtime, self.cutoffs, self.item_order
        )

    def train_again(
        self, design: HistoryDesign, numbers: Mapping[str, float], steps: Sequence[int], after: int,
        tracker: Tracker, checkpointer: Checkpointer, on_epoch: Callable[[int, float], None],
    ) -> tuple[HistoryModel, float]:  # fmt: skip
        """Trains a recommender from scratch for known numbers of steps, without validation.

        Args:
            design: Of the network.
            numbers: Of its first training, none of which matters.
            steps: Of each epoch.
            after: Epochs behind which the step size falls to nothing.
            tracker: Receives the loss of every epoch.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch and its loss.

        Returns:
            The network, and seconds.

        Raises:
            DivergedError, BudgetError: See `sif.training.loop.train_again`.
        """
        model, objective, stream, loop = self._training(design)
        loop = loop.settling(after, len(steps))
        seconds = train_again(
            model, objective, stream, steps, loop, tracker, checkpointer, on_epoch
        )  # fmt: skip
        return model, seconds


def named_readers(config: CFConfig) -> tuple[str, ...]:
    """The readers that a job asks for.

    Raises:
        ConfigError: A name that no reader has, or another objective than ranking.
    """
    asked = tuple(dict.fromkeys(config.histories.readers))
    for name in asked:
        if name not in ENTRANTS:
            raise unknown("histories.readers", name, ENTRANTS, ConfigError)
    if asked and config.objective != "ranking":
        raise ConfigError(
            f"histories.readers: expected objective ranking, found {config.objective}"
        )
    return asked


def reader_problems(functions: InteractionProblem) -> dict[str, HistoryProblem]:
    """The problem of every reader that a job asks for, beside that of interaction functions.

    Args:
        functions: Gives the data and the settings.

    Returns:
        By the name of the entrant; empty where nothing tells the order, or some valid rows are not
        later than their users' train rows.

    Raises:
        ConfigError: See `named_readers`; or settings that do not fit into memory.
        DataError: No user has two train rows.
    """
    config, asked = functions.config, functions.config.histories
    names = named_readers(config)
    if not names or not comes_later(functions):
        return {}
    found = {}
    for name in names:
        settings = HistoryConfig(
            reader="scales" if name == "scales" else "cell", search=asked.search, train=asked.train
        )
        try:
            found[name] = HistoryProblem(
                functions.train_part, functions.valid_part, settings, functions.runtime,
                config.metrics_at, functions.cold_choice.order,
            )  # fmt: skip
        except DataError as error:
            raise DataError(f"histories.readers={name}: {error}") from None
        found[name].refuse_too_large()
    return found


def reader_cost(problem: HistoryProblem, name: str) -> ReaderCost:
    """Seconds and memory of a reader, by a few steps.

    Args:
        problem: Of the reader.
        name: In `ENTRANTS`.
    """
    config, searched = problem.config, name in READERS
    search = 0.0
    if searched:
        forecast = problem.method_run().forecast(METHOD, PILOT_SECONDS)
        search = forecast.seconds(config.search)
    cost = training_cost(problem, problem.drawn(0) if searched else name)
    epochs = EARLY * config.train.epochs
    seconds = OwnCost(
        search, epochs * cost.epoch(config.train.evaluate_every), epochs * cost.step * cost.steps,
        closed=False, searching=f"{config.search.epochs} epochs" if searched else None,
        training=f"{config.train.epochs} epochs",
    )  # fmt: skip
    return ReaderCost(seconds, cost.peak_memory_mb)


@dataclass(frozen=True)
class ReaderCost:
    """Estimated seconds and memory of a reader.

    Attributes:
        seconds: Of search, training and second fit.
        peak_memory_mb: Of its training.
    """

    seconds: OwnCost
    peak_memory_mb: float
