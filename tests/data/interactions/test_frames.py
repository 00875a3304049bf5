"""Tables of Arrow are read as the frames of pandas that hold the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from sif.config.cf import DataConfig
from sif.data.interactions import Columns, read_arrow, read_frame, read_matrix
from sif.errors import DataError
from sif.recommender.inputs import interactions_of


class Stream:
    """Another library's table: nothing but a stream of Arrow."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(schema)


@pytest.fixture
def table() -> pa.Table:
    draws = np.random.default_rng(0)
    users = [f"u{n}" for n in draws.integers(0, 9, 80)]
    whole = pa.table(
        {
            "user": pa.array(users, pa.string_view()),
            "item": pa.array(draws.integers(0, 7, 80), pa.int16()),
            "where": pa.array(users).dictionary_encode(),
            "rating": draws.random(80).astype(np.float32),
            "date": pa.array(draws.integers(0, 2**30, 80), pa.timestamp("s")),
            "Title": [None if n % 3 else f"title {n}" for n in range(80)],
        }
    )
    return pa.concat_tables([whole.slice(0, 30), whole.slice(30)])


def test_values_are_those_of_the_frame(table: pa.Table) -> None:
    columns = Columns(context=("where",))
    known = read_frame(table.to_pandas(), columns)
    for found in (read_arrow(table, columns), read_arrow(Stream(table), columns)):
        assert found.content_hash == known.content_hash
        assert found.ids.tolist() == known.ids.tolist()
        assert found.titles == known.titles and found.titles
    whole = interactions_of(Stream(table), DataConfig(context=("where",)), "ranking")
    assert whole.content_hash == known.content_hash


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "as it is": lambda pl, frame: frame,
    "in chunks": lambda pl, frame: pl.concat([frame[:30], frame[30:]], rechunk=False),
    "categories": lambda pl, frame: frame.with_columns(pl.col("user").cast(pl.Categorical)),
    "small and exact": lambda pl, frame: frame.with_columns(
        pl.col("item").cast(pl.UInt8), pl.col("rating").cast(pl.Decimal(9, 1))
    ),
    "times": lambda pl, frame: frame.with_columns(pl.from_epoch("timestamp", time_unit="s")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_frames_of_polars_are_those_of_pandas(change: str) -> None:
    pl = pytest.importorskip("polars")
    draws = np.random.default_rng(1)
    columns = {
        "user": [f"u{n}" for n in draws.integers(0, 9, 80)], "item": draws.integers(0, 7, 80),
        "rating": draws.integers(2, 11, 80) / 2,
        "timestamp": draws.integers(1_500_000_000, 1_600_000_000, 80),
    }  # fmt: skip
    known = read_frame(pd.DataFrame(columns))
    found = interactions_of(CHANGES[change](pl, pl.DataFrame(columns)), DataConfig(), "rating")
    assert found.content_hash == known.content_hash
    assert found.vocabularies == known.vocabularies
    assert found.rating is not None and known.rating is not None
    assert found.rating.tolist() == known.rating.tolist()


def test_bad_cells_are_named_by_their_row(table: pa.Table) -> None:
    bad = table.set_column(0, "user", [["a", None, *["b"] * 78]])
    with pytest.raises(DataError, match=r"data frame row 2: user: expected an id, found nothing"):
        read_arrow(bad)
    with pytest.raises(DataError, match=r'name it: settings=\{"data.item": ...\}'):
        read_arrow(table.drop_columns(["item"]))
    with pytest.raises(DataError, match=r"data frame: expected interactions, found no rows"):
        read_arrow(table.slice(0, 0))
    with pytest.raises(DataError, match=r"data frame: expected a table of Arrow, found"):
        read_arrow(pd.Series([1, 2]))


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_rows_of_a_matrix_in_order_are_those_of_any_other(objective: str) -> None:
    draws = np.random.default_rng(0)
    dense = draws.integers(-2, 4, (20, 15)).astype(np.float32)
    stored = sparse.csr_array(dense)
    stored.data[::5] = 0  # stored zeros are no interactions
    dense = stored.toarray()
    shuffled = stored.tocoo()
    order = draws.permutation(shuffled.nnz)
    shuffled = sparse.coo_array(
        (shuffled.data[order], tuple(c[order] for c in shuffled.coords)), stored.shape
    )
    before = stored.copy()
    found, known = read_matrix(stored, objective), read_matrix(shuffled, objective)
    assert found.content_hash == known.content_hash
    assert (
        found.ids.tolist() == np.argwhere(dense > 0 if objective == "ranking" else dense).tolist()
    )
    assert (found.dropped is None) == (known.dropped is None)
    if found.dropped is not None and known.dropped is not None:
        assert found.dropped.content_hash == known.dropped.content_hash
    for mine, theirs in zip(before.data, stored.data, strict=True):
        assert mine == theirs
    assert stored.nnz == before.nnz
