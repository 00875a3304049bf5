"""A served model with further or changed users or items, folded in without training.

New rows are appended. They add nothing to the histories of other rows, since no training has seen
them. What filters drop is folded nowhere; the model keeps it as what users have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from sif.data.interactions import Interactions, Vocabulary
from sif.data.interactions.clean import with_dropped
from sif.errors import ConfigError, DataError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.histories import seconds_of
from sif.recommender.fold_in import Rows
from sif.recommender.fold_in_terms import FoldInTerms
from sif.recommender.model import ServedModel
from sif.recommender.user_rows import columns_of, merged, with_columns, with_rows
from sif.spaces.interaction.compact_embeddings import ITEMS, CompactEmbeddings
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.sequences import moments, ranked

_logger = logging.getLogger("sif")


def grown(
    model: ServedModel, field: int, names: NDArray[np.str_], pairs: sparse.csr_array
) -> ServedModel:
    """The model with rows of a field folded in; the given model does not change.

    Args:
        model: Of user and item.
        field: 0 for users, 1 for items.
        names: (b,) original ids, known or not, distinct.
        pairs: (b, n_other) of these, known and new ones, as targets.

    Raises:
        ConfigError: The model cannot fold rows in.
    """
    if model.reads_order:
        if field:
            raise ConfigError(
                f"fold_in: expected users, found items; {model.expression} takes items in by a fit"
            )
        return _extended(model, field, names, pairs if model.reads_time else ranked(pairs))
    if not model.folds:
        raise ConfigError(
            f"fold_in: expected a model of user and item that knows how it was trained, found one "
            f"of {', '.join(model.fields)}"
        )
    return _extended(model, field, names, pairs, model.fold(field).vectors(pairs))


def _extended(
    model: ServedModel, field: int, names: NDArray[np.str_], pairs: sparse.csr_array,
    rows: Rows | None = None,
) -> ServedModel:  # fmt: skip
    """The model with these vectors (None: it needs none) and pairs of some ids, known or not."""
    if field and model.graph is not None:
        _logger.warning("retrieval: exact from here on, until a fit: items changed under the graph")
    vocabulary = model.vocabularies[field]
    places = vocabulary.lookup(names)
    is_new = places < 0
    longer = vocabulary.extended(names[is_new])
    places[is_new] = np.arange(len(vocabulary), len(longer))
    vocabularies = tuple(longer if f == field else v for f, v in enumerate(model.vocabularies))
    replaced = with_columns if field else with_rows
    result = replace(
        model,
        trained=model.trained
        if rows is None
        else _network(model.network, field, places, len(longer), rows),
        vocabularies=vocabularies,
        seen=replaced(model.seen, places, pairs, len(longer)),
        cold_start=_cold_start(model, field, len(longer), places, pairs),
        folds=_terms(model, field, places, len(longer), np.diff(pairs.indptr)),
        untrained=tuple(
            np.append(before, places[is_new]) if f == field else before
            for f, before in enumerate(model.untrained)
        ),
        graph=None if field else model.graph,
    )
    return result if field else result.with_users_of(model)


def grown_by(
    model: ServedModel, field: int, data: Interactions, names: NDArray[np.str_] | None = None
) -> ServedModel:
    """The model with the users (or items) of new interactions and their earlier ones folded in.

    Args:
        model: The model, as in `grown`.
        field: 0 for users, 1 for items.
        data: New interactions.
        names: Ids that are folded in whether they have an interaction or not; None: those that do.

    Raises:
        UnknownIdError: An id of the other field that the model does not have.
        DataError: A model of ratings, and there are none.
        ConfigError: The model cannot fold rows in.
    """
    rated = model.objective == "rating"
    if rated and data.rating is None:
        raise DataError("fold_in: expected a rating column, found none")
    own, other = data.ids[:, field], data.ids[:, 1 - field]
    if names is None:
        names = data.vocabularies[field].ids[np.unique(own)]
    columns = _numbers(model, data, 1 - field)[other]
    if (columns < 0).any():  # says which
        unknown = data.vocabularies[1 - field].ids[other]
        model.vocabularies[1 - field].index(unknown, model.fields[1 - field])
    values = np.ones(len(data), model.seen.dtype)
    if model.reads_time and not field:
        values = _moments(model, data)
    elif model.reads_order:  # new rows come after all that are known
        order = np.arange(len(data)) if data.moment is None else data.order
        values[order] = model.seen.data.max(initial=0) + np.arange(1, len(data) + 1)
    if rated and data.rating is not None:
        values = (data.rating - model.scale.mean) / model.scale.deviation
    # What is known of these rows comes first, so that of a repeated pair the new one counts; a
    # pair in a history stays at its first place where `data.duplicates` says so.
    first = model.reads_order and model.reading.duplicates == "first"
    rows = Vocabulary(names).lookup(data.vocabularies[field].ids)[own]
    pairs = merged(_known(model, field, names), rows, columns, values, first)
    if any(item not in model.titles for item in data.titles):
        model = _with_titles(model, data.titles)
    return grown(model, field, names, pairs)


def _numbers(model: ServedModel, data: Interactions, field: int) -> NDArray[np.int64]:
    """The model's number of each id in a vocabulary of the data, -1 where it has none."""
    return model.vocabularies[field].lookup(data.vocabularies[field].ids)


