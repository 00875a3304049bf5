"""Arguments of a recommender: their names, ids, numbers, settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sif.config import CFConfig, did_you_mean
from sif.config.cf import ExcludeSeen, Refit
from sif.config.loading import dotted
from sif.config.renamed import todays_name
from sif.data.interactions.ids import id_string, id_strings
from sif.data.interactions.ratings import numbers_of
from sif.errors import ConfigError, DataError
from sif.problems.configuration import load_job_config
from sif.recommender.model import ServedModel
from sif.recommender.owned import History
from sif.utils.argument_types import check_type, checks_types, shown
from sif.utils.registry import unknown

P = ParamSpec("P")
R = TypeVar("R")

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "data": ("interactions", "user_items"),
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

_KNOWS = "the model knows what users have: leave it out, or give recommend_new a history"
NOT_HERE = {
    "user_items": _KNOWS,
    "item_users": "the model knows who has an item: leave it out",
    "recalculate_user": _KNOWS,
    "recalculate_item": "partial_fit takes in items",
    "user_weights": "an explanation needs none: leave it out",
    "show_progress": "the constructor has verbose",
    "callback": "the constructor has verbose",
}
"""Arguments of implicit that no method here has, and what to do instead."""
TURNED = {"item_users": "rows are users, as in implicit since 0.5: user_items=item_users.T"}
"""The same of methods that take interactions."""

KEYS = {
    "objective": "objective", "space": "space", "method": "method", "seed": "seed",
    "device": "device", "threads": "threads", "dimension": "train.dimension",
    "min_rating": "data.min_rating", "baselines": "baselines",
}  # fmt: skip
"""Argument of the constructor to the setting that it is."""

OF_JOBS = (
    "budget",
    "controls",
    "histories",
    "output_dir",
    "checkpoint_seconds",
    "serve_by",
    "tracking",
    "dataset",
    "data.planted",
    "data.moments",
    "data.moment",
)
"""Settings that mean nothing without a run folder, or to whoever brings the interactions."""

UNKNOWN = ("error", "popular")
"""Answers to an unknown user."""
MOST = 10_000
"""n may exceed a catalogue, but not without end: arrays of answers have as many columns."""


def public_method(method: Callable[P, R]) -> Callable[P, R]:
    """A method whose arguments have the annotated types, and may have the names of `OTHER_NAMES`.

    Raises:
        ConfigError: A call gives one argument under two names, a value of another type, or an
            argument that only implicit has.
    """
    checked = checks_types(method)
    parameters = signature(method).parameters
    instead = {**NOT_HERE, **TURNED} if "data" in parameters else NOT_HERE
    own = {theirs: ours for ours in parameters for theirs in OTHER_NAMES.get(ours, ())}

    @wraps(method)
    def called(*arguments: P.args, **named: P.kwargs) -> R:
        for theirs in own.keys() & named.keys():
            if own[theirs] in named:
                raise ConfigError(
                    f"{method.__name__}: {own[theirs]}: expected once, found again as {theirs}"
                )
            named[own[theirs]] = named.pop(theirs)
        for theirs in (name for name in named if name in instead):
            raise ConfigError(f"{method.__name__}: {theirs}: {instead[theirs]}")
        return checked(*arguments, **named)

    return called


def listed(ids: Any, name: str) -> tuple[NDArray[np.str_], bool]:
    """Ids as texts (n,), and whether it was a single one; a frame of one column is that column.

    Raises:
        ConfigError: More than one dimension.
        DataError: A value that is no id, by the argument's name and its row.
    """
    if hasattr(ids, "columns") and ids.shape[1:] == (1,):
        ids = ids[ids.columns[0]]
    dimensions = len(getattr(ids, "shape", (1,)))
    if dimensions > 1:
        raise ConfigError(f"{name}: expected ids in one dimension, found {shown(ids)}")
    if isinstance(ids, str | bytes | bytearray) or not isinstance(ids, Iterable) or dimensions == 0:
        return np.array([id_string(ids, name)]), True
    try:
        return id_strings(ids), False
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def whole_number(count: Any, name: str = "n", most: float = math.inf) -> int:
    """A whole number from 1 to the most; ConfigError otherwise."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigError(f"{name}: expected a whole number of at least 1, found {shown(count)}")
    if count > most:
        raise ConfigError(f"{name}: expected at most {most:,}, found {count:,}")
    return int(count)


def with_refit(config: CFConfig, refit: str) -> CFConfig:
    """The configuration with the rows of the last fit; "all" leaves that to its setting.

    Raises:
        ConfigError: Another word.
    """
    if refit not in get_args(Refit):
        raise unknown("refit", refit, get_args(Refit))
    if refit == "all" and "refit" in config.model_fields_set:
        return config
    return config.model_copy(update={"refit": refit})


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
    if excluded is None and among is None:
        return None
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


def refuses_unknown(value: object) -> bool:
    """True if unknown users are refused, and do not get popular items."""
    check_type("unknown", value, str)
    if value not in UNKNOWN:
        raise unknown("unknown", value, UNKNOWN)
    return value == UNKNOWN[0]


def exclusion(exclude_seen: bool | str, model: ServedModel) -> ExcludeSeen:
    """The items that answers leave out, by an argument: True is the model's setting, False none.

    Raises:
        ConfigError: Another word than "all", "trained" and "none".
    """
    if not isinstance(exclude_seen, str):
        return model.exclude_seen if exclude_seen else "none"
    words = get_args(ExcludeSeen)
    if exclude_seen in words:
        return cast(ExcludeSeen, exclude_seen)
    raise ConfigError(
        f"exclude_seen: expected True or False or one of {', '.join(words)}, found "
        f"{shown(exclude_seen)}{did_you_mean(exclude_seen, words)}"
    )


def history_row(model: ServedModel, history: Any, ratings: ArrayLike | None) -> sparse.csr_array:
    """The targets of `history_of`, a row (1, n_items)."""
    return history_of(model, history, ratings).pairs


def history_of(model: ServedModel, history: Any, ratings: ArrayLike | None) -> History:
    """A history of item ids, with ratings for models of ratings, of one user.

    Raises:
        UnknownIdError: An unknown item.
        ConfigError: Ratings that are missing, too many, or no numbers.
    """
    names, _ = listed(history, "history")
    rated = model.objective == "rating"
    ratings = None if ratings is None or np.size(ratings) == 0 else ratings
    values = np.ones(len(names))
    if ratings is not None:
        try:
            values = numbers_of([ratings] if np.ndim(ratings) == 0 else ratings)
        except DataError as error:
            raise ConfigError(f"ratings: {error}") from None
    needed = rated and len(names) > 0
    if needed == (ratings is None) or values.shape != names.shape:
        expected = f"{len(names)} ratings" if needed else "no ratings"
        found = "none" if ratings is None else f"{values.size}"
        raise ConfigError(f"recommend_new: expected {expected}, found {found}")
    return model.history(names, values, "history: item")


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
    return config if "search.stages" in flat else _without_closed(config)


def _without_closed(config: CFConfig) -> CFConfig:
    """Closed forms of sets are searched where they are asked for.

    They have no vectors of users, and new items come in with the next fit alone.
    """
    kept = tuple(stage for stage in config.search.stages if stage != "closed")
    return config.model_copy(update={"search": config.search.model_copy(update={"stages": kept})})


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
