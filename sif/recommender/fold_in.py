"""Vectors of rows that training has not seen, from their pairs, with everything else frozen.

A history or a propagated neighborhood is looked up and summed. A row's own embedding and bias
minimize the training loss of that row alone: a ridge regression where the score is linear in them
and the loss is a square (as `recalculate_user` of implicit; Hu, Koren & Volinsky, ICDM 2008), a few
quasi-Newton steps elsewhere, which end near a local minimum where the function has kinks (max,
min). As in training, a pair is not predicted from itself.

Negatives are, as in training, rows of the other field without a pair with the row: all of them, or
a sample for the row if there are many; those without any training pair are zero. For users that is
the mean of the training loss over its draws. For items it is not: training draws items for users,
the fold draws users for the item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from sif.recommender.fold_in_rows import chunks, solutions
from sif.recommender.fold_in_terms import Encoding, Objective
from sif.recommender.row_loss import RowScores, row_loss
from sif.retrieval.threads import in_chunks
from sif.spaces.interaction.embeddings import clip_readout
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.registry import LOSSES
from sif.spaces.interaction.transforms import is_identity

STEPS = 50
"""Most quasi-Newton steps of a fold; ten are usual before the gradient vanishes."""
NEGATIVES = 1000
"""Most rows of the other field that are a row's negatives, for pairwise losses."""
SQUARES = ("squared", "whole-data")
"""Losses that a ridge regression minimizes."""
MEANS = ("bpr", "bce")
"""Losses that are a mean or a sum over negatives, in any grouping."""


class Rows(NamedTuple):
    """Raw vectors (b, d) of some rows of a field, as its table holds them, and biases (b,)."""

    vectors: Tensor
    biases: Tensor | None


class _Form(NamedTuple):
    """Scores of a row with all others as slopes v + constants, v its vector; and what they sum to.

    Attributes:
        slopes: (n_other, d).
        constants: (n_other,).
        unknowns: (n_other, q): slopes by a row's embedding and bias.
        gram, cross, rest: Weighted products of these with themselves, the slopes, the constants.
    """

    slopes: Tensor
    constants: Tensor
    unknowns: Tensor
    gram: Tensor
    cross: Tensor
    rest: Tensor


class _Negatives(NamedTuple):
    """Rows of the other field that a row is compared with.

    Attributes:
        rows: (k,), distinct.
        draws: (t, m) of these by position, each as often in every column: what t pairs of the train
            stream draw; m is 1 where the loss is a mean or a sum over them.
    """

    rows: Tensor
    draws: Tensor


