from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sif.core.stream import Permutation
from sif.errors import BudgetError
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.losses import Batch, squared
from sif.spaces.interaction.losses import LossSettings as Settings
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp
from sif.tracking import NullTracker
from sif.training.loop import (
    Metrics,
    TrainResult,
    TrainSettings,
    spread,
    train,
    train_again,
)
from sif.utils import checkpoint
from sif.utils.device import never


class Stop(Exception):
    """The job is killed."""


class File:
    """Saves at every offer, and kills the job at one of them."""

    def __init__(self, path: Path | None = None, stop_after: int | None = None) -> None:
        self.path, self.stop_after, self.offers = path, stop_after, 0

    def restore(self) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        found: dict[str, Any] = checkpoint.load(self.path, "train")
        return found

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.offers += 1
        if self.path is not None:
            checkpoint.save(self.path, state(), "train")
        if self.offers == self.stop_after:
            raise Stop


class Logged(NullTracker):
    """Remembers what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.lines.append((step, dict(metrics)))


class Counter(nn.Module):
    """Its weight tells how many steps were taken: each subtracts about lr."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.tensor(0.0))
        self.fixed = nn.Parameter(torch.tensor(5.0), requires_grad=False)


def scripted(
    metrics: list[float],
    *,
    higher: bool = True,
    epochs: int = 100,
    every: int = 1,
    patience: int = 3,
    tracker: Logged | None = None,
    out_of_time: Callable[[], bool] = never,
    checkpointer: File | None = None,
) -> tuple[TrainResult, Counter, list[int]]:
    """Trains under validation metrics given in advance; tells the steps at each validation."""
    net, script, seen = Counter(), iter(metrics), []

    def evaluate() -> Metrics:
        seen.append(round(-float(net.steps.detach()) / 0.01))
        return {"score": next(script), "other": float(len(seen))}

    settings = TrainSettings(
        epochs, 0.01, "score", higher, every, patience, out_of_time=out_of_time
    )
    stream = Permutation(6, 3, torch.Generator().manual_seed(0))  # two steps per epoch
    result = train(
        net, lambda batch: net.steps + 0 * net.fixed, stream, evaluate, settings,  # type: ignore[arg-type]
        tracker or Logged(), checkpointer or File(),
    )  # fmt: skip
    return result, net, seen


def steps_of(net: Counter) -> int:
    return round(-float(net.steps.detach()) / 0.01)


def test_the_best_weights_stay() -> None:
    result, net, seen = scripted([0.1, 0.5, 0.3, 0.4, 0.2, 0.9])
    assert seen == [2, 4, 6, 8, 10]  # stopped after three validations without a better one
    assert result.best_epoch == 2
    assert result.epochs == 5
    assert result.valid == {"score": 0.5, "other": 2.0}
    assert steps_of(net) == 4
    assert float(net.fixed) == 5.0


def test_lower_may_be_better() -> None:
    result, net, _ = scripted([0.9, 0.5, 0.7, 0.5, 0.6], higher=False)
    assert result.best_epoch == 2  # an equal metric later is no better
    assert steps_of(net) == 4


def test_a_better_metric_renews_the_patience() -> None:
    result, _, seen = scripted([0.1, 0.0, 0.0, 0.2, 0.1, 0.1, 0.3, 0.2, 0.2, 0.2])
    assert (result.best_epoch, result.epochs, len(seen)) == (7, 10, 10)


def test_the_best_so_far_stays_when_time_is_out() -> None:
    over = iter([False, False, False, True])
    result, net, seen = scripted([0.4, 0.1], every=3, out_of_time=lambda: next(over))
    assert seen == [6, 8]  # validated once more, at the end
    assert (result.epochs, result.best_epoch, steps_of(net)) == (4, 3, 6)
    result, net, _ = scripted([0.4], every=3, out_of_time=lambda: True)
    assert (result.epochs, result.valid["score"], steps_of(net)) == (1, 0.4, 2)


def test_validation_is_every_so_often_and_at_the_end() -> None:
    tracker = Logged()
    result, _, seen = scripted([0.1, 0.2, 0.3], every=3, epochs=8, tracker=tracker)
    assert seen == [6, 12, 16]
    assert [entry["epoch"] for entry in result.history] == [3, 6, 8]
    assert [step for step, _ in tracker.lines] == [3, 6, 8]
    assert result.epochs == result.best_epoch == 8


def test_history_holds_loss_and_metrics() -> None:
    result, _, _ = scripted([0.1, 0.2], epochs=2)
    assert [entry["score"] for entry in result.history] == [0.1, 0.2]
    # Mean loss over the epoch's two steps, from 0, with Adam steps of 0.01.
    assert result.history[0]["loss"] == pytest.approx(-0.005, rel=1e-3)
    assert result.history[1]["seconds"] == result.seconds > 0


def test_a_resumed_training_has_no_more_patience_than_before(tmp_path: Path) -> None:
    script = [0.5, 0.1, 0.2, 0.3, 0.4, 0.45]
    path = tmp_path / "stopped"
    with pytest.raises(Stop):  # two of three validations without a better one are over
        scripted(script[:3], checkpointer=File(path, stop_after=3))
    result, _, seen = scripted(script[3:], checkpointer=File(path))
    assert (result.best_epoch, result.epochs, len(seen)) == (1, 4, 1)


