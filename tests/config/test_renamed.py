"""Former names of settings: every one still works, with one warning, wherever it is given."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from sif.config import TASKS, CFConfig, RenamedSetting, load_config
from sif.config.messages import known_keys
from sif.config.renamed import RENAMED, warn_of_renamed, with_todays_names
from sif.errors import ConfigError
from sif.problems.configuration import load_job_config
from sif.recommender.recommender import Recommender


def loaded(*sets: str, file: Path | None = None, task: str = "cf") -> Any:
    with pytest.warns(RenamedSetting) as caught:
        config = load_config(task, file=file, sets=sets)
    assert len(caught) == 1
    return config


def test_every_former_name_leads_to_a_setting_of_some_task() -> None:
    for new in RENAMED.values():
        for key in new.keys:
            *parents, name = key.split(".")
            assert parents[:1] == ["methods"] or any(
                name in known_keys(model, parents) for model in TASKS.values()
            ), key
    for old in [old for old, new in RENAMED.items() if old not in new.keys]:
        *parents, name = old.split(".")
        assert not any(name in known_keys(model, parents) for model in TASKS.values()), old


def test_former_names_mean_what_they_meant() -> None:
    config = loaded(
        "rivals=[]", "space=rich", "train.cut=0.5", "train.keep=0.25", "train.beyond=1",
        "search.judge=true", "search.follow_l2=false", "search.settle=7", "search.box=clip",
        "search.score=switch", "search.arch_start=null", "search.penalty=1", "search.arch_lr=2.0",
        "search.darts_lr=0.5", "search.candidates=9", "search.population=4",
    )  # fmt: skip
    assert (config.controls, config.space) == ((), "staged")
    assert (config.train.halving_fraction, config.train.halving_keep) == (0.5, 0.25)
    assert (config.train.extend_grid, config.search.adapt_l2) == (1, False)
    assert config.search.validate_every_epoch
    nasp = {"settle_steps": 7, "alpha_constraint": "clip", "score": "replacement_loss",
            "arch_start": "half_warmup", "complexity_penalty": 1, "arch_lr": 2.0}  # fmt: skip
    assert nasp.items() <= config.methods["nasp"].items()
    for name in ("darts-1", "darts-2", "snas", "gdas"):
        assert config.methods[name] == {"arch_lr": 0.5}
    assert config.methods["random-ws"] == {"candidates": 9}
    assert config.methods["nsga2"] == {"population": 4}
    assert loaded("search.normalise=false", task="rnn").search.normalize is False


def test_a_source_wins_under_either_name(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("search: {explore: 0.7, box: clip}\nmethods: {gdas: {arch_lr: 0.5}}\n")
    config = loaded("methods.nasp.explore=0.1", file=file)
    assert config.methods["nasp"]["explore"] == 0.1
    assert config.methods["nasp"]["alpha_constraint"] == "clip"
    assert config.methods["gdas"] == {"arch_lr": 0.5}
    file.write_text("methods: {nasp: {explore: 0.1}}\n")
    assert loaded("search.explore=0.7", file=file).methods["nasp"]["explore"] == 0.7


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["search.explore=0.1", "methods.nasp.explore=0.2"],
         "settings: search.explore (0.1) contradicts methods.nasp.explore (0.2), the same setting"),
        (["methods.gdas.arch_lr=0.2", "search.darts_lr=0.1"],
         "settings: methods.gdas.arch_lr (0.2) contradicts search.darts_lr (0.1)"),
        (["controls=[]", "rivals=[fixed-multiply]"],
         "settings: controls ([]) contradicts rivals (['fixed-multiply'])"),
    ],
)  # fmt: skip
def test_both_names_with_different_values_are_refused(items: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("cf", sets=items)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::sif.config.RenamedSetting")
@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["rivals=3"], "settings: rivals: controls: expected a list, found 3"),
        (["search.follow_l2=7", "search.follow_l2=8"],
         "settings: search.follow_l2: search.adapt_l2: expected a boolean, found 8"),
        (["search.adapt_l2=7"], "settings: search.adapt_l2: expected a boolean, found 7"),
        (["space=rich", "search.lr=0"], "settings: search.lr: expected a number greater"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_the_name_that_was_typed(items: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("cf", sets=items)
    assert str(caught.value).startswith(expected)


@pytest.mark.filterwarnings("ignore::sif.config.RenamedSetting")
def test_a_wrong_value_of_a_method_is_told_by_the_name_that_was_typed(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("search: {box: clap}\n")
    with pytest.raises(ConfigError) as caught:
        load_job_config("cf", file=file)
    expected = f"{file}: search.box: methods.nasp.alpha_constraint: expected 'shift' or 'clip'"
    assert str(caught.value).startswith(expected)


def test_both_names_with_one_value_are_not() -> None:
    config = loaded("search.score=switch", "methods.nasp.score=replacement_loss")
    assert config.methods["nasp"]["score"] == "replacement_loss"


def test_a_task_without_the_setting_is_not_told_of_it() -> None:
    with pytest.raises(ConfigError, match=r"settings: train\.cut: unknown key"):
        load_config("cnn", sets=["train.cut=0.5"])


def test_a_refused_value_is_told_beside_the_name_of_today() -> None:
    with (
        pytest.warns(RenamedSetting, match=r"search\.warmup is now methods\.nasp\.warmup"),
        pytest.raises(ConfigError, match=r"search\.warmup: .* less than 1, found 2"),
    ):
        load_job_config("cf", sets=["search.warmup=2"])


def test_python_gets_the_same_by_a_dictionary() -> None:
    with pytest.warns(RenamedSetting, match=r"search\.settle is now methods\.nasp") as caught:
        config = CFConfig.model_validate({"search": {"settle": 3, "epochs": 2}, "rivals": ()})
    assert config.methods["nasp"]["settle_steps"] == 3
    assert config.method_values()["nasp"]["explore"] == 0.3  # the task's own stays
    assert (config.search.epochs, config.controls) == (2, ())
    with pytest.warns(RenamedSetting) as others:
        CFConfig(rivals=("fixed-multiply",))  # type: ignore[call-arg]
        load_config("cf", sets=["train.keep=0.5"])
        Recommender(settings={"search.settle": 3})._configuration()
    # Python shows it to whoever gave the names, since it is told of their line.
    assert {note.filename for note in (*caught, *others)} == {__file__} and len(others) == 3


def test_todays_names_warn_of_nothing_and_are_not_changed() -> None:
    given = {"search": {"epochs": 2}, "methods": {"nasp": {"explore": 0.1}}, "space": "staged"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers, notes, former = with_todays_names([("", given)], CFConfig)
    assert (layers, notes, former) == ([("", given)], [], {})


def test_what_is_given_stays_as_it_was() -> None:
    shared = {"arch_lr": 0.5}
    given = {"methods": {"gdas": shared, "snas": shared}, "search": {"darts_lr": 0.5}}
    ((_, layer),), *_ = with_todays_names([("", given)], CFConfig)
    layer["methods"]["gdas"]["arch_lr"] = 1
    assert given["search"] == {"darts_lr": 0.5}
    assert shared == {"arch_lr": 0.5}
    assert layer["methods"]["snas"] == {"arch_lr": 0.5}


@pytest.mark.parametrize("search", [3, None, [1]])
def test_sections_that_are_none_are_refused_as_such(search: Any) -> None:
    with pytest.raises(ConfigError, match="expected a group of keys"):
        load_config("cf", sets=[f"search={search}".replace("None", "null")])


def test_methods_that_are_no_group_are_refused_as_such() -> None:
    with pytest.raises(ConfigError, match="settings: methods: expected a group of keys, found 3"):
        load_config("cf", sets=["methods=3"])


def test_many_former_names_are_one_line() -> None:
    with pytest.warns(RenamedSetting) as caught:
        warn_of_renamed([f"{old} is now {' and '.join(n.keys)}" for old, n in RENAMED.items()])
    line = str(caught[0].message)
    assert "\n" not in line
    assert line.endswith(f"and {len(RENAMED) - 4} more")
