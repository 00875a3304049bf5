"""Benches: comparisons of search methods over seeds under an equal budget.

A trial is an ordinary job of one method in a process of its own. A method is judged by its result:
its selection, trained from scratch and tested once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sif.bench.bench import Bench, BenchResult
    from sif.bench.cluster import RayExecutor
    from sif.bench.executor import Executor, LocalExecutor
    from sif.bench.plan import Budget, Entrant
    from sif.bench.request import Request

_MODULES = {
    "Bench": "sif.bench.bench",
    "BenchResult": "sif.bench.bench",
    "Budget": "sif.bench.plan",
    "Entrant": "sif.bench.plan",
    "Executor": "sif.bench.executor",
    "LocalExecutor": "sif.bench.executor",
    "RayExecutor": "sif.bench.cluster",
    "Request": "sif.bench.request",
}
"""Imported once they are asked for: the nodes of a cluster need none of them."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'sif.bench' has no attribute {name!r}")


__all__ = [
    "Bench",
    "BenchResult",
    "Budget",
    "Entrant",
    "Executor",
    "LocalExecutor",
    "RayExecutor",
    "Request",
]
