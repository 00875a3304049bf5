"""Versions in a folder: one is current, whatever ends a publisher, and readers always find one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.errors import CheckpointError, ConfigError
from sif.recommender.model import FILE, ServedModel
from sif.recommender.versions import (
    CURRENT,
    VERSIONS,
    current_version,
    load_version,
    publish,
    roll_back,
    versions,
)


class Killed(BaseException):
    """The end of a process, as far as Python can play it."""


@pytest.fixture(scope="module")
def model() -> ServedModel:
    """Any model; versions of it differ in their titles."""
    draws = np.random.default_rng(0)
    rows = pd.DataFrame({"user": draws.integers(0, 12, 90), "item": draws.integers(0, 9, 90)})
    settings = {"train.epochs": 1, "search.epochs": 1}
    fitted = Recommender(
        budget="1s", dimension=4, threads=1, baselines=[], settings=settings
    ).fit(rows)  # fmt: skip
    return fitted.fitted_model()


def named(model: ServedModel, name: str) -> ServedModel:
    return replace(model, titles={"1": name})


def test_the_last_version_is_served_and_an_earlier_one_again(
    model: ServedModel, tmp_path: Path
) -> None:
    recommender = Recommender()
    for name in ("a", "b"):
        recommender._serve(named(model, name))
        file = recommender.save(tmp_path, version=name)
        assert file == tmp_path / VERSIONS / name / FILE
        assert current_version(tmp_path) == name
        assert Recommender.load(tmp_path).titles == {"1": name}
    assert Recommender.load(tmp_path, version="a").titles == {"1": "a"}
    roll_back(tmp_path, "a")
    assert current_version(tmp_path) == "a" and Recommender.load(tmp_path).titles == {"1": "a"}
    assert versions(tmp_path) == ["a", "b"]


def test_as_many_versions_stay_as_are_kept_and_the_current_one(
    model: ServedModel, tmp_path: Path
) -> None:
    for name in "abcd":
        publish(model, tmp_path, name, keep=3)
    assert versions(tmp_path) == ["b", "c", "d"]
    roll_back(tmp_path, "b")
    publish(model, tmp_path, "e", keep=1)
    assert versions(tmp_path) == ["e"]
    assert sorted(path.name for path in (tmp_path / VERSIONS).iterdir()) == ["e"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", ".a", "a b", "x" * 101, "a\n"])
def test_a_name_is_that_of_a_folder(model: ServedModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="version: expected up to 100 letters"):
        publish(model, tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused(model: ServedModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep: expected at least 1"):
        publish(model, tmp_path, "a", keep=0)
    publish(model, tmp_path, "a")
    with pytest.raises(ConfigError, match="expected a new name, found 'a'"):
        publish(model, tmp_path, "a")
    with pytest.raises(ConfigError, match=r"expected one of .*: a; found 'b'"):
        roll_back(tmp_path, "b")
    recommender = Recommender()
    recommender._serve(model)
    with pytest.raises(ConfigError, match="expected version= for a folder of versions"):
        recommender.save(tmp_path)
    (tmp_path / CURRENT).write_text("../a\n")
    with pytest.raises(CheckpointError, match="expected the name of a version"):
        load_version(tmp_path)


def test_a_damaged_version_never_becomes_current(model: ServedModel, tmp_path: Path) -> None:
    for name in "ab":
        publish(model, tmp_path, name)
    (tmp_path / VERSIONS / "a" / FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        roll_back(tmp_path, "a")
    assert current_version(tmp_path) == "b"


def failing_at(number: int, error: BaseException) -> tuple[Callable[..., Any], list[int]]:
    """A function that fails in its call of this number, counted over all that it wraps."""
    calls = [0]

    def wrap(work: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                raise error
            return work(*arguments, **named)

        return called

    return wrap, calls


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
def test_whatever_fails_a_version_is_current(
    model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Each call of the system on the way fails once; readers then find a whole version."""
    number, ended = 0, False
    while not ended:
        number += 1
        folder = tmp_path / str(number)
        publish(named(model, "before"), folder, "before", keep=1)
        with monkeypatch.context() as patch:
            wrap, calls = failing_at(number, error)
            for name in ("replace", "fsync", "mkdir"):
                patch.setattr(os, name, wrap(getattr(os, name)))
            with contextlib.suppress(Killed, CheckpointError):
                publish(named(model, "after"), folder, "after", keep=1)
            ended = calls[0] < number
        served = current_version(folder)
        assert served in ("before", "after")
        assert load_version(folder).titles == {"1": served}
        publish(named(model, "next"), folder, "next", keep=1)  # nothing is in the way
        assert load_version(folder).titles == {"1": "next"}
    assert number > 5 and served == "after"


def test_publishers_and_readers_at_once(model: ServedModel, tmp_path: Path) -> None:
    publish(named(model, "v0"), tmp_path, "v0")
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set() or not count:
            assert load_version(tmp_path).titles["1"].startswith("v")
            count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [
            pool.submit(publish, named(model, f"v{n}"), tmp_path, f"v{n}", 2) for n in range(1, 9)
        ]
        for writer in writers:
            writer.result()
        done.set()
        assert all(reader.result() for reader in readers)
    assert current_version(tmp_path) in versions(tmp_path)
    assert len(versions(tmp_path)) == 2


def test_of_two_publishers_of_one_name_one_is_told(model: ServedModel, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def write(number: int) -> str | None:
        barrier.wait()
        try:
            publish(named(model, str(number)), tmp_path, "same")
        except ConfigError:
            return None
        return str(number)

    with ThreadPoolExecutor(4) as pool:
        (wrote,) = (name for name in pool.map(write, range(4)) if name is not None)
    assert load_version(tmp_path).titles == {"1": wrote}
