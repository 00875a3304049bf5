"""The interaction function on the train and validation parts of a split.

The test part is not an argument, so neither search nor training can see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from sif.config import CFConfig, TrainConfig
from sif.config.cf import OWN_STAGES
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.pieces import Pieces
from sif.core.stream import Checkpointer, Stream
from sif.data.features import Features
from sif.data.interactions import Interactions, Split, few_users, some_users
from sif.data.interactions.chronological import counts_rows, is_later
from sif.errors import ConfigError, DataError
from sif.evaluation.cold_start import ColdStartRule, with_zero_rows
from sif.evaluation.cold_start_choice import ColdStartChoice
from sif.evaluation.evaluate import (
    MAIN_METRIC,
    Evaluation,
    Scorer,
    evaluate,
    evaluate_on,
    evaluated_users,
)
from sif.evaluation.goals import judged_features
from sif.evaluation.metrics import higher_is_better
from sif.evaluation.scorers import InteractionScorer
from sif.problems.base import ADAM, Problem, Progress, Sampled, Session, Trained, quiet
from sif.problems.baseline_fits import BaselineFits
from sif.problems.batch_source import MIN_STEPS_PER_PASS, BatchSource
from sif.problems.history_blocks import BlockPlan
from sif.problems.l2_grid import GridTraining, follows, search_strength
from sif.problems.objective import Objective, strengths_of
from sif.problems.pair_features import as_trained, features_of, with_or_without
from sif.problems.part_rows import known_rows, ratings_of, scale_of
from sif.problems.registered import loss_of, space_of
from sif.search.run import MethodRun
from sif.spaces.interaction.batches import InteractionStream, PartTensors
from sif.spaces.interaction.design import (
    EMBEDDING_BLOCK,
    ENCODING_BLOCK,
    FEATURES_BLOCK,
    LOSS_BLOCK,
    OPERATION_BLOCK,
    PRODUCT,
    SEARCHED_LOSSES,
    SIMILARITY_BLOCK,
)
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.function import Design, Interaction, InteractionNetwork
from sif.spaces.interaction.losses import (
    WEIGHTINGS,
    Batch,
    LossKind,
    LossSettings,
    Weighting,
)
from sif.spaces.interaction.pieces import function_pieces
from sif.spaces.interaction.registry import LOSSES, SPACES, design_of, expression
from sif.spaces.interaction.space_kind import InteractionSpace, NamedLoss, SpaceContext
from sif.spaces.interaction.sparse_rows import RowAdam
from sif.spaces.interaction.supernet import FunctionSpace
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp
from sif.spaces.interaction.user_blocks import BlockStream
from sif.tracking import Tracker
from sif.training.apart import RowsApart
from sif.training.loop import Ending, Metrics, TrainSettings, train, train_again, unheard
from sif.training.optim import ADAM_BETAS, adam, constant
from sif.utils.device import Runtime
from sif.utils.random import generator, numpy_generator

CLOSED_STAGE, ORDER_STAGE = OWN_STAGES
"""The stages that are problems of their own (`sif.problems.order`, `sif.problems.closed_forms`)."""
ENCODING_STAGES = {ENCODING_BLOCK, EMBEDDING_BLOCK}
"""Stages whose functions may have histories."""
PILOT_ROWS, PILOT_USERS = 2_500_000, 1000
"""Train rows that steps and fits are measured on at most, and users that are ranked for: of large
data those of some users."""
EXPORTED = "exported_error"
"""Error of a selection with the weights of its search, see `InteractionProblem.judge`."""


class InteractionProblem(Problem[Genotype, InteractionNetwork]):
    """The interaction function on a train and a validation part.

    Args:
        train_part: For weights; the only part that scalers and counts are fitted on.
        valid_part: For the architecture, early stopping and choices.
        config: Of the task.
        runtime: Device, dtype, seed.
        stages: Of a space with stages, which are searched; None: the configured ones.
        cold_choice: Of the order that new users get in rankings; None: validation's.

    Raises:
        ConfigError: An unknown space, or one that does not fit the fields.
        DataError: A rating objective without ratings, or with equal ones.
    """

    format, judged = ".4f", EXPORTED
    memory_settings = ("batch_size", "dimension")
    shares: ClassVar[bool] = True
    initial: Mapping[str, Tensor] | None = None
    """State in which networks of `start` begin to train; None: with fresh weights."""
    start: Genotype | None = None

    def __init__(
        self,
        train_part: Interactions,
        valid_part: Interactions,
        config: CFConfig,
        runtime: Runtime,
        stages: tuple[str, ...] | None = None,
        cold_choice: ColdStartChoice | None = None,
    ) -> None:
        self.kind, self._space_settings = space_of(config)
        self.loss_name, self.loss, _ = loss_of(config)
        stages = config.search.stages if stages is None else stages
        if self.kind.stages and len(train_part.fields) != 2:
            raise ConfigError(
                f"space {config.space}: expected the fields user and item, found "
                f"{', '.join(train_part.fields)}; use space=sif or the preset cf/context"
            )
        self.train_part, self.valid_part = train_part, valid_part
        self._sized_by = len(train_part)
        self._cold_choice = cold_choice
        self.config, self.runtime = config, runtime
        self.metric = self.shown = MAIN_METRIC[config.objective]
        self.loss_settings = self.loss_at("").settings
        self.scale = scale_of(train_part, config.objective)
        self._train = self._with_ages(self._tensors(train_part))
        self._valid = self._tensors(known_rows(train_part, valid_part))
        self._judged = (train_part, valid_part)
        if config.train.valid_users is not None and config.objective == "ranking":
            draws = numpy_generator(runtime, "train", "valid-users")
            self._judged = some_users(train_part, valid_part, config.train.valid_users, draws)
        self.row_counts = [
            torch.bincount(self._train.ids[:, f], minlength=n).to(runtime.dtype)
            for f, n in enumerate(train_part.sizes)
        ]
        own = [*OWN_STAGES]
        if FEATURES_BLOCK in stages and not self.described:
            own.append(FEATURES_BLOCK)
        self.stages = tuple(stage for stage in stages if stage not in own)

    def loss_at(self, name: str) -> NamedLoss:
        """A loss with its numbers; an empty name is the job's.

        Raises:
            ConfigError: See `loss_of`.
        """
        numbers = self.config.loss
        _, kind, own = loss_of(self.config, name or None)
        return NamedLoss(kind, LossSettings(numbers.positive_weight, numbers.negatives, own=own))

    @cached_property
    def searched_losses(self) -> Mapping[str, NamedLoss]:
        """Losses that are searched beside the job's, by name."""
        if LOSS_BLOCK not in self.stages:
            return {}
        return {n: self.loss_at(n) for n in SEARCHED_LOSSES if n != self.loss_name}

    def at_similarity(self, genotype: Genotype) -> Genotype:
        """A genotype of the space with the configured similarity."""
        similarity = self.config.model.similarity
        if similarity == PRODUCT:
            return genotype
        block = {SIMILARITY_BLOCK: ((0, similarity),)}
        return replace(genotype, blocks={**genotype.blocks, **block})

    @property
    def fields(self) -> tuple[str, ...]:
        """Field names."""
        return self.train_part.fields

    @cached_property
    def described(self) -> tuple[FeatureSums | None, ...]:
        """Features of users and of items; empty: functions cannot have any."""
        if not self.kind.stages:
            return ()
        return features_of(self.train_part, self.row_counts, self._train.target)

    @cached_property
    def _counts(self) -> list[Tensor]:
        """Train pairs of each row by field, then of each feature by field where there are any."""
        of_features = [
            count[:0] if sums is None else sums.counts(count)
            for sums, count in zip(self.described, self.row_counts, strict=False)
        ]
        return [*self.row_counts, *of_features]

    def _tensors(self, part: Interactions) -> PartTensors:
        device, dtype = self.runtime.device, self.runtime.dtype
        if self.config.objective == "rating":
            values = (ratings_of(part) - self.scale.mean) / self.scale.deviation
            target = torch.as_tensor(values, device=device, dtype=dtype)
        else:
            target = torch.ones(1, device=device, dtype=dtype).expand(len(part))
        return PartTensors(torch.as_tensor(part.ids, device=device), target, part.sizes)

    def _with_ages(self, tensors: PartTensors) -> PartTensors:
        """The train part with its ages, where it has a clock."""
        if self.train_part.moment is None or counts_rows(self.train_part):
            return tensors
        return replace(tensors, age=torch.as_tensor(self.train_part.age).to(tensors.target))

    def shape(self, dimension: int) -> TableShape:
        """Tables of that dimension on this data."""
        rating = self.config.objective == "rating"
        biases = self.config.model.biases
        return TableShape(
            self.train_part.sizes,
            dimension,
            biases=rating if biases is None else biases,
            intercept=rating,
            init=self.config.model.init,
            mixed_signs=self.config.model.readout_signs == "mixed",
            history_l2=self.config.loss.history_l2,
            bias_l2=self.config.loss.bias_l2,
        )

    def strengths(self, l2: float, loss: str = "") -> tuple[Tensor, ...]:
        """L2 strength of every row, and of every feature, per observed train row.

        Args:
            l2: The total one, in units of the loss.
            loss: Its name; empty: the job's.
        """
        l2 = l2 * self.loss_at(loss).kind.l2
        scaling = self.config.loss.l2_scaling
        return strengths_of(self._counts, len(self.train_part), l2, scaling)

    @property
    def _batches(self) -> BatchSource:
        """Batches of both parts."""
        staged = bool(self.kind.stages)
        return BatchSource(
            self._train, self._valid, self._sized_by, self.config, self.runtime, staged
        )

    def stream(
        self, part: str, batch_size: int | None, *names: str | int, loss: str = "",
        encodes: bool = False, factors: bool = False,
    ) -> InteractionStream:  # fmt: skip
        """Endless batches of "train" or "valid".

        Args:
            part: Its name.
            batch_size: Rows of each; None: all.
            names: Key the random stream; first "search" brings what any searched loss reads.
            loss: Name of the loss; empty: the job's.
            encodes: Whether functions may have histories.
            factors: Whether all scores are products, with which a large exact loss draws nothing.
        """
        losses = self._kinds(loss) if names[0] == "search" else [self.loss_at(loss).kind]
        histories = self.histories if encodes else None
        return self._batches.stream(
            part, batch_size, losses, *names, histories=histories, factors=factors
        )

    def _kinds(self, loss: str = "") -> list[LossKind]:
        """A loss, and those that are searched beside the job's."""
        searched = [searched.kind for searched in self.searched_losses.values()]
        return [self.loss_at(loss).kind, *searched]

    def blocks(
        self, factors: bool, *names: str | int, loss: str = "", encodes: bool = False
    ) -> BlockStream | None:
        """Endless blocks of the train part's users where it is large; None: it is small.

        Args:
            factors: Whether the function's scores are a product, so that nothing is gathered.
            names: Key the random stream.
            loss: Name of the loss; empty: the job's.
            encodes: Whether users have histories, those in the block.
        """
        return self._batches.blocks(factors, self.loss_at(loss).kind, *names, encodes=encodes)

    @property
    def encodes(self) -> bool:
        """True if the search has functions with histories."""
        return bool(self.kind.stages and ENCODING_STAGES & set(self.stages))

    @cached_property
    def block_plan(self) -> BlockPlan:
        """The blocks of users that functions with histories come in."""
        return self._batches.plan(self._kinds())

    @cached_property
    def histories(self) -> Histories:
        """The train part as the encoders see it, in blocks where one step would be too large."""
        return self.block_plan.histories(self._train, self.config.model.history_power)

    def weighting(self, name: str) -> Weighting | None:
        """The weighting of the training loss by its name.

        Raises:
            DataError: It weighs by age, and pairs have none.
        """
        if WEIGHTINGS[name].half_life is not None and self._train.age is None:
            raise DataError(
                f"weighting {name}: expected timestamps, or rows in order (data.order=rows), "
                "found neither"
            )
        return Weighting.of(name, self.row_counts, self._train.age)

    @property
    def _weightings(self) -> list[str]:
        """Names of those that are searched; recency only where validation can judge it."""
        aged = self._train.age is not None and is_later(self.valid_part, self.train_part)
        return [name for name, kind in WEIGHTINGS.items() if aged or kind.half_life is None]

    def space(self, mixed: bool = False) -> InteractionSpace:
        """The supernet of the configured space, the same whether mixtures run or not."""
        search = self.config.search
        context = SpaceContext(
            self.shape(search.dimension),
            self.fields,
            self.loss,
            self.loss_settings,
            self.strengths(search.l2),
            {name: self.weighting(name) for name in self._weightings},
            lambda: self.histories,
            self._criterion,
            generator(self.runtime, "search", "space", device=torch.device("cpu")),
            self.stages,
            search.tables == "own",
            search.transform_offset,
            self._space_settings,
            self.searched_losses,
            self.loss_name,
            self.config.model.similarity,
            self.loss.l2,
            self.described,
        )
        space = SPACES.call(self.config.space, InteractionSpace, self.kind.make, context)
        cast(nn.Module, space).to(self.runtime.device, self.runtime.dtype)
        return cast(InteractionSpace, space)

    def memory_needs(self) -> dict[str, float]:
        """Of the tables, and of the drawn items or pairs of a batch."""
        rows, config = len(self.train_part), self.config
        vectors = sum(self.train_part.sizes) + sum(map(len, self._counts[len(self.fields) :]))
        needs: dict[str, float] = {}
        for name, section, most in (
            ("search", config.search, rows / MIN_STEPS_PER_PASS), ("train", config.train, rows),
        ):  # fmt: skip
            needs[f"{name}.dimension"] = vectors * section.dimension * ADAM
            if self.loss.negatives or self.loss.background:
                drawn = min(section.batch_size or rows, most) * config.loss.negatives
                # Two ids and a target of each, at least.
                needs["loss.negatives"] = max(needs.get("loss.negatives", 0.0), 20.0 * drawn)
        return needs

    def check_method(self, name: str) -> None:
        """Also refuses a loss of another package that fails, or is no scalar, on some rows."""
        self.refuse_too_large()
        if self.loss_name not in LOSSES:
            batch = self.stream("train", min(8, len(self._train.ids)), "check").next()
            scored = self.network(self.kind.multiply(self.fields)).interaction(batch.rows)
            arguments = scored, batch, self.loss_settings
            value = LOSSES.call(self.loss_name, Tensor, self.loss, *arguments)
            if value.shape:
                raise LOSSES.refused(self.loss_name, "a scalar", f"shape {tuple(value.shape)}")
        super().check_method(name)

    def _criterion(self, interaction: Interaction, batch: Batch) -> float:
        """Validation of a combination: the inverse metric, or the loss of ratings."""
        if self.config.objective == "rating":
            most = self.block_plan.scored_rows(self.config.search.dimension)
            return sum(
                float(self.loss(interaction, part, self.loss_settings)) * share
                for share, part in batch.chunks(most)
            )
        return 1 / max(self._known_metrics(interaction)[self.metric], 1e-6)

    def _known_metrics(self, interaction: Interaction) -> Metrics:
        """On validation; all serve users and items without a train row alike, they only dilute."""
        scorer = InteractionScorer(interaction, self.scale, self.cold_start)
        return self._metrics(scorer, known_rows(self.train_part, self._judged[1]))

    def _metrics(
        self, scorer: InteractionScorer, truth: Interactions, features: Features | None = None
    ) -> Metrics:
        history, config = self._judged[0], self.config
        return evaluate_on(
            scorer, self.train_part, (history,), truth, config.objective, config.metrics_at,
            features,
        ).metrics  # fmt: skip

    def at(self, **changed: Any) -> InteractionProblem:
        """The same problem with other settings of `search`, on the same tensors."""
        section = self.config.search.model_copy(update=changed)
        if section == self.config.search:
            return self
        return self.changed(config=self.config.model_copy(update={"search": section}))

    def changed(self, **attributes: Any) -> InteractionProblem:
        """The same problem with other attributes, as the one that is searched."""
        other, fewer = super().changed(**attributes), self.searched
        vars(other)["searched"] = other if fewer is self else fewer.changed(**attributes)
        vars(other).pop("_sampled", None)  # it has the attributes of before
        return other

    def again(self, rows: Interactions) -> InteractionProblem:
        """The problem of a second fit, on more rows in batches as large as those of the first.

        Its validation part is empty: there is nothing left to choose.

        Args:
            rows: Under the same vocabularies.
        """
        section = self.config.train.model_copy(update={"valid_users": None})
        config = self.config.model_copy(update={"train": section})
        nothing = rows.select(np.zeros(0, dtype=np.int64))
        chosen = self.cold_choice
        other = InteractionProblem(rows, nothing, config, self.runtime, self.stages, chosen)
        other._sized_by = self._sized_by
        other.initial, other.start = self.initial, self.start
        return other

    def followed(self, fixed: Trained[InteractionNetwork]) -> InteractionProblem:
        """The same problem, searched with the strength that training of fixed multiply suggests."""
        if not follows(self.config, self.kind):
            return self
        return self.at(l2=search_strength(self.config, fixed.numbers["prefers"]))

    @cached_property
    def searched(self) -> InteractionProblem:
        """The problem that is searched: this one, or some of its users."""
        most = self.config.search.max_interactions
        if most is None or len(self.train_part) <= most:
            return self
        draws = numpy_generator(self.runtime, "search", "users")
        parts = few_users(self.train_part, self.valid_part, most, draws)
        return InteractionProblem(*parts, self.config, self.runtime, self.stages, self.cold_choice)

    def method_run(self) -> MethodRun:
        """The run that methods search with, on some users where there are many interactions."""
        settings = self.config.search
        return self.searched.run_with(
            adam, constant, judges=settings.validate_every_epoch,
            continuous_lr=settings.transform_lr,
        )  # fmt: skip

    def streams(self) -> tuple[Stream, Stream]:
        """Train interactions for the weights, validation interactions for alpha."""
        size = self.config.search.batch_size
        train_stream = self.stream("train", size, "search", encodes=self.encodes)
        return train_stream, self.stream("valid", size, "search")

    def judge(self, space: Any, gates: Gates) -> float:
        """Validation error of a selection with the search's weights, the lower the better.

        1 - NDCG@10, or RMSE in stars, on the rows whose ids all occur in the train part.
        """
        value = self._known_metrics(space.interaction(gates).chosen())[self.metric]
        return 1 - value if higher_is_better(self.metric) else value

    def design(self, genotype: Genotype) -> Genotype:
        """The genotype itself, which is the design of a function."""
        return genotype

    def expression(self, design: Genotype) -> str:
        """The function on one line."""
        return expression(design, self.fields)

    def network(self, design: Genotype) -> InteractionNetwork:
        """An untrained network on this data, the same first weights for equal functions."""
        return self._network(design_of(design, self.fields))

    def pieces(self) -> Pieces | None:
        """The pieces of functions that look vectors up; None of other spaces."""
        space = self.space()
        if not isinstance(space, FunctionSpace):
            return None
        operations = {operation.name: operation for operation in space.operations}
        return function_pieces(
            OPERATION_BLOCK, operations, self.fields,
            {name: PRIMITIVES[name] for name in space.spec.transforms},
            [Mlp.from_numbers(mlp.state_dict()) for mlp in space.transforms],
            self.shape(self.config.train.dimension), space.reference_tensor(),
        )  # fmt: skip

    def _network(self, design: Design) -> InteractionNetwork:
        draws = generator(self.runtime, "train", "network", device=torch.device("cpu"))
        if design.features and not self.described:
            raise ConfigError(
                "function with features: expected data.item_features or data.user_features, found "
                "neither"
            )
        histories = self.histories if design.reads_pairs else None
        shape = self.shape(self.config.train.dimension)
        net = InteractionNetwork(design, shape, draws, histories, self.described)
        return net.to(self.runtime.device, self.runtime.dtype)

    def train(
        self, design: Genotype, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet, *, l2: float | None = None, epochs: int | None = None,
        on_end: Ending = unheard,
    ) -> Trained[InteractionNetwork]:  # fmt: skip
        """Trains a function from scratch with one L2 strength.

        Args:
            design: The function.
            tracker: Receives loss and metrics at every validation.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch and the best metrics so far.
            l2: Strength; None: the first of `train.l2`.
            epochs: At most; None: `train.epochs`.
            on_end: See `sif.training.loop.train`.

        Raises:
            DivergedError: The training diverged.
        """
        l2 = self.config.train.l2[0] if l2 is None else l2
        net, objective, stream, loop = self._training(design, l2)
        loop = replace(loop, epochs=epochs or loop.epochs)
        result = train(
            net, objective, stream, lambda: self.validate(net), loop, tracker, checkpointer,
            on_epoch, on_end=on_end,
        )  # fmt: skip
        return Trained(net, result, {"l2": l2})

    def train_again(
        self, design: Genotype, numbers: Mapping[str, float], steps: Sequence[int], after: int,
        tracker: Tracker, checkpointer: Checkpointer, on_epoch: Callable[[int, float], None],
    ) -> tuple[InteractionNetwork, float]:  # fmt: skip
        """Trains a function from scratch for known numbers of steps, without validation.

        Args:
            design: The function.
            numbers: Of its first training, the strength "l2" among them.
            steps: Of each epoch.
            after: Epochs behind which the step size falls.
            tracker: Receives the loss of every epoch.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch and its loss.

        Returns:
            The network, and seconds.

        Raises:
            DivergedError, BudgetError: See `sif.training.loop.train_again`.
        """
        net, objective, stream, loop = self._training(design, numbers["l2"])
        loop = loop.settling(after, len(steps))
        seconds = train_again(net, objective, stream, steps, loop, tracker, checkpointer, on_epoch)
        return net, seconds

    def _training(
        self, design: Genotype, l2: float
    ) -> tuple[InteractionNetwork, Callable[[Batch], Tensor], Stream, TrainSettings]:
        """An untrained network, its objective, its batches and the settings of its loop."""
        built = design_of(design, self.fields)
        net = self._network(built)
        if self.initial is not None and design == self.start:
            net.load_state_dict(dict(self.initial))
        objective = Objective(
            net, built, self.loss_at(built.loss), self.weighting(built.weighting),
            self.strengths(l2, built.loss), len(self._train.ids),
        )  # fmt: skip
        loss, encodes, blocks = built.loss, built.reads_pairs, None
        if built.separates_users:
            blocks = self.blocks(built.factorizes, "train", loss=loss, encodes=encodes)
        loop = self.loop_settings(
            make_optimizer=partial(RowAdam, betas=ADAM_BETAS) if blocks else adam
        )
        if blocks is not None and blocks.owned is not None:
            loop = replace(loop, apart=RowsApart(net.tables.of_users(), blocks.owned))
        size = self.config.train.batch_size
        how: dict[str, Any] = {"loss": loss, "encodes": encodes, "factors": built.factorizes}
        stream = blocks or self.stream("train", size, "train", **how)
        return net, objective, stream, loop

    def fit(self, name: str, design: Genotype, session: Session) -> Trained[InteractionNetwork]:
        """Trains a function over the grid of L2 strengths (`GridTraining.train`).

        Vectors of length 1 are trained once, without L2. Features stay only where they clearly
        help (`sif.problems.pair_features`).
        """
        grid = self.config.train
        if design_of(design, self.fields).unit:
            grid = grid.model_copy(update={"l2": (0.0,), "extend_grid": 0})

        def trained(
            name: str, genotype: Genotype, section: TrainConfig
        ) -> Trained[InteractionNetwork]:
            return GridTraining(section, self, self.train, session).train(name, genotype)

        return with_or_without(self, name, design, grid, trained, session.console)

    def trained_design(self, design: Genotype, trained: Trained[InteractionNetwork]) -> Genotype:
        """The function without its features, where validation left them out."""
        return as_trained(design, trained.network)

    @property
    def judged_parts(self) -> tuple[Interactions, Interactions]:
        """Train rows that are masked, and rows that functions are judged on while they train."""
        return self._judged

    @property
    def baseline_fits(self) -> BaselineFits:
        """The classical baselines on both parts."""
        parts = self.train_part, self.valid_part
        return BaselineFits(*parts, self.config, self.runtime, self.cold_choice.order)

    def sampled(self) -> Sampled[Self]:
        """The problem with the rows of few users, where there are many; see `Problem.sampled`."""
        return self._sampled

    @cached_property
    def _sampled(self) -> Sampled[Self]:
        train, valid = self.train_part, self.valid_part
        judged, all_users = (_count_of_evaluated(part) for part in (self._judged[1], valid))
        if not self._batches.is_large or len(train) <= PILOT_ROWS:
            return Sampled(self, test=all_users / judged)
        draws = numpy_generator(self.runtime, "pilot-users")
        few_train, few_valid = few_users(train, valid, PILOT_ROWS, draws)
        some = np.unique(few_valid.ids[:, 0])[:PILOT_USERS]
        few_valid = few_valid.select(np.isin(few_valid.ids[:, 0], some))
        few = type(self)(
            few_train, few_valid, self.config, self.runtime, self.stages, self._cold_choice
        )
        few._sized_by = self._sized_by
        few_judged = _count_of_evaluated(few_valid)
        return Sampled(
            few, len(train) / len(few_train), judged / few_judged, all_users / few_judged
        )

    def test(self, network: InteractionNetwork, part: Split) -> Evaluation:
        """Evaluates a finished network on the test part of a split."""
        return self.tested(self.scorer(network), part)

    def tested(self, scorer: Scorer, part: Split) -> Evaluation:
        """Evaluates a finished model of any kind on the test part of a split."""
        return evaluate(scorer, part, "test", self.config.objective, self.config.metrics_at)

    def scorer(self, net: InteractionNetwork) -> InteractionScorer:
        """Scores of a trained network, with the rules for cold users and items."""
        return InteractionScorer(self.served(net).interaction(), self.scale, self.cold_start)

    def served(self, net: InteractionNetwork) -> InteractionNetwork:
        """A trained network with vectors by id, those of cold rows at zero."""
        return with_zero_rows(net.precomputed(), self.train_part)

    @cached_property
    def cold_choice(self) -> ColdStartChoice:
        """The order of the items for new users, as validation chooses it; ratings have none."""
        if self._cold_choice is not None:
            return self._cold_choice
        if self.config.objective == "rating":
            return ColdStartChoice()
        return ColdStartChoice.of(self.train_part, self.valid_part)

    @cached_property
    def cold_start(self) -> ColdStartRule:
        """The rule for what the train part does not have."""
        return ColdStartRule.of(self.train_part, self.cold_choice.order)

    def validate(self, net: InteractionNetwork) -> Metrics:
        """Metrics of a network on the validation part."""
        features = judged_features(self.config.serve_by, self.train_part)
        return self._metrics(self.scorer(net), self._judged[1], features)


def _count_of_evaluated(part: Interactions) -> int:
    """The number of users whom an evaluation on a part ranks for, at least 1."""
    return max(len(evaluated_users(part)[0]), 1)
