"""The split of a run: groups in table and metrics.json, and the data of two figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif import plots
from sif.data.interactions import Interactions, Split
from sif.data.interactions.parts import TRAIN, VALID
from sif.errors import DataError
from sif.evaluation.comparison import Comparison, Verdict, compare
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import merit, paired_bootstrap, paired_ratio_bootstrap
from sif.evaluation.user_groups import COLD_USER, WARM, Groups, cold_shares, groups_of
from sif.problems.base import SEARCHED
from sif.problems.closed_forms import CLOSED
from sif.problems.controls import FIXED, RANDOM
from sif.problems.histories import ENTRANTS
from sif.problems.order import ORDER
from sif.tasks.base import Entry
from sif.tasks.console import table

_NOT_CLASSICAL = (SEARCHED, FIXED, RANDOM, ORDER, CLOSED, *ENTRANTS)
_DAY = 86400
_BINS = 120  # bars of a timeline, at most
_BIN_DAYS = (1, 7, 30, 365)
_GAPS = {
    "none": 1, "< 1 min": 60, "< 10 min": 600, "< 1 h": 3600, "< 1 day": _DAY, "< 1 week": 7 * _DAY,
    "< 30 days": 30 * _DAY,
}  # fmt: skip
_LONGER = "longer"
_RESAMPLES = 2000
_FIGURES: dict[str, tuple[str, Callable[..., None]]] = {
    "timeline": ("split", plots.split_timeline),
    "gaps": ("split", plots.last_gaps),
    "groups": ("groups", plots.group_comparison),
}


def with_valid_fitted(split: Split) -> Split:
    """The split of second fits: valid rows are train rows, the test part is the same."""
    return replace(split, part=np.where(split.part == VALID, TRAIN, split.part))


def grouped(found: Evaluation, split: Split) -> Groups:
    """The groups of an evaluation on the test part."""
    return groups_of(found, split.train, split.test)


def group_documents(found: Evaluation, split: Split) -> dict[str, dict[str, float]]:
    """The groups of an evaluation on the test part as plain numbers."""
    return {name: group.document() for name, group in grouped(found, split).items()}


def shown(entries: Mapping[str, Entry], verdict: Verdict, metric: str) -> list[str]:
    """Ours, whom the verdict is against, and the classical baseline that validation ranks best."""
    classical = [n for n in sorted(entries) if n not in _NOT_CLASSICAL]
    best = sorted(classical, key=lambda n: -merit(metric, entries[n].valid[metric]))[:1]
    return list(dict.fromkeys([SEARCHED, *filter(None, [verdict.against]), *best]))


def group_table(
    entries: Mapping[str, Entry], split: Split, verdict: Verdict, metric: str, ours: str = SEARCHED
) -> str | None:
    """The metric by group; None where the split has neither cold users nor cold items.

    Args:
        entries: Of the job.
        split: Whose train part the tested models were fitted on.
        verdict: Of the job.
        metric: By which it compares.
        ours: The name that the searched function, or what stands for it, is shown by.
    """
    shares = cold_shares(split.train, split.test)
    if shares["warm"] == 1:
        return None
    names = shown(entries, verdict, metric)
    groups = {name: grouped(entries[name].test, split) for name in names}
    rows = [
        [
            group,
            f"{len(found.evaluation.users):,}",
            f"{found.interactions:,}",
            *(f"{groups[name][group].evaluation.metrics[metric]:.4f}" for name in names),
        ]
        for group, found in groups[SEARCHED].items()
    ]
    heads = [ours if name == SEARCHED else name for name in names]
    return (
        f"{table(['test group', 'users', 'rows', *heads], rows)}\n"
        f"{metric}; no train interaction: the user of {shares['cold_user']:.1%} of the test rows, "
        f"the item of {shares['cold_item']:.1%}"
    )


def warm_comparison(
    entries: Mapping[str, Entry], split: Split, verdict: Verdict, metric: str, seed: int
) -> Comparison | None:
    """Ours against the baseline of the verdict in the group `warm`; None where one is missing."""
    if verdict.against is None:
        return None
    ours, other = (grouped(entries[name].test, split) for name in (SEARCHED, verdict.against))
    if WARM not in ours:
        return None
    return compare(ours[WARM].evaluation, other[WARM].evaluation, metric, seed=seed)


def told_by_group(
    entries: Mapping[str, Entry], split: Split, verdict: Verdict, metric: str,
    comparison: Comparison | None, order: str, ours: str = SEARCHED,
) -> list[str]:  # fmt: skip
    """The difference told apart, where a ranking has new users: they decide nothing.

    It is a further look at the same data, and so has an interval but no verdict of its own.

    Args:
        entries: Of the job.
        split: Whose train part the tested models were fitted on.
        verdict: Of the job.
        metric: By which it compares.
        comparison: Of `warm_comparison`.
        order: Name of the order that new users get.
        ours: The name that the searched function, or what stands for it, is shown by.

    Returns:
        A line on known users and one on new ones, or none.
    """
    groups = grouped(entries[SEARCHED].test, split)
    if COLD_USER not in groups:
        return []
    new, share = groups[COLD_USER], cold_shares(split.train, split.test)["cold_user"]
    everyone, n = len(entries[SEARCHED].test.users), len(new.evaluation.users)
    lines = []
    if comparison is not None and verdict.against is not None:
        warm = groups[WARM].evaluation
        other = grouped(entries[verdict.against].test, split)[WARM].evaluation
        values = warm.metrics[metric], other.metrics[metric]
        told = comparison.told(metric, *values, _number(len(warm.users), "user"))
        lines.append(
            f"known users ({everyone - n:,} of {everyone:,}, {1 - share:.1%} of the rows), group "
            f"{WARM}: {ours} against {verdict.against}: {told}"
        )
    lines.append(
        f"new users ({n:,} of {everyone:,}, {share:.1%} of the rows): every model gives them the "
        f"same list, by {order}: {metric} {new.evaluation.metrics[metric]:.4f}"
    )
    return lines


def figure_data(
    entries: Mapping[str, Entry], split: Split, tested: Split, verdict: Verdict, metric: str,
    ours: str = SEARCHED,
) -> dict[str, Any]:  # fmt: skip
    """Data of `draw`: a split in time, and groups where something is cold; plain JSON values.

    Args:
        entries: Of the job.
        split: Shown in time.
        tested: The same, with what the tested models were fitted on as its train part.
        verdict: Of the job.
        metric: Shown by group.
        ours: The name that the searched function, or what stands for it, is shown by.
    """
    data: dict[str, Any] = {}
    rows = split.interactions
    if split.protocol in _BY_TIME and rows.timestamp is not None and rows.place is None:
        name, collect = _BY_TIME[split.protocol]
        data[name] = collect(split)
    if cold_shares(tested.train, tested.test)["warm"] < 1:
        names = shown(entries, verdict, metric)
        groups = [grouped(entries[name].test, tested) for name in names]
        data["groups"] = {
            "metric": metric,
            "models": [ours if name == SEARCHED else name for name in names],
            "notes": [
                f"{_number(len(g.evaluation.users), 'user')}, {_number(g.interactions, 'row')}"
                for g in groups[0].values()
            ],
            "groups": {
                group: [bar(found[group].evaluation, metric) for found in groups]
                for group in groups[0]
            },
        }
    return data


def draw(data: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws what `figure_data` collected; returns the paths."""
    paths = []
    for key, content in data.items():
        name, draw_one = _FIGURES[key]
        paths.append(folder / f"{name}.png")
        draw_one(**content, path=paths[-1])
    return paths


