"""Random damage: how much of it, and from which seeds."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def trials() -> int:
    """Damaged inputs per kind: SIF_FUZZ_TRIALS, or a few."""
    return int(os.environ.get("SIF_FUZZ_TRIALS", "20"))
