from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions import Interactions, held_out, load_split_file, make_split
from sif.data.interactions.load import Dataset
from sif.errors import DataError


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(60)[:30]
    made = {
        "user": pairs // 6,
        "item": pairs % 6,
        "rating": rng.integers(1, 6, 30).astype(np.float32),
        "timestamp": rng.integers(0, 9, 30),
        "part": np.arange(30, dtype=np.int8) % 3,
        "user_ids": np.arange(10) * 10,
        "item_ids": np.array(list("fedcba")),
    }
    made.update(changes)
    return {name: values for name, values in made.items() if values is not None}


def save(path: Path, **changes: Any) -> Path:
    np.savez(path, **arrays(**changes))
    return path


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float64])
def test_npz_is_kept_exactly(tmp_path: Path, kind: type) -> None:
    made = arrays()
    changes = {name: made[name].astype(kind) for name in ("user", "item", "part", "timestamp")}
    split = load_split_file(save(tmp_path / "s.npz", **changes), titles={"a": "Title"})
    data = split.interactions
    assert split.part.dtype == np.int8 and (split.part == made["part"]).all()
    assert (data.ids == np.stack([made["user"], made["item"]], axis=1)).all()
    assert data.vocabularies[0].ids.tolist() == [str(n) for n in range(0, 100, 10)]
    assert data.vocabularies[1].ids.tolist() == list("fedcba")
    assert data.rating is not None and (data.rating == made["rating"]).all()
    assert data.timestamp is not None and (data.timestamp == made["timestamp"]).all()
    assert split.protocol == "file" and data.titles == {"a": "Title"}
    assert split.hash == load_split_file(tmp_path / "s.npz").hash


