"""Trials on a cluster: what travels, what a node does with it, and how they are kept going.

`orders` is what home and nodes tell each other, `files` how files travel, `node` what a node does,
`drive` what home does. Only `ray_cluster` knows Ray, to which `sif.utils.ray_cluster` connects.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sif.bench.cluster.executor import RayExecutor


def __getattr__(name: str) -> Any:
    if name == "RayExecutor":  # nodes need only `node`
        return import_module("sif.bench.cluster.executor").RayExecutor
    raise AttributeError(f"module 'sif.bench.cluster' has no attribute {name!r}")


__all__ = ["RayExecutor"]
