"""Search and training of interaction functions on the train and validation parts of a split.

`Problem` turns the two parts and the configuration into tensors, streams, spaces and networks, so
that every function (searched, fixed, random) is searched and trained by the same code under the
same loss. The test part is not among its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer, Stream
from sif.data.interactions import few_users
from sif.evaluation.cold_start import Fallback, with_zero_rows
from sif.evaluation.evaluate import evaluate_on
from sif.evaluation.metrics import higher_is_better
from sif.evaluation.scorers import FunctionScorer, InteractionScorer
from sif.parts import Parts, known_rows
from sif.search.loop import SearchResult
from sif.search.run import MethodRun
from sif.spaces.interaction.design import Design, design_of, network
from sif.spaces.interaction.function import Interaction, InteractionNetwork
from sif.spaces.interaction.losses import LOSSES, WEIGHTINGS, Batch
from sif.spaces.interaction.sparse_rows import RowAdam
from sif.spaces.interaction.staged_supernet import RichSettings, RichSpace
from sif.spaces.interaction.supernet import FunctionSettings, FunctionSpace
from sif.tracking import Tracker
from sif.training.loop import Metrics, TrainResult, TrainSettings, train
from sif.training.optim import ADAM_BETAS, adam, constant
from sif.utils.random import generator, numpy_generator

Progress = Callable[[int, Any], None]

EXPORTED = "exported_error"
"""What a selection is judged by with the weights of its search, see `Problem.exported`."""


def _quiet(epoch: int, entry: Any) -> None:
    return None


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained function.

    Attributes:
        network: With its best weights by validation.
        scorer: For evaluation.
        result: How training went.
        l2: The strength it was trained with.
    """

    network: InteractionNetwork
    scorer: InteractionScorer
    result: TrainResult
    l2: float


