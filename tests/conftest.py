"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the sample data sets in their official layouts."""
    folder = os.environ.get("SIF_DATA_DIR")
    if not folder:
        pytest.skip("SIF_DATA_DIR is not set: it names the folder that holds ml-100k/ and others")
    if not Path(folder).is_dir():
        pytest.skip(f"SIF_DATA_DIR names {folder}, which is not a folder")
    return Path(folder)
