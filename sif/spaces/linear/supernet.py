"""The space of item-item models: weights in closed form, searched by the core like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.probe import replacement_scores
from sif.errors import DivergedError
from sif.spaces.linear.design import (
    AHEAD,
    ANY,
    BLOCKS,
    DISCOUNT,
    HALF_LIFE,
    MIDDLE,
    NAME,
    NONE,
    SCALES,
    TARGET,
    LinearDesign,
    decay_of,
    decays_of,
    half_life_of,
    linear_design,
)
from sif.spaces.linear.gram import Products
from sif.spaces.linear.ridge import histories, seen, set_weights, solve
from sif.spaces.linear.sequences import Decay, Sequences
from sif.utils.climb import Climb

Scores = NDArray[np.float32]
SMALL = 1e-3
"""Share of the error that is no gain."""
UNSOLVED = 1e6
"""Error where a penalty is too small to be solved for; that of a ranking that finds nothing."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Users whose next items are known, as a batch.

    Attributes:
        known: Histories of the users, before the items.
        truth: CSR (n_users, n_items), the items.
    """

    known: Sequences
    truth: sp.csr_matrix

    def first(self, count: int) -> Judged:
        """The first users."""
        return Judged(self.known.first(count), self.truth[:count])


@dataclass(frozen=True, eq=False)
class OrderContext:
    """Data and objective, as the space needs them.

    Attributes:
        train: What weights are fitted on.
        l2: Ridge penalty of the next item, in rows; where a search begins.
        set_l2: The same of any item.
        criterion: Validation error of scores (n_users, n_items) of a batch's users.
        penalties: Choices of `l2`, ascending, it among them; none: it stays.
        gain: Share by which order, each further scale, a decay by time and further items in the
            target must lower the error to be worth it.
        popularity: (n_items,) train rows of each item.
    """

    train: Sequences
    l2: float
    set_l2: float
    criterion: Callable[[Judged, Scores], float]
    penalties: tuple[float, ...] = ()
    gain: float = 0.01
    popularity: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        counts = np.bincount(self.train.items, minlength=self.train.n_items)
        object.__setattr__(self, "popularity", counts + 1.0)


class OrderSpace(nn.Module):
    """Which history predicts what.

    Every combination has weights of its own, the exact minimum of its training loss, so there is
    nothing to warm up. A single number is trained by steps: the scale of the scores, which no
    ranking sees.

    Args:
        context: Inputs from data and objective.
        blocks: Those of `sif.spaces.linear.design` that are searched; others stay neutral.

    Attributes:
        at_rest: Whether no replacement was better when last asked for.
        l2: (), the penalty of the next item that suits the selection last judged. Under that of
            fewer scales a further one seems to help where it only stands in for a smaller penalty.
    """

    l2: Tensor

    name = NAME

    def __init__(self, context: OrderContext, blocks: tuple[Block, ...] = BLOCKS) -> None:
        super().__init__()
        self.context, self.blocks, self.at_rest = context, blocks, False
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("l2", torch.tensor(context.l2, dtype=torch.float64))
        self._products = Products(context.train, dtype=torch.float32)
        self._weights: dict[tuple[tuple[Decay, ...], float, float], Tensor] = {}
        self._errors: dict[tuple[int, LinearDesign, float], float] = {}

    def reference_tensor(self) -> Tensor:
        """The scale of the scores."""
        return self.scale

    def weight_parameters(self) -> list[nn.Parameter]:
        """The scale of the scores."""
        return [self.scale]

    def arch_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def weights(self, decays: tuple[Decay, ...], ahead: float = 0.0) -> Tensor:
        """The weights (s * n_items, n_items) of time scales and a target; of a set without any."""
        key = decays, ahead, float(self.l2)
        if key not in self._weights:
            if len(self._weights) > 1:  # that of the active selection and one beside it
                self._weights.pop(next(iter(self._weights)))
            context = self.context
            self._weights[key] = (
                solve(self._products.normal(decays, keep=True, ahead=ahead), float(self.l2))
                if decays
                else set_weights(context.train, context.set_l2)
            )
        return self._weights[key]

    def scores(self, batch: Judged, design: LinearDesign) -> Scores:
        """Scores (n_users, n_items) of a batch's users."""
        known = seen(batch.known) if not design.decays else histories(batch.known, design.decays)
        found = known @ self.weights(design.decays, design.ahead).numpy()
        return np.asarray(found / self.context.popularity**design.discount, dtype=np.float32)

    def loss(self, batch: Judged, gates: Gates) -> Tensor:
        """Squared error of the scores of all items, under the gates."""
        target, discount = (gates.weights[name][0] for name in (TARGET, DISCOUNT))
        popularity = torch.from_numpy(self.context.popularity).to(self.scale)
        factor = sum(
            gate.to(self.scale) * popularity ** -float(name)
            for gate, name in zip(discount, self._names(DISCOUNT), strict=True)
        )
        found = target[0].to(self.scale) * self._set(batch)
        for choice, name in enumerate(self._names(TARGET)):
            if name != ANY and (gates.active is None or gates.active[TARGET] == (choice,)):
                found = found + target[choice].to(found) * self._next(batch, gates, AHEAD[name])
        truth = torch.from_numpy(batch.truth.toarray()).to(self.scale)
        result: Tensor = (self.scale * factor * found - truth).square().mean()
        return result

    def _set(self, batch: Judged) -> Tensor:
        return torch.from_numpy(seen(batch.known) @ self.weights(()).numpy())

    def _next(self, batch: Judged, gates: Gates, ahead: float) -> Tensor:
        """Scores by the histories of all decays, each through the weights of its scale."""
        names = {b.name: self._names(b.name)[_chosen(gates, b.name)] for b in self.blocks}
        scales = [name for name in SCALES if names.get(name, NONE) != NONE]
        parts = iter(self.weights(decays_of(names), ahead).split(self.context.train.n_items))
        result = torch.zeros(batch.truth.shape)
        for scale in scales:
            weights = next(parts).numpy()
            halving = self._open(gates, HALF_LIFE) if scale == scales[-1] else []
            for gate, other in self._open(gates, scale):
                for share, half_life in halving or [(torch.ones(()), NONE)]:
                    one = decay_of(other, half_life_of(half_life))
                    if one is not None:
                        known = torch.from_numpy(histories(batch.known, [one]) @ weights)
                        result = result + share.to(result) * gate.to(result) * known
        return result

    def _open(self, gates: Gates, block: str) -> list[tuple[Tensor, str]]:
        """Gates and names of a block's operations that are computed; none where it is not there."""
        if all(one.name != block for one in self.blocks):
            return []
        both = zip(gates.weights[block][0], self._names(block), strict=True)
        return [one for one in both if gates.active is None or bool(one[0])]

    def _names(self, block: str) -> tuple[str, ...]:
        return next(one.operations for one in self.blocks if one.name == block)

    def regularizer(self, gates: Gates) -> Tensor:
        """Nothing: the penalty is in the closed form."""
        return torch.zeros(())

    @torch.no_grad()
    def replacement_scores(
        self, train: Judged, valid: Judged, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """log(error with the candidate in place / error as it is), each with weights of its own.

        Of the block alone whose best candidate is best of all (where none is better, of the two
        blocks of `_merged`); 0 elsewhere. A time scale that is
        added or changed makes others superfluous, so all are judged again beside it, under the
        penalty that suits the selection as it is.
        """
        self.suit(valid, linear_design(self.genotype(gates)))

        def error(selection: Selection) -> float:
            genotype = self.genotype(selection.to_gates(self.blocks))
            return self.error(valid, linear_design(genotype))

        scores = replacement_scores(self.blocks, gates, error, alpha)
        best = min(scores, key=lambda name: float(scores[name].min()))
        changed = {best: scores[best]}
        if float(scores[best].min()) > -SMALL:
            changed = self._merged(gates.choices(), error) or changed
        self.at_rest = min(float(score.min()) for score in changed.values()) > -SMALL
        return {name: changed.get(name, torch.zeros_like(t)) for name, t in scores.items()}

    def _merged(
        self, selection: Selection, error: Callable[[Selection], float]
    ) -> dict[str, Tensor]:
        """The same of the best pair of blocks where one scale in place of two is better.

        Two scales that enclose the true one hold each other: each alone may neither go nor move.

        Args:
            selection: As it is.
            error: Of another one.

        Returns:
            Block name to (1, n_ops), below 0 at one choice; nothing where no pair is better.
        """
        found, least = {}, math.log(error(selection)) - SMALL
        for name in SCALES:
            names = self._names(name) if any(b.name == name for b in self.blocks) else ()
            if NONE not in names or names[selection[name][0]] == NONE:
                continue
            dropped = selection.switched(name, 0, names.index(NONE))
            for k in range(len(self._names(MIDDLE))):
                other = math.log(error(dropped.switched(MIDDLE, 0, k)))
                if other < least:
                    least, found = other, {name: names.index(NONE), MIDDLE: k}
        gain = least - math.log(error(selection))
        return {name: self._at(name, k, gain) for name, k in found.items()}

    def _at(self, block: str, choice: int, score: float) -> Tensor:
        """A score of one choice of a block, 0 of all others: (1, n_ops)."""
        scores = torch.zeros(1, len(self._names(block)), dtype=torch.float64)
        scores[0, choice] = score
        return scores

    def suit(self, batch: Judged, design: LinearDesign) -> None:
        """Sets the penalty under which a design errs least, by a walk from the one before."""
        if not self.context.penalties or not design.decays:
            return
        climb = Climb(self.context.penalties, float(self.l2))
        while (l2 := climb.next()) is not None:
            self.l2.fill_(l2)
            climb.tell(-self.error(batch, design))
        self.l2.fill_(climb.best)

    def error(self, batch: Judged, design: LinearDesign) -> float:
        """Validation error of a design, charged for what it has beyond a set, computed once."""
        key = id(batch), design, float(self.l2)
        if key not in self._errors:
            try:
                error = self.context.criterion(batch, self.scores(batch, design))
            except DivergedError:
                error = UNSOLVED
            beyond = len(design.decays) + (design.ahead > 0) + design.reads_time
            self._errors[key] = error * math.exp(self.context.gain * beyond)
        return self._errors[key]

    def genotype(self, gates: Gates) -> Genotype:
        """The combination at the gates."""
        chosen = gates.choices().named(self.blocks)
        neutral = {block.name: ((0, NONE),) for block in BLOCKS if block.name not in chosen}
        return Genotype(self.name, {**chosen, **neutral})


def _chosen(gates: Gates, block: str) -> int:
    """The operation of a block with the largest gate."""
    return int(gates.weights[block][0].argmax())
