"""sif: searches the interaction function of a recommender and tests whether the search paid.

`import sif` is cheap: a public name loads its module when it is first used.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sif.utils.version import __version__ as __version__

if TYPE_CHECKING:
    from sif.adapters.torch_module import InteractionFunction
    from sif.bench import Bench
    from sif.config import CFConfig, load_config
    from sif.config.cnn import CNNConfig
    from sif.config.rnn import RNNConfig
    from sif.core.genotype import Genotype
    from sif.errors import ConfigError, DataError, NotFittedError, SifError
    from sif.recommender.evaluating import compare, evaluate
    from sif.recommender.recommender import Recommender
    from sif.recommender.search_function import search_function
    from sif.tasks import run_job

__all__ = [
    "Bench",
    "CFConfig",
    "CNNConfig",
    "ConfigError",
    "DataError",
    "Genotype",
    "InteractionFunction",
    "NotFittedError",
    "RNNConfig",
    "Recommender",
    "SifError",
    "compare",
    "evaluate",
    "load_config",
    "run_job",
    "search_function",
]

_MODULES = {
    "Bench": "sif.bench",
    "CFConfig": "sif.config",
    "CNNConfig": "sif.config.cnn",
    "ConfigError": "sif.errors",
    "DataError": "sif.errors",
    "Genotype": "sif.core.genotype",
    "InteractionFunction": "sif.adapters.torch_module",
    "NotFittedError": "sif.errors",
    "RNNConfig": "sif.config.rnn",
    "Recommender": "sif.recommender.recommender",
    "SifError": "sif.errors",
    "compare": "sif.recommender.evaluating",
    "evaluate": "sif.recommender.evaluating",
    "load_config": "sif.config",
    "run_job": "sif.tasks",
    "search_function": "sif.recommender.search_function",
}

_FORMER = {
    "SIFRecommender": ("sif.recommender.former", "sif.Recommender, whose answers are data frames"),
    "load_function": ("sif.adapters.torch_module", "sif.InteractionFunction.load"),
    "make_runtime": ("sif.utils.device", "sif.utils.device.make_runtime"),
}
"""Former public name to its module and its replacement."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in _FORMER:
        module, today = _FORMER[name]
        warnings.warn(f"sif.{name} is deprecated: use {today}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'sif' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
