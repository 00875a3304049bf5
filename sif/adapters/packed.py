"""A fitted recommender as bytes, for libraries that pickle their models.

The bytes are those of the file that `SIFRecommender.save` writes; reading them runs no code.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from sif.recommender import SIFRecommender
from sif.served import FILE


def packed(recommender: SIFRecommender) -> bytes:
    """The file of a fitted recommender."""
    with TemporaryDirectory() as folder:
        return recommender.save(folder).read_bytes()


def unpacked(content: bytes) -> SIFRecommender:
    """The recommender of a file's bytes.

    Raises:
        CheckpointError, GenotypeError: Damaged or foreign.
    """
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(content)
        return SIFRecommender.load(folder)
