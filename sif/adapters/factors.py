"""A model whose scores are a product, as factors of users and items: score = A_u . B_i.

Biases, the constant, the scale of ratings and the rule for rows that were not trained become
columns of their own, so that the product gives the model's own answers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.errors import ConfigError
from sif.evaluation.cold_start import ColdStartRule
from sif.recommender.fold_in import Rows
from sif.recommender.model import ServedModel
from sif.spaces.interaction.embeddings import clip_readout

Factors = NDArray[np.float32]
SHARE = 1e-3
"""Share of a vector's length that the cold start's columns add to rows that they do not rule."""


def has_factors(model: ServedModel) -> bool:
    """True if a model's scores are a product of users and items."""
    if model.reads_order or len(model.fields) != 2:
        return False
    return model.network.interaction().operation.factors is not None


class Products:
    """The factors of a model's users and items, those of folded rows alike.

    The weights of multiply are shared evenly by both sides, so that the cosine of two items'
    factors is that of `Recommender.similar_items` where it is all of the function and there are
    no biases.

    Args:
        model: Whose function has factors.

    Attributes:
        model: The argument.
        rule: The rule for untrained rows that its answers are under; None: none.

    Raises:
        ConfigError: The model's function has none.
    """

    def __init__(self, model: ServedModel) -> None:
        if not has_factors(model):
            raise ConfigError(
                f"implicit: expected a function whose scores are a product, found "
                f"{model.expression}"
            )
        self.model, self.rule = model, model.rule
        self._interaction = model.network.interaction()
        self._biased = bool(model.network.tables.biases)
        self._offset = self._biased or model.network.tables.has_intercept or model.scale.mean != 0
        self._columns: tuple[float, float, float] | None = None
        self._columns = self._rule_columns()

    def users(self) -> Factors:
        """(n_users, r) of the model's own users."""
        return self.users_of(self._rows(0), None if self.rule is None else self.rule.cold_users)

    def items(self) -> Factors:
        """(n_items, r) of the model's own items."""
        return self.items_of(self._rows(1), self.rule)

    @torch.no_grad()
    def users_of(self, rows: Rows, cold: NDArray[np.bool_] | None = None) -> Factors:
        """(b, r) of users given as raw vectors and biases; cold ones get the popular items."""
        left = self._side(rows, 0) * self.model.scale.deviation
        if self._offset:
            scale, constant = self.model.scale, self.model.network.tables.intercept
            total = scale.mean + scale.deviation * (constant + self._bias(rows))
            left = torch.cat([left, torch.stack([total, torch.ones_like(total)], dim=1)], dim=1)
        factors = left.float().numpy()
        if self._columns is None:
            return factors
        _, untrained, popular = self._columns
        cold = np.zeros(len(factors), dtype=np.bool_) if cold is None else cold
        rule = np.where(cold[:, None], [[0.0, popular]], [[untrained, 0.0]])
        return np.hstack([np.where(cold[:, None], 0, factors), rule]).astype(np.float32)

    @torch.no_grad()
    def items_of(self, rows: Rows, rule: ColdStartRule | None = None) -> Factors:
        """(b, r) of items with the rule for them; None: of items folded in, which come last."""
        right = self._side(rows, 1)
        if self._offset:
            bias = self.model.scale.deviation * self._bias(rows)
            right = torch.cat([right, torch.stack([torch.ones_like(bias), bias], dim=1)], dim=1)
        factors = right.float().numpy()
        if self._columns is None:
            return factors
        floor, untrained, popular = self._columns
        if rule is None:
            assert self.rule is not None  # noqa: S101 (there are columns for it)
            never = np.zeros(len(factors), dtype=np.bool_)
            order = np.full(len(factors), self.rule.last)
        else:
            never, order = rule.never_recommended, rule.finite_order
        columns = [never * floor / untrained, order / popular]
        return np.hstack([factors, np.stack(columns, axis=1)]).astype(np.float32)

    def _side(self, rows: Rows, field: int) -> Tensor:
        """Factors of the interaction alone."""
        interaction = self._interaction
        own = interaction.transforms[field](rows.vectors)
        pair = (own, own[:0]) if field == 0 else (own[:0], own)
        operation, readout = interaction.operation, clip_readout(interaction.readout)
        assert operation.factors is not None  # noqa: S101 (the constructor has looked)
        side = operation.factors(*pair, readout)[field]
        if (operation.parts or (operation,))[0].name == "multiply":
            d = own.shape[1]
            share = readout[:d].abs().sqrt()
            inverse = torch.where(share > 0, 1 / share, torch.zeros_like(share))
            side = torch.cat([side[:, :d] * (share if field else inverse), side[:, d:]], dim=1)
        return side

    def _rows(self, field: int) -> Rows:
        biases = self.model.network.tables.biases
        table = self._interaction.vectors[field].table.detach()
        return Rows(table, biases[field].detach() if biases else None)

    def _bias(self, rows: Rows) -> Tensor:
        return torch.zeros(len(rows.vectors)) if rows.biases is None else rows.biases

    def _rule_columns(self) -> tuple[float, float, float] | None:
        """The score that untrained items lose, and the scales of users' columns of the rule.

        A trained user's column is short, and so is an item's place among the popular: the cosines
        of trained users and of trained items are theirs.
        """
        if self.rule is None:
            return None
        users, items = (np.linalg.norm(f, axis=1) for f in (self.users(), self.items()))
        floor = -(1 + 2 * float(users.max() * items.max()))
        untrained = _power(SHARE * float(np.median(users)))
        popular = 1 / _power(SHARE * float(np.median(items)) / (len(items) + 1))
        return floor, untrained, popular


def _power(value: float) -> float:
    """The power of two below a value, which scales without rounding."""
    return 2.0 ** math.floor(math.log2(max(value, 1e-20)))
