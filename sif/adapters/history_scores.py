"""An item-item model as a torch module: histories of items in, scores of all items out.

The scores are those of `Recommender.recommend_new`. The weights are copied as they are where they
are rows of numbers or two factors. Sparse ones stay sparse where that is smaller, and those of a
filter on the graph of interactions are multiplied out, since files of other programs hold neither
sparse products nor polynomials of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sif.errors import ConfigError, ShapeError
from sif.recommender.arguments import history_row
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.spaces.closed.family import AnyWeights
from sif.spaces.closed.weights import FilterWeights
from sif.spaces.linear.gram import NEGLIGIBLE
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.linear.weights import ItemWeights

PADDING = -1
"""Entry of a history where there is no item."""
MOST_BYTES = (1 << 31) - (1 << 24)
"""Of weights that are multiplied out; the format of ONNX ends there as well."""
_PADDED = 8 + 4
"""Bytes of a weight in a padded row."""
Inputs = dict[str, NDArray[Any]]


class RowWeights(nn.Module):
    """Weights as rows of numbers, one per entry of a history that has any.

    Args:
        table: float32 (m, n_items).
        rows: (s * n_items,) row of each entry, -1 for none; None: that of its number.
    """

    table: Tensor
    rows: Tensor | None

    def __init__(self, table: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("rows", None if rows is None else torch.from_numpy(rows))

    def forward(self, entries: Tensor, values: Tensor) -> Tensor:
        """Scores (b, n_items) of entries (b, k) with their values."""
        if self.rows is not None:
            rows = self.rows[entries]
            entries, values = rows.clamp(min=0), values * (rows >= 0)
        return torch.bmm(values[:, None], F.embedding(entries, self.table))[:, 0]


class FactorWeights(nn.Module):
    """Weights as products of two factors (n_items, r)."""

    first: Tensor
    second: Tensor

    def __init__(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("first", torch.from_numpy(first))
        self.register_buffer("second", torch.from_numpy(np.ascontiguousarray(second.T)))

    def forward(self, entries: Tensor, values: Tensor) -> Tensor:
        """Scores (b, n_items) of entries (b, k) with their values."""
        return torch.bmm(values[:, None], F.embedding(entries, self.first))[:, 0] @ self.second


class PaddedWeights(nn.Module):
    """Weights (s * n_items, n_items) of which every row has few: padded with zeros of item 0."""

    targets: Tensor
    numbers: Tensor

    def __init__(self, weights: sp.csr_matrix) -> None:
        super().__init__()
        self.n_items, width = weights.shape[1], _widest(weights)
        counts = np.diff(weights.indptr)
        rows = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(weights.nnz) - np.repeat(weights.indptr[:-1], counts)
        targets = np.zeros((len(counts), width), np.int64)
        numbers = np.zeros((len(counts), width), np.float32)
        targets[rows, places], numbers[rows, places] = weights.indices, weights.data
        self.register_buffer("targets", torch.from_numpy(targets))
        self.register_buffer("numbers", torch.from_numpy(numbers))

    def forward(self, entries: Tensor, values: Tensor) -> Tensor:
        """Scores (b, n_items) of entries (b, k) with their values."""
        terms = F.embedding(entries, self.numbers) * values[:, :, None]
        targets = self.targets.index_select(0, entries.flatten()).view_as(terms)
        scores = values.new_zeros(values.shape[0], self.n_items)
        return scores.scatter_add(1, targets.flatten(1), terms.flatten(1))


class SparseWeights(nn.Module):
    """Weights (s * n_items, n_items) of which few are not 0, in any rows: every one is read."""

    sources: Tensor
    targets: Tensor
    numbers: Tensor

    def __init__(self, weights: sp.csr_matrix) -> None:
        super().__init__()
        self.width, self.n_items = weights.shape
        columns = sp.csc_matrix(weights).tocoo()
        self.register_buffer("sources", torch.from_numpy(columns.row.astype(np.int64)))
        self.register_buffer("targets", torch.from_numpy(columns.col.astype(np.int64)))
        self.register_buffer("numbers", torch.from_numpy(columns.data.astype(np.float32)))

    def forward(self, entries: Tensor, values: Tensor) -> Tensor:
        """Scores (b, n_items) of entries (b, k) with their values."""
        dense = values.new_zeros(values.shape[0], self.width).scatter_add(1, entries, values)
        terms = dense.index_select(1, self.sources) * self.numbers
        places = self.targets.expand(values.shape[0], -1)
        return values.new_zeros(values.shape[0], self.n_items).scatter_add(1, places, terms)


class HistoryScores(nn.Module):
    """An item-item model with its items.

    The rule of rankings is kept: untrained items score minus infinity, and a history without a
    trained item gets the popular ones.

    Args:
        model: Served; an item-item model.

    Attributes:
        reads_time: Whether `forward` needs times.

    Raises:
        ConfigError: Weights that are too large to be multiplied out.
    """

    offset: Tensor
    popular: Tensor | None

    def __init__(self, model: ServedModel) -> None:
        super().__init__()
        network = model.trained
        assert isinstance(network, OrderNetwork)  # noqa: S101
        weights, self.n_items = network.item_weights, network.n_items
        self.decays, self.reads_time = network.design.decays, model.reads_time
        self.parts = nn.ModuleList(_parts(weights, self.n_items))
        offset = torch.zeros(self.n_items)
        if weights.offsets is not None:
            offset += torch.from_numpy(weights.offsets)
        rule = model.rule
        if rule is not None:
            offset.masked_fill_(torch.from_numpy(rule.never_recommended), -torch.inf)
        popular = None if rule is None else torch.from_numpy(rule.order.astype(np.float32))
        self.register_buffer("offset", offset)
        self.register_buffer("popular", popular)

    def forward(self, history: Tensor, times: Tensor | None = None) -> Tensor:
        """Scores (b, n_items) of histories.

        Args:
            history: int64 (b, length) numbers of items, the earliest first, `PADDING` anywhere. Of
                a repeated item the last one counts.
            times: float64 (b, length) seconds from any moment, ascending; only of models that read
                time.
        """
        counts = _counting(history)
        items, values = history.clamp(min=0), self._values(counts, times)
        entries = [items + scale * self.n_items for scale in range(len(values))]
        entered, valued = torch.cat(entries, dim=1), torch.cat(values, dim=1)
        scores = self.offset.expand(history.shape[0], self.n_items)
        for part in self.parts:
            scores = scores + part(entered, valued)
        if self.popular is None:
            return scores
        known = (counts & self.popular.isfinite()[items]).any(dim=1)
        return torch.where(known[:, None], scores, self.popular)

    def _values(self, counts: Tensor, times: Tensor | None) -> list[Tensor]:
        """Values (b, length) of the items in each time scale."""
        if not self.decays:
            return [counts.float()]
        later = counts.sum(dim=1, keepdim=True) - counts.long().cumsum(1)
        before = None
        if times is not None:
            last = times.masked_fill(~counts, -torch.inf).amax(dim=1, keepdim=True)
            before = last - times
        return [_decayed(decay, counts, later, before) for decay in self.decays]


def user_sequences(recommender: Recommender, users: Iterable[Any]) -> Inputs:
    """Inputs of an exported item-item model for known users, by their original ids.

    Returns:
        "history", int64 (b, length), padded with -1 at the end; and "times", float64, for models
        that read time.

    Raises:
        UnknownIdError: An unknown user.
        ConfigError: Another model than an item-item one.

    Examples:
        >>> from sif.adapters.history_scores import user_sequences
        >>> user_sequences(order, ["c1", "c2"])["history"].shape[0]  # doctest: +SKIP
        2
    """
    model = _of_items(recommender)
    rows = model.vocabularies[0].index(list(users), "user")
    return _padded(Sequences.of_places(model.seen[rows]), model.reads_time)


def history_sequences(
    recommender: Recommender, histories: Iterable[Any], times: Sequence[ArrayLike] | None = None
) -> Inputs:
    """The same for people who are in no table, from their items.

    Args:
        recommender: Serves an item-item model.
        histories: Item ids of each, the earliest first.
        times: Seconds of each item, for models that read time; None: items lie as far apart as two
            rows of a user usually do.

    Raises:
        UnknownIdError: An unknown item.
        ConfigError: Another model than an item-item one, or times for one that reads none.
        ShapeError: Another number of times than of items.

    Examples:
        >>> from sif.adapters.history_scores import history_sequences
        >>> inputs = history_sequences(order, [["mug1", "mug2"], ["tea3"]])  # doctest: +SKIP
        >>> inputs["history"].shape  # doctest: +SKIP
        (2, 2)
    """
    model, listed = _of_items(recommender), [list(one) for one in histories]
    if times is not None and not model.reads_time:
        raise ConfigError(f"times: expected none for a model that reads none, {model.expression}")
    if times is None:
        rows = [history_row(model, one, None) for one in listed]
        if not rows:
            return _padded(Sequences.of_places(model.seen[:0]), model.reads_time)
        return _padded(Sequences.of_places(sp.csr_array(sp.vstack(rows, "csr"))), model.reads_time)
    seconds = [np.asarray(one, dtype=np.float64) for one in times]
    if len(seconds) != len(listed):
        raise ShapeError(f"times: expected {len(listed)}, one per history, found {len(seconds)}")
    for place, (one, own) in enumerate(zip(listed, seconds, strict=False)):
        if own.shape != (len(one),):
            raise ShapeError(f"times of history {place}: expected {len(one)}, found {own.size}")
    items = [model.vocabularies[1].index(one, "item") for one in listed]
    starts = np.cumsum([0, *map(len, items)])
    flat = (np.concatenate([np.zeros(0, kind), *some]) for kind, some in
            ((np.int64, items), (np.float64, seconds)))  # fmt: skip
    ids, moments = flat
    users = np.repeat(np.arange(len(items)), np.diff(starts))
    sizes = (len(items), len(model.vocabularies[1]))
    order = np.lexsort((np.arange(len(ids)), moments, users))
    return _padded(Sequences(ids[order], starts, sizes[1], moments[order]), True)


def _of_items(recommender: Recommender) -> ServedModel:
    model = recommender.fitted_model()
    if not model.reads_order:
        raise ConfigError(
            f"expected an item-item model, found {model.expression}; use user_inputs and "
            "history_inputs"
        )
    return model


def _padded(sequences: Sequences, reads_time: bool) -> Inputs:
    """Histories side by side, all as long as the longest; one place at least."""
    shape = sequences.n_users, max(1, int(sequences.lengths.max(initial=0)))
    at = sequences.users, np.arange(len(sequences.items)) - sequences.starts[sequences.users]
    history = np.full(shape, PADDING, dtype=np.int64)
    history[at] = sequences.items
    found: Inputs = {"history": history}
    if reads_time:
        assert sequences.seconds is not None  # noqa: S101
        found["times"] = np.zeros(shape)
        found["times"][at] = sequences.seconds
    return found


def _counting(history: Tensor) -> Tensor:
    """Which places (b, length) are the last ones of their items."""
    places = torch.arange(history.shape[1], device=history.device)
    again = (history[:, :, None] == history[:, None, :]) & (places[:, None] < places)
    return (history >= 0) & ~again.any(dim=2)


def _decayed(decay: Decay, counts: Tensor, later: Tensor, before: Tensor | None) -> Tensor:
    """Values (b, length) in a time scale.

    Args:
        decay: Of the scale.
        counts: Places that count.
        later: Items that come later.
        before: Seconds before the last item.
    """
    exponent = decay.rate * later.double()
    if before is not None:
        exponent = exponent + decay.time_rate * before
    window = decay.window
    if window is None and decay.gamma < 1:
        window = math.ceil(math.log(NEGLIGIBLE) / math.log(decay.gamma)) + 1
    inside = counts if window is None else counts & (later < window)
    return torch.where(inside, (-exponent).exp(), 0.0).float()


def _parts(weights: AnyWeights, n_items: int) -> list[nn.Module]:
    """The weights as modules that add up."""
    if isinstance(weights, FilterWeights):
        if weights.rows is None:
            return [FactorWeights(*weights.sides)]
        return [RowWeights(_table(weights, n_items))]
    rest = weights.rest
    if rest is None:
        return [RowWeights(weights.dense)] if weights.size else []
    table, padded = 4 * rest.shape[0] * n_items, _PADDED * rest.shape[0] * _widest(rest)
    if padded + weights.dense.nbytes < table:
        return [*_solved(weights), *([PaddedWeights(rest)] if rest.nnz else [])]
    if table > MOST_BYTES:
        return [*_solved(weights), SparseWeights(rest)]
    return [RowWeights(weights.table())]


def _solved(weights: ItemWeights) -> list[nn.Module]:
    """The dense rows of some items."""
    if not len(weights.dense):
        return []
    assert weights.items is not None  # noqa: S101
    rows = np.full(weights.scales * weights.n_items, -1)
    for scale in range(weights.scales):
        own = np.arange(len(weights.items)) + scale * len(weights.items)
        rows[scale * weights.n_items + weights.items] = own
    return [RowWeights(weights.dense, rows)]


def _widest(rest: sp.csr_matrix) -> int:
    """The most weights in a row."""
    return int(np.diff(rest.indptr).max(initial=0))


def _table(weights: FilterWeights, n_items: int) -> NDArray[np.float32]:
    if 4 * n_items**2 > MOST_BYTES:
        raise ConfigError(
            f"export: expected a catalog of at most {math.isqrt(MOST_BYTES // 4):,} items where a "
            "filter is served, whose weights are then written out for all pairs of items in 2 GB, "
            f"found {n_items:,}"
        )
    return weights.table()