def bar(found: Evaluation, metric: str) -> tuple[float, float, float]:
    """A model's metric with its 95 % bootstrap interval over users, of no width where none is."""
    value = found.metrics[metric]
    if metric in found.per_user:
        values: NDArray[np.float64] = found.per_user[metric]
        around = paired_bootstrap(values, np.zeros_like(values), 0, n=_RESAMPLES)
    else:
        errors, count = found.per_user["squared_error"], found.per_user["count"]
        around = paired_ratio_bootstrap(
            errors, np.zeros_like(errors), count, seed=0, n=_RESAMPLES, root=True
        )
    low, high = (x if np.isfinite(x) else value for x in (around.low, around.high))
    return value, low, high


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def timeline(split: Split) -> dict[str, Any]:
    """Rows by part and time of data with timestamps, and where the parts begin."""
    times = _times(split.interactions)
    first = int(times.min()) // _DAY * _DAY
    span = (int(times.max()) - first) // _DAY + 1
    days = next((d for d in _BIN_DAYS if span <= d * _BINS), _BIN_DAYS[-1])
    bins = (span - 1) // days + 1
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    place = (times - first) // (days * _DAY)
    return {
        "start": first,
        "days": days,
        "counts": {
            name: np.bincount(place[split.part == number], minlength=bins).tolist()
            for number, name in enumerate(parts)
        },
        "cuts": [int(times[split.part == number].min()) for number in (1, 2)],
        "users": {name: len(np.unique(part.ids[:, 0])) for name, part in parts.items()},
    }


def _gaps(split: Split) -> dict[str, Any]:
    train, test = split.train, split.test
    last = np.full(train.sizes[0], np.iinfo(np.int64).min)
    np.maximum.at(last, train.ids[:, 0], _times(train))
    gap = _times(test) - last[test.ids[:, 0]]  # every user of test has a train interaction
    place = np.searchsorted(list(_GAPS.values()), gap, side="right")
    counts = np.bincount(place, minlength=len(_GAPS) + 1)
    return {
        "labels": [*_GAPS, _LONGER],
        "counts": counts.tolist(),
        "median": _duration(float(np.median(gap))),
    }


def _times(part: Interactions) -> NDArray[np.int64]:
    if part.timestamp is None:
        raise DataError("figures: expected a timestamp column under a protocol by time, found none")
    return part.timestamp


_BY_TIME: dict[str, tuple[str, Callable[[Split], dict[str, Any]]]] = {
    "temporal": ("timeline", timeline),
    "time-cut": ("timeline", timeline),
    "rolling": ("timeline", timeline),
    "last-item": ("gaps", _gaps),
}
"""Figures of protocols by time."""


def _duration(seconds: float) -> str:
    for unit, size in (("days", _DAY), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