SIZES = (9, 7)


def ratings(seed: int, n: int) -> PartTensors:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(m, (n,), generator=generator) for m in SIZES], dim=1)
    truth = torch.sin(ids[:, 0].double()) * torch.cos(ids[:, 1].double())
    return PartTensors(ids, truth, SIZES)


def fit(checkpointer: File, epochs: int = 12) -> tuple[TrainResult, InteractionNetwork]:
    generator = torch.Generator().manual_seed(1)
    frozen = Mlp(generator).requires_grad_(False)
    shape = TableShape(SIZES, 3, biases=True, intercept=True, init=0.5)
    net = InteractionNetwork(
        Design((frozen, PRIMITIVES["~abs"]), OPERATIONS["multiply"]), shape, generator
    )
    net.double()
    valid = ratings(5, 40)

    def objective(batch: Batch) -> Tensor:
        return squared(net.interaction(), batch, Settings())

    @torch.no_grad()
    def evaluate() -> Metrics:
        return {"mse": float(((net(valid.ids) - valid.target) ** 2).mean())}

    stream = InteractionStream(ratings(4, 100), 15, Drawing(1, 1), torch.Generator().manual_seed(2))
    settings = TrainSettings(epochs, 0.1, "mse", False, evaluate_every=2, patience=4)
    result = train(net, objective, stream, evaluate, settings, NullTracker(), checkpointer)
    return result, net


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def test_training_resumed_at_any_checkpoint_is_the_uninterrupted_one(tmp_path: Path) -> None:
    counted = File(tmp_path / "whole")
    whole, net = fit(counted)
    assert counted.offers >= 4
    for place in range(1, counted.offers + 1):  # the last: training had ended when it was stopped
        path = tmp_path / f"stopped-{place}"
        with pytest.raises(Stop):
            fit(File(path, stop_after=place))
        rest, other = fit(File(path))
        assert without_seconds(rest.history) == without_seconds(whole.history)
        assert (rest.valid, rest.best_epoch, rest.epochs) == (
            whole.valid, whole.best_epoch, whole.epochs,
        )  # fmt: skip
        for one, two in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)


def test_training_learns_and_reports_the_weights_it_leaves(tmp_path: Path) -> None:
    result, net = fit(File())
    valid = ratings(5, 40)
    with torch.no_grad():
        left = float(((net(valid.ids) - valid.target) ** 2).mean())
    assert left == result.valid["mse"] == min(e["mse"] for e in result.history)
    assert left < 0.5 * float(valid.target.var())
    fresh = Mlp(torch.Generator().manual_seed(1)).double()
    for one, two in zip(net.frozen[0].parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, two)  # the architecture is not trained


# Again, for a number of steps that is known


def again(
    steps: list[int], checkpointer: Any, tracker: Logged, out_of_time: Callable[[], bool] = never
) -> float:
    """The weight that these steps, each of about the step size, lead to."""
    net = Counter()
    settings = TrainSettings(8, 0.5, "m", True, schedule=lambda e, n: (n - e) / n,
                             out_of_time=out_of_time)  # fmt: skip
    stream = Always()
    train_again(net, lambda batch: net.steps, stream, steps, settings, tracker, checkpointer)
    return float(net.steps.detach())


class Always:
    """A stream without a state."""

    steps_per_pass = 1

    def next(self) -> Any:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_again_takes_these_steps_at_the_rates_of_the_first_training() -> None:
    tracker = Logged()
    # Adam steps by the rate while the gradient stays the same: 2 at 8/8 of .5, 3 at 7/8, 1 at 6/8.
    reached = again([2, 3, 1], File(), tracker)
    assert reached == pytest.approx(-0.5 * (2 + 3 * 7 / 8 + 6 / 8), rel=1e-4)
    assert [step for step, _ in tracker.lines] == [1, 2, 3]
    assert {key for _, line in tracker.lines for key in line} == {"seconds", "loss"}


def test_again_resumes_and_gives_up_without_time(tmp_path: Path) -> None:
    whole = again([2, 3, 1], File(), Logged())
    with pytest.raises(Stop):
        again([2, 3, 1], File(tmp_path / "loop", 2), Logged())
    tracker = Logged()
    assert again([2, 3, 1], File(tmp_path / "loop"), tracker) == whole
    assert [step for step, _ in tracker.lines] == [3]
    with pytest.raises(BudgetError, match="expected time for 3 epochs, found it for 1"):
        again([2, 3, 1], File(), Logged(), out_of_time=lambda: True)


@pytest.mark.parametrize(
    ("steps", "epochs", "even"), [(6, 3, [2, 2, 2]), (9, 8, [1] * 7 + [2]), (45, 1, [45])]
)
def test_steps_are_spread_evenly(steps: int, epochs: int, even: list[int]) -> None:
    assert spread(steps, epochs) == even
