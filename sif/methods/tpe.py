"""Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011, section 4), by Optuna.

Every number of a selection's row is a separate categorical parameter, so the joint effect of two
edges is not modeled: Optuna's default. Its first ten selections are drawn at random.
"""

from __future__ import annotations

import warnings
from typing import Any

from sif.core.gates import Selection
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler
from sif.utils.optional import library


class Tpe(Sampler):
    """Parzen estimators, each selection trained from scratch (Bergstra et al., NeurIPS 2011).

    Raises:
        ConfigError: Optuna is not installed.
    """

    def _restart(self) -> None:
        optuna = library("optuna", "method tpe", extra="bench")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed))
        category = optuna.distributions.CategoricalDistribution
        self._space = {
            name: category(tuple(range(size)))
            for name, size in zip(self.selections.names, self.selections.sizes, strict=True)
            if size > 1
        }
        self._trial: Any = None

    def _next(self) -> Selection:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental features, which are not used
            self._trial = self._study.ask(self._space)
        params, every = self._trial.params, self.selections
        return every.from_row([int(params.get(name, 0)) for name in every.names])

    def _learn(self, result: Evaluated) -> None:
        self._study.tell(self._trial, result.error)


TPE = MethodKind(seeded(Tpe), samples=True)
