"""Any `RecordSource` is read, and one that was cut off goes on where it was."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sif.data.interactions import Columns, Filters, read_frame
from sif.data.streamed import columns
from sif.data.streamed.load import Place, load_streamed
from sif.data.streamed.mapped import Rules
from sif.data.streamed.source import CutOffError, Piece, RecordSource
from sif.errors import DataError


class Rows:
    """Rows in memory, cut off before one of them; a mark is a number of rows."""

    rows = size = None
    notes: tuple[str, ...] = ()
    name = header_place = "rows"

    def __init__(self, table: pa.Table, cut: int | None = None) -> None:
        self.table, self.cut = table, cut
        self.begun: list[Any] = []

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def fingerprint(self) -> str:
        return "the same rows"

    def pieces(self, wanted: Sequence[int], mark: Any = None) -> Iterator[Piece]:
        self.begun.append(mark)
        for first in range(mark or 0, len(self.table), 10):
            if self.cut is not None and first >= self.cut:
                raise CutOffError("rows: expected rows, found a closed connection")
            part = self.table.slice(first, 10).select(list(wanted)).combine_chunks()
            yield Piece(part.to_batches()[0], first + 10, 0)

    def with_numbers(self, wanted: Collection[int]) -> Rows:
        return self

    def locate(self, row: int, column: int) -> tuple[str, str]:
        return f"rows row {row + 1}", str(self.table.column(column)[row].as_py())


@pytest.fixture
def frame() -> pd.DataFrame:
    keys = np.random.default_rng(0).permutation(95)
    return pd.DataFrame({"user": [f"u{key // 9}" for key in keys], "item": keys % 9})


def read(source: RecordSource, place: Place, **filters: Any) -> Any:
    rules = Rules(Filters(**filters))
    return load_streamed(source, "rows", Columns(), rules, None, place).interactions


def test_a_source_that_was_cut_off_goes_on(frame: pd.DataFrame, tmp_path: Path) -> None:
    table, place = pa.Table.from_pandas(frame), Place(tmp_path / "scratch", False)
    with pytest.raises(CutOffError, match="rows: expected rows, found a closed connection"):
        read(Rows(table, cut=40), place)
    (folder,) = place.folder.iterdir()
    whole = Rows(table)
    found = read(whole, place)
    assert whole.begun == [40]
    assert found.content_hash == read_frame(frame).content_hash
    assert not folder.exists()


def test_a_bad_cell_removes_the_files(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.loc[70, "user"] = None
    place = Place(tmp_path / "scratch", True)
    with pytest.raises(DataError, match=r"rows row 71: user: expected an id, found nothing"):
        read(Rows(pa.Table.from_pandas(frame)), place)
    assert not list(place.folder.iterdir())


def test_other_rules_are_other_files(frame: pd.DataFrame, tmp_path: Path) -> None:
    table, place = pa.Table.from_pandas(frame), Place(tmp_path / "scratch", True)
    sizes = [len(read(Rows(table), place, min_user=least)) for least in (1, 6, 1)]
    assert sizes == [95, 90, 95]
    assert len(list(place.folder.iterdir())) == 2


def test_a_source_without_rows_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    place = Place(tmp_path / "scratch", False)
    with pytest.raises(DataError, match="rows: expected interactions, found no rows"):
        read(Rows(pa.Table.from_pandas(frame).slice(0, 0)), place)


def test_rows_that_change_meanwhile_are_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    source, place = Rows(pa.Table.from_pandas(frame)), Place(tmp_path / "scratch", False)
    versions = iter(["first", "second"])
    source.fingerprint = lambda: next(versions)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="rows: expected the same rows all along, found them cha"):
        read(source, place)
    assert not place.folder.exists()


@pytest.mark.parametrize("waiting", [1, 25, 1000])
@pytest.mark.parametrize("cut", [20, 50, 90])
def test_ids_are_numbered_alike_however_they_are_merged(
    frame: pd.DataFrame, tmp_path: Path, cut: int, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_WAITING", waiting)
    table, place = pa.Table.from_pandas(frame), Place(tmp_path / "scratch", False)
    with pytest.raises(CutOffError):
        read(Rows(table, cut), place)
    assert read(Rows(table), place).content_hash == read_frame(frame).content_hash
