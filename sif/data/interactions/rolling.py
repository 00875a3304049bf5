"""The protocol `rolling`: several moments, and at each a split of what was known until then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sif.data.interactions.chronological import ROLLING, cut_at, moments_of, refuse_counts
from sif.data.interactions.clean import compact
from sif.data.interactions.load import Dataset
from sif.data.interactions.split import Split, build_split
from sif.errors import DataError

_SHARE = 0.1  # of all rows in each test part


def rolling_splits(dataset: Dataset, seed: int, moments: int = 3) -> tuple[Split, ...]:
    """Splits like `time-cut` at several moments, the earliest first.

    The test parts follow one another, each with a tenth of all rows (rows of one moment stay
    together), the last one ending with the data; so no row is tested twice, and the last split is
    that of `time-cut`. A split has the rows up to the end of its test part alone, and only the
    users and items that occur in them: nobody knew the others at that moment.

    Args:
        dataset: Of `load_dataset`; the order of its rows is known.
        seed: Of the draws of the validation parts.
        moments: Number of splits.

    Returns:
        The splits, protocol "rolling"; ids are numbered for each of them.

    Raises:
        DataError: Nothing tells the order, there are not so many moments, or the rows before one of
            them are too few for a split.
    """
    interactions = dataset.interactions
    moment = moments_of(interactions, dataset.name, ROLLING)
    refuse_counts(interactions, dataset.name, ROLLING)
    n = len(interactions)
    in_order = np.sort(moment)
    first = [round((1 - _SHARE * left) * n) for left in range(moments, 0, -1)]
    cuts = [int(in_order[min(max(row, 0), n - 1)]) for row in first]
    if first[0] <= 0 or len(set(cuts)) < moments:
        raise DataError(
            f"{dataset.name}: data.moments: expected moments a tenth of the rows apart, found"
            f" {len(set(cuts))} for {moments} in {n:,} rows"
        )
    splits = []
    for number, (cut, end) in enumerate(zip(cuts, [*cuts[1:], None], strict=True)):
        known = interactions if end is None else compact(interactions.select(moment < end))
        where = f"{dataset.name} at moment {number + 1} of {moments} under protocol {ROLLING}"
        part, notes = cut_at(known, cut, seed, where)
        split = build_split(known, part, protocol=ROLLING, seed=seed, where=where)
        splits.append(replace(split, notes=notes))
    return tuple(splits)
