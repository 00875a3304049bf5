"""Tables as RecTools has them: interactions out and recommendations out.

    from rectools.dataset import Dataset
    dataset = Dataset.construct(interactions_frame(data))
    metrics = calc_metrics(metrics, reco_frame(recommender.recommend(users)), ...)

A recommender reads such interactions like any others. Weights are ratings only if told:
`settings={"data.rating": "weight"}`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from sif.adapters.tables import rows_of, table_of
from sif.data.interactions import Interactions
from sif.data.interactions.split import Split
from sif.errors import DataError
from sif.utils.argument_types import checks_types

_logger = logging.getLogger("sif")
INTERACTIONS = ("user_id", "item_id", "weight", "datetime")
"""`rectools.Columns.Interactions`."""
RECOMMENDATIONS = ("user_id", "item_id", "score", "rank")
"""`rectools.Columns.Recommendations`."""
ITEMS_TO_ITEMS = ("target_item_id", "item_id", "score", "rank")
"""`rectools.Columns.RecommendationsI2I`."""


def interactions_frame(data: Any) -> pd.DataFrame:
    """Interactions as RecTools has them, for `rectools.dataset.Dataset.construct`.

    Args:
        data: Interactions in any form of `Recommender.fit`; of a `Split` all rows.

    Returns:
        "user_id" and "item_id" as texts; "weight", the rating or 1; "datetime", in UTC without a
        zone. Without times it is the place of a row in seconds if data are in order, else 1970; the
        logger "sif" then warns.

    Raises:
        DataError: Data that cannot be used.

    Examples:
        >>> from sif.adapters.rectools import interactions_frame
        >>> interactions_frame(orders).columns.tolist()
        ['user_id', 'item_id', 'weight', 'datetime']
    """
    rows = rows_of(data)
    if isinstance(rows, Split):
        rows = rows.interactions
    table = table_of(rows, {"user": "user_id", "item": "item_id"})
    weights = np.ones(len(rows), np.float32) if rows.rating is None else rows.rating
    return pd.DataFrame(
        {
            "user_id": table["user_id"].astype(object), "item_id": table["item_id"].astype(object),
            "weight": weights, "datetime": _datetimes(rows),
        }
    )  # fmt: skip


def _datetimes(rows: Interactions) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """The times (n,) of rows, in seconds: of rows in order their places, else 1970 for all."""
    if rows.place is not None:
        _logger.warning(
            "datetime: the place of each row, in seconds since 1970, since rows are in order "
            "(data.order)"
        )
    elif rows.timestamp is None:
        _logger.warning(
            "datetime: 1970-01-01 in every row, since the data have no times and RecTools wants "
            "some; data.timestamp=NAME names their column"
        )
        return np.zeros(len(rows), "datetime64[s]")
    assert rows.moment is not None  # noqa: S101
    return rows.moment.astype("datetime64[s]")


@checks_types
def reco_frame(answer: pd.DataFrame, user: Any = None) -> pd.DataFrame:
    """An answer of a recommender as RecTools has recommendations.

    Args:
        answer: Of `recommend`, `rank` or `recommend_new`, or of `similar_items`.
        user: Id of the user, where the answer is about one alone and does not name him.

    Returns:
        "user_id", "item_id", "score" and "rank" from 1; of similar items "target_item_id" instead
        of the user.

    Raises:
        DataError: No such answer, or one about a user who is not named.

    Examples:
        >>> from sif.adapters.rectools import reco_frame
        >>> reco_frame(model.recommend(["c1", "c2"], n=2)).columns.tolist()
        ['user_id', 'item_id', 'score', 'rank']
    """
    missing = [name for name in ("item", "score", "rank") if name not in answer.columns]
    if missing:
        raise DataError(
            f"answer: expected columns item, score and rank, found none {missing[0]!r} among "
            f"{', '.join(map(str, answer.columns)) or 'none'}"
        )
    of_items = "similar_to" in answer.columns
    asked = "similar_to" if of_items else "user"
    if asked in answer.columns:
        who: Any = answer[asked]
    elif user is None:
        raise DataError("user: expected an id, for an answer about one user, found none")
    else:
        who = user
    names = ITEMS_TO_ITEMS if of_items else RECOMMENDATIONS
    values = (who, *(answer[name] for name in ("item", "score", "rank")))
    return pd.DataFrame(dict(zip(names, values, strict=True)), index=answer.index)