def test_npz_with_the_least(tmp_path: Path) -> None:
    bare = {"rating": None, "timestamp": None, "user_ids": None, "item_ids": None}
    split = load_split_file(save(tmp_path / "s.npz", **bare, user=arrays()["user"] * 100))
    users = split.interactions.vocabularies[0].ids[split.interactions.ids[:, 0]]
    assert users.astype(int).tolist() == (arrays()["user"] * 100).tolist()
    assert split.interactions.sizes[0] == len(np.unique(arrays()["user"]))
    assert split.interactions.rating is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": None}, "expected arrays user, item and part, found user, item, .*"),
        ({"user": np.arange(29)}, r"user: expected shape \(30,\), found \(29,\)"),
        ({"user": np.arange(30.0) / 2}, "row 2: user: expected an integer, found 0.5"),
        ({"item": np.array(["a"] * 30)}, "item: expected integers, found <U1"),
        ({"user": np.full(30, 10)}, r"row 1: user: expected a number in 0\.\.9, found 10"),
        ({"rating": np.full(30, np.nan)}, "row 1: rating: expected a finite number, found nan"),
        ({"part": np.arange(30) % 4}, r"row 4: part: expected 0 .*, found 3"),
        ({"part": np.zeros(30, int)}, "part: expected a split, found 0 .train. in all 30 rows; .*"),
        ({"part": np.arange(30) % 2}, "in every part, found train 15, valid 15, test 0"),
        ({"user": np.zeros(30, int)}, "expected at least 2 users, found 1: user '0'.*"),
        ({"user": np.arange(30) % 2, "item": np.arange(30) % 2}, "every pair once, found user .*"),
        (
            {"rating": np.array([object()] * 30)},
            "rating: expected a plain array, found: Python objects",
        ),
        ({"part": np.array(0)}, r"part: expected one dimension, found shape \(\)"),
        ({"user": np.zeros((6, 5))}, r"user: expected shape \(30,\), found \(6, 5\)"),
        ({"user": np.full(30, 1e300)}, r"row 1: user: expected an integer, found 1e\+300"),
        ({"item": np.full(30, 2**63, np.uint64)}, r"row 1: item: .*, found 9223372036854775808"),
        ({"user_ids": np.zeros((5, 2))}, r"user_ids: expected one dimension, found .*"),
        ({"user_ids": np.zeros(10, bool)}, "user_ids: expected ids, found bool"),
        ({"user_ids": np.array([b"\xff"] * 10)}, "user_ids: expected texts, found: .*"),
        ({"item_ids": np.array(["\ud800"] * 6)}, "item_ids: expected texts, found: .*"),
        ({"user_ids": np.zeros(10)}, "vocabulary: expected distinct ids, found '0' twice"),
    ],
)
def test_bad_npz(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"{message}$") as error:
        load_split_file(save(tmp_path / "s.npz", **changes))
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s\.npz: expected a split file or folder, found neither"):
        load_split_file(tmp_path / "s.npz")
    (tmp_path / "s.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"s\.npz: expected an npz, found an empty file$"):
        load_split_file(tmp_path / "s.npz")
    (tmp_path / "s.npz").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match=r"s\.npz: expected an npz .*, found another kind$"):
        load_split_file(tmp_path / "s.npz")
    whole = save(tmp_path / "t.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"s\.npz: expected an npz"):
        load_split_file(tmp_path / "s.npz")


def npy(text: str, body: bytes = b"", version: int = 1) -> bytes:
    """The file of an array with any header."""
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + body


HUGE = "{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000,), }\n"


@pytest.mark.parametrize(
    ("member", "found"),
    [
        (b"junk", "part: expected a plain array, found: EOF"),
        (npy(HUGE), r"part: expected a plain array, found: 0 bytes for shape \(100000000000,\)"),
        (npy(HUGE, bytes(240), 2), r"found: 240 bytes for shape \(100000000000,\) of int64"),
        (npy(HUGE.replace("100000000000", "29"), bytes(240)), r"240 bytes for shape \(29,\)"),
        (npy(HUGE.replace("<i8", "|O")), "part: expected a plain array, found: Python objects"),
        (npy("{"), "part: expected a plain array, found: "),
    ],
)
def test_a_header_is_not_believed(tmp_path: Path, member: bytes, found: str) -> None:
    save(tmp_path / "s.npz", part=None)
    with zipfile.ZipFile(tmp_path / "s.npz", "a") as archive:
        archive.writestr("part.npy", member)
    with pytest.raises(DataError, match=rf"s\.npz: .*{found}"):
        load_split_file(tmp_path / "s.npz")


def test_a_size_that_the_zip_claims_is_not_believed(tmp_path: Path) -> None:
    size = 8 * 10**11
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays().items():
            archive.writestr(f"{name}.npy", npy(HUGE) if name == "part" else b"")
            assert values is not None
        archive.getinfo("part.npy").file_size = size + len(npy(HUGE))
    with pytest.raises(
        DataError, match=r"part: expected a plain array, found: 8.* bytes packed in"
    ):
        load_split_file(tmp_path / "s.npz")


def test_further_arrays_are_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "s.npz", made_by=np.array([object()]))
    assert len(load_split_file(path).interactions) == 30


def parts() -> list[pd.DataFrame]:
    rows = [("ann", "x", 5, 1), ("bob", "y", 4, 2), ("ann", "z", 3, 3), ("eve", "x", 2, 4)]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return [frame[:2], frame[2:3], frame[3:]]


def test_three_files_share_vocabularies(tmp_path: Path) -> None:
    train, valid, test = parts()
    train.to_csv(tmp_path / "u.train.csv", index=False)
    valid.to_parquet(tmp_path / "u.val.parquet")
    test.to_csv(tmp_path / "u.test.tsv", index=False, sep="\t")
    split = load_split_file(tmp_path)
    assert split.part.tolist() == [0, 0, 1, 2]
    users = split.interactions.vocabularies[0].ids[split.interactions.ids[:, 0]]
    assert users.tolist() == ["ann", "bob", "ann", "eve"]
    assert split.train.sizes == split.test.sizes == (3, 3)
    paths = [tmp_path / name for name in ("u.train.csv", "u.val.parquet", "u.test.tsv")]
    assert load_split_file(paths).hash == split.hash


