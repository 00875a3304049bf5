"""Configurations that are made in Python: what is wrong with them, and with calls, on one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sif
from sif.config import RenamedSetting
from sif.errors import ConfigError
from sif.utils.argument_types import check_type, checks_types, shown

FRAME = pd.DataFrame({"user": range(30), "item": 1})


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train": {"epochs": "x"}}, "train.epochs: expected an integer, found 'x'"),
        ({"train": {"epoch": 5}}, "train.epoch: unknown key; did you mean 'epochs'?"),
        ({"devise": "cpu"}, "devise: unknown key; did you mean 'device'?"),
        ({"dataset": FRAME}, "dataset: expected a string, found DataFrame of shape (30, 2)"),
        (
            {"threads": 10**6},
            "threads: expected a number less than or equal to 1024, found 1000000",
        ),
    ],
)
@pytest.mark.parametrize("model", [sif.CFConfig, sif.CNNConfig, sif.RNNConfig])
def test_a_constructor_says_on_one_line_what_is_wrong(
    model: Callable[..., object], settings: dict[str, Any], said: str
) -> None:
    assert refused(lambda: model(**settings)) == said


@pytest.mark.parametrize("value", [pd.NA, FRAME, FRAME["user"], np.zeros((2, 2)), 1j])
def test_values_that_compare_strangely_are_refused_like_others(value: Any) -> None:
    assert refused(lambda: sif.CFConfig(space=value)).startswith("space: expected a string, found")


def test_contradictions_and_several_faults_share_the_line() -> None:
    said = refused(lambda: sif.CFConfig(data={"time_buckets": 3}))
    assert said.startswith("data.time_buckets contradicts objective 'ranking'")
    said = refused(lambda: sif.CFConfig(train={"dimension": 10**30}, seed=-1))
    assert "train.dimension: expected a number less than or equal to 65536" in said
    assert "; " in said and "seed: expected" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": None}, "task: expected one of cf, cnn, rnn"),
        ({"task": 3}, "task: expected a text or None, found 3"),
        ({"sets": None}, "sets: expected a list, each a text, found None"),
        ({"sets": "train.epochs=3"}, "sets: expected a list, each a text, found 'train"),
        ({"layers": 3}, "layers: expected a list"),
        ({"file": 1j}, "file: expected a text or a path or None, found 1j"),
        ({"flags": "x"}, "flags: expected names with values or None, found 'x'"),
    ],
)
def test_load_config_names_a_wrong_argument(arguments: dict[str, Any], said: str) -> None:
    assert refused(lambda: sif.load_config(**{"task": "cf", **arguments})).startswith(said)
    assert refused(sif.load_config).startswith("task: expected one of")


def test_a_refused_setting_is_still_said_to_be_renamed() -> None:
    with pytest.warns(RenamedSetting, match=r"search\.box is now"):
        refused(lambda: sif.load_config("cf", sets=["search.box=3", "train.epochs=x"]))


def test_types_of_arguments() -> None:
    @checks_types
    def called(count: int, share: float = 0.5, *, flag: bool = False) -> int:
        return count

    assert called(np.int64(3), np.float32(1), flag=np.bool_(True)) == 3  # type: ignore[arg-type]
    assert refused(lambda: called(True)) == "count: expected a whole number, found True"
    assert refused(lambda: called(1, "x")) == "share: expected a number, found 'x'"  # type: ignore[arg-type]
    assert refused(lambda: called(1, flag="no")) == "flag: expected True or False, found 'no'"  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="colour"):
        called(1, colour=3)  # type: ignore[call-arg]
    check_type("pair", [1, "x"], tuple[int, str])
    assert refused(lambda: check_type("pair", (1, 2), tuple[int, str])).startswith("pair: expected")


def test_values_are_shown_short_and_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown(pd.Series([1, 2])) == "Series of shape (2,)"
    assert len(shown(list(range(1000)))) == 60
