"""A served model as bytes, for what pickles or copies a recommender.

The bytes are those of the file that `ServedModel.save` writes; reading them runs no code.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from sif.served import FILE, ServedModel


def packed(model: ServedModel) -> bytes:
    """The file of a model."""
    with TemporaryDirectory() as folder:
        return model.save(Path(folder)).read_bytes()


def unpacked(content: bytes) -> ServedModel:
    """The model of a file's bytes.

    Raises:
        CheckpointError: Damaged or foreign.
    """
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(content)
        return ServedModel.load(Path(folder))
