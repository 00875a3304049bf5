"""Files of a reading that somebody removes or cuts: never other numbers, never a traceback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.data.load import load_dataset
from sif.data.streamed import load
from sif.data.streamed.load import Place
from sif.data.streamed.scratch import FINISHED, Scratch, ScratchError

KEPT = (FINISHED, "all.ids", "all.timestamp", "rating.values", "kept.0.npy", "kept.1.npy")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keys = np.random.default_rng(0).permutation(300)
    frame = pd.DataFrame({"user": keys // 15, "item": keys % 15, "rating": keys % 5 + 1.0})
    frame["timestamp"] = 1_500_000_000 + keys
    frame.to_parquet(tmp_path / "some.parquet", row_group_size=40)
    return tmp_path / "some.parquet"


def spoil(file: Path, how: str) -> None:
    if how == "removed":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("how", ["removed", "cut"])
@pytest.mark.parametrize("name", KEPT)
def test_kept_files_that_are_not_whole_are_read_anew(
    path: Path, tmp_path: Path, name: str, how: str
) -> None:
    place = Place(tmp_path / "kept", True)
    known = load_dataset(path, stream=False)
    load_dataset(path, stream=True, place=place)
    (folder,) = place.folder.iterdir()
    assert {file.name for file in folder.iterdir()} == set(KEPT)
    spoil(folder / name, how)
    found = load_dataset(path, stream=True, place=place)
    assert found.interactions.ids.tolist() == known.interactions.ids.tolist()
    assert found.interactions.content_hash == known.hash == found.hash
    assert {file.name for file in folder.iterdir()} == set(KEPT)


@pytest.mark.parametrize("how", ["removed", "cut"])
@pytest.mark.parametrize("name", ["user.codes", "item.cells", "rating.values", "all.ids"])
def test_a_file_that_goes_while_it_is_read_is_told(
    path: Path, tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped: Callable[..., Any] = Scratch.mapped

    def without(scratch: Scratch, asked: str, *further: Any) -> Any:
        if asked == name and scratch.size(name) and scratch.path(name).exists():
            spoil(scratch.path(name), how)
        return mapped(scratch, asked, *further)

    # The first pass is over, so that its own looks at files do not count.
    numbered = load.numbered

    def second_pass(*arguments: Any) -> Any:
        monkeypatch.setattr(Scratch, "mapped", without)
        return numbered(*arguments)

    place = Place(tmp_path / "kept", True)
    monkeypatch.setattr(load, "numbered", second_pass)
    with pytest.raises(ScratchError, match=rf"{name}: expected .* bytes, found .*reads again"):
        load_dataset(path, stream=True, place=place)
    monkeypatch.undo()
    again = load_dataset(path, stream=True, place=place)
    assert again.hash == load_dataset(path, stream=False).hash


def test_a_folder_that_goes_while_it_is_read_is_told(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered = load.numbered

    def without(spooled: Any, scratch: Scratch) -> Any:
        shutil.rmtree(scratch.folder)
        return numbered(spooled, scratch)

    monkeypatch.setattr(load, "numbered", without)
    with pytest.raises(ScratchError, match=r"expected .* bytes, found 0"):
        load_dataset(path, stream=True, place=Place(tmp_path / "kept", False))
