"""Classical baselines on the two parts of a problem: tuned, fitted, and forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sif.baselines import BASELINES, fit_best
from sif.baselines.base import Chosen, Fitted, Params, fit_chosen
from sif.baselines.forecast import TuningSeconds, evaluation_seconds, tuning_seconds
from sif.config import CFConfig
from sif.data.interactions import Interactions
from sif.evaluation.evaluate import Scorer
from sif.evaluation.goals import asks_for_features
from sif.evaluation.item_orders import ItemOrder
from sif.utils.calls import CPU, Call
from sif.utils.device import Runtime
from sif.utils.random import derive_seed

Tuning = TypeVar("Tuning", bound=Chosen)


@dataclass(frozen=True, eq=False)
class BaselineFits:
    """The baselines of a job; those that cannot be fitted raise ConfigError or DataError.

    Attributes:
        train_part: The part that is fitted.
        valid_part: The part by which parameters are chosen.
        config: Of the task.
        runtime: Device, threads, the end of the present stage, and who makes calls.
        cold_order: Order of the items for new users.
    """

    train_part: Interactions
    valid_part: Interactions
    config: CFConfig
    runtime: Runtime
    cold_order: ItemOrder

    def start(
        self, names: Sequence[str], tune: Callable[..., Tuning]
    ) -> dict[str, Call[Tuning]]:  # fmt: skip
        """Starts the tuning of baselines, which do not wait for each other.

        Args:
            names: Of the baselines.
            tune: `fit_best`, or `choose` where the scorer is not wanted.

        Returns:
            The calls by name.
        """
        calls, runtime, config = self.runtime.calls, self.runtime, self.config
        parts = calls.put(self.train_part), calls.put(self.valid_part)
        return {
            name: calls.start(
                f"baseline {name}", runtime.device if BASELINES[name].on_gpu else CPU, tune,
                BASELINES[name], *parts, config.objective,
                seed=self._seed(name), threads=runtime.threads,
                device=runtime.device, out_of_time=runtime.out_of_time,
                cutoffs=config.metrics_at, cold_order=self.cold_order,
                by_features=asks_for_features(config.serve_by),
            )
            for name in names
        }  # fmt: skip

    def tuned(self, name: str) -> Fitted:
        """A baseline, as validation chooses it of its grid (`fit_best`)."""
        return self.start([name], fit_best)[name].result()

    def fitted(self, name: str, params: Params) -> Scorer:
        """A baseline with given parameters, fitted on the train part (`fit_chosen`)."""
        return fit_chosen(
            BASELINES[name], self.train_part, params, seed=self._seed(name),
            threads=self.runtime.threads, device=self.runtime.device, cold_order=self.cold_order,
        )  # fmt: skip

    def seconds(
        self, names: Sequence[str], sample: Interactions, times: float
    ) -> Iterator[tuple[str, Callable[[], TuningSeconds]]]:
        """By name, a function that measures the seconds of `tuned` on small fits.

        Args:
            names: Of the baselines.
            sample: The train rows of some users, or all.
            times: How many times as long fits of all rows take.
        """
        objective = self.config.objective
        evaluation = evaluation_seconds(self.train_part, self.valid_part, objective)
        measured = partial(
            tuning_seconds, train=sample, evaluation=evaluation, seed=self.config.seed,
            threads=self.runtime.threads, device=self.runtime.device, times=times,
        )  # fmt: skip
        for name in names:
            yield name, partial(measured, BASELINES[name])

    def _seed(self, name: str) -> int:
        return derive_seed(self.config.seed, "baseline", name)
