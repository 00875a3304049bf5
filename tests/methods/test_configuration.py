"""Settings of methods in configurations: each method's own model takes them, whoever wrote it."""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from sif.cli import main as cli
from sif.config import CFConfig, differences, dump_config
from sif.config.cnn import CNNConfig
from sif.config.sections import Count
from sif.errors import ConfigError
from sif.methods.configuration import configured, resolved
from sif.methods.kind import MethodKind
from sif.methods.nasp import NaspSettings
from sif.methods.registry import METHODS
from sif.methods.settings import MethodSettings
from sif.problems.configuration import load_job_config
from sif.utils import registry
from sif.utils.registry import summary


class TheirSettings(MethodSettings):
    beams: Count = Field(4, description="selections kept")


THEIRS = MethodKind(lambda space, settings, plan, draws: settings, TheirSettings)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method 'theirs' of another package."""

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        return [EntryPoint("theirs", "their:KIND", group)] if name in (None, "theirs") else []

    monkeypatch.setattr(registry, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda point: THEIRS)


def refused(*sets: str, task: str = "cf", file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_job_config(task, file=file, sets=sets)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("methods.nasp.explor=0.1",
         "settings: methods.nasp.explor: unknown key; did you mean 'explore'?"),
        ("methods.nasp.explore=2",
         "settings: methods.nasp.explore: expected a number less than or equal to 1, found 2"),
        ("methods.nasp.score=switch", "methods.nasp.score: expected 'gradient' or "),
        ("methods.nasp.arch_start=1",
         "methods.nasp.arch_start: expected a share in [0, 1), 'warmup' or 'half_warmup', found 1"),
        ("methods.nasp.arch_start=true", "found True"),
        ("methods.nasp=3", "methods.nasp: expected a group of keys, found 3"),
        ("methods.random-ws.candidates=0", "methods.random-ws.candidates: expected a number gre"),
        ("methods.nsap.explore=0.1",
         ("settings: methods: expected one of nasp, darts-1, darts-2, snas, gdas, asng, asap, "
          "enas, bayesnas, random-ws, random, tpe, nsga2, regularized-evolution, local-search, "
          "pnas, popnas, successive-halving, exhaustive, found 'nsap'; did you mean 'nasp'?")),
        ("methods.random.seed=1", "methods.random.seed: unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_as_any_other(item: str, expected: str) -> None:
    assert expected in refused(item)


def test_all_wrong_settings_are_told_at_once_with_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("methods: {gdas: {arch_lr: fast}}\n")
    message = refused("methods.nasp.explore=2", file=file)
    assert f"{file}: methods.gdas.arch_lr: expected a number, found 'fast'" in message
    assert "settings: methods.nasp.explore: expected" in message


def test_a_job_says_all_settings_of_all_methods(tmp_path: Path) -> None:
    config = load_job_config("cf", sets=["methods.nasp.explore=0.1"])
    for name, kind in METHODS.items():
        fields = set(kind.settings.model_fields)
        assert set(config.methods.get(name, {})) == fields
    assert config.methods["nasp"]["explore"] == 0.1
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    again = load_job_config(None, file=file)
    assert again == config
    assert differences(again, config) == []
    other = load_job_config("cf")
    assert differences(config, other) == ["methods.nasp.explore: 0.1 or 0.3"]


def test_what_python_leaves_out_is_of_the_presets() -> None:
    given = CFConfig.model_validate({"search": {"epochs": 5}}).model_dump(exclude_unset=True)
    assert "methods" not in given
    config = load_job_config("cf", layers=[("config", given)])
    assert differences(config, load_job_config("cf", sets=["search.epochs=5"])) == []


def test_a_task_has_starts_of_its_own_and_a_method_the_rest() -> None:
    functions, cells = resolved(CFConfig()), resolved(CNNConfig())
    assert functions.methods["nasp"]["score"] == "replacement_loss"
    assert functions.methods["gdas"]["arch_lr"] == 0.03
    assert cells.methods["nasp"] == NaspSettings().model_dump()
    assert cells.methods["gdas"]["arch_lr"] == 3e-4
    assert resolved(functions) == functions


@pytest.mark.parametrize(
    ("settings", "resting", "share"),
    [
        ({"warmup": 0.5}, 50, 0.5),
        ({"warmup": 0.5, "arch_start": "half_warmup"}, 25, 0.25),
        ({"warmup": 0.5, "arch_start": 0.28}, 28, 0.28),
        ({"warmup": 0.0}, 0, 0.0),
    ],
)
def test_nasp_decides_how_long_alpha_rests(
    settings: dict[str, Any], resting: int, share: float
) -> None:
    made = NaspSettings(**settings)
    warmup = made.warmup_steps(100, 1)
    assert made.resting_steps(warmup, 100, 1) == resting
    assert made.resting_share == share


@pytest.mark.usefixtures("theirs")
def test_a_method_of_another_package_is_a_citizen(capsys: pytest.CaptureFixture[str]) -> None:
    assert "theirs" not in load_job_config("cf").methods
    config = load_job_config("cf", sets=["method=theirs"])
    assert config.methods["theirs"] == {"beams": 4}
    config = load_job_config("cnn", sets=["baselines=[theirs]", "methods.theirs.beams=7"])
    assert configured("theirs", config.methods).settings == TheirSettings(beams=7)
    assert "did you mean 'beams'" in refused("methods.theirs.beam=1")
    assert cli.main(["methods", "theirs"]) == 0
    assert "methods.theirs.beams" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        cli.main(["run", "--help"])
    assert "theirs" in capsys.readouterr().out


def test_the_list_of_methods_has_every_setting_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    shown = capsys.readouterr().out
    for name, kind in METHODS.items():
        assert f"\n{name:<12} {summary(kind.make)}\n" in f"\n{shown}"
        assert len(summary(kind.make)) > 30
        for key, field in kind.settings.model_fields.items():
            assert field.description, key
            assert f"methods.{name}.{key}" in shown
    line = next(line for line in shown.splitlines() if "methods.nasp.warmup" in line)
    assert line.endswith("(default: 0.1, cf: 0.98, cnn: 0.2, rnn: 0.25)")  # those of default jobs
    assert cli.main(["methods", "nsap"]) == 2
    assert "did you mean 'nasp'" in capsys.readouterr().err


def test_a_share_may_be_written_as_a_whole_number() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydantic's, of values that are not what they say
        one, other = (
            dump_config(load_job_config("cf", sets=[f"methods.nasp.arch_start={zero}"]))
            for zero in ("0", "0.0")
        )
    assert one == other