class FoldIn:
    """Folds rows of one field into a trained function of two.

    Args:
        interaction: Over baked tables.
        field: 0 for users, 1 for items.
        encoding: Of the field's rows.
        objective: Loss and penalties that trained it.
    """

    def __init__(
        self, interaction: Interaction, field: int, encoding: Encoding, objective: Objective
    ) -> None:
        self.interaction, self.field = interaction, field
        self.encoding, self.objective = encoding, objective
        other = interaction.vectors[1 - field].table
        self.others, self.dimension = other.shape
        tables = interaction.tables
        self.biased = bool(tables.biases)
        self.offset = tables.intercept.detach().expand(self.others)
        if self.biased:
            self.offset = self.offset + tables.biases[1 - field].detach()
        self._form = _linear(self)

    @torch.no_grad()
    def vectors(self, pairs: sparse.csr_array) -> Rows:
        """Vectors and biases of rows from their pairs.

        Args:
            pairs: (b, n_other); values are the targets, standardized ratings or ones.
        """
        vectors = self.offset.new_zeros(pairs.shape[0], self.dimension)
        biases = self.offset.new_zeros(pairs.shape[0])
        filled = np.flatnonzero(np.diff(pairs.indptr))
        if self._is_solved:
            some = pairs if len(filled) == pairs.shape[0] else pairs[filled]
            self._solve_into(vectors, biases, filled, some)
        else:
            for row in filled.tolist():
                start, end = pairs.indptr[row], pairs.indptr[row + 1]
                others = torch.from_numpy(pairs.indices[start:end].astype(np.int64))
                target = torch.from_numpy(pairs.data[start:end]).to(vectors)
                vectors[row], biases[row] = self._descended_row(others.to(vectors.device), target)
        if self.encoding.unit:
            vectors = F.normalize(vectors, dim=1)
        return Rows(vectors, biases if self.biased else None)

    @property
    def _is_solved(self) -> bool:
        """True where rows have closed forms: a ridge regression, or nothing of their own."""
        exact = self._form is not None and self.objective.loss in SQUARES
        return exact or not self._unknowns

    def _solve_into(
        self, vectors: Tensor, biases: Tensor, places: NDArray[np.int64], pairs: sparse.csr_array
    ) -> None:
        """Writes vectors and biases of rows, each with a pair, to some places.

        Threads share the rows: torch's own would meet after every small product.
        """
        counts = np.diff(pairs.indptr).astype(np.int64)
        parts = [*chunks(counts, max(self._unknowns, self.dimension))]

        def work(numbers: Iterator[slice]) -> None:
            for some in (part for share in numbers for part in parts[share]):
                few = pairs if len(parts) == 1 else pairs[some.start : some.stop]
                at = torch.from_numpy(places[some]).to(vectors.device)
                vectors[at], biases[at] = self._solved(few, counts[some], vectors)

        threads = torch.get_num_threads() if vectors.device.type == "cpu" else 1
        in_chunks(len(parts), 1, threads, work)

    def _solved(
        self, pairs: sparse.csr_array, counts: NDArray[np.int64], like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Vectors (b, d) and biases (b,) of rows, each with a pair, in closed form."""
        device, encoding = like.device, self.encoding
        others = torch.from_numpy(pairs.indices.astype(np.int64)).to(device)
        row = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        given, observed = like.new_zeros(len(counts), self.dimension), None
        if encoding.contributes:
            own = encoding.contributions(others, torch.from_numpy(counts).to(device)[row])
            given = given.index_add_(0, row, own)
            observed = given[row] - own
        if not self._unknowns:
            return given, like.new_zeros(len(counts))
        found = self._ridge_solutions(given, observed, pairs, others, row)
        biases = found[:, -1] if self.biased else like.new_zeros(len(counts))
        if encoding.free:
            given = given + encoding.scale * found[:, : self.dimension]
        return given, biases

    def _descended_row(self, others: Tensor, target: Tensor) -> tuple[Tensor, Tensor | float]:
        """Vector and bias of one row by descent."""
        given = self.offset.new_zeros(self.dimension)
        observed = given.expand(len(others), -1)
        if self.encoding.contributes:
            count = torch.full_like(others, len(others))
            own = self.encoding.contributions(others, count)
            given = own.sum(dim=0)
            observed = given - own
        unknowns = self._descended(given, observed, others, target)
        bias = unknowns[-1] if self.biased else 0.0
        if self.encoding.free:
            given = given + self.encoding.scale * unknowns[: self.dimension]
        return given, bias

    @property
    def _kind(self) -> LossKind:
        return LOSSES.named(self.objective.loss, "loss")

    @property
    def _unknowns(self) -> int:
        return self.dimension * self.encoding.free + self.biased

    def _ridge(self, count: int) -> Tensor:
        """L2 of every unknown of a row with so many pairs."""
        l2 = self.objective.penalty(count)
        ridge = self.offset.new_full((self._unknowns,), l2)
        if self.encoding.unit and not self.encoding.contributes:
            ridge[: self.dimension] = 0.0  # the length of a lone embedding means nothing
        if self.biased:
            ridge[-1] = l2 * self.objective.bias_l2
        return ridge

    def _ridge_solutions(
        self, given: Tensor, observed: Tensor | None, pairs: sparse.csr_array, others: Tensor,
        row: Tensor,
    ) -> Tensor:  # fmt: skip
        """Embeddings and biases (b, q) of rows by ridge regression.

        Args:
            given: (b, d) what their pairs contribute to their vectors.
            observed: (n, d) the same as each pair sees it; None: nothing contributes.
            pairs: CSR (b, n_other) with targets.
            others: (n,) the pairs' rows of the other field.
            row: (n,) which of the rows each pair is of, in order.
        """
        assert self._form is not None  # noqa: S101
        form, objective, counts = self._form, self.objective, np.diff(pairs.indptr)
        even, rest = objective.even[others], form.constants[others]
        weight = given.new_tensor([objective.weight(int(n)) for n in counts])
        whole, shared, of_pairs = rest, torch.zeros_like(form.gram), weight
        right = given.new_zeros(len(counts), self._unknowns)
        if observed is not None:
            slopes = form.slopes[others]
            rest = rest + (slopes * observed).sum(dim=1)
            whole = whole + (slopes * given[row]).sum(dim=1)
        if objective.loss == "squared":
            pull = even * (torch.from_numpy(pairs.data).to(given) - rest)
        else:  # every pair with target 0, and what the observed ones change
            further = objective.extra[others]
            if objective.apart:
                further, of_pairs = further / weight[row], torch.ones_like(weight)
            pull = (even + further) * (1 - rest) + even * whole
            shared = form.gram
            right = right - form.rest - given @ form.cross.T
        pulled = sparse.csr_array((pull.cpu().numpy(), pairs.indices, pairs.indptr), pairs.shape)
        table = form.unknowns.cpu().numpy()
        target = weight[:, None].cpu().numpy() * (right.cpu().numpy() + pulled @ table)
        factors = weight.cpu().numpy(), of_pairs.cpu().numpy()
        ridge = np.stack([self._ridge(int(n)).cpu().numpy() for n in counts])
        found = solutions(*self._weighted, pairs, shared.cpu().numpy(), factors, ridge, target)
        return torch.from_numpy(found).to(given)

    @cached_property
    def _weighted(self) -> tuple[NDArray[np.floating], NDArray[np.floating] | None]:
        """(n_other, q) slopes by the unknowns times roots of pairs' weights, and these' signs."""
        assert self._form is not None  # noqa: S101
        objective = self.objective
        weights = objective.even if objective.loss == "squared" else objective.extra
        table = (weights.abs().sqrt()[:, None] * self._form.unknowns).cpu().numpy()
        return table, weights.sign().cpu().numpy() if bool((weights < 0).any()) else None

    def _descended(self, given: Tensor, observed: Tensor, others: Tensor, target: Tensor) -> Tensor:
        """The same by descent on the loss as it is."""
        unknowns = self._start(others).requires_grad_()
        ridge, weight = self._ridge(len(others)), self.objective.weight(len(others))
        negatives = self._negatives(others) if self._kind.negatives else None
        optimizer = torch.optim.LBFGS([unknowns], max_iter=STEPS, line_search_fn="strong_wolfe")

        def score(vectors: Tensor, at: Tensor) -> Tensor:
            if self.encoding.free:
                vectors = vectors + self.encoding.scale * unknowns[: self.dimension]
            scores = self._scores(vectors, at)
            return scores + unknowns[-1] if self.biased else scores

        def closure() -> Tensor:
            optimizer.zero_grad()
            near = score(observed, others)
            whole = partial(self._loss, near, lambda at: score(given[None], at))
            data = whole(others, target, negatives)
            loss = weight * data + (ridge * unknowns * unknowns).sum()
            # Not backward: the model's parameters are to gather nothing, and cost nothing.
            (unknowns.grad,) = torch.autograd.grad(loss, [unknowns])
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return unknowns.detach()

    def _start(self, others: Tensor) -> Tensor:
        """Unknowns of one row before the descent: 0, or a direction where 0 has none."""
        unknowns = self.offset.new_zeros(self._unknowns)
        if self.encoding.unit and self.encoding.free:
            mean = self.interaction.table(1 - self.field)[others].mean(dim=0).detach()
            readout = clip_readout(self.interaction.readout).detach()
            unknowns[: self.dimension] = readout[: self.dimension] * mean
        return unknowns

    @cached_property
    def _order(self) -> Tensor:
        return torch.randperm(self.others, generator=torch.Generator().manual_seed(0))

    def _negatives(self, others: Tensor) -> _Negatives:
        """Negatives of a row with these pairs, which also seed the draw."""
        draws = torch.Generator().manual_seed(int(others.sum()))
        # A stretch of one order of all, from where the row's seed says: rows of their own for each.
        start = int(torch.randint(self.others, (1,), generator=draws))
        length = min(self.others, NEGATIVES + len(others))
        rows = self._order[(start + torch.arange(length)) % self.others]
        unpaired = rows[~torch.isin(rows, others.cpu())][:NEGATIVES]
        rows = unpaired if len(unpaired) else rows  # as in training, where nothing else is left
        columns = [torch.arange(len(rows))]
        if self.objective.loss not in MEANS:  # of several at once
            rounds = range(-(-NEGATIVES // len(rows)))
            columns = [
                torch.cat([torch.randperm(len(rows), generator=draws) for _ in rounds])
                for _ in range(self.objective.negatives)
            ]
        return _Negatives(rows.to(others.device), torch.stack(columns, dim=1).to(others.device))

    def _loss(
        self,
        near: Tensor,
        score: Callable[[Tensor], Tensor],
        others: Tensor,
        target: Tensor,
        negatives: _Negatives | None = None,
    ) -> Tensor:
        """Loss of one row: scores of its pairs without their own part, of all others with it."""
        objective, even = self.objective, self.objective.even[others]
        if objective.loss == "squared":
            return (even * (near - target) ** 2).sum()
        if objective.loss == "whole-data":
            everything = torch.arange(self.others, device=near.device)
            whole = (objective.even * score(everything) ** 2).sum()
            extra = even + objective.further(others)
            return whole + (extra * (near - 1) ** 2 - even * score(others) ** 2).sum()
        if objective.loss not in (*SQUARES, *MEANS):
            scores = RowScores(near, score, others, self.others, self.encoding.contributes)
            drawn = None if negatives is None else negatives.rows[negatives.draws]
            return row_loss(self._kind, objective, scores, others, target, drawn)
        assert negatives is not None  # noqa: S101
        drawn = score(negatives.rows)[negatives.draws][:, 0]  # one each: it is a mean
        if objective.loss == "bce":
            per_pair = F.softplus(-near) + objective.negatives * F.softplus(drawn).mean()
        else:
            per_pair = F.softplus(drawn - near[:, None]).mean(dim=1)
        return (even * per_pair).sum()

    def _scores(self, vectors: Tensor, others: Tensor) -> Tensor:
        """Scores (n,) of raw vectors (n, d) or (1, d) with others (n,), but for the row's bias."""
        own = self.interaction.transforms[self.field](vectors)
        if self.encoding.unit:
            own = F.normalize(own, dim=-1)
        other = self.interaction.table(1 - self.field)[others]
        pair = (own, other) if self.field == 0 else (other, own)
        return self.interaction.combine_broadcast(*pair) + self.offset[others]


@torch.no_grad()
def _linear(fold: FoldIn) -> _Form | None:
    """The linear form of a fold's scores; None where there is none."""
    interaction, field = fold.interaction, fold.field
    factors = interaction.operation.factors
    bent = fold.encoding.unit or not is_identity(interaction.transforms[field])
    if factors is None or bent:
        return None
    table, readout = interaction.table(1 - field), clip_readout(interaction.readout)

    def sides(own: Tensor) -> tuple[Tensor, Tensor]:
        pair = factors(*((own, table) if field == 0 else (table, own)), readout)
        return pair[field], pair[1 - field]

    eye = torch.eye(fold.dimension).to(table)
    constant, right = sides(torch.zeros_like(eye[:1]))
    slopes = right @ (sides(eye)[0] - constant).T
    constants = right @ constant[0] + fold.offset
    columns = [fold.encoding.scale * slopes] if fold.encoding.free else []
    columns += [torch.ones_like(slopes[:, :1])] if fold.biased else []
    unknowns = torch.cat(columns, dim=1) if columns else slopes[:, :0]
    weighted = (fold.objective.even[:, None] * unknowns).T
    return _Form(
        slopes, constants, unknowns, weighted @ unknowns, weighted @ slopes, weighted @ constants
    )
