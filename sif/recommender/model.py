"""A trained function of user and item with all that serving needs, as one file.

The file is a safetensors file with JSON in its header; nothing is unpickled. Of the interactions it
holds only the items of each user, those that filters dropped apart from the trained ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.baselines import BASELINES
from sif.baselines.base import Params
from sif.config.cf import DataConfig, ExcludeSeen, Retrieval
from sif.core.genotype import Genotype
from sif.data.features.table import Features
from sif.data.interactions import Interactions, Vocabulary
from sif.errors import MALFORMED, CheckpointError, ConfigError, first_line
from sif.evaluation.cold_start import ColdStartRule, cold_rows
from sif.evaluation.evaluate import Objective, Scorer, pair_matrix
from sif.evaluation.histories import sequences_of
from sif.evaluation.scorers import FixedHistories, HistoryScorer, InteractionScorer, Scale
from sif.problems.closed_forms import ClosedProblem
from sif.problems.interactions import InteractionProblem
from sif.problems.order import OrderProblem
from sif.recommender.feature_factors import FeatureFactors
from sif.recommender.file_checks import FittedOn, check
from sif.recommender.fold_in import FoldIn
from sif.recommender.fold_in_terms import FoldInTerms, baseline_terms, fold_in_terms
from sif.recommender.folding import Folding
from sif.recommender.functions import HistoryFunction, ServedFunction, VectorFunction
from sif.recommender.graph_files import FILE as GRAPH_FILE
from sif.recommender.graph_files import read_graph, write_graph
from sif.recommender.item_precision import ItemPrecision
from sif.recommender.model_state import fields_of, state_of, with_todays_names
from sif.recommender.owned import History, Owned
from sif.recommender.report import Report
from sif.recommender.user_stand import UserStand, stand_of
from sif.retrieval.graph import ItemGraph
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import expression
from sif.spaces.linear.features import Alikeness
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.sequences import TICK, Sequences, moments, ranked
from sif.utils import checkpoint

KIND = "recommender"
FILE = "recommender.safetensors"

NONE = np.zeros(0, dtype=np.int64)
"""No row."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A trained interaction function, its vocabularies and the interactions of users.

    Attributes:
        genotype: The function.
        trained: The function's weights: vectors looked up by id, or those of an item-item model.
        fields: Of the data, user and item first.
        vocabularies: One per field.
        seen: CSR (n_users, n_items): items of users after filters; what folding in starts from.
            Values are ones, standardized ratings, or places in order, the larger the later; of a
            model that reads time seconds, see `sif.spaces.linear.sequences.moments`.
        titles: Item id to title.
        scale: Back to rating units.
        objective: "ranking" or "rating".
        cold_start: Untrained users and items, and the rule for them in rankings.
        folds: Terms by field that give unseen users and items vectors; empty: none can.
        reading: Settings by which interactions were read; further ones are read alike.
        untrained: Numbers of users and of items that no training saw: cold ones, and those that
            were folded in since.
        report: Of the fit that made it; None: a run did.
        owned: What users have beyond `seen`, since filters dropped it.
        exclude_seen: What answers leave out where a caller does not say.
        fitted_on: Rows that it was fitted on: the train part, with the valid part, or all.
        baseline: Name of the baseline that it is, with its parameters; empty: none.
        retrieval: How the best items are to be found, see `sif.recommender.approximation`.
        graph: Of the items, by which most users are answered; None: all are answered exactly.
        item_features, user_features: Of the ids; None: none are known.
        alikeness: By which untrained items are answered for by their features.
        user_alikeness: The same of users; None: these get the popular items.
        feature_factors: Factors that features have a part in, for the same; None: there are none.
        alike_scales: In item-item models, the deviation of scores by the weights over that of
            scores by shares of items that are alike, and over that of scores by such factors.
        constants: Numbers that validation chose for its last fit, such as "l2"; may be empty.
        folding: The record of what was folded in since the fit.
        item_precision: How the items' table was rounded, and what that lost; None: it was not.
    """

    genotype: Genotype
    trained: InteractionNetwork | OrderNetwork
    fields: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    seen: sparse.csr_array
    titles: Mapping[str, str]
    scale: Scale
    objective: Objective = "ranking"
    cold_start: ColdStartRule | None = None
    folds: tuple[FoldInTerms, ...] = ()
    reading: DataConfig = field(default_factory=DataConfig)
    untrained: tuple[NDArray[np.int64], ...] = (NONE, NONE)
    report: Report | None = None
    owned: Owned = field(default_factory=Owned)
    exclude_seen: ExcludeSeen = "all"
    fitted_on: FittedOn = "train"
    baseline: str = ""
    retrieval: Retrieval = "auto"
    graph: ItemGraph | None = None
    item_features: Features | None = None
    user_features: Features | None = None
    alikeness: Alikeness = field(default_factory=Alikeness)
    user_alikeness: Alikeness | None = None
    feature_factors: FeatureFactors | None = None
    alike_scales: tuple[float, float] = (1.0, 1.0)
    constants: Mapping[str, float] = field(default_factory=dict)
    folding: Folding = field(default_factory=Folding)
    item_precision: ItemPrecision | None = None

    @classmethod
    def of(
        cls, problem: InteractionProblem, genotype: Genotype, trained: InteractionNetwork,
        l2: float, known: Interactions,
    ) -> ServedModel:  # fmt: skip
        """Serves a network that a problem has trained.

        Args:
            problem: Whose train part it was trained on.
            genotype: Of the network.
            trained: Network with its trained weights.
            l2: Strength that it was trained with.
            known: Interactions that are not recommended again; with the problem's vocabularies. Of
                what they dropped the model knows nothing yet, see `sif.recommender.extend`.
        """
        folds = fold_in_terms(problem, genotype, trained, l2)
        return cls._of_vectors(problem, genotype, trained, folds, known)

    @classmethod
    def of_baseline(
        cls, problem: InteractionProblem, name: str, params: Params,
        network: InteractionNetwork | OrderNetwork, known: Interactions,
    ) -> ServedModel:  # fmt: skip
        """Serves a baseline.

        Args:
            problem: Whose train part it was fitted on.
            name: Of the baseline.
            params: Its parameters.
            network: Of its `Serving`.
            known: See `of`.
        """
        baseline = BASELINES[name]
        if isinstance(network, OrderNetwork):
            model = cls.in_order(problem, network.genotype, network, known)
        else:
            assert baseline.serving is not None and baseline.serving.row_loss is not None  # noqa: S101
            folds = baseline_terms(baseline.serving.row_loss(params), network.shape.sizes)
            genotype = plain_product(problem.fields)
            model = cls._of_vectors(problem, genotype, network, folds, known)
        return dataclasses.replace(model, baseline=baseline.expression(params))

    @classmethod
    def _of_vectors(
        cls, problem: InteractionProblem, genotype: Genotype, trained: InteractionNetwork,
        folds: tuple[FoldInTerms, ...], known: Interactions,
    ) -> ServedModel:  # fmt: skip
        return cls(
            genotype, problem.served(trained).cpu(), known.fields, known.vocabularies,
            _targets(known, problem), known.titles, problem.scale,
            problem.config.objective, problem.cold_start, folds,
            problem.config.data.lasting,
            tuple(np.flatnonzero(cold_rows(problem.train_part, f)) for f in (0, 1)),
            exclude_seen=problem.config.exclude_seen, retrieval=problem.config.retrieval,
            item_features=known.item_features, user_features=known.user_features,
        )  # fmt: skip

    @classmethod
    def in_order(
        cls, problem: OrderProblem | ClosedProblem | InteractionProblem, genotype: Genotype,
        network: OrderNetwork, known: Interactions,
    ) -> ServedModel:  # fmt: skip
        """Serves an item-item model.

        Args:
            problem: Whose train part it was fitted on.
            genotype: Of the model.
            network: The model.
            known: See `of`.
        """
        return cls(
            genotype, network, known.fields, known.vocabularies,
            _moments(known) if network.design.reads_time else _places(known),
            known.titles, Scale(), "ranking", problem.cold_start, (),
            problem.config.data.lasting,
            tuple(np.flatnonzero(cold_rows(problem.train_part, f)) for f in (0, 1)),
            exclude_seen=problem.config.exclude_seen, retrieval=problem.config.retrieval,
            item_features=known.item_features, user_features=known.user_features,
        )  # fmt: skip

    @property
    def network(self) -> InteractionNetwork:
        """Vectors and function of users and items.

        Raises:
            ConfigError: An item-item model, which has none.
        """
        if isinstance(self.trained, OrderNetwork):
            raise ConfigError(
                f"expected a function of vectors of users and items, found {self.expression}"
            )
        return self.trained

    @property
    def reads_order(self) -> bool:
        """True of an item-item model: users are their histories, which have an order."""
        return isinstance(self.trained, OrderNetwork)

    @property
    def reads_time(self) -> bool:
        """True if a user's vector depends on the times of his items."""
        return isinstance(self.trained, OrderNetwork) and self.trained.design.reads_time

    @property
    def forgets(self) -> bool:
        """True if what a user has counts less the older it is."""
        return isinstance(self.trained, OrderNetwork) and bool(self.trained.design.decays)

    @cached_property
    def usual_gap(self) -> float:
        """Seconds from item to item in a list without times: as typical as among known users."""
        return max(Sequences.of_places(self.seen).usual_gap, TICK)

    @property
    def expression(self) -> str:
        """The function on one line; of a baseline its name with what validation chose."""
        if self.baseline:
            return self.baseline
        if isinstance(self.trained, OrderNetwork):
            return self.trained.expression
        return expression(self.genotype, self.fields)

    @cached_property
    def function(self) -> ServedFunction:
        """Vectors of users, and scores.

        Raises:
            ConfigError: A function of more fields than user and item.
        """
        if isinstance(self.trained, OrderNetwork):
            return HistoryFunction(self.trained, self.seen)
        return VectorFunction(self.trained, self.folds, self._fold_in)

    @property
    def is_personalized(self) -> bool:
        """True if a ranking may differ between users, as ratings and further fields do."""
        two = self.objective == "ranking" and len(self.fields) == 2
        return not two or self.function.engine.is_personalized

    @property
    def rule(self) -> ColdStartRule | None:
        """The rule for untrained rows that answers obey; None: none.

        In ratings such a row is zero (`sif.evaluation.cold_start`), and that is how it is scored.
        """
        return self.cold_start if self.objective == "ranking" else None

    @cached_property
    def scorer(self) -> InteractionScorer | HistoryScorer:
        """Scores of all items for known users, and of pairs."""
        if isinstance(self.trained, OrderNetwork):
            return self._history_scorer(self.seen)
        return InteractionScorer(self.network.interaction(), self.scale, self.rule)

    def scorer_of(self, rows: Interactions) -> Scorer:
        """Scores for users who have these rows alone, under the model's vocabularies.

        Models that read an order are told later rows by `HistoryReader.knowing`; a set stays what
        the model was fitted on.
        """
        if not self.reads_order:
            return self.scorer
        scorer = self._history_scorer(_places(rows))
        return scorer if self.forgets else FixedHistories(scorer)

    def _history_scorer(self, places: sparse.csr_array) -> HistoryScorer:
        assert isinstance(self.trained, OrderNetwork)  # noqa: S101
        return HistoryScorer(
            self.trained.histories, Sequences.of_places(places), self.trained.served_weights,
            self.rule,
        )  # fmt: skip

    @cached_property
    def had(self) -> sparse.csr_array:
        """`seen`, with what filters dropped as further, stored zeros: CSR (n_users, n_items)."""
        return self.owned.among(self.seen, self.vocabularies[1])

    @property
    def user_items(self) -> sparse.csr_array:
        """The items that `exclude_seen` leaves out of answers, or `seen` where there are none."""
        return self.had if self.exclude_seen == "all" else self.seen

    def excluded(self, rows: NDArray[np.int64], how: ExcludeSeen) -> sparse.csr_array | None:
        """The items that answers to users (b,) leave out: CSR (b, n_items); None: none."""
        if how == "none":
            return None
        trained = self.seen[rows]
        return self.owned.among(trained, self.vocabularies[1], rows) if how == "all" else trained

    def had_by(self, row: int, how: ExcludeSeen) -> NDArray[np.integer[Any]] | None:
        """The items that answers to one user leave out: (h,) numbers; None: none."""
        if how == "none":
            return None
        had = self.had if how == "all" else self.seen
        items: NDArray[np.integer[Any]] = had.indices[had.indptr[row] : had.indptr[row + 1]]
        return items

    def history(self, names: NDArray[np.str_], values: NDArray[np.float64], place: str) -> History:
        """A history of somebody who is in no table.

        Args:
            names: (n,) ids of items. Those that only dropped pairs name give no part of a vector.
            values: (n,) ratings in their units, or ones.
            place: Begins the message on an unknown id.

        Raises:
            UnknownIdError: An id that no interaction had.
            ConfigError: See `row`.
        """
        columns = self.vocabularies[1].lookup(names)
        dropped = columns < 0
        dropped[dropped] = self.owned.items.lookup(names[dropped]) >= 0
        columns = self.vocabularies[1].index(names[~dropped], place)
        self._standardized(values[dropped])
        pairs, items = self.row(columns, values[~dropped]), np.unique(columns)
        ones = np.ones(len(items), np.float32)
        return History(pairs, sparse.csr_array((ones, items, [0, len(items)]), shape=pairs.shape))

    def row(self, columns: NDArray[np.int64], values: NDArray[np.float64]) -> sparse.csr_array:
        """Pairs of one user as a row (1, n_items) of targets; of a repeated item the last counts.

        Where the model reads order, the values are the places of the columns, and where it reads
        time the items are as far apart as `usual_gap`. Ratings that the training's filter would
        have left out are left out.

        Args:
            columns: (n,) numbers of items.
            values: (n,) ratings in their units, or ones.

        Raises:
            ConfigError: A rating that is not finite, or too large for float32.
        """
        standard = self._standardized(values)
        if self.reads_order:
            standard = np.arange(1.0, len(values) + 1) * (self.usual_gap if self.reads_time else 1)
        place = {int(column): n for n, column in enumerate(columns)}
        if self.objective == "rating" and self.reading.min_rating is not None:
            place = {c: n for c, n in place.items() if values[n] >= self.reading.min_rating}
        chosen = np.array(sorted(place), dtype=np.int64)
        kind = np.float64 if self.reads_time else np.float32
        data = np.array([standard[place[c]] for c in chosen], dtype=kind)
        shape = (1, len(self.vocabularies[1]))
        return sparse.csr_array((data, chosen, [0, len(chosen)]), shape=shape)

    def _standardized(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ratings (n,) as targets; ConfigError where one is not finite, or too large."""
        standard = (values - self.scale.mean) / self.scale.deviation
        is_invalid = ~(np.abs(standard) <= np.finfo(np.float32).max)
        if is_invalid.any():
            raise ConfigError(
                f"ratings: expected finite numbers, found {float(values[np.argmax(is_invalid)])!r}"
            )
        return standard

    def fold(self, field: int) -> FoldIn:
        """Folds rows of a field in; made once for a model.

        Raises:
            ConfigError: An item-item model, which needs no folding.
        """
        if field not in self._fold_in:
            made = FoldIn(self.network.interaction(), field, *self.folds[field])
            self._fold_in[field] = made
        return self._fold_in[field]

    @cached_property
    def _fold_in(self) -> dict[int, FoldIn]:
        return {}

    @cached_property
    def user_stand(self) -> UserStand | None:
        """Known users who stand for those whom features alone tell of; None: nobody does."""
        return stand_of(self)

    def with_users_of(self, before: ServedModel) -> ServedModel:
        """The model itself, which folds users in as the one before does, whose items it has.

        The same known users stand for new ones, until items change.
        """
        self._fold_in.update({f: fold for f, fold in before._fold_in.items() if f == 0})
        if "user_stand" in vars(before):
            vars(self)["user_stand"] = before.user_stand
        return self

    def save(self, folder: Path) -> Path:
        """Writes the model into a folder; returns the file."""
        state = state_of(self)
        write_graph(folder, None, {})  # first: no graph must stand beside another model
        checkpoint.save(folder / FILE, state, KIND)
        write_graph(folder, self.graph, self.trained.state_dict())
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> ServedModel:
        """Reads what `save` or a run left in a folder, onto the CPU.

        Raises:
            CheckpointError: The file is missing, damaged, foreign, or contradicts itself, or its
                genotype is of another version or space; the message names it.
        """
        path, inside = Path(folder) / FILE, Path(folder) / "model"
        if inside.is_dir() and not path.is_file():  # the folder of a run
            path = inside / FILE
        state = checkpoint.load(path, KIND)
        try:
            state = with_todays_names(state)
            check(state)
            model = cls(**fields_of(state))
        except MALFORMED as error:
            reason = first_line(error)
            raise CheckpointError(f"{path}: the model contradicts itself: {reason}") from error
        n_items, weights = len(model.vocabularies[1]), model.trained.state_dict()
        graph = read_graph(path.parent, n_items, weights, model.retrieval)
        return dataclasses.replace(model, graph=graph)


def _targets(known: Interactions, problem: InteractionProblem) -> sparse.csr_array:
    """Pairs of users and items as the loss sees them."""
    pairs = sparse.csr_array(pair_matrix(known))
    if known.rating is None or problem.config.objective != "rating":
        return pairs
    values = (known.rating - problem.scale.mean) / problem.scale.deviation
    sums, counts = (
        sparse.csr_array((data.astype(np.float32), tuple(known.ids[:, :2].T)), shape=pairs.shape)
        for data in (values, np.ones(len(known)))
    )
    for matrix in (sums, counts):
        matrix.sum_duplicates()
    pairs.data = sums.data / counts.data  # further fields may have several of a pair
    return pairs


def _places(known: Interactions) -> sparse.csr_array:
    """Pairs of users and items, each with its place in the order of its user, from 1.

    Where nothing tells an order, models that are served read none, and the rows are as good as any.
    """
    users, items = known.ids[:, 0], known.ids[:, 1]
    if len(known.fields) > 2:  # a pair may be there several times
        rows = np.arange(len(known)) if known.moment is None else known.order
        places = np.arange(1, len(rows) + 1, dtype=np.float64)
        pairs = (places, (users[rows], items[rows]))
        return ranked(sparse.csr_array(pairs, shape=known.sizes[:2]))
    rows = np.argsort(users if known.moment is None else users[known.order], kind="stable")
    rows = rows if known.moment is None else known.order[rows]
    counts = np.bincount(users, minlength=known.sizes[0])
    starts = np.concatenate([[0], counts.cumsum()])
    within = np.arange(1, len(rows) + 1) - np.repeat(starts[:-1], counts)
    by_user = (within.astype(np.float32), items[rows], starts)
    found = sparse.csr_array(by_user, shape=known.sizes[:2])
    found.sort_indices()
    return found


def _moments(known: Interactions) -> sparse.csr_array:
    """Pairs of users and items, each with its time, from which the order can be told."""
    rows = sequences_of(known)
    assert rows.seconds is not None  # noqa: S101
    found = moments(rows.users, rows.seconds, np.full(rows.n_users, -np.inf))
    return sparse.csr_array((found, (rows.users, rows.items)), shape=known.sizes[:2])


def packed(model: ServedModel) -> dict[str, bytes]:
    """The files of a model by their names."""
    with TemporaryDirectory() as folder:
        model.save(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def unpacked(content: bytes | Mapping[str, bytes]) -> ServedModel:
    """The model of its files, or of the one file that earlier versions packed.

    Raises:
        CheckpointError: Damaged or foreign.
    """
    files = {FILE: content} if isinstance(content, bytes) else content
    with TemporaryDirectory() as folder:
        for name in {FILE, GRAPH_FILE} & set(files):
            (Path(folder) / name).write_bytes(files[name])
        return ServedModel.load(Path(folder))
