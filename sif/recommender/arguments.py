"""Arguments of a recommender: their names, ids, numbers, settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sif.config import CFConfig
from sif.config.loading import dotted
from sif.config.renamed import todays_name
from sif.data.interactions.vocabulary import id_strings
from sif.errors import ConfigError
from sif.problems.configuration import load_job_config
from sif.recommender.model import ServedModel
from sif.utils.argument_types import checks_types, shown

P = ParamSpec("P")
R = TypeVar("R")

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "data": ("interactions",),
    "n": ("N",),
    "users": ("userid",),
    "user": ("userid",),
    "items": ("itemid",),
    "item": ("itemid",),
    "exclude_seen": ("filter_already_liked_items", "filter_already_liked"),
    "exclude_items": ("filter_items",),
    "exclude_users": ("filter_users",),
}
"""Our name of an argument to those of implicit, and to our former ones."""

KEYS = {
    "objective": "objective", "space": "space", "method": "method", "seed": "seed",
    "device": "device", "threads": "threads", "dimension": "train.dimension",
    "min_rating": "data.min_rating", "baselines": "baselines",
}  # fmt: skip
"""Argument of the constructor to the setting that it is."""

OF_JOBS = (
    "budget",
    "controls",
    "output_dir",
    "checkpoint_seconds",
    "tracking",
    "dataset",
    "data.planted",
)
"""Settings that mean nothing without a run folder, or to whoever brings the interactions."""

MOST = 10_000
"""n may exceed a catalogue, but not without end: arrays of answers have as many columns."""


def public_method(method: Callable[P, R]) -> Callable[P, R]:
    """A method whose arguments have the annotated types, and may have the names of `OTHER_NAMES`.

    Raises:
        ConfigError: A call gives one argument under two names, or a value of another type.
    """
    checked = checks_types(method)
    own = {
        theirs: ours
        for ours in signature(method).parameters
        for theirs in OTHER_NAMES.get(ours, ())
    }

    @wraps(method)
    def called(*arguments: P.args, **named: P.kwargs) -> R:
        for theirs in [name for name in named if name in own]:
            if own[theirs] in named:
                raise ConfigError(
                    f"{method.__name__}: {own[theirs]}: expected once, found again as {theirs}"
                )
            named[own[theirs]] = named.pop(theirs)
        return checked(*arguments, **named)

    return called


def listed(ids: Any, name: str) -> tuple[NDArray[np.str_], bool]:
    """Ids as texts (n,), and whether it was a single one; messages call the argument `name`."""
    dimensions = getattr(ids, "ndim", 1)
    if dimensions > 1:
        raise ConfigError(f"{name}: expected ids in one dimension, found {shown(ids)}")
    one = isinstance(ids, str | bytes) or not isinstance(ids, Iterable) or dimensions == 0
    return id_strings([ids] if one else ids, name), one


def whole_number(count: Any, name: str = "n", most: float = math.inf) -> int:
    """A whole number from 1 to the most; ConfigError otherwise."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigError(f"{name}: expected a whole number of at least 1, found {shown(count)}")
    if count > most:
        raise ConfigError(f"{name}: expected at most {most:,}, found {count:,}")
    return int(count)


def answer_length(count: Any, model: ServedModel) -> int:
    """n, at most `MOST` or as many as the model has of any field; ConfigError otherwise."""
    return whole_number(count, most=max(MOST, *map(len, model.vocabularies)))


def mask_of(
    size: int, numbers_of: Callable[[Any], NDArray[np.int64]], excluded: Any, among: Any
) -> NDArray[np.bool_] | None:
    """Mask (size,) of the rows of a field that may be in an answer; None: all.

    Args:
        size: Rows of the field.
        numbers_of: Turns ids into numbers of rows.
        excluded: Ids that may not be in it; None: none.
        among: Ids that may be in it; None: all.
    """
    if excluded is None and among is None:
        return None
    allowed = np.full(size, among is None)
    if among is not None:
        allowed[numbers_of(among)] = True
    if excluded is not None:
        allowed[numbers_of(excluded)] = False
    return allowed


