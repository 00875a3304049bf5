"""sif: searches the interaction function of a recommender, and says whether the search paid.

`import sif` is cheap: a public name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sif.utils.version import __version__

_PUBLIC = {
    "InteractionFunction": "sif.adapters.torch_module",
    "Recommender": "sif.recommender.recommender",
    "SIFRecommender": "sif.recommender.recommender",
    "SifError": "sif.errors",
    "load_config": "sif.config",
    "load_function": "sif.adapters.torch_module",
    "make_runtime": "sif.utils.device",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 (the names are the table's keys)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'sif' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
