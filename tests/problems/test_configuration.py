"""Configurations of jobs: what registered things take is refused where it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from sif.errors import ConfigError
from sif.problems.configuration import load_job_config


def refused(*sets: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_job_config("cf", file=file, sets=sets)
    return str(caught.value)


@pytest.mark.parametrize("section", ["methods", "spaces", "losses"])
def test_messages_name_the_source_of_settings_that_nobody_has(section: str, tmp_path: Path) -> None:
    told = f"{section}: expected one of "
    assert f"settings: {told}" in refused(f"{section}.nope.x=1")
    file = tmp_path / "mine.yaml"
    file.write_text(f"{section}: {{nope: {{x: 1}}}}\n")
    assert f"{file}: {told}" in refused(file=file)


def test_messages_name_the_source_of_settings_that_a_space_or_loss_does_not_have() -> None:
    assert refused("spaces.sif.x=1") == "settings: spaces.sif: expected no settings, found x"
    assert refused("losses.bpr.x=1") == "settings: losses.bpr: expected no settings, found x"