def test_bad_folders(tmp_path: Path) -> None:
    train, valid, test = parts()
    train.to_csv(tmp_path / "train.csv", index=False)
    valid.to_csv(tmp_path / "dev.csv", index=False)
    with pytest.raises(DataError, match="expected one file for test, found none"):
        load_split_file(tmp_path)
    train[:1].to_csv(tmp_path / "test.csv", index=False)
    pair = "user 'ann', item 'x' in train and again in test"
    with pytest.raises(DataError, match=f"expected every pair once, found {pair}"):
        load_split_file(tmp_path)
    test.to_csv(tmp_path / "x.test.csv", index=False)
    with pytest.raises(DataError, match=r"one file for test, found test\.csv, x\.test\.csv"):
        load_split_file(tmp_path)
    with pytest.raises(DataError, match=r"expected train, valid and test, found a$"):
        load_split_file(["a"])


def saved(path: Path, rows: Interactions, part: np.ndarray, times: bool = True) -> Path:
    more = {"timestamp": rows.timestamp} if times else {}
    vocabularies = zip(("user_ids", "item_ids"), rows.vocabularies, strict=True)
    np.savez(
        path, user=rows.ids[:, 0], item=rows.ids[:, 1], part=part, **more,
        **{name: vocabulary.ids for name, vocabulary in vocabularies},
    )  # fmt: skip
    return path


def test_a_valid_part_is_drawn_where_there_is_none(tmp_path: Path, generated: Interactions) -> None:
    test = held_out(generated, 5)
    path = saved(tmp_path / "s.npz", generated, 2 * test, times=False)
    split = load_split_file(path, seed=3)
    rows = np.flatnonzero(~test)
    assert (np.flatnonzero(split.part == 1) == rows[held_out(generated.select(rows), 3)]).all()
    assert (split.part == 2).tolist() == test.tolist() and split.seed == 3
    (note,) = split.notes
    told = f"{int((split.part == 1).sum())} of {len(rows)} train rows become it"
    assert (
        note == f"{path}: found no valid part: {told}, a tenth of each user's, at random (seed 3)"
    )
    assert load_split_file(path, seed=3).hash == split.hash != load_split_file(path, seed=4).hash
    # With the valid part in the file, nothing is drawn and the seed does not matter.
    path = saved(tmp_path / "t.npz", generated, split.part, times=False)
    again = load_split_file(path, seed=9)
    assert again.hash == split.hash and again.notes == () and again.seed == 0


@pytest.mark.parametrize("order", [None, "rows"])
def test_a_last_item_split_without_valid(
    tmp_path: Path, generated: Interactions, order: str | None
) -> None:
    if order == "rows":
        generated = generated.select(generated.order)  # as they came, so times may be missing
    whole = make_split(Dataset("d", generated, ""), "last-item", 0)
    path = saved(tmp_path / "s.npz", generated, 2 * (whole.part == 2), times=order is None)
    split = load_split_file(path, seed=8, order=order)
    assert split.part.tolist() == whole.part.tolist()
    assert split.notes[-1].endswith("39 of 461 train rows become it, each user's last")


def test_the_last_tenth_becomes_valid(tmp_path: Path) -> None:
    users = np.repeat([0, 1, 2], [25, 6, 2])
    made = {"user": users, "item": np.arange(33), "timestamp": np.arange(33)[::-1] % 40}
    made |= {"part": np.where(np.isin(np.arange(33), (0, 1, 25)), 2, 0)}
    np.savez(tmp_path / "s.npz", **made)
    split = load_split_file(tmp_path / "s.npz")
    # Times fall, so the earlier rows are the later ones: 2 of 23 train rows, 1 of 5, none of 2.
    assert np.flatnonzero(split.part == 1).tolist() == [2, 3, 26]
    assert split.notes[0].endswith("3 of 30 train rows become it, the last tenth of each user's")


def test_files_without_valid(tmp_path: Path) -> None:
    rows = [(user, f"i{n}", n) for user in ("ann", "bob") for n in range(5)]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame[frame.timestamp < 4].to_csv(tmp_path / "train.csv", index=False)
    frame[frame.timestamp == 4].to_csv(tmp_path / "test.csv", index=False)
    split = load_split_file(tmp_path)
    assert split.part.tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 2, 2]
    assert load_split_file([tmp_path / "train.csv", tmp_path / "test.csv"]).hash == split.hash
