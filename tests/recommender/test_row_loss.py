"""Any loss as one row sees it: where folding in has a form of its own, it is that form."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sif.recommender.fold_in import FoldIn
from sif.recommender.fold_in_terms import Encoding, Objective
from sif.recommender.row_loss import RowScores, row_loss
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import LOSSES, design_of

F64, USERS, ITEMS = torch.float64, 5, 9
OTHERS, TARGET = torch.tensor([1, 4, 6]), torch.tensor([0.3, -1.0, 0.7], dtype=F64)


class Negatives(NamedTuple):
    rows: Tensor
    draws: Tensor


def folded(loss: str) -> FoldIn:
    """Users of a product of random vectors, under weights of the items."""
    shape = TableShape((USERS, ITEMS), 3, init=0.7)
    design = design_of(plain_product(("user", "item")), ("user", "item"))
    net = InteractionNetwork(design, shape, torch.Generator().manual_seed(0)).double()
    even = 0.5 + torch.rand(ITEMS, generator=torch.Generator().manual_seed(1), dtype=F64)
    extra = torch.full_like(even, 3.0)
    own = LOSSES[loss].settings
    objective = Objective(loss, 0.1, 0.5, 1.0, 0.0, 1.0, even, extra, negatives=2,
                          own=own().model_dump() if own else {})  # fmt: skip
    return FoldIn(net.interaction(), 0, Encoding(True), objective)


@pytest.mark.parametrize("loss", [name for name, kind in LOSSES.items() if not kind.shared])
def test_it_is_the_form_that_folding_in_has(loss: str) -> None:
    fold, kind = folded(loss), LOSSES[loss]
    draws = torch.Generator().manual_seed(2)
    vector = torch.randn(1, 3, generator=draws, dtype=F64)
    near = torch.randn(3, generator=draws, dtype=F64)  # without what the pairs contributed
    target = TARGET if loss == "squared" else torch.ones_like(TARGET)

    def score(items: Tensor) -> Tensor:
        return fold._scores(vector, items)

    negatives = None
    if kind.negatives:
        rows = torch.tensor([0, 2, 3, 5, 7, 8])
        columns = [torch.randperm(6, generator=draws) for _ in range(2 if loss != "bpr" else 1)]
        negatives = Negatives(rows, torch.stack(columns, dim=1))
    expected = fold._loss(near, score, OTHERS, target, _of_one(loss, negatives))
    scores = RowScores(near, score, OTHERS, ITEMS, uses_history=True)
    drawn = None if negatives is None else negatives.rows[negatives.draws]
    found = row_loss(kind, fold.objective, scores, OTHERS, target, drawn)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def _of_one(loss: str, negatives: Negatives | None) -> Negatives | None:
    """Means and sums over negatives take them one by one."""
    if negatives is None:
        return negatives
    return Negatives(negatives.rows, negatives.draws.T.reshape(-1, 1))
