"""Every shipped YAML file is read as its user would read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sif.config import TASKS, load_config, shipped
from sif.config.files import presets, read_yaml

CONFIGS = shipped("configs")


def test_every_file_is_a_preset_and_belongs_to_a_task() -> None:
    found = {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*") if path.is_file()}
    found -= {path for path in found if path.parts[0] == "panel"}  # lists of data sets
    assert found == {Path(f"{name}.yaml") for name in presets()}
    assert {path.parts[0] for path in found} == set(TASKS)
    assert {f"{task}/default" for task in TASKS} <= set(presets())


@pytest.mark.parametrize("name", presets())
def test_a_preset_loads_and_means_what_it_says(name: str) -> None:
    task = name.split("/", maxsplit=1)[0]
    config = load_config(task, file=name)
    written = read_yaml(CONFIGS / f"{name}.yaml", name)
    assert written, "a preset that sets nothing"
    resolved = config.model_dump(mode="json")

    def agrees(part: dict[str, object], whole: dict[str, object]) -> bool:
        return all(
            agrees(value, whole[key]) if isinstance(value, dict) else whole[key] == value  # type: ignore[arg-type]
            for key, value in part.items()
        )

    assert agrees(written, resolved)