class Problem(Parts):
    """The two parts with the loops at work on them; arguments and errors as of `Parts`."""

    def space(self) -> FunctionSpace | RichSpace:
        """The supernet of the configured space."""
        draws = generator(self.runtime, "search", "space", device=torch.device("cpu"))
        if self.spec.stages:
            return self._rich_space(draws)
        return self._function_space(draws).to(self.runtime.device, self.runtime.dtype)

    def _rich_space(self, draws: torch.Generator) -> RichSpace:
        settings = self.config.search
        shape = self.shape(settings.dimension)
        made = RichSettings(
            shape,
            self.fields,
            LOSSES[self.loss_name],
            self.loss_settings,
            {name: self.weighting(name) for name in WEIGHTINGS},
            self.strengths(settings.l2),
            self.histories if {"encoding", "embedding"} & set(self.stages) else None,
            self._criterion,
            self.stages,
        )
        return RichSpace(made, draws).to(self.runtime.device, self.runtime.dtype)

    def _criterion(self, interaction: Interaction, batch: Batch) -> float:
        """What validation judges a combination by: the inverse metric, or the loss of ratings."""
        if self.config.objective == "rating":
            return float(LOSSES[self.loss_name](interaction, batch, self.loss_settings))
        scorer = FunctionScorer(interaction, self.scale, self._fallback)
        history, truth = self._judged
        # Everybody serves users and items without a train row alike; they would only dilute.
        found = evaluate_on(
            scorer, self.train_part, (history,), known_rows(self.train_part, truth), "ranking"
        )
        return 1 / max(found.metrics[self.metric], 1e-6)

    def _function_space(self, draws: torch.Generator) -> FunctionSpace:
        settings = self.config.search
        return FunctionSpace(
            self.spec,
            FunctionSettings(
                self.shape(settings.dimension),
                self.fields,
                LOSSES[self.loss_name],
                self.loss_settings,
                self.strengths(settings.l2),
                own_tables=settings.tables == "own",
                transform_offset=settings.transform_offset,
            ),
            draws,
        )

    def search(
        self, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress = _quiet,
        l2: float | None = None,
    ) -> SearchResult:  # fmt: skip
        """Searches with the configured method, on some users where there are many interactions.

        Args:
            tracker: Receives the losses of every epoch.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch's number and history entry.
            l2: Strength in place of the configured `search.l2`.
        """
        return self.searched._at(l2)._search(tracker, checkpointer, on_epoch)

    def _at(self, l2: float | None) -> Problem:
        """The same with another `search.l2`; None: as it is."""
        if l2 is None or l2 == self.config.search.l2:
            return self
        section = self.config.search.model_copy(update={"l2": l2})
        config = self.config.model_copy(update={"search": section})
        return type(self)(self.train_part, self.valid_part, config, self.runtime, self.stages)

    @cached_property
    def searched(self) -> Problem:
        """The problem that is searched: this one, or some of its users."""
        most = self.config.search.max_interactions
        if most is None or len(self.train_part) <= most:
            return self
        draws = numpy_generator(self.runtime, "search", "users")
        parts = few_users(self.train_part, self.valid_part, most, draws)
        return Problem(*parts, self.config, self.runtime, self.stages)

    def _search(
        self, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress
    ) -> SearchResult:
        return self.method_run().run(self.config.method, tracker, checkpointer, on_epoch)

    def check_method(self) -> None:
        """Raises ConfigError where the configured method cannot search here."""
        self.searched.method_run().check(self.config.method)

    def method_run(self) -> MethodRun:
        """What methods search with."""
        settings = self.config.search
        return MethodRun(
            lambda mixed: self.space(), self._streams, self.exported, EXPORTED, settings, adam,
            constant, self.runtime, judges=settings.judge,
        )  # fmt: skip

    def _streams(self) -> tuple[Stream, Stream]:
        size = self.config.search.batch_size
        return self.stream("train", size, "search"), self.stream("valid", size, "search")

    def exported(self, space: Any, gates: Gates) -> float:
        """Validation error of a selection with the search's weights, the lower the better.

        1 - NDCG@10, or RMSE in stars, on the rows whose ids all occur in the train part.
        """
        interaction = space.interaction(gates).chosen()
        scorer = FunctionScorer(interaction, self.scale, self._fallback)
        history, truth = self._judged
        known = known_rows(self.train_part, truth)
        found = evaluate_on(scorer, self.train_part, (history,), known, self.config.objective)
        value = found.metrics[self.metric]
        return 1 - value if higher_is_better(self.metric) else value

    def train(
        self,
        genotype: Genotype,
        l2: float,
        tracker: Tracker,
        checkpointer: Checkpointer,
        on_epoch: Progress = _quiet,
        epochs: int | None = None,
    ) -> Fitted:
        """Trains a genotype from scratch with one L2 strength, up to `epochs` or the setting's."""
        settings = self.config.train
        draws = generator(self.runtime, "train", "network", device=torch.device("cpu"))
        design = design_of(genotype, self.fields)
        net = self.network(design, draws)
        strengths = self.strengths(l2)
        loss = LOSSES[self.loss_name]
        weighting = self.weighting(design.weighting)

        def objective(batch: Batch) -> Tensor:
            interaction = net.interaction(batch.rows)
            weights = None if weighting is None else weighting.within(batch.rows)
            data = loss(interaction, batch, replace(self.loss_settings, weighting=weights))
            return data + interaction.tables.squared_norm(self.share(strengths, batch))

        whole = design.encodings or design.graph  # a block does not hold its items' histories
        factors = net.interaction().operation.factors is not None
        blocks = None if whole else self.blocks(factors, "train")
        result = train(
            net,
            objective,
            blocks or self.stream("train", settings.batch_size, "train"),
            lambda: self.validate(net),
            TrainSettings(
                epochs or settings.epochs,
                settings.lr,
                self.metric,
                higher_is_better(self.metric),
                settings.evaluate_every,
                settings.patience,
                optimiser=partial(RowAdam, betas=ADAM_BETAS) if blocks else adam,
            ),
            tracker,
            checkpointer,
            on_epoch,
        )
        return Fitted(net, self.scorer(net), result, l2)

    def network(self, design: Design, draws: torch.Generator) -> InteractionNetwork:
        """A network of a design on this data with fresh weights."""
        histories = self.histories if design.encodings or design.graph else None
        net = network(design, self.shape(self.config.train.dimension), draws, histories)
        return net.to(self.runtime.device, self.runtime.dtype)

    def scorer(self, net: InteractionNetwork) -> InteractionScorer:
        """Scores of a trained network, with the rules for cold users and items."""
        served = with_zero_rows(net.baked(), self.train_part)
        return InteractionScorer(served, self.scale, self._fallback)

    @cached_property
    def _fallback(self) -> Fallback:
        return Fallback.of(self.train_part)

    def validate(self, net: InteractionNetwork) -> Metrics:
        """Metrics of a network on the validation part."""
        scorer = self.scorer(net)
        history, truth = self._judged
        found = evaluate_on(scorer, self.train_part, (history,), truth, self.config.objective)
        return found.metrics
