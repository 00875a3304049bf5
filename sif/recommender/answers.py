"""Answers in numbers of a model as data frames or arrays of original ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.retrieval.engine import Top

Answer = Any
"""A data frame, or a pair of arrays where `as_arrays` asks for them."""


def arrays_of(best: Top, names: NDArray[np.str_], one: bool) -> Answer:
    """Ids, by number in `names`, and scores.

    Both are (m,) where a single id was asked about, m at most n; otherwise (b, n), "" and minus
    infinity where nothing is left.
    """
    left = best.items >= 0
    ids = np.where(left, names[best.items], "")
    return (ids[0][left[0]], best.scores[0][left[0]]) if one else (ids, best.scores)


def frame_of(
    best: Top, names: NDArray[np.str_], answered: str, queries: Mapping[str, NDArray[np.str_]],
    titles: Mapping[str, str],
) -> pd.DataFrame:  # fmt: skip
    """A row for each answer, best first.

    Args:
        best: Numbers (b, n) with scores, -1 where nothing is left.
        names: Ids by number.
        answered: Name of the column of answers.
        queries: Name of the column of ids (b,) that were asked about; empty: a single one.
        titles: Id to title; empty: no such column.
    """
    rows, places = np.nonzero(best.items >= 0)
    ids = names[best.items[rows, places]].astype(object)
    columns: dict[str, Any] = {
        name: column.astype(object)[rows] for name, column in queries.items()
    }
    columns |= {answered: ids, "score": best.scores[rows, places], "rank": places + 1}
    if titles:
        columns["title"] = [titles.get(name, "") for name in ids]
    return pd.DataFrame(columns)
