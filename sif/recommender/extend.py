"""A served model with further or changed users or items, folded in without training.

New rows are appended. They add nothing to the histories of other rows, since no training has seen
them. What filters drop is folded nowhere; the model keeps it as what users have.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
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
    known = vocabulary.lookup(names)
    fresh = names[known < 0]
    places = known.copy()
    places[known < 0] = len(vocabulary) + np.arange(len(fresh))
    longer = Vocabulary(np.concatenate([vocabulary.ids, fresh]))
    vocabularies = tuple(longer if f == field else v for f, v in enumerate(model.vocabularies))
    return replace(
        model,
        trained=model.trained
        if rows is None
        else _network(model.network, field, places, len(longer), rows),
        vocabularies=vocabularies,
        seen=_seen(model.seen, field, places, len(longer), pairs),
        cold_start=_cold_start(model, field, len(longer), places, pairs),
        folds=_terms(model, field, places, len(longer), np.diff(pairs.indptr)),
        untrained=tuple(
            np.append(before, places[known < 0]) if f == field else before
            for f, before in enumerate(model.untrained)
        ),
        graph=None if field else model.graph,
    )


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
    used = np.unique(own)
    if names is None:
        names = data.vocabularies[field].ids[used]
    columns = model.vocabularies[1 - field].index(
        data.vocabularies[1 - field].ids[other], model.fields[1 - field]
    )
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
    places = model.vocabularies[field].lookup(names)
    seen = model.seen if field == 0 else model.seen.T.tocsr()
    known = seen[places[places >= 0]].tocoo()
    before = np.flatnonzero(places >= 0)[known.coords[0]]
    rows = Vocabulary(names).index(data.vocabularies[field].ids[own])
    frame = pd.DataFrame({
        "row": np.concatenate([before, rows]), "column": np.concatenate([known.coords[1], columns]),
        "value": np.concatenate([known.data, values]),
    }).drop_duplicates(["row", "column"], keep="first" if first else "last")  # fmt: skip
    shape = (len(names), len(model.vocabularies[1 - field]))
    pairs = sparse.csr_array(
        (frame["value"].to_numpy(values.dtype), (frame["row"], frame["column"])), shape=shape
    )
    titled = replace(model, titles={**data.titles, **model.titles})
    return grown(titled, field, names, pairs)


def _moments(model: ServedModel, data: Interactions) -> NDArray[np.float64]:
    """(n,) time of each new row, behind what is known of its user; a usual gap apart if unknown."""
    rows = np.arange(len(data)) if data.moment is None else data.order
    rows = rows[np.argsort(data.ids[rows, 0], kind="stable")]
    users = data.ids[rows, 0]
    places = model.vocabularies[0].lookup(data.vocabularies[0].ids)
    latest = np.full(model.seen.shape[0] + 1, -np.inf)  # one more for those who are not known
    np.maximum.at(latest, model.seen.tocoo().coords[0], model.seen.data)
    last = latest[places]
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
    items = data.vocabularies[1].ids
    rowless = model.vocabularies[1].lookup(items) < 0
    rowless &= model.owned.items.lookup(items) >= 0
    is_had = rowless[data.ids[:, 1]]
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
        zeros = None if model.reads_order else _zeros(model.network, len(fresh))
        bare = sparse.csr_array((len(fresh), len(model.vocabularies[1])), dtype=np.float32)
        model = _extended(model, 0, fresh, bare, zeros)
    rows = model.vocabularies[0].index(users.ids)[dropped.ids[:, 0]]
    pairs = np.stack([rows, dropped.ids[:, 1]], axis=1)
    return replace(model, owned=model.owned.joined(pairs, items))


def _zeros(network: InteractionNetwork, count: int) -> Rows:
    """Vectors of users that say nothing."""
    table = network.tables.embeddings[0]
    biases = table.new_zeros(count) if network.tables.biases else None
    return Rows(table.new_zeros(count, network.shape.dimension), biases)


def grown_by_all(model: ServedModel, data: Interactions) -> ServedModel:
    """The model with new items and all users of interactions folded in, and what these dropped.

    Users come first, by the items that are known, so that the new items have somebody to be folded
    in by; then the items; then the users again, with these. An item is new that the model has not
    or that nothing trained, even if it was folded in before: it is again, from all its pairs. Where
    the model reads order, new items are had, no more, until the next fit.
    """
    if model.reads_order:
        is_new = (model.vocabularies[1].lookup(data.vocabularies[1].ids) < 0)[data.ids[:, 1]]
        data = with_dropped(data.select(~is_new), data.select(is_new))
        return with_owned(grown_by(model, 0, data), data.dropped)
    places = model.vocabularies[1].lookup(data.vocabularies[1].ids)
    new = (places < 0) | np.isin(places, model.untrained[1])
    of_new = new[data.ids[:, 1]]
    if not of_new.all():
        model = grown_by(model, 0, data.select(~of_new))
    if of_new.any():
        users = model.vocabularies[0].lookup(data.vocabularies[0].ids) >= 0
        among = data.select(of_new & users[data.ids[:, 0]])
        names = data.vocabularies[1].ids[np.unique(data.ids[of_new, 1])]
        model = grown_by(model, 1, among, names)
    return with_owned(grown_by(model, 0, data), data.dropped)


def _put(table: Tensor, places: NDArray[np.int64], size: int, rows: Tensor) -> Tensor:
    """A table of `size` rows, those at some places replaced."""
    longer = table.new_zeros(size, *table.shape[1:])
    longer[: len(table)] = table.detach()
    longer[torch.from_numpy(places)] = rows.to(longer)
    return longer


def _network(
    network: InteractionNetwork, field: int, places: NDArray[np.int64], size: int, rows: Rows
) -> InteractionNetwork:
    result = copy.copy(network)
    result._modules = dict(network._modules)
    result.tables = copy.deepcopy(network.tables)
    sizes = list(network.shape.sizes)
    sizes[field] = size
    result.shape = replace(network.shape, sizes=tuple(sizes))
    table = _put(network.tables.embeddings[field], places, size, rows.vectors)
    result.tables.embeddings[field] = nn.Parameter(table)
    if rows.biases is not None:
        bias = _put(network.tables.biases[field], places, size, rows.biases)
        result.tables.biases[field] = nn.Parameter(bias)
    return result


def _seen(
    seen: sparse.csr_array, field: int, places: NDArray[np.int64], size: int,
    pairs: sparse.csr_array,
) -> sparse.csr_array:  # fmt: skip
    """The pairs of users, those of the folded rows replaced."""
    shape = list(seen.shape)
    shape[field] = size
    old = seen.tocoo()
    kept = ~np.isin(old.coords[field], places)  # of a folded row all pairs are given
    row = np.repeat(places, np.diff(pairs.indptr))
    new = (row, pairs.indices) if field == 0 else (pairs.indices, row)
    both = [np.concatenate([a[kept], b]) for a, b in zip(old.coords, new, strict=True)]
    data = np.concatenate([old.data[kept], pairs.data])
    return sparse.csr_array((data, tuple(both)), shape=tuple(shape))


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
        None if table is None else _put(table, nothing, size, table[:0])
        for table in (encoding.history, encoding.neighbors)
    )
    other = (
        replace(encoding, history=history, neighbors=neighbors),
        replace(objective, even=even, extra=extra),
    )
    terms = list(model.folds)
    terms[1 - field] = other
    return tuple(terms)


def with_bare_items(model: ServedModel, names: NDArray[np.str_]) -> ServedModel:
    """The model with further items that nobody has; the vectors of tables say nothing of them.

    Args:
        model: An item-item model has the weights of these items already.
        names: (b,) distinct ids that it does not have.
    """
    bare = sparse.csr_array((len(names), len(model.vocabularies[0])), dtype=model.seen.dtype)
    if model.reads_order:
        return _extended(model, 1, names, bare)
    return _extended(model, 1, names, bare, _zeros(model.network, len(names)))


def with_item_rows(
    network: InteractionNetwork, items: NDArray[np.int64], rows: Rows
) -> InteractionNetwork:
    """The network with other vectors of some items; the given one is left alone."""
    return _network(network, 1, items, network.shape.sizes[1], rows)
