"""Recommendations on the command line and in files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif.adapters.rectools import reco_frame
from sif.cli import main as cli
from sif.cli import recommendations as listing
from sif.data.interactions import Columns
from sif.errors import DataError
from sif.recommender.recommender import Recommender
from tests.cli.conftest import QUICK


@pytest.fixture(scope="module")
def model(served_half: Callable[..., Path]) -> Path:
    return served_half("Zero, the Film", epochs=30)


def test_users_get_lines_of_tabs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recommend", "--model", str(model), "--user", "u1", "u2", "-n", "2"]
    assert cli.main(words) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["u1", "1"], ["u1", "2"], ["u2", "1"], ["u2", "2"]]
    items, scores = Recommender.load(model).recommend(["u1", "u2"], n=2, as_arrays=True)
    assert [line[2] for line in lines] == items.flatten().tolist()
    assert [float(line[3]) for line in lines] == pytest.approx(scores.flatten(), abs=1e-4)


def test_a_run_folder_holds_its_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "config.yaml").touch()
    assert cli.main(["recommend", str(tmp_path), "u3", "-k", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("u3\t1\t")


def test_items_get_their_neighbors_with_titles(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["similar", "--model", str(model), "i2", "-n", "11"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 11
    (titled,) = (line for line in lines if line[2] == "i0")
    assert titled[4] == "Zero, the Film"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_users_becomes_a_file_of_items(
    model: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.recommender.many.MOST_USERS", 7)
    users = pd.DataFrame({"user": [f"u{u}" for u in range(30)] + ["u0"]})
    users.to_csv(tmp_path / "users.csv", index=False)
    out = tmp_path / f"recs.{ending}"
    words = ["recommend", "--model", str(model), "--users", str(tmp_path / "users.csv")]
    assert cli.main([*words, "--output", str(out), "-n", "3"]) == 0
    found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert list(found.columns) == list(listing.NAMES)
    assert found.user.drop_duplicates().tolist() == [f"u{u}" for u in range(30)]
    items, scores = Recommender.load(model).recommend("u5", n=3, as_arrays=True)
    mine = found[found.user == "u5"]
    assert mine["item"].tolist() == items.tolist() and mine["rank"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(mine.score, scores, rtol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"users.csv", out.name}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_may_have_the_columns_of_rectools(
    model: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"recs.{ending}"
    words = [
        "recommend",
        "--model",
        str(model),
        "--user",
        "u5",
        "u2",
        "-n",
        "3",
        "--to",
        "rectools",
    ]
    assert cli.main([*words, "--output", str(out)]) == 0
    found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert found.columns.tolist() == ["user_id", "item_id", "score", "rank"]
    expected = reco_frame(Recommender.load(model).recommend(["u5", "u2"], n=3))
    assert (
        found[["user_id", "item_id", "rank"]].values.tolist()
        == expected[["user_id", "item_id", "rank"]].values.tolist()
    )
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)
    assert cli.main(words) == 2
    assert "to: expected it with --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("recommend", "error: expected a run folder or --model, found neither"),
        ("recommend --model MODEL", "error: recommend: expected user ids or --users, found neit"),
        ("recommend --model MODEL u99", "error: user: expected one of 30 known ids (the first"),
        ("recommend --model MODEL u1 -n 0", "error: -n: expected at least 1, found 0"),
        ("recommend --model absent u1", "error: absent/recommender.safetensors: cannot be read"),
        ("recommend --model MODEL u1 --output a.txt", "error: a.txt: expected a name that ends"),
        ("recommend --model MODEL --users absent.csv", "error: absent.csv"),
        ("recommend --model MODEL u1 --memory 1GB", "error: memory: expected it with --output, f"),
        ("recommend --model MODEL u1 --output a.csv --memory much", "error: memory: expected byt"),
        ("recommend --model MODEL u1 --output a.csv --memory 9KB", "error: memory: expected at l"),
        ("similar --model MODEL", "error: similar: expected item ids, found none"),
        ("similar --model MODEL i99", "error: item: expected one of 12 known ids"),
    ],
)
def test_bad_input_is_one_line(
    model: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.replace("MODEL", str(model)).split()) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(message) and error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u1\nu2\nu1\n", ["u1", "u2"]),
        ("u1", ["u1"]),
        ("\n007\n7\n", ["007", "7"]),
        ("user\nu1\n", ["u1"]),
        ("User_ID:token\n 007 \nu2\n", ["007", "u2"]),
        ("stars,uid\n3, u1 \n4,u2\n", ["u1", "u2"]),
        ("5\t7\t3\t0\n6\t7\t3\t0\n", ["5", "6"]),
    ],
)
def test_ids_are_read_as_training_reads_them(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text(text)
    assert listing.read_ids(tmp_path / "users.csv", "user") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer\nu1\nu2\n", ["u1", "u2"]),
        ("u1\nu2\n", ["u1", "u2"]),
        ("customer,sku,rating\nu1,a,1\nu2,b,2\n", ["u1", "u2"]),
        ("sku;customer;rating\na;u1;1\nb;u2;2\n", ["u1", "u2"]),
        ("sku§customer\na§u1\nb§u2\n", ["u1", "u2"]),
        ("user,age\nu1,4\nu2,5\n", ["u1", "u2"]),
    ],
)
def test_the_columns_of_the_training_are_known(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text(text)
    columns = Columns(user="customer", item="sku", separator="§")
    assert listing.read_ids(tmp_path / "users.csv", "user", columns) == expected


def test_the_training_file_is_a_file_of_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"c{u},s{i},5" for u in range(12) for i in range(9) if (u + i) % 2]
    (tmp_path / "shop.csv").write_text("\n".join(["customer,sku,stars", *rows]))
    (tmp_path / "customers.csv").write_text("customer\nc1\nc2\n")
    settings = {**QUICK, "data.user": "customer", "data.item": "sku"}
    Recommender(threads=1, settings=settings).fit(tmp_path / "shop.csv").save(tmp_path / "model")
    for name, users in {"shop.csv": 12, "customers.csv": 2}.items():
        words = ["recommend", "--model", str(tmp_path / "model"), "--users", str(tmp_path / name)]
        assert cli.main([*words, "-n", "1"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == users


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        (
            "a.csv.gz",
            gzip.compress(b"user\n" + b"u1\n" * 99, mtime=0)[:20],
            "Compressed file ended",
        ),
        ("a.parquet", b"PAR1junk", "expected a Parquet file, found: "),
        ("a.csv", b"user\nu\0\n", "expected text without NUL characters"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0", "found an Excel workbook"),
    ],
)
def test_a_damaged_file_of_users_is_one_line(
    model: Path, tmp_path: Path, name: str, content: bytes, found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(content)
    words = ["recommend", "--model", str(model), "--users", str(tmp_path / name)]
    assert cli.main(words) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert error.startswith(f"error: {tmp_path / name}") and found in error


def test_columns_have_the_names_of_the_training(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("patron\n 7.0\nc2\n7\n")
    assert listing.read_ids(path, "user", Columns(user="patron")) == ["7", "c2"]
    assert listing.read_ids(path, "user") == ["patron", "7", "c2"]
    path.write_text("user,patron\na,c1\nb,c2\n")
    assert listing.read_ids(path, "user", Columns(user="patron")) == ["c1", "c2"]
    assert listing.read_ids(path, "user") == ["a", "b"]
    path.write_text("customer\nc1\nc2\n")
    assert listing.read_ids(path, "user") == ["c1", "c2"]


def test_ids_of_parquet_are_read_as_training_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pd.DataFrame({"rating": [1, 2], "userId": [7.0, 1.0]}).to_parquet(path)
    assert listing.read_ids(path, "user") == ["7", "1"]
    pd.DataFrame({"who": [" a ", "b"]}).to_parquet(path)
    assert listing.read_ids(path, "user") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1x,2x\n", "line 1 .*expected a column 'user' or a single one, found a, b"),
        ("user,item\n ,a\nu1,b\n", r"users\.csv line 2: user: expected an id, found nothing"),
        ("user\n", "found none after the header"),
        ("", "found an empty file"),
    ],
)
def test_a_file_without_ids_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        listing.read_ids(tmp_path / "users.csv", "user")


def test_an_unknown_user_among_many_writes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user\nu1\nnobody\n")
    words = ["recommend", "--model", str(model), "--users", str(tmp_path / "users.csv")]
    assert cli.main([*words, "--output", str(tmp_path / "a.csv")]) == 2
    assert not (tmp_path / "a.csv").exists()
    assert cli.main([*words, "--output", str(tmp_path / "a.csv"), "--unknown", "popular"]) == 0
    assert set(pd.read_csv(tmp_path / "a.csv").user) == {"u1", "nobody"}
