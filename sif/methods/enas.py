"""ENAS: efficient architecture search via parameter sharing (Pham et al., ICML 2018).

A controller, an LSTM, draws a selection choice by choice: the edges that a node keeps, then their
operations. The weights train under draws. An architecture step draws a selection, takes its reward
on a validation batch with the shared weights, and moves the controller by REINFORCE against a
moving average of rewards. At the end some draws are judged on the whole validation part.

The reward is the space's own (`sif.core.space.Rewarded`): accuracy for images, 80 / perplexity for
text. A space without one is rewarded by exp(1 - loss / first loss).

Differences from the paper: the controller moves after every weight step, not in phases of its own;
it draws the edges of a node at once, by a softmax instead of attention; the baseline starts at the
first reward; the bonus is the exact gradient of the entropy. In the published code the entropy is
a part of the reward alone, so it has no effect where a space has a single choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import skip_init

from sif.config.sections import Count, Dimension, NonNegative, Rate, Share
from sif.core.gates import Gates, Selection
from sif.core.method import ArchParameters, ArchReport, Plan
from sif.core.selections import Row, Selections
from sif.core.space import Batch, Rewarded, Space
from sif.methods.kind import MethodKind
from sif.methods.proposals import different
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit

INITIAL = 0.1
"""Bound of the controller's uniform first weights (section 3.1)."""


class EnasSettings(MethodSettings):
    """Settings of ENAS, as in section 3.1 of the paper and its code (melodyguan/enas)."""

    hidden: Dimension = Field(100, description="size of the controller's state (section 2.2)")
    arch_lr: Annotated[Rate, Unit("step size")] = Field(
        3.5e-4, description="Adam step size of the controller"
    )
    temperature: Annotated[Rate, Unit("-")] = Field(
        5.0, description="number that divides the controller's logits"
    )
    tanh_constant: Annotated[Rate, Unit("-")] = Field(
        2.5, description="bound of the controller's logits, c in c * tanh(logits)"
    )
    entropy: Annotated[NonNegative, Unit("reward per nat")] = Field(
        1e-4, description="weight of the entropy of the controller's choices"
    )
    baseline_decay: Share = Field(
        0.99, description="share of the old baseline in the moving average of rewards (main.py)"
    )
    samples: Annotated[Count, Unit("selections")] = Field(
        1,
        description="selections drawn per step of the controller; the published code averages "
        "10, but steps 30 times an epoch",
    )
    candidates: Annotated[Count, Unit("selections")] = Field(
        10,
        description="selections drawn at the end and judged, the most likely one among them; the "
        "paper says several",
    )


class Controller(nn.Module):
    """An LSTM that draws the numbers of a selection's row one after the other (section 2.1).

    Args:
        selections: Of the space.
        settings: Of the method.
        generator: On the CPU; draws the first weights.
    """

    def __init__(
        self, selections: Selections, settings: EnasSettings, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._sizes, self._settings = selections.sizes, settings
        names = [_kind(name) for name in selections.names]
        kinds = {name: size for name, size in zip(names, self._sizes, strict=True) if size > 1}
        places = {name: place for place, name in enumerate(kinds)}
        self._kinds = [places.get(name, -1) for name in names]
        width, dtype = settings.hidden, torch.float64
        self.cell = skip_init(nn.LSTMCell, width, width, dtype=dtype)
        self.start = nn.Parameter(torch.empty(width, dtype=dtype))
        self.heads = nn.ParameterList(
            nn.Parameter(torch.empty(size, width, dtype=dtype)) for size in kinds.values()
        )
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.empty(size, width, dtype=dtype)) for size in kinds.values()
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL, generator=generator)

    def forward(self, pick: Callable[[int, Tensor], int]) -> tuple[Row, list[Tensor]]:
        """A row, and for each of its numbers the log chances (size), given the numbers before.

        Args:
            pick: Gets the place of a number and the log chances, and says what the number is.
        """
        row, told = [], []
        given, state = self.start, None
        for place, (size, kind) in enumerate(zip(self._sizes, self._kinds, strict=True)):
            if size == 1:
                row.append(0)
                told.append(given.new_zeros(1))
                continue
            state = self.cell(given[None], state)
            logits = self.heads[kind] @ state[0][0] / self._settings.temperature
            bounded = self._settings.tanh_constant * logits.tanh()
            told.append(bounded.log_softmax(dim=0))
            row.append(pick(place, told[-1].detach()))
            given = self.embeddings[kind][row[-1]]
        return tuple(row), told

    def drawn(self, generator: torch.Generator) -> tuple[Row, list[Tensor]]:
        """A drawn row with its log chances."""
        return self.forward(
            lambda _, log: int(torch.multinomial(log.exp(), 1, generator=generator))
        )

    def likeliest(self) -> tuple[Row, list[Tensor]]:
        """The row of the likeliest number at every place, with its log chances."""
        return self.forward(lambda _, log: int(log.argmax()))


def _kind(name: str) -> str:
    """The name of choices that share a head: the operations of a block, the edges of a node."""
    where, _, what = name.rpartition(".")
    return name if what == "edges" else where.rpartition(".")[0]


def log_chance(row: Row, log_chances: Sequence[Tensor]) -> Tensor:
    """Log of the chance of a row, a scalar."""
    return torch.stack([log[k] for k, log in zip(row, log_chances, strict=True)]).sum()


