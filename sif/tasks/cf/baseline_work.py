"""The classical baselines of a job on interactions: tuned, tested, and kept to be served."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sif.baselines import BASELINES, fit_best
from sif.baselines.base import Chosen, Fitted, choose
from sif.data.interactions import Split
from sif.evaluation.evaluate import Evaluation, Scorer
from sif.evaluation.goals import Goal
from sif.problems.baseline_fits import Tuning
from sif.problems.interactions import InteractionProblem
from sif.tasks.base import Entry, Tuned
from sif.utils.calls import Call


class BaselineWork:
    """Baselines on their way from a grid to an entry of the table.

    Args:
        problem: On whose parts they are tuned.
        goal: What the served model is chosen by; None: none of them may be served.
    """

    def __init__(self, problem: InteractionProblem, goal: Goal | None) -> None:
        self._problem, self._goal = problem, goal
        self._chosen: dict[str, Call[Chosen]] = {}  # fitted again later
        self._fitted: dict[str, Call[Fitted]] = {}  # tested as they are
        self._kept: dict[str, Scorer] = {}

    def start(self, names: Sequence[str], refits: bool) -> None:
        """Hands the grids to whoever makes the calls of the job.

        Args:
            names: Of the baselines.
            refits: Whether they are fitted again before the test.
        """
        fits = self._problem.baseline_fits
        self._chosen = fits.start(names, choose) if refits else {}
        self._fitted = {} if refits else fits.start(names, fit_best)

    def tested(self, name: str, split: Split) -> Entry:
        """The best of a grid, as it was fitted, on the test part of a split."""
        fitted = self._in_time(self._fitted.pop(name).result())
        found = self._problem.tested(fitted.scorer, split)
        return Entry(
            name, fitted.valid.metrics, found, fitted.seconds, dict(fitted.params),
            merits=self._able(name, fitted.valid), edge=fitted.edge, tried=fitted.tried,
        )  # fmt: skip

    def tuned(self, name: str) -> Tuned:
        """The best of a grid, to be fitted again."""
        fitted = self._in_time(self._chosen.pop(name).result())
        return Tuned(
            name, fitted.valid.metrics, fitted.seconds, dict(fitted.params),
            self._able(name, fitted.valid), fitted.edge, fitted.tried,
        )  # fmt: skip

    def refitted(
        self, tuned: Tuned, problem: InteractionProblem, split: Split, keep: bool
    ) -> Entry:
        """A baseline, fitted again and tested.

        Args:
            tuned: As validation chose it.
            problem: On whose train part it is fitted.
            split: Whose test part it is tested on.
            keep: Whether its fit is kept, see `kept`.
        """
        begin = time.perf_counter()
        scorer = problem.baseline_fits.fitted(tuned.name, tuned.params)
        refit = {"seconds": time.perf_counter() - begin}
        found = problem.tested(scorer, split)
        if keep:
            self._kept = {tuned.name: scorer}
        return Entry(
            tuned.name, tuned.valid, found, tuned.seconds, tuned.params, refit, tuned.merits,
            tuned.edge, tuned.tried,
        )  # fmt: skip

    def kept(self, name: str) -> Scorer | None:
        """Gives away the fit of a baseline; None: it was not kept."""
        return self._kept.pop(name, None)

    def _in_time(self, found: Tuning) -> Tuning:
        """The result; it is noted where the time was over, also on another process's clock."""
        if found.cut:
            self._problem.runtime.out_of_time()
        return found

    def _able(self, name: str, valid: Evaluation) -> NDArray[np.float64] | None:
        """Merits by validation user of a baseline that may be served; None: it may not."""
        serving = BASELINES[name].serving
        n_items = self._problem.train_part.sizes[1]
        if self._goal is None or serving is None or n_items > serving.most_items:
            return None
        return self._goal.merits(valid.per_user)
