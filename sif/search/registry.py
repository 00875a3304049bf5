"""The objectives by name: those of this package, and those that others register.

An objective is one value in one file, and one line: here, or an entry point of the package that
brings it. Importing this module loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sif.utils.registry import Registry

if TYPE_CHECKING:
    from sif.search.objectives import Objective

OBJECTIVES: Registry[Objective] = Registry(
    "objective", "sif.objectives", "sif.search.objectives:Objective",
    {
        "parameters": "sif.search.sizes:PARAMETERS",
        "multiply_adds": "sif.search.sizes:MULTIPLY_ADDS",
        "memory": "sif.search.sizes:MEMORY",
        "latency": "sif.search.latency:LATENCY",
    },
)  # fmt: skip
