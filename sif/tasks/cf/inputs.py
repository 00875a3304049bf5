"""The inputs of a job: everything that can be refused is refused here, before a file is written.

A configuration goes in; the study comes out: data, split, the problem made of its train and
validation parts, and who is compared.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from sif.baselines import named_baselines
from sif.config import CFConfig, did_you_mean
from sif.data.features.attach import with_features
from sif.data.interactions import (
    Columns,
    Split,
    load_split_file,
    make_split,
    rolling_splits,
    with_time_buckets,
)
from sif.data.interactions.chronological import ROLLING
from sif.data.interactions.load import Dataset
from sif.data.load import load_dataset
from sif.data.streamed.load import Place
from sif.errors import ConfigError, DataError
from sif.evaluation.goals import goal_of, judged_features
from sif.problems.closed_forms import closed_problem
from sif.problems.controls import CONTROLS
from sif.problems.histories import named_readers, reader_problems
from sif.problems.interactions import InteractionProblem
from sif.problems.order import order_problem
from sif.problems.registered import check_registered
from sif.recommender.approximation import check_retrieval
from sif.tasks.cf.study import InteractionStudy
from sif.utils.device import Runtime

PROTOCOL = {"ranking": "ranking-per-user", "rating": "rating-80/10/10"}


def prepare(config: CFConfig, runtime: Runtime) -> InteractionStudy:
    """Reads and checks what the configuration names; names first, since data may be large.

    Raises:
        DataError, ConfigError: One line each.
    """
    check_registered(config)
    for name in config.controls:
        if name not in CONTROLS:
            raise ConfigError(
                f"controls: unknown {name!r}{did_you_mean(name, CONTROLS)}; "
                f"expected some of {', '.join(CONTROLS)}, or [] for none"
            )
    named_readers(config)
    check_retrieval(config.retrieval)
    if config.serve_by is not None:
        goal_of(config.serve_by, config.metrics_at)
    baselines = named_baselines(config.baselines, config.objective)
    dataset, split = load_data(config)
    judged_features(config.serve_by, split.train)
    label = dataset.name if dataset else Path(str(config.data.split_file)).stem
    problem = InteractionProblem(split.train, split.valid, config, runtime)
    problem.check_method(config.method)
    return InteractionStudy(
        config, label, dataset, split, problem, baselines, order_problem(problem),
        reader_problems(problem), closed_problem(problem),
    )  # fmt: skip


def load_data(config: CFConfig) -> tuple[Dataset | None, Split]:
    """The data set (None where a split file says it all) and its split, with all asked fields.

    Raises:
        DataError, ConfigError: See `sif.data.interactions`.
    """
    dataset, split = _load_split(config)
    if split.interactions.fields[2:] != config.data.context:
        raise DataError(
            f"data.context: expected data with columns {', '.join(config.data.context)}, found "
            f"{config.dataset}, which has none"
        )
    if config.data.time_buckets is not None:
        split = with_time_buckets(split, config.data.time_buckets)
    rows, notes = with_features(split.interactions, config.data)
    return dataset, replace(split, interactions=rows, notes=(*split.notes, *notes))


def _load_split(config: CFConfig) -> tuple[Dataset | None, Split]:
    data, columns = config.data, Columns.of(config.data)
    load_split = partial(load_split_file, columns=columns, seed=config.seed, order=data.order)
    if data.split_file is not None and config.dataset == "planted":
        return None, load_split(data.split_file)
    kind = "clicks" if config.objective == "ranking" else "ratings"
    dataset = load_dataset(
        config.dataset,
        stream=data.stream,
        reader=data.reader,
        query=data.query,
        table=data.table,
        place=Place.of(data.scratch, _beside(config)),
        data_dir=data.dir,
        columns=columns,
        min_rating=data.min_rating,
        min_user=data.min_user,
        min_item=data.min_item,
        since=data.since,
        until=data.until,
        duplicates=data.duplicates,
        order=None if data.split_file is not None else data.order,
        planted={**data.planted.arguments(), "seed": config.seed, "kind": kind},
    )
    if data.split_file is not None:
        titles = dataset.interactions.titles
        split = load_split(data.split_file, titles)
        rows = replace(split.interactions, dropped=dataset.interactions.dropped)
        return dataset, replace(split, interactions=rows)
    protocol = data.protocol or PROTOCOL[config.objective]
    if protocol == ROLLING:  # of all moments the first: their jobs come to the others by themselves
        splits = rolling_splits(dataset, config.seed, data.moments)
        return dataset, splits[(data.moment or 1) - 1]
    return dataset, make_split(dataset, protocol, config.seed)


def _beside(config: CFConfig) -> Path | None:
    """The folder beside the run folder for files of a reading."""
    return None if config.output_dir is None else config.output_dir.parent / ".scratch"
