from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sif.data.interactions import Columns, read_interactions
from sif.data.interactions.load import load_dataset
from sif.data.interactions.npz_files import has_parts
from sif.errors import DataError

USER, ITEM = np.array([0, 0, 1, 2]), np.array([1, 0, 1, 2])
IDS = {"user_ids": np.array(["a", "b", "c"]), "item_ids": np.array(["x", "y", "z"])}


@pytest.mark.parametrize("name", ["rows.npz", "rows.data"])
def test_all_rows_of_an_npz_are_a_data_set(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        np.savez(
            file, user=USER, item=ITEM, part=np.array([0, 0, 1, 2]), **IDS,
            rating=np.array([1, 2, 3, 4]), timestamp=np.array([9, 8, 7, 6]) * 1000 + 10**12,
        )  # fmt: skip
    data = load_dataset(tmp_path / name)
    rows = data.interactions
    assert data.name == "rows" and rows.sizes == (3, 3)
    assert rows.vocabularies[0].ids[rows.ids[:, 0]].tolist() == ["a", "a", "b", "c"]
    assert rows.vocabularies[1].ids[rows.ids[:, 1]].tolist() == ["y", "x", "y", "z"]
    assert rows.rating is not None and rows.rating.tolist() == [1, 2, 3, 4]
    assert rows.timestamp is not None
    assert rows.timestamp.tolist() == [10**9 + n for n in (9, 8, 7, 6)]
    assert data.notes == [f"{tmp_path / name}: timestamp: numbers read as milliseconds since 1970"]
    bare = read_interactions(tmp_path / name, Columns(rating="", timestamp=""))
    assert bare.rating is None and bare.timestamp is None


def test_the_least_and_less(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, user=USER * 5, item=ITEM)
    rows = read_interactions(path)
    assert rows.vocabularies[0].ids[rows.ids[:, 0]].tolist() == ["0", "0", "5", "10"]
    np.savez(path, user=USER, data=ITEM)
    with pytest.raises(DataError, match=r"expected arrays user and item, found .*, without item$"):
        read_interactions(path)
    np.savez(path, user=USER, item=ITEM[:3])
    with pytest.raises(DataError, match=r"user: expected shape \(3,\), found \(4,\)$"):
        read_interactions(path)
    np.savez(path, user=USER, item=ITEM, device=USER)
    assert read_interactions(path, Columns(context=("device",))).fields == (
        "user",
        "item",
        "device",
    )
    with pytest.raises(DataError, match=r"data\.context: expected an array 'shop', found user, "):
        read_interactions(path, Columns(context=("shop",)))


def test_an_npz_with_rows_of_several_parts_holds_a_split(tmp_path: Path) -> None:
    for name, more in (
        ("split", {"part": np.array([0, 0, 1, 2])}), ("train", {"part": np.zeros(4, int)}),
        ("rows", {}), ("odd", {"part": np.array(["a"] * 4, dtype=object)}),
    ):  # fmt: skip
        np.savez(tmp_path / f"{name}.npz", user=USER, item=ITEM, **more)
    (tmp_path / "text.npz").write_text("user,item")
    found = {path.stem: has_parts(path) for path in tmp_path.iterdir()}
    # Whoever reads all of a damaged one tells what is wrong with it.
    assert found == {"split": True, "train": False, "rows": False, "odd": True, "text": False}
    assert not has_parts(tmp_path / "absent.npz")
