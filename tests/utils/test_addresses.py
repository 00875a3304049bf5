"""Addresses of databases, and their passwords."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.config import load_config
from sif.config.loading import config_hash
from sif.errors import ConfigError, DataError, without_passwords
from sif.utils.addresses import Address, entered, label_of, revealed, split_table

ROOT = Path(__file__).parents[2]
SECRET = "pa55"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test enters is forgotten after it."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"postgresql://ann:{SECRET}@h:5432/shop", "postgresql://ann@h:5432/shop"),
        (f"postgresql://ann:{SECRET}@h,k:1/shop?a=b", "postgresql://ann@h,k:1/shop?a=b"),
        (f"postgresql://h/shop?password={SECRET}&user=ann", "postgresql://h/shop?user=ann"),
        (f"postgresql://h/shop?user=ann&password={SECRET}", "postgresql://h/shop?user=ann"),
        (f"postgresql://h/s?sslpassword={SECRET}&password={SECRET}", "postgresql://h/s"),
        (f"postgresql://ann:{SECRET}/x@y@h/shop", "postgresql://ann@h/shop"),
        (f"postgresql://ann:{SECRET}?x@h/shop", "postgresql://ann@h/shop"),
        ("postgresql://ann@h/shop", "postgresql://ann@h/shop"),
        ("postgresql:///shop?host=/run/pg", "postgresql:///shop?host=/run/pg"),
    ],
)
def test_an_address_is_kept_without_its_password(text: str, safe: str) -> None:
    assert entered(text) == safe and revealed(safe) == text
    assert SECRET not in without_passwords(text)
    assert Address.parse(text).text == safe
    assert SECRET not in str(DataError(f"expected x, found {text}"))


@given(st.text(min_size=4, max_size=12))
def test_no_password_is_left(password: str) -> None:
    address = f"postgresql://ann:secret{password}secret@host/shop"
    safe = entered(address)
    assert "secret" not in safe and safe.startswith("postgresql://ann@")


def test_an_option_may_have_an_at_sign() -> None:
    address = "postgresql://h:5432/shop?user=ann@server"
    assert entered(f"{address}&password={SECRET}") == address == entered(address)


def test_texts_without_passwords_stay_as_they_are() -> None:
    for text in ("http://localhost:5000 a@b.c", "did you mean x?", "10:30 a@b", "C:\\a"):
        assert without_passwords(text) == text


def test_processes_that_are_started_know_the_password() -> None:
    safe = entered(f"postgresql://ann:{SECRET}@h/shop")
    code = f"from sif.utils.addresses import revealed; print(revealed({safe!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"postgresql://ann:{SECRET}@h/shop"
    assert revealed("postgresql://bob@h/shop") == "postgresql://bob@h/shop"


def test_files_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert entered("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert entered(f"duckdb:///{tmp_path}/a b.duckdb") == f"duckdb:///{tmp_path}/a b.duckdb"
    assert Address.parse(f"sqlite:///{tmp_path}/a.db").path == f"{tmp_path}/a.db"


def test_a_database_has_a_short_name() -> None:
    names = {
        "postgresql://ann@h/shop?sslmode=require": "shop", "postgresql://h": "postgresql",
        "sqlite:////data/orders.db": "orders", "postgres://h/a%20b": "a b", "ml-100k": "ml-100k",
        "/data/x.csv": "x",
    }  # fmt: skip
    assert {text: label_of(text) for text in names} == names


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mysql://h/shop", "expected a name, a file, postgresql://user@host/database"),
        ("sqlite://orders.db", "expected a file, as in sqlite:///orders.db"),
        ("duckdb:///", "expected a file, as in duckdb:///orders.db"),
        ("postgresql://h/a#b", "'#' as %23"),
    ],
)
def test_other_addresses_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        Address.parse(text)


def test_the_last_part_names_a_table() -> None:
    split = split_table(f"postgresql://ann:{SECRET}@h/shop/lists.top%2010?sslmode=require")
    assert split == (f"postgresql://ann:{SECRET}@h/shop?sslmode=require", "lists.top 10")
    assert split_table("duckdb:////data/x.duckdb/t") == ("duckdb:////data/x.duckdb", "t")
    for text in ("postgresql://h/", "sqlite:///t", "postgresql://ann:p@h"):
        with pytest.raises(ConfigError, match="expected a table at the end"):
            split_table(text)


def test_a_configuration_has_no_password() -> None:
    layers = {"dataset": f"postgresql://ann:{SECRET}@h/shop", "data.query": "select 1"}
    store = {"tracking.uri": f"https://ann:{SECRET}@mlflow.example.org"}
    config = load_config("cf", layers=[("test", {**layers, **store})])
    assert SECRET not in config.model_dump_json()
    assert revealed(str(config.tracking.uri)) == store["tracking.uri"]
    other = load_config("cf", layers=[("test", layers | {"dataset": "postgresql://ann@h/shop"})])
    assert config_hash(config) == config_hash(other)


def test_files_of_stores_stay_relative() -> None:
    config = load_config("cf", layers=[("test", {"tracking.uri": "sqlite:///mlflow.db"})])
    assert config.tracking.uri == "sqlite:///mlflow.db"
