"""Rows of PostgreSQL, SQLite and DuckDB: the same interactions as from a frame, or one line."""

from __future__ import annotations

import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.config import CFConfig
from sif.data.databases import source as sources
from sif.data.databases.opened import query_source
from sif.data.databases.source import QuerySource
from sif.data.interactions import Interactions, merge_duplicates, read_frame
from sif.data.interactions.interactions import ordered
from sif.data.interactions.readers import Columns
from sif.data.load import load_dataset
from sif.data.streamed.load import Place
from sif.data.streamed.source import CutOffError
from sif.errors import ConfigError, DataError
from sif.utils.addresses import entered

pytest.importorskip("pyarrow", reason="needs pyarrow, in whose batches databases answer")

KINDS = ("postgresql", "sqlite", "duckdb")
Run = Callable[..., None]
LATE = (
    "select case when place = 300 then null else user_id end as user_id, item_id from orders "
    "order by place"
)
ALL = "select * from orders order by place"


def frame(n: int = 500) -> pd.DataFrame:
    draws = np.random.default_rng(0)
    return pd.DataFrame({
        "user_id": [f"u{u}" for u in draws.integers(0, 40, n)],
        "item_id": draws.integers(0, 60, n),
        "rating": draws.integers(1, 11, n) / 2,
        "ts": 1_500_000_000 + draws.integers(0, 10**6, n),
        "place": np.arange(n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def execute(postgres: str) -> Iterator[Run]:
    """Runs statements on the server, and commits them."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")

    def run(*statements: str, rows: pd.DataFrame | None = None, table: str = "orders") -> None:
        import pyarrow

        with dbapi.connect(postgres) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            if rows is not None:
                whole = pyarrow.Table.from_pandas(rows, preserve_index=False)
                cursor.adbc_ingest(table, whole, mode="replace")
            connection.commit()

    yield run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with orders.db and orders.duckdb."""
    folder = tmp_path_factory.mktemp("databases")
    rows = frame()
    with sqlite3.connect(folder / "orders.db") as connection:
        rows.to_sql("orders", connection, index=False)
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb, of the extra sql")
    with duckdb.connect(str(folder / "orders.duckdb")) as connection:
        connection.register("rows", rows)
        connection.execute("create table orders as from rows")
    return folder


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, place: Path) -> str:
    """A database with a table of orders."""
    if request.param == "postgresql":
        request.getfixturevalue("execute")(rows=frame())
        return entered(request.getfixturevalue("postgres"))
    return f"{request.param}:///{place}/orders.{'db' if request.param == 'sqlite' else 'duckdb'}"


def read(dataset: str, query: str = ALL, **columns: Any) -> Interactions:
    """All rows in their order, repeated pairs too."""
    return load_dataset(
        dataset, query=query, columns=Columns(**columns), order="rows", duplicates="last"
    ).interactions


def source_of(dataset: str, query: str = ALL) -> QuerySource:
    found = query_source(dataset, query, None)
    assert found is not None
    return found


def expected_of(rows: pd.DataFrame, **columns: Any) -> Interactions:
    whole = ordered(read_frame(rows, Columns(**columns)), "rows", "")
    return merge_duplicates(whole, "last")[0]


def same(found: Interactions, expected: Interactions) -> None:
    assert found.content_hash == expected.content_hash
    assert found.fields == expected.fields and found.notes == expected.notes


def test_rows_are_those_of_a_frame(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same(read(address), expected_of(frame()))
    monkeypatch.setattr(sources, "ROWS", 7)
    same(read(address), expected_of(frame()))


def test_a_table_needs_no_query(address: str) -> None:
    found = load_dataset(address, table="orders", order="rows")
    assert found.name == ("postgres" if address.startswith("postgresql") else "orders")
    same(found.interactions, expected_of(frame()))


def test_columns_may_have_other_names_and_places(address: str) -> None:
    query = (
        "select place, rating as liking, item_id as what, user_id as who, ts from orders "
        "order by place; "
    )
    found = read(address, query, user="who", item="what", rating="liking", context=("place",))
    same(found, expected_of(frame(), context=("place",)))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("delete from orders", "expected a query such as 'select ...', found 'delete from orders'"),
        ("/* x */ -- y\ndrop table orders", "expected a query .* found 'drop table orders'"),
        ("select nope from orders", "(?s)nope"),
        ("with x as (delete from orders returning *) select * from x", "."),
        ("select 1 as user_id, 2 as item_id; delete from orders", "."),
        ("select user_id from orders", "item: expected a column such as .*found columns 'user_id'"),
        ("select * from orders where 1 = 0", "expected interactions, found no rows"),
        ("select null as user_id, item_id from orders", "row 1: user: expected an id, found noth"),
        (LATE, "row 301: user: expected an id, found nothing"),
        ("select user_id, item_id, 'x' as rating from orders", "row 1: rating: .*found 'x'"),
    ],
)  # fmt: skip
def test_bad_queries_are_one_line_and_change_nothing(address: str, query: str, told: str) -> None:
    with pytest.raises((DataError, ConfigError), match=told) as caught:
        read(address, query)
    assert "\n" not in str(caught.value)
    same(read(address), expected_of(frame()))


def test_a_database_without_a_question_tells_its_tables(address: str) -> None:
    with pytest.raises(DataError, match=r"expected data\.table or data\.query.*orders"):
        load_dataset(address)


def test_files_are_told_by_their_first_bytes(place: Path, tmp_path: Path) -> None:
    for name in ("orders.db", "orders.duckdb"):
        other = tmp_path / f"{name}.csv"
        other.write_bytes((place / name).read_bytes())
        same(read(str(other)), expected_of(frame()))


def test_a_query_needs_a_database(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "orders.csv")
    for settings in ({"query": "select 1"}, {"table": "orders"}):
        with pytest.raises(
            ConfigError, match=r"expected a database as dataset, found .*orders.csv"
        ):
            load_dataset(tmp_path / "orders.csv", **settings)
    with pytest.raises(ConfigError, match=r"data\.query: expected a database .* found planted"):
        load_dataset("planted", query="select 1")
    with pytest.raises(ConfigError, match="data: query contradicts table"):
        CFConfig(data={"query": "select 1", "table": "orders"})


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    for scheme in ("sqlite", "duckdb"):
        with pytest.raises(DataError, match=r"none\.db: expected a database, found: No such file"):
            read(f"{scheme}:///{tmp_path}/none.db")
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    with pytest.raises(DataError, match=r"bad\.db: "):
        read(str(tmp_path / "bad.db"))
    assert not (tmp_path / "none.db").exists()


def test_types_of_sqlite_are_those_of_its_values(tmp_path: Path) -> None:
    rows = [("7", 1, 3, None), (8, 2.0, 4.5, b"b"), ("x", 3, 2, None)]
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("create table t (user_id, item_id, rating, other)")
        connection.executemany("insert into t values (?, ?, ?, ?)", rows)
    found = read(str(tmp_path / "x.db"), "select * from t")
    assert found.vocabularies[0].ids.tolist() == ["7", "8", "x"]
    assert found.vocabularies[1].ids.tolist() == ["1", "2", "3"]
    assert found.rating is not None and found.rating.tolist() == [3, 4.5, 2]


def test_a_late_text_among_numbers_of_sqlite_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.data.databases.sqlite._ROWS", 2)
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("create table t (user_id, item_id)")
        connection.executemany("insert into t values (?, ?)", [(1, 1), (2, 2), (3, 3), ("four", 4)])
    with pytest.raises(DataError, match=r"row 4: column user_id: expected int64.*'four'; cast"):
        read(str(tmp_path / "x.db"), "select * from t")
    cast = read(str(tmp_path / "x.db"), "select cast(user_id as text) as user_id, item_id from t")
    assert cast.vocabularies[0].ids.tolist() == ["1", "2", "3", "four"]


def test_types_of_postgres(postgres: str, execute: Run) -> None:
    ids = [uuid.UUID(int=n * 10**30) for n in (3, 1, 2)]
    values = ", ".join(f"('{one}', {n}, {n}.5, '2020-01-0{n} 00:00+00')" for n, one in
                       enumerate(ids, start=1))  # fmt: skip
    execute(
        "create table typed (user_id uuid, item_id numeric, rating numeric(3, 1), at timestamptz)",
        f"insert into typed values {values}", "create type mood as enum ('sad', 'glad')",
        "create table moods (user_id mood, item_id int, tags int[])",
        "insert into moods values ('sad', 1, '{1}'), ('glad', 2, '{2}')",
    )  # fmt: skip
    found = read(entered(postgres), "select * from typed order by item_id", timestamp="at")
    assert found.vocabularies[0].ids[found.ids[:, 0]].tolist() == list(map(str, ids))
    assert found.vocabularies[1].ids[found.ids[:, 1]].tolist() == ["1", "2", "3"]
    assert found.rating is not None and found.rating.tolist() == [1.5, 2.5, 3.5]
    days = [1577836800 + 86400 * n for n in range(3)]
    assert found.timestamp is not None and found.timestamp.tolist() == days
    assert len(read(entered(postgres), "select * from moods")) == 2
    for column in ("tags", "point(item_id, 2)"):
        query = f"select {column} as user_id, item_id from moods"
        with pytest.raises(
            DataError, match=r"column user_id: expected single values of .*; cast it"
        ):
            read(entered(postgres), query)
        cast = f"select ({column})::text as user_id, item_id from moods"
        assert len(read(entered(postgres), cast)) == 2


def check_infinity(address: str, kind: str, sign: str) -> None:
    """The finite time is read; beside an infinite one, which has no number, nothing is."""
    rows = "select 1 as user_id, 2 as item_id, {} as at union all select 2, 3, {}"
    finite, infinite = f"cast('2020-01-01' as {kind})", f"cast('{sign}infinity' as {kind})"
    found = read(address, rows.format(finite, finite), timestamp="at")
    assert found.timestamp is not None and found.timestamp.tolist() == [1577836800] * 2
    with pytest.raises(DataError, match="column at: expected finite times, found infinity"):
        read(address, rows.format(finite, infinite), timestamp="at")


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
def test_infinite_times_are_refused(postgres: str, place: Path, kind: str, sign: str) -> None:
    check_infinity(entered(postgres), kind, sign)
    check_infinity(str(place / "orders.duckdb"), kind, sign)


def test_types_of_duckdb(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute(
            "create table t as select uuid() as user_id, i::hugeint as item_id, "
            "4.5::decimal(3, 1) as rating, date '2020-01-02' as day, ['x'] as tags "
            "from range(7, 9) r(i)"
        )
        ids = [str(one) for (one,) in connection.execute("select user_id from t").fetchall()]
    found = read(str(tmp_path / "x.duckdb"), "select * from t", timestamp="day")
    assert found.vocabularies[0].ids[found.ids[:, 0]].tolist() == ids
    assert found.vocabularies[1].ids[found.ids[:, 1]].tolist() == ["7", "8"]
    assert found.rating is not None and found.rating.tolist() == [4.5, 4.5]
    assert found.timestamp is not None and found.timestamp.tolist() == [1577923200] * 2


def wide(postgres: str, rows: int = 400_000) -> QuerySource:
    """A source of more rows than the buffers of a connection have."""
    query = f"select i as user_id, repeat('x', 60) as item_id from generate_series(1, {rows}) i"
    return source_of(entered(postgres), query)


@pytest.mark.slow
def test_a_cut_connection_is_one_line(postgres: str, execute: Run) -> None:
    """Slow: the server makes rows that do not fit in the buffers of a connection."""
    pieces = wide(postgres).pieces([0, 1])
    assert len(next(pieces).batch) == sources.ROWS
    execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'COPY%' "
        "and pid <> pg_backend_pid()"
    )
    with pytest.raises(
        DataError, match=r"cut off after [\d,]+ rows: (terminating|server closed)"
    ) as caught:
        list(pieces)
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.slow
def test_a_reader_may_stop_half_way(postgres: str, execute: Run) -> None:
    """Slow: as above. The server ends what nobody reads."""
    pieces = wide(postgres, 5_000_000).pieces([0])
    next(pieces)
    pieces.close()
    query = (
        "select count(*) as n from pg_stat_activity where query like 'COPY%series%' "
        "and state = 'active' and pid <> pg_backend_pid()"
    )
    left = source_of(entered(postgres), query)
    for _ in range(50):
        (piece,) = left.pieces([0])
        if piece.batch.column(0)[0].as_py() == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the server still sends rows")


def test_a_reading_goes_on_behind_its_mark(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ROWS", 64)
    source = source_of(address)
    pieces = list(source.pieces([0, 2]))
    assert [len(piece.batch) for piece in pieces] == [64] * 7 + [52]
    rows = [row for piece in pieces for row in piece.batch.to_pylist()]
    assert pd.DataFrame(rows).equals(frame()[["user_id", "rating"]])
    for done in (1, 3, 7, 8):
        rest = list(source.pieces([0, 2], pieces[done - 1].mark))
        assert [piece.mark for piece in rest] == [piece.mark for piece in pieces[done:]]
        assert [piece.batch for piece in rest] == [piece.batch for piece in pieces[done:]]
    assert source.locate(130, 0) == (f"{source.name} row 131", frame().user_id[130])


def test_a_reading_does_not_go_on_behind_other_rows(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ROWS", 64)
    source = source_of(address)
    mark = [piece.mark for piece in source.pieces([0, 1])][2]
    others = (
        "select * from orders order by place desc", "select * from orders where place < 100",
        "select * from orders where place <> 5 order by place",
    )  # fmt: skip
    for query in others:
        other = source_of(address, query)
        assert other.fingerprint() != source.fingerprint()
        with pytest.raises(DataError, match="expected the same first 192 rows as before"):
            list(other.pieces([0, 1], mark))


@pytest.mark.slow
def test_a_job_that_was_cut_off_goes_on(
    postgres: str, execute: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Slow: as above. The same call reads on behind what came before the cut, or anew."""
    rows, many = 300_000, 40_000
    execute(
        f"create table long as select 'u' || i % {many} as user_id, i / {many} as item_id, "
        f"repeat('x', 90) as filler, i as ts from generate_series(0, {rows - 1}) i"
    )
    query = "select * from long order by ts"
    place = Place.of(tmp_path / "scratch")
    wide = Columns(context=("filler",))
    taken: list[int] = []
    whole = QuerySource.pieces

    def cut(self: QuerySource, columns: Any, mark: Any = None) -> Iterator[Any]:
        for number, piece in enumerate(whole(self, columns, mark)):
            taken.append(piece.mark[0])
            yield piece
            if number == 0 and mark is None:
                execute("select pg_terminate_backend(pid) from pg_stat_activity where query "
                        "like 'COPY%long%' and pid <> pg_backend_pid()")  # fmt: skip

    monkeypatch.setattr(QuerySource, "pieces", cut)
    address = entered(postgres)
    with pytest.raises(CutOffError, match="cut off after"):
        load_dataset(address, query=query, columns=wide, place=place)
    assert list((tmp_path / "scratch").rglob("journal.json"))
    done = taken[-1]
    found = load_dataset(address, query=query, columns=wide, place=place).interactions
    assert taken[taken.index(done) + 1] > done and len(found) == rows
    monkeypatch.setattr(QuerySource, "pieces", whole)
    again = load_dataset(address, query=query, columns=wide).interactions
    assert again.content_hash == found.content_hash
    execute("delete from long where ts < 9")
    fewer = load_dataset(address, query=query, columns=wide, place=place).interactions
    assert len(fewer) == rows - 9  # nothing is kept of what may have changed


def test_servers_that_do_not_answer_are_told_soon(postgres: str) -> None:
    host = postgres.rpartition("@")[2]
    cases = {
        "postgresql://sif@127.0.0.1:1/shop": "Connection refused",
        f"postgresql://sif@{host}?a=b": 'invalid URI query parameter: "a"',
        f"postgresql://sif@{host}?application_name=x": "no password supplied",
        f"postgresql://sif:wrong@{host}?application_name=y": "password authentication failed",
        f"{postgres.rpartition('/')[0]}/nowhere": 'database "nowhere" does not exist',
    }
    for text, told in cases.items():
        with pytest.raises(DataError, match=told) as caught:
            read(entered(text))
        assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.slow
def test_a_silent_server_is_given_up(postgres: str) -> None:
    """Slow: a connection waits for whole seconds, two at least."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        start = time.monotonic()
        address = f"postgresql://sif:x@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
        with pytest.raises(DataError, match="timeout expired"):
            read(entered(address))
    assert time.monotonic() - start < 30


def test_the_environment_may_have_the_password(
    postgres: str, execute: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(rows=frame())
    bare = postgres.replace(":s3cret-Pa55@", "@") + "?application_name=other"
    monkeypatch.setenv("PGPASSWORD", "s3cret-Pa55")
    same(read(entered(bare)), expected_of(frame()))