def path_entropy(log_chances: Sequence[Tensor]) -> Tensor:
    """Sum of the entropies of the choices along a row, nats."""
    return torch.stack([-(log.exp() * log).sum() for log in log_chances]).sum()


def surrogate(
    row: Row, log_chances: Sequence[Tensor], reward: float, entropy: float, baseline: float
) -> tuple[Tensor, float]:
    """The loss on which REINFORCE descends for a drawn row, and the reward with its bonus.

    In expectation over rows, its gradient is that of -(mean reward + `entropy` * entropy of the
    rows), whatever the baseline.
    """
    bonus = entropy * path_entropy(log_chances)
    total = reward + float(bonus.detach())
    return -(total - baseline) * log_chance(row, log_chances) - bonus, total


class Enas:
    """An LSTM draws selections and learns by REINFORCE (Pham et al., ICML 2018).

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Of the method.
        plan: Of the search.
        generator: On the CPU; draws first weights of the controller and selections.
    """

    Settings = EnasSettings

    def __init__(
        self, space: Space, settings: EnasSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        self.settings, self._generator = settings, generator
        self._selections = Selections(space.blocks)
        self.controller = Controller(self._selections, settings, generator)
        self._optimizer = torch.optim.Adam(self.controller.parameters(), settings.arch_lr)
        self._continuous = ArchParameters(space, plan.continuous_lr)
        self._baseline: float | None = None
        self._first_loss: float | None = None
        self._ranked: list[Row] = []
        self._mode: tuple[Row, list[Tensor]] | None = None

    @property
    def candidates(self) -> int:
        """The largest number of errors that `choose` asks for."""
        return self.settings.candidates

    def _gates(self, row: Row) -> Gates:
        return self._selections.from_row(row).to_gates(self._selections.blocks)

    @torch.no_grad()
    def weight_gates(self, step: int) -> Gates:
        """A drawn selection."""
        return self._gates(self.controller.drawn(self._generator)[0])

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of the controller by the rewards of draws on a validation batch."""
        losses, parts, gates = [], [], None
        for _ in range(self.settings.samples):
            row, log_chances = self.controller.drawn(self._generator)
            gates = self._gates(row)
            loss, reward = self._rewarded(space, valid, gates)
            baseline = reward if self._baseline is None else self._baseline
            part, total = surrogate(row, log_chances, reward, self.settings.entropy, baseline)
            decay = self.settings.baseline_decay
            self._baseline = total if self._baseline is None else (
                decay * baseline + (1 - decay) * total
            )  # fmt: skip
            losses.append(loss)
            parts.append(part)
        self._optimizer.zero_grad(set_to_none=True)
        if any(part.requires_grad for part in parts):  # not in a space of one selection
            torch.stack(parts).mean().backward()
        self._optimizer.step()
        self._mode = None
        if gates is not None and self._continuous.parameters:
            self._continuous.step(space, valid, gates)
        return ArchReport(sum(losses) / len(losses))

    @torch.no_grad()
    def _rewarded(self, space: Space, valid: Batch, gates: Gates) -> tuple[float, float]:
        """Loss and reward of a selection."""
        if isinstance(space, Rewarded):
            loss, reward = space.rewarded(valid, gates)
            return float(loss), float(reward)
        value = float(space.loss(valid, gates))
        if not math.isfinite(value):
            return value, 0.0
        if self._first_loss is None:
            self._first_loss = max(abs(value), torch.finfo(torch.float32).tiny)
        return value, math.exp(min(1 - value / self._first_loss, 1e2))

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Keeps the candidate with the lowest finite error, the first of equals."""
        with torch.no_grad():
            rows = [self._likeliest()[0]]
            rows += [self.controller.drawn(self._generator)[0] for _ in range(self.candidates - 1)]
        judged = {row: error(self._gates(row)) for row in dict.fromkeys(rows)}
        told = {row: e if math.isfinite(e) else math.inf for row, e in judged.items()}
        self._ranked = sorted(told, key=lambda row: told[row])

    @torch.no_grad()
    def proposals(self, most: int) -> list[Selection]:
        """Draws: those that were judged at the end, by their errors, then further ones."""
        of, judged = self._selections.from_row, [*self._ranked]

        def drawn() -> Selection:
            return of(judged.pop(0) if judged else self.controller.drawn(self._generator)[0])

        return different(drawn, most)

    @torch.no_grad()
    def _likeliest(self) -> tuple[Row, list[Tensor]]:
        if self._mode is None:
            self._mode = self.controller.likeliest()
        return self._mode

    def best_gates(self) -> Gates:
        """The chosen candidate; before the choice, the likeliest selection."""
        return self._gates(self._ranked[0] if self._ranked else self._likeliest()[0])

    def alpha(self) -> dict[str, Tensor]:
        """The chance of each candidate, given the likeliest choices before it."""
        return self._selections.marginals([log.exp() for log in self._likeliest()[1]])

    def state_dict(self) -> dict[str, Any]:
        """Controller, optimizers, baseline, judged draws and random state."""
        return {
            "controller": self.controller.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
            "baseline": self._baseline,
            "first_loss": self._first_loss,
            "ranked": [list(row) for row in self._ranked],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self.controller.load_state_dict(state["controller"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])
        self._baseline, self._first_loss = state["baseline"], state["first_loss"]
        self._ranked = [tuple(row) for row in state.get("ranked", [])]  # none in earlier versions
        self._mode = None


ENAS = MethodKind(Enas, Enas.Settings, arch_every=1)
