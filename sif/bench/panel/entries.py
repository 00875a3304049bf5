"""The entries of a panel: data sets that are there, each with the settings of its jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sif.bench.panel.lists import Highest, Listed
from sif.bench.request import check_one_split
from sif.config import CFConfig, did_you_mean
from sif.config.loading import dotted, parsed_item
from sif.config.renamed import todays_name
from sif.data.download import search_folders
from sif.data.interactions.movielens import find_layout
from sif.data.interactions.npz_files import has_parts
from sif.data.recipe import list_datasets
from sif.errors import ConfigError
from sif.problems.configuration import load_job_config
from sif.utils.addresses import entered, is_address, label_of
from sif.utils.paths import exists, expanded

TASK = "cf"
_OWN = ("seed", "output_dir", "dataset", "data.split_file")
"""Settings that a panel gives to its jobs itself."""
_RANKING = ("ndcg", "recall", "hit", "mrr", "map", "precision")
_RATING = ("rmse", "rmse_std", "mae")
_DEFAULT = {"ranking": "ndcg@10", "rating": "rmse"}
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")

Layers = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """A data set of a panel.

    Attributes:
        name: In the table, and in the names of folders.
        metric: Shown in the table.
        highest: Highest figure that is known; None: none is given.
        job: Settings of its jobs but the seed.
    """

    name: str
    metric: str
    highest: Highest | None
    job: CFConfig


@dataclass(frozen=True)
class Settings:
    """Settings of all jobs, which win over those of lists.

    Attributes:
        file: YAML file or preset below everything else.
        sets: "key=value".
        flags: Dotted key to value; a value of None was not given.
    """

    file: str | Path | None = None
    sets: Sequence[str] = ()
    flags: Mapping[str, Any] | None = None

    def layers(self) -> list[tuple[str, Mapping[str, Any]]]:
        """With their origins, those that win last."""
        given = {k: v for k, v in dotted(self.flags or {}).items() if v is not None}
        return [*map(parsed_item, self.sets), ("arguments", given)]


def entries(found: Sequence[Listed], settings: Settings) -> tuple[Entry, ...]:
    """The entries that are asked for; files must be there, but are not read.

    Args:
        found: As `sif.bench.panel.lists.listed` gives them.
        settings: Of all jobs.

    Raises:
        ConfigError: A file that is nowhere, an unknown metric, two of one name, or a setting that
            jobs do not take or a panel sets itself.
        DataError: A known data set of images or texts.
    """
    made = tuple(_entry(one, settings) for one in found)
    names = [one.name for one in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"data: expected different names, found {name!r} twice; name one")
    return made


def _entry(one: Listed, settings: Settings) -> Entry:
    layers = [*one.layers, *settings.layers()]
    for origin, layer in layers:
        for key in map(todays_name, dotted(layer)):
            if key in _OWN:
                raise ConfigError(f"{origin}: {key}: a panel sets it itself: leave it out")
    plain = _config(settings, layers)
    source = _source(one, plain)
    name = one.name or re.sub(r"[^\w.+-]+", "-", label_of(source[1])).strip("-.+")[:80] or "data"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{one.where}: name: expected letters and digits, found {name!r}")
    metric, cutoff = _metric(one, plain)
    layers.append(("data", {source[0]: source[1]}))
    if cutoff is not None and cutoff not in plain.metrics_at:
        layers.append(("data", {"metrics_at": [*plain.metrics_at, cutoff]}))
    job = _config(settings, layers)
    check_one_split(job)
    return Entry(name, metric, one.highest, job)


def _config(settings: Settings, layers: Layers) -> CFConfig:
    config = load_job_config(TASK, file=settings.file, layers=layers)
    assert isinstance(config, CFConfig)  # noqa: S101
    return config


def _source(one: Listed, config: CFConfig) -> tuple[str, str]:
    """Key and value of the setting that names the data."""
    known = list_datasets()
    if one.data in known:
        known[one.data].check_content("interactions")
        return "dataset", one.data
    if is_address(one.data):
        return "dataset", entered(one.data)
    path = _located(one, config)
    published = config.data.protocol in (None, "file")
    is_split = find_layout(path) is None if path.is_dir() else has_parts(path)
    return ("data.split_file" if published and is_split else "dataset"), str(path)


def _located(one: Listed, config: CFConfig) -> Path:
    """The file: as it is named, beside its list, or in a folder of data."""
    path, bases = expanded(one.data), search_folders(config.data.dir)
    beside = [] if one.base is None else [one.base]
    for place in (path, *(base / path for base in (*beside, *bases))):
        if exists(place):
            return place.absolute()
    names = [name for name, recipe in list_datasets().items() if recipe.content == "interactions"]
    raise ConfigError(
        f"{one.where}: expected a file, also in {', '.join(map(str, bases))}, or one of "
        f"{', '.join(names)}, found {one.data!r}{did_you_mean(one.data, names)}"
    )


def _metric(one: Listed, config: CFConfig) -> tuple[str, int | None]:
    """The metric that is shown, and the length of the lists that it looks at."""
    metric = one.metric or _DEFAULT[config.objective]
    name, at, length = metric.partition("@")
    if config.objective == "rating" and metric in _RATING:
        return metric, None
    cutoff = int(length) if re.fullmatch(r"[1-9]\d{0,3}", length) else 0
    if config.objective == "ranking" and name in _RANKING and at and 0 < cutoff <= 1000:
        return metric, cutoff
    names = _RATING if config.objective == "rating" else tuple(f"{n}@10" for n in _RANKING)
    raise ConfigError(
        f"{one.where}: metric: expected one of {', '.join(names)}"
        f"{'' if config.objective == 'rating' else ', or at another length up to 1000'}, found "
        f"{metric!r}{did_you_mean(metric, names)}"
    )
