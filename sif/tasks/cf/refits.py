"""The problems of a job's designs, and their second fits, each by the problem of its kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.core.genotype import Genotype
from sif.data.interactions import Interactions
from sif.evaluation.evaluate import RankingScorer, evaluate_on
from sif.evaluation.goals import Goal, judged_features
from sif.problems.base import Problem, Trained
from sif.problems.closed_forms import CLOSED, ClosedProblem, ClosedRefit
from sif.problems.histories import HistoryProblem
from sif.problems.interactions import InteractionProblem
from sif.problems.order import ORDER, OrderProblem, OrderRefit
from sif.problems.refit import Refit
from sif.recommender.model import ServedModel
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.histories.models import HistoryDesign, HistoryModel
from sif.spaces.linear.network import OrderNetwork
from sif.utils.device import never

AnyRefit = Refit[Any] | OrderRefit | ClosedRefit


@dataclass(frozen=True, eq=False)
class Problems:
    """The problem of each kind of design, on the same rows.

    Attributes:
        functions: Of interaction functions and of baselines.
        order: Of item-item models; None: the rows have no order.
        reader: Of readers of histories; None: there are none.
        closed: Of closed forms; None: there are none.
    """

    functions: InteractionProblem
    order: OrderProblem | None
    reader: HistoryProblem | None
    closed: ClosedProblem | None = None

    def of(self, design: Genotype | HistoryDesign) -> Problem[Any, Any]:
        """The problem of a design."""
        if not isinstance(design, Genotype):
            assert self.reader is not None  # noqa: S101
            return self.reader  # a given design is trained alike by all
        own = {ORDER: self.order, CLOSED: self.closed}.get(design.space)
        return self.functions if own is None else own

    def scorer(self, design: Genotype, network: Any) -> RankingScorer:
        """Scores of a trained network, which is no reader of histories."""
        problem = self.of(design)
        assert isinstance(problem, InteractionProblem | OrderProblem | ClosedProblem)  # noqa: S101
        return problem.scorer(network)

    def merits(self, design: Genotype, network: Any, goal: Goal) -> NDArray[np.float64]:
        """Merits of a first fit by user of the validation part, of rankings."""
        functions, config = self.functions, self.functions.config
        found = evaluate_on(
            self.scorer(design, network), functions.train_part, (functions.train_part,),
            functions.valid_part, config.objective, config.metrics_at,
            judged_features(config.serve_by, functions.train_part),
        )  # fmt: skip
        return goal.merits(found.per_user)

    def served(self, design: Genotype, trained: Trained[Any], known: Interactions) -> ServedModel:
        """A trained network as a model.

        Args:
            design: Of the network.
            trained: The network, trained on these rows.
            known: Interactions that are not recommended again.
        """
        problem = self.of(design)
        if isinstance(problem, OrderProblem | ClosedProblem):
            return ServedModel.in_order(problem, design, trained.network, known)
        assert isinstance(problem, InteractionProblem)  # noqa: S101
        return ServedModel.of(problem, design, trained.network, trained.numbers["l2"], known)

    def again(self, rows: Interactions) -> SecondFits:
        """Second fits on rows under the same vocabularies; no budget ends them."""
        functions = self.functions.at_pace(out_of_time=never)
        reader = None if self.reader is None else self.reader.at_pace(out_of_time=never)
        return SecondFits(
            Refit.of(functions, rows),
            None if self.order is None else OrderRefit.of(self.order, rows),
            None if reader is None else Refit.of(reader, rows),
            None if self.closed is None else ClosedRefit.of(self.closed, rows),
        )


@dataclass(frozen=True, eq=False)
class SecondFits:
    """Second fits of each kind of design, as `Problems` has them."""

    functions: Refit[InteractionProblem]
    order: OrderRefit | None
    reader: Refit[HistoryProblem] | None
    closed: ClosedRefit | None = None

    @property
    def problems(self) -> Problems:
        """Whose train part the rows of these fits are."""
        return Problems(
            self.functions.problem,
            None if self.order is None else self.order.problem,
            None if self.reader is None else self.reader.problem,
            None if self.closed is None else self.closed.problem,
        )

    def of(self, design: Genotype | HistoryDesign) -> AnyRefit:
        """Those of a design."""
        if not isinstance(design, Genotype):
            return self.reader or self.functions
        return {ORDER: self.order, CLOSED: self.closed}.get(design.space) or self.functions

    def seconds(self, trained: Iterable[Trained[Any]]) -> float:
        """By the seconds of first fits, each network once."""
        kinds: dict[type, AnyRefit | None] = {
            OrderNetwork: self.order, HistoryModel: self.reader, ClosedNetwork: self.closed,
        }  # fmt: skip
        first = {id(one.network): one for one in trained}.values()
        return sum(
            (kinds.get(type(one.network)) or self.functions).seconds(one.result) for one in first
        )