def _known(model: ServedModel, field: int, names: NDArray[np.str_]) -> sparse.csr_array:
    """The known pairs of some ids (b,): CSR (b, n_other), empty rows for new ones."""
    places = model.vocabularies[field].lookup(names)
    is_known = places >= 0
    some = columns_of(model.seen, places[is_known]) if field else model.seen[places[is_known]]
    counts = np.zeros(len(names), dtype=np.int64)
    counts[is_known] = np.diff(some.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_array((some.data, some.indices, indptr), shape=(len(names), some.shape[1]))


def _with_titles(model: ServedModel, titles: Mapping[str, str]) -> ServedModel:
    """The model with further titles; those that it has stay."""
    return replace(model, titles={**titles, **model.titles}).with_users_of(model)


def _moments(model: ServedModel, data: Interactions) -> NDArray[np.float64]:
    """(n,) time of each new row, behind what is known of its user; a usual gap apart if unknown."""
    rows = np.arange(len(data)) if data.moment is None else data.order
    rows = rows[np.argsort(data.ids[rows, 0], kind="stable")]
    users = data.ids[rows, 0]
    known = _known(model, 0, data.vocabularies[0].ids)
    last = np.full(known.shape[0], -np.inf)
    is_known = np.diff(known.indptr) > 0
    last[is_known] = np.maximum.reduceat(known.data, known.indptr[:-1][is_known])
    found = np.zeros(len(data))
    times = seconds_of(data)
    if times is not None:
        found[rows] = moments(users, times[rows].astype(np.float64), last)
        return found
    begin = np.searchsorted(users, users)
    steps = np.arange(1, len(rows) + 1) - begin
    found[rows] = np.where(np.isinf(last), 0.0, last)[users] + steps * model.usual_gap
    return found


def grown_by_users(model: ServedModel, data: Interactions) -> ServedModel:
    """The model with all users of some interactions folded in, and what these dropped.

    An item that only dropped pairs named so far gives no part of a vector: it is had, no more.

    Raises:
        UnknownIdError, DataError, ConfigError: See `grown_by`.
    """
    rowless = _numbers(model, data, 1) < 0
    rowless &= model.owned.items.lookup(data.vocabularies[1].ids) >= 0
    is_had = rowless[data.ids[:, 1]]
    if is_had.any():
        data = with_dropped(data.select(~is_had), data.select(is_had))
    return with_owned(grown_by(model, 0, data), data.dropped)


def with_owned(model: ServedModel, dropped: Interactions | None) -> ServedModel:
    """The model that knows what users have beyond training; users without more become cold ones.

    Args:
        model: Of any fields.
        dropped: Pairs of user and item (see `Interactions.dropped`); None: none.
    """
    if dropped is None:
        return model
    users, items = dropped.vocabularies
    fresh = users.ids[model.vocabularies[0].lookup(users.ids) < 0]
    if len(fresh):
        model = with_bare(model, 0, fresh)
    rows = model.vocabularies[0].index(users.ids)[dropped.ids[:, 0]]
    pairs = np.stack([rows, dropped.ids[:, 1]], axis=1)
    return replace(model, owned=model.owned.joined(pairs, items)).with_users_of(model)


def _zeros(network: InteractionNetwork, field: int, count: int) -> Rows:
    """Vectors of users or items that say nothing."""
    table = network.tables.embeddings[field]
    biases = table.new_zeros(count) if network.tables.biases else None
    return Rows(table.new_zeros(count, network.shape.dimension), biases)


def grown_by_all(model: ServedModel, data: Interactions) -> ServedModel:
    """The model with new items and all users of interactions folded in, and what these dropped.

    Users come first, by the items that are known, so that the new items have somebody to be folded
    in by; then the items; then the users again, with these. An item is new that the model has not
    or that nothing trained, even if it was folded in before: it is again, from all its pairs. Where
    the model reads order, new items are had, no more, until the next fit.
    """
    places = _numbers(model, data, 1)
    if model.reads_order:
        is_new = (places < 0)[data.ids[:, 1]]
        if is_new.any():
            data = with_dropped(data.select(~is_new), data.select(is_new))
        return with_owned(grown_by(model, 0, data), data.dropped)
    new = (places < 0) | np.isin(places, model.untrained[1])
    of_new = new[data.ids[:, 1]]
    if of_new.any():
        if not of_new.all():
            model = grown_by(model, 0, data.select(~of_new))
        users = _numbers(model, data, 0) >= 0
        among = data.select(of_new & users[data.ids[:, 0]])
        names = data.vocabularies[1].ids[np.unique(data.ids[of_new, 1])]
        model = grown_by(model, 1, among, names)
    return with_owned(grown_by(model, 0, data), data.dropped)


def _put(table: Tensor, places: NDArray[np.int64], size: int, rows: Tensor) -> Tensor:
    """A table of `size` rows, those at some places replaced."""
    longer = table.new_empty(size, *table.shape[1:])
    longer[: len(table)] = table.detach()
    longer[len(table) :] = 0.0
    longer[torch.from_numpy(places)] = rows.to(longer)
    return longer


def _network(
    network: InteractionNetwork, field: int, places: NDArray[np.int64], size: int, rows: Rows
) -> InteractionNetwork:
    """The network with a field's table changed; it shares all others with the given one."""
    result = network.with_embeddings(_embeddings(network, field, places, size, rows.vectors))
    sizes = list(network.shape.sizes)
    sizes[field] = size
    result.shape = replace(network.shape, sizes=tuple(sizes))
    if rows.biases is not None:
        biases = list(network.tables.biases)
        biases[field] = nn.Parameter(_put(biases[field], places, size, rows.biases))
        result.tables._modules["biases"] = nn.ParameterList(biases)
    return result


def _embeddings(
    network: InteractionNetwork, field: int, places: NDArray[np.int64], size: int, vectors: Tensor
) -> nn.Module:
    """Embeddings with a field's table changed; rounded items stay so."""
    known: object = network.tables.embeddings
    if not isinstance(known, CompactEmbeddings):
        tables = list(network.tables.embeddings)
        tables[field] = nn.Parameter(_put(tables[field], places, size, vectors))
        return nn.ParameterList(tables)
    if field == ITEMS:
        return known.with_items(known.items.put(torch.from_numpy(places), size, vectors))
    return known.with_table(field, _put(known[field], places, size, vectors))


def _cold_start(
    model: ServedModel, field: int, size: int, places: NDArray[np.int64], pairs: sparse.csr_array
) -> ColdStartRule | None:
    """The rule for longer tables; a bare row is not folded in, but as cold as before."""
    rule = model.cold_start
    if rule is None:
        return None
    longer = rule.with_items if field else rule.with_users
    return longer(size, places[~rule.without_known_pairs(pairs, field)])


def _terms(
    model: ServedModel, field: int, places: NDArray[np.int64], size: int, counts: NDArray[np.int64]
) -> tuple[FoldInTerms, ...]:
    """The terms, the other field's with a row for each of this one's."""
    if not model.folds:
        return ()
    encoding, objective = model.folds[1 - field]
    own = model.folds[field][1]
    weights = torch.tensor([own.weight(int(n)) for n in counts])
    even = _put(objective.even, places, size, weights)
    further = float(model.folds[0][1].extra[0]) if len(model.folds[0][1].extra) else 0.0
    extra = torch.full_like(even, further) if field else further * even
    nothing = np.zeros(0, dtype=np.int64)  # known rows go on giving what they gave
    history, neighbors = (
        table if table is None or len(table) == size else _put(table, nothing, size, table[:0])
        for table in (encoding.history, encoding.neighbors)
    )
    other = (
        replace(encoding, history=history, neighbors=neighbors),
        replace(objective, even=even, extra=extra),
    )
    terms = list(model.folds)
    terms[1 - field] = other
    return tuple(terms)


def with_bare(model: ServedModel, field: int, names: NDArray[np.str_]) -> ServedModel:
    """The model with further users or items without a pair; the vectors of tables say nothing.

    Args:
        model: An item-item model has the weights of further items already.
        field: 0 for users, 1 for items.
        names: (b,) distinct ids that it does not have.
    """
    shape = len(names), len(model.vocabularies[1 - field])
    bare = sparse.csr_array(shape, dtype=model.seen.dtype)
    zeros = None if model.reads_order else _zeros(model.network, field, len(names))
    return _extended(model, field, names, bare, zeros)


def with_item_rows(
    network: InteractionNetwork, items: NDArray[np.int64], rows: Rows
) -> InteractionNetwork:
    """The network with other vectors of some items; the given one is left alone."""
    return _network(network, 1, items, network.shape.sizes[1], rows)
