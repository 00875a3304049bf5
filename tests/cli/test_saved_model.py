"""A folder that `Recommender.save` made, where the command line names a run."""

from __future__ import annotations

from pathlib import Path

from sif.cli.commands import holds_model


def test_folders_of_saved_models_are_told_from_others(tmp_path: Path) -> None:
    assert not holds_model(tmp_path / "absent")
    assert not holds_model(tmp_path)
    (tmp_path / "CURRENT").write_text("v1", encoding="utf-8")
    assert holds_model(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "recommender.safetensors").write_bytes(b"")
    assert holds_model(saved)
