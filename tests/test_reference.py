"""The reference is complete: every setting, every command and every public name is described."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import pytest
from command_line_page import command_line_page
from reference import documented, named
from renamed_page import renamed_page
from settings_pages import Setting, settings_of, settings_pages

import sif
from sif.cli.main import VERBS
from sif.config import TASKS
from sif.config.histories import HistoryConfig
from sif.config.renamed import RENAMED
from sif.methods.registry import METHODS
from sif.spaces.interaction.registry import LOSSES, SPACES

MODULES = ("sif", "sif.bench", "sif.bench.panel", "sif.testing")
"""Public modules whose `__all__` the reference has."""
ADAPTERS = (
    "implicit", "lenskit", "cornac", "export", "history_scores", "recbole", "rectools", "convert",
    "mlflow_model",
)  # fmt: skip


def settings() -> Iterator[tuple[str, Setting]]:
    models = {**TASKS, "histories": HistoryConfig}
    for section, registry in (("methods", METHODS), ("losses", LOSSES), ("spaces", SPACES)):
        models |= {f"{section}.{n}": m for n in registry if (m := registry[n].settings) is not None}
    for name, model in models.items():
        for setting in settings_of(model):
            yield f"{name}: {setting.key}", setting


SETTINGS = dict(settings())
UNBOUNDED = {"budget", "data.min_rating", "data.since", "data.until", "search.transform_offset"}
UNBOUNDED |= {"arch_start"}
"""Numbers of which every one is allowed, or whose text is read first."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_tells_its_meaning_unit_and_range(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.field.description, "no description"
    if setting.is_number:
        assert setting.units, "a number without a unit"
        assert all(setting.bounds) or setting.key in UNBOUNDED, "a number without a range"


def test_there_are_settings_to_check() -> None:
    assert len(SETTINGS) > 200
    assert sum(setting.is_number for setting in SETTINGS.values()) > 100


def test_ranges_are_told_as_they_are_checked() -> None:
    shown = {setting.key: setting.values for setting in settings_of(TASKS["cf"])}
    assert shown["train.halving_keep"] == "number 0 < x ≤ 1"
    assert shown["data.moments"] == "whole number 2 ≤ x ≤ 8"
    assert shown["train.epochs"] == "whole number ≥ 1"
    assert shown["train.l2"] == "list of number ≥ 0"
    assert shown["search.seconds"] == "number > 0 or `null`"
    assert shown["refit"] == "`none`, `valid`, `all`"


def test_the_pages_have_every_setting_with_the_default_of_the_job() -> None:
    pages = settings_pages()
    rows = {
        name: dict(re.findall(r"^\| `([\w.-]+)` \| (.*?) \|", page, re.MULTILINE))
        for name, page in pages.items()
    }
    for task, model in TASKS.items():
        for setting in settings_of(model):
            assert (setting.key in rows["index.md"]) != (setting.key in rows[f"{task}.md"])
    assert rows["cf.md"]["model.biases"] == "ranking: `false`; rating: `true`"
    assert rows["cnn.md"]["dataset"] == "`digits`"
    assert rows["methods.md"]["methods.nasp.warmup"].startswith("`0.1`; cf: `0.98`")
    for page in pages.values():
        assert "None" not in page.split("## ", 1)[1]


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = command_line_page()
    for name in VERBS:
        assert f"\n## sif {name}\n" in page
    for option in ("--resume DIR", "--to FORMAT", "--executor {local,ray}", "--variant WORD"):
        assert f"`{option}`" in page


def test_the_page_of_deprecated_names_has_all() -> None:
    page = renamed_page()
    for old, new in RENAMED.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{old}` |")]
        assert all(f"`{key}`" in row for key in new.keys)
    for old in sif._FORMER:
        assert f"| `sif.{old}` |" in page


def test_every_public_name_is_in_the_reference() -> None:
    pages = set(named())
    assert len(pages) == len(named())
    shown = [thing for _, thing in documented()]
    for module in map(importlib.import_module, MODULES):
        public = {name: getattr(module, name) for name in module.__all__}
        assert not [n for n, thing in public.items() if not any(thing is one for one in shown)]
    for adapter in ADAPTERS:
        assert any(name.startswith(f"sif.adapters.{adapter}.") for name in pages)


@pytest.mark.parametrize("name", named())
def test_a_public_name_has_an_example(name: str) -> None:
    thing = dict(documented()).get(name)
    if thing is None:
        pytest.skip("its library is not installed")
    if not isinstance(thing, tuple):  # a constant has no docstring of its own
        assert ">>> " in (inspect.getdoc(thing) or "")
