"""Jobs on databases, and recommendations in their tables; no password is in any file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.cli import recommendations as listing
from sif.data.databases.opened import open_database
from sif.errors import DataError
from sif.recommender import many
from sif.recommender.recommender import Recommender
from sif.utils.addresses import entered

pytest.importorskip("duckdb", reason="needs duckdb, of the extra sql")

SECRET = "s3cret-Pa55"
KINDS = ("postgresql", "sqlite", "duckdb")


@pytest.fixture(scope="module")
def model(served_half: Callable[..., Path]) -> Path:
    return served_half("Zero, the 'Film'", epochs=10)


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database of which a file is not there yet."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return f"{request.param}:///{tmp_path}/lists.{request.param}"


def content(database: str, table: str) -> pd.DataFrame:
    opened = open_database(entered(database))
    assert opened is not None
    batches = list(opened.batches(f'select * from "{table}" order by "user", rank'))
    return pd.concat([batch.to_pandas() for batch in batches], ignore_index=True)


def tables(database: str) -> list[str]:
    opened = open_database(entered(database))
    assert opened is not None
    return [name for name in opened.tables() if name.startswith("lists")]


@pytest.fixture
def recommend(sif: Any, model: Path) -> Callable[..., Any]:
    def run(output: str, *words: str) -> Any:
        users = [f"u{u}" for u in range(30)]
        return sif("recommend", "--model", model, "-n", "3", "--output", output, *words, "--user",
                   *users)  # fmt: skip

    return run


def test_lists_go_into_a_table(
    database: str, recommend: Callable[..., Any], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MOST_USERS", 7)
    done = recommend(f"{database}/lists")
    assert done.code == 0 and done.err == [] and SECRET not in done.out
    assert done.out.strip() == f"{database}/lists".replace(f":{SECRET}", "")
    found = content(database, "lists")
    assert list(found.columns) == list(listing.NAMES)
    users = sorted(f"u{u}" for u in range(30))
    batches = list(listing.recommendations(Recommender.load(model), users, 3))
    expected = pd.DataFrame([row for rows in batches for row in rows], columns=list(listing.NAMES))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6)
    assert "Zero, the 'Film'" in set(found.title)

    again = recommend(f"{database}/lists")
    assert again.code == 2 and len(again.err) == 1 and SECRET not in again.err[0]
    assert "table lists exists; name another one, or replace its rows by --replace" in again.err[0]
    assert len(content(database, "lists")) == len(found)

    replaced = recommend(f"{database}/lists", "--replace", "-n", "1")
    assert replaced.code == 0
    assert content(database, "lists")["rank"].tolist() == [1] * 30


def test_what_fails_half_way_leaves_nothing(
    database: str, recommend: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = recommend(f"{database}/lists_kept")
    before = content(database, "lists_kept")
    assert first.code == 0

    whole = many.Blocks.__iter__

    def failing(blocks: many.Blocks) -> Iterator[many.Block]:
        yield next(whole(blocks))
        raise DataError("a fault half way")

    monkeypatch.setattr(many, "MOST_USERS", 15)
    monkeypatch.setattr(many.Blocks, "__iter__", failing)
    new = recommend(f"{database}/lists_new")
    assert new.code == 2 and new.err == ["error: a fault half way"]
    replaced = recommend(f"{database}/lists_kept", "--replace")
    assert replaced.code == 2
    assert "lists_new" not in tables(database)
    pd.testing.assert_frame_equal(content(database, "lists_kept"), before)
    if not database.startswith("postgresql"):
        other = database.replace("lists.", "other.")
        assert recommend(f"{other}/lists").code == 2
        assert not [path.name for path in tmp_path.iterdir() if "other" in path.name]


def test_other_tables_are_not_touched(tmp_path: Path, recommend: Callable[..., Any]) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("create table orders (a int)")
    done = recommend(f"sqlite:///{tmp_path}/x.db/orders", "--replace")
    assert done.code == 2
    assert "expected columns user, rank, item, score, title, found a" in done.err[0]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("mysql://host/shop/lists", "expected a name, a file, postgresql://"),
        ("sqlite:///lists", "expected a table at the end"),
        ("sqlite:///no/folder/x.db/lists", "expected a name in a folder that is there"),
        ("postgresql://sif:s3cret-Pa55@127.0.0.1:1/shop/lists", "Connection refused"),
    ],
)
def test_outputs_that_cannot_be_are_told(
    recommend: Callable[..., Any], output: str, told: str
) -> None:
    done = recommend(output)
    assert done.code == 2 and len(done.err) == 1
    assert told in done.err[0] and SECRET not in done.err[0]


@pytest.mark.slow
def test_a_whole_job_leaves_its_password_nowhere(
    sif: Any, tiny: list[str], postgres: str, tmp_path: Path, without_figures: None
) -> None:
    """Slow: a job with MLflow, whose store is made here."""
    import pyarrow

    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    draws = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{i}") for u in range(40) for i in range(30) if draws.random() < 0.3]
    rows = pyarrow.table({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]})
    with dbapi.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("clicks", rows, mode="replace")
        connection.commit()
    query = "data.query=select user_id, item_id from clicks order by 1, 2"
    store = ("--tracking-uri", "sqlite:///mlflow.db")
    job = ("--task", "cf", "--dataset", postgres, *tiny, query, *store)
    done = sif(*job, "--output-dir", "run")
    assert done.code == 0, done.err
    assert SECRET not in done.out + "".join(done.err)
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert f"dataset: {postgres.replace(f':{SECRET}', '')}" in config
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "metrics.json", "mlflow.db"} <= {path.name for path in files}
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path

    resumed = sif("--resume", "run", *store)
    assert resumed.code == 0, resumed.err