def allowed_ids(
    model: ServedModel, field: int, excluded: Any, among: Any = None
) -> NDArray[np.bool_] | None:
    """`mask_of` for the ids of "exclude_items" or "exclude_users", and of "items".

    Raises:
        UnknownIdError: One that the model does not have.
    """
    kind = model.fields[field]
    rows = [
        None if ids is None else rows_of(model, field, ids, name)[0]
        for name, ids in ((f"exclude_{kind}s", excluded), (f"{kind}s", among))
    ]
    return mask_of(len(model.vocabularies[field]), lambda numbers: numbers, *rows)


def rows_of(
    model: ServedModel, field: int, ids: Any, name: str
) -> tuple[NDArray[np.int64], NDArray[np.str_], bool]:
    """Numbers of ids, the ids as texts, and whether it was a single one.

    Args:
        model: Has the vocabulary.
        field: Number of the field.
        ids: One id, or several.
        name: Of the argument, for messages.

    Raises:
        UnknownIdError: One that the model does not have.
    """
    texts, one = listed(ids, name)
    kind = model.fields[field]
    place = kind if name in (kind, f"{kind}s") else f"{name}: {kind}"
    return model.vocabularies[field].index(texts, place), texts, one


def history_row(model: ServedModel, history: Any, ratings: ArrayLike | None) -> sparse.csr_array:
    """A history of item ids, with ratings for models of ratings, as a row (1, n_items) of targets.

    Raises:
        UnknownIdError: An unknown item.
        ConfigError: Ratings that are missing, too many, or no numbers.
    """
    columns, _, _ = rows_of(model, 1, history, "history")
    rated = model.objective == "rating"
    try:
        ratings = None if ratings is None or np.size(ratings) == 0 else ratings
        given = np.ones(len(columns)) if ratings is None else ratings
        values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError):
        raise ConfigError(f"ratings: expected numbers, found {shown(ratings)}") from None
    needed = rated and len(columns) > 0
    if needed == (ratings is None) or values.shape != columns.shape:
        expected = f"{len(columns)} ratings" if needed else "no ratings"
        found = "none" if ratings is None else f"{values.size}"
        raise ConfigError(f"recommend_new: expected {expected}, found {found}")
    return model.row(columns, values)


def configured(
    arguments: Mapping[str, Any], settings: Any, defaults: Mapping[str, Any]
) -> CFConfig:
    """The configuration of a fit or a search from arguments by their names in `KEYS`.

    Further settings, nested or by dotted names, count before an argument that is at its default.

    Raises:
        ConfigError: A wrong value, by the name of its argument or setting; or a setting that
            contradicts an argument, or that only jobs have.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(
            'settings: expected names and values such as {"train.epochs": 50}, found '
            f"{type(settings).__name__}"
        )
    flat = {key: _plain(value) for key, value in dotted(settings or {}).items()}
    _refuse_settings_of_jobs(flat)
    layers = []
    for name, value in arguments.items():
        if value is None:
            continue
        plain, key = _plain(value), KEYS[name]
        is_default = repr(value) == repr(defaults[name])
        if key in flat and not is_default and shown(flat[key]) != shown(plain):
            raise ConfigError(
                f"settings: {key} ({shown(flat[key])}) contradicts {name} ({shown(value)}): drop "
                "one of them"
            )
        layers.append((name, {key: plain}))
    config = load_job_config("cf", layers=[*layers, ("settings", flat)])
    assert isinstance(config, CFConfig)  # noqa: S101
    return config


def _refuse_settings_of_jobs(names: Iterable[str]) -> None:
    for name in names:
        if any(f"{todays_name(name)}.".startswith(f"{key}.") for key in OF_JOBS):
            raise ConfigError(
                f"settings: {name}: expected a setting of a fit, found one of jobs alone "
                "(sif.run_job): leave it out"
            )


def _plain(value: Any) -> Any:
    """A number of numpy, an array or a path as settings have them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) if isinstance(one, np.generic | PurePath) else one for one in value]
    return value
