"""A served model whose table of items is rounded to float16 or int8, and what that loses.

The loss is measured: known users get their best items by both tables, less what they have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sif.errors import ConfigError, ScoreError
from sif.recommender.item_precision import ItemPrecision, precision_of
from sif.recommender.model import ServedModel
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.network import OrderNetwork
from sif.utils.compact_rows import DTYPES, Precision

LENGTHS = (10, 100)
"""Items per list of which the recall is told."""
USERS = 500
"""Users whose lists are compared, at most."""


def with_precision(
    model: ServedModel, precision: Precision, seed: int = 0, users: int = USERS
) -> ServedModel:
    """The model with a rounded table of items; its `item_precision` says what that loses.

    Args:
        model: With a table in float32; left alone.
        precision: "float16" or "int8"; "float32" gives the model itself.
        seed: Draws the users who are compared.
        users: Number of them, at most.

    Raises:
        ConfigError: A model of further fields, one whose items have no table of numbers, one that
            is rounded otherwise already, or numbers that are not finite.
    """
    now = precision_of(model.trained)
    if precision == now:
        return model
    if now != "float32":
        raise ConfigError(
            f"precision: expected {now}, which the items of the model have, found {precision}; "
            "round the float32 model"
        )
    _refuse(model)
    try:
        trained = model.trained.compact(precision)
    except ValueError as error:
        raise ConfigError(f"precision: table of items: {error}, found others") from None
    rounded = replace(model, trained=trained)
    try:
        recall, errors, count = _recall(model, rounded, seed, users)
    except ScoreError:
        raise ConfigError("precision: scores: expected numbers, found NaN") from None
    sizes = _bytes(model.trained), _bytes(trained)
    return replace(
        rounded, item_precision=ItemPrecision(precision, recall, errors, count, *sizes)
    ).with_users_of(model)


def check_precision(precision: str) -> Precision:
    """One of the names of precisions.

    Raises:
        ConfigError: It is none.
    """
    for name in ("float32", *DTYPES):
        if precision == name:
            return name  # type: ignore[return-value]
    raise ConfigError(f"precision: expected float32, float16 or int8, found {precision!r}")


def _refuse(model: ServedModel) -> None:
    """Raises ConfigError where there is no table to round."""
    trained = model.trained
    if len(model.fields) != 2:
        raise ConfigError(
            f"precision: expected a model of user and item alone, found one of "
            f"{', '.join(model.fields)}"
        )
    is_filter = isinstance(trained, ClosedNetwork) and trained.enters is not None
    if is_filter or (isinstance(trained, OrderNetwork) and not trained.weights.numel()):
        raise ConfigError(
            "precision: expected vectors of items or dense weights from item to item, found "
            f"{model.expression}, which has none"
        )


def _bytes(trained: InteractionNetwork | OrderNetwork) -> int:
    """Of the table of items."""
    if isinstance(trained, OrderNetwork):
        scales = trained.weights_scales
        return trained.weights.nbytes + (0 if scales is None else scales.nbytes)
    items = trained.tables.embeddings.state_dict()
    return sum(table.nbytes for name, table in items.items() if name.startswith("1"))


def _recall(
    model: ServedModel, rounded: ServedModel, seed: int, users: int
) -> tuple[dict[int, float], dict[int, float], int]:
    """Share of the exact lists that is in the rounded ones, by length: means, errors, users."""
    trained = np.setdiff1d(np.arange(len(model.vocabularies[0])), model.untrained[0])
    rows = np.sort(np.random.default_rng(seed).permutation(trained)[:users])
    allowed = None if model.rule is None else model.rule.servable()
    if not len(rows):
        return {}, {}, 0
    lengths = [k for k in LENGTHS if k < len(model.vocabularies[1])] or [1]
    hidden = model.excluded(rows, model.exclude_seen)
    exact, found = (
        one.function.engine.top(
            one.function.known(rows), max(lengths), excluded=hidden, allowed=allowed
        ).items
        for one in (model, rounded)
    )  # fmt: skip
    shares = {k: _shares(exact[:, :k], found[:, :k]) for k in lengths}
    errors = {k: float(one.std() / np.sqrt(len(one))) for k, one in shares.items()}
    return {k: float(one.mean()) for k, one in shares.items()}, errors, len(rows)


def _shares(exact: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each user's exact items (b, k) that is found; 1 where there are none."""
    hits = [len(np.intersect1d(a[a >= 0], b)) for a, b in zip(exact, found, strict=True)]
    counts = (exact >= 0).sum(axis=1)
    return np.where(counts > 0, np.array(hits) / np.maximum(counts, 1), 1.0)
