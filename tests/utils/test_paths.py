from __future__ import annotations

from pathlib import Path

import pytest

import sif
from sif.errors import SifError
from sif.utils.paths import exists, expanded

ODD = ["x" * 5000, "a/" * 3000, "~nobody-of-this-name/orders.csv", "\0", ""]
"""Texts that no file of a user is called."""


@pytest.mark.parametrize("text", ODD[:4])
def test_odd_paths_are_not_there(text: str) -> None:
    assert not exists(text)
    assert exists(Path.cwd()) and exists("~")
    assert expanded("~nobody-of-this-name") == Path("~nobody-of-this-name")


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("name", ["dataset", "data.split_file", "output_dir", "cells", "data.dir"])
def test_settings_with_odd_paths_are_read_or_refused(name: str, text: str) -> None:
    task = "cnn" if name == "cells" else "cf"
    try:
        sif.load_config(task, sets=[f"{name}={text}"])
    except SifError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("text", ODD)
def test_odd_paths_of_presets_data_and_splits_are_one_line(text: str) -> None:
    for call in (
        lambda: sif.load_config("cf", file=text),
        lambda: sif.run_job(sif.CFConfig(dataset=text or "none.csv")),
        lambda: sif.run_job(sif.CFConfig(data={"split_file": text or "none.npz"})),
    ):
        with pytest.raises(SifError) as caught:
            call()
        assert len(str(caught.value)) <= 300 and "\n" not in str(caught.value)
