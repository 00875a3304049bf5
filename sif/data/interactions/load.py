"""Loads a `Dataset`, ready to be split, by a data set's name or a path.

Reading, merging of duplicates and filters each note what they changed. The hash identifies the
content from which everything else is computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sif.data.download import locate
from sif.data.interactions.atomic_files import inter_of, titles_beside
from sif.data.interactions.clean import Filters, check_usable, cleaned
from sif.data.interactions.interactions import Interactions, ordered
from sif.data.interactions.movielens import find_layout, official_parts, read_movielens
from sif.data.interactions.planted import PlantedInfo, Signal, planted
from sif.data.interactions.planted_films import HistoryTruth, planted_films
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.times import moment_of
from sif.data.recipe import PLANTED, Recipe, check_arguments, list_datasets, unknown_name
from sif.errors import ConfigError, DataError
from sif.utils.paths import exists

Truth = PlantedInfo | HistoryTruth
"""The facts of generated data."""
Loaded = tuple[Interactions, dict[str, tuple[Path, Path]] | None, list[str]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions under a name.

    Attributes:
        name: Of the data set, or the file's name without suffix.
        interactions: After merging duplicates and filtering.
        hash: 16 hex digits of their content.
        official_parts: Fold ("u1" ...) to (base file, test file), or None.
        notes: Changes of the data, one line each.
        truth: Truth behind generated data, in the numbers of `interactions`, or None.
    """

    name: str
    interactions: Interactions
    hash: str
    official_parts: dict[str, tuple[Path, Path]] | None = None
    notes: list[str] = field(default_factory=list)
    truth: Truth | None = None


def load_dataset(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    columns: Columns | None = None,
    min_rating: float | None = None,
    min_user: int = 1,
    min_item: int = 1,
    since: Any = None,
    until: Any = None,
    duplicates: str = "last",
    order: str | None = None,
    planted: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load a known data set, a file or an official folder.

    Args:
        name_or_path: A name from `list_datasets`, or a path.
        data_dir: Looked at first for a known name, and where a download goes.
        columns: Roles of columns; the usual names are recognized.
        min_rating: Keep ratings of at least this, in rating units.
        min_user: Fewest interactions of a user.
        min_item: Fewest interactions of an item.
        since: Earliest time kept, as seconds since 1970 or an ISO date.
        until: Time from which on nothing has happened yet.
        duplicates: Rule for repeated pairs: last, first, mean or error.
        order: What orders the rows: rows, time, or None for time where there is one.
        planted: Arguments of `planted` that differ from the recipe's (seed, kind, ...); with a
            "truth", a kind of `planted_films`, those of that.

    Returns:
        The data set, with notes on everything that was changed.

    Raises:
        DataError: Unknown name, missing or bad file, or nothing usable is left.
    """
    name = str(name_or_path)
    recipe = list_datasets().get(name)
    truth: Truth | None = None
    parts = None
    if recipe is not None and recipe.kind == PLANTED:
        raw, truth = _generate(recipe.options, planted or {})
        notes: list[str] = []
    elif recipe is not None:
        raw, parts, notes = _load_known(recipe, data_dir, columns)
    else:
        raw, parts, notes = _load_path(Path(name), columns)
        name = Path(name).stem
    filters = filters_of(min_rating, min_user, min_item, since, until)
    raw = ordered(raw, order, str(name_or_path))
    kept, changes = cleaned(raw, filters, duplicates)
    check_usable(kept, str(name_or_path), str(filters) if changes else "")
    if truth is not None:
        truth = _renumbered(truth, raw, kept)
    notes = [*raw.notes, *notes, *changes]
    return Dataset(name, kept, kept.content_hash, parts, notes, truth)


def filters_of(
    min_rating: float | None = None, min_user: int = 1, min_item: int = 1, since: Any = None,
    until: Any = None,
) -> Filters:  # fmt: skip
    """Filters by their settings, see `load_dataset`.

    Raises:
        ConfigError: No time is left, or `since` or `until` is none.
    """
    begin, end = (
        None if value is None else moment_of(value, f"data.{name}")
        for name, value in (("since", since), ("until", until))
    )
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"data.since: expected a time before data.until ({until}), found {since}")
    return Filters(min_rating, min_user, min_item, begin, end)


def _load_known(recipe: Recipe, data_dir: Path | None, columns: Columns | None) -> Loaded:
    recipe.check_content("interactions")
    if recipe.kind != "movielens":
        raise DataError(
            f"{recipe.name}: kind: expected movielens or planted, found {recipe.kind!r}"
        )
    folder, notes = locate(recipe, data_dir)
    return read_movielens(folder, columns), official_parts(folder), notes


def _load_path(path: Path, columns: Columns | None) -> Loaded:
    if exists(path) and path.is_dir() and find_layout(path) is not None:
        return read_movielens(path, columns), official_parts(path), []
    path = inter_of(path) or path
    if exists(path) or path.suffix or len(path.parts) > 1:
        rows = read_interactions(path, columns)
        titles = titles_beside(path)
        return replace(rows, titles=titles) if titles else rows, None, []
    raise unknown_name(str(path), "interactions", "a file")


def _generate(
    usual: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Interactions, Truth]:  # fmt: skip
    if "truth" in given:
        films = {key: value for key, value in given.items() if key not in ("truth", "kind")}
        check_arguments("planted", films, inspect.signature(planted_films).parameters)
        return planted_films(kind=given["truth"], **films)
    options = {**usual, **given}
    check_arguments("planted", options, inspect.signature(planted).parameters)
    if "transforms" in options:
        options["transforms"] = tuple(options["transforms"])
    return planted(**options)


def _renumbered(truth: Truth, raw: Interactions, kept: Interactions) -> Truth:
    """The truth in the numbers of the filtered data, whose vocabularies may have shrunk."""
    pairs = zip(raw.vocabularies, kept.vocabularies, strict=True)
    users, items = (before.index(after.ids) for before, after in pairs)
    if isinstance(truth, HistoryTruth):
        return truth.of_items(items)
    original: Signal = truth["signal"]
    return {
        **truth,
        "signal": lambda ids: original(np.stack([users[ids[:, 0]], items[ids[:, 1]]], axis=1)),
        "embeddings": (truth["embeddings"][0][users], truth["embeddings"][1][items]),
    }
