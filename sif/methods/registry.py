"""The search methods by name: those of this package, and those that others register.

A method is one value in one file, and one line: here, or an entry point of the package that brings
it (CONTRIBUTING.md). Importing this module loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sif.utils.registry import Registry

if TYPE_CHECKING:
    from sif.methods.kind import MethodKind

METHODS: Registry[MethodKind] = Registry(
    "method", "sif.methods", "sif.methods.kind:MethodKind",
    {
        "nasp": "sif.methods.nasp:NASP",
        "darts-1": "sif.methods.darts:DARTS_1",
        "darts-2": "sif.methods.darts:DARTS_2",
        "snas": "sif.methods.snas:SNAS",
        "gdas": "sif.methods.gdas:GDAS",
        "asng": "sif.methods.asng:ASNG",
        "asap": "sif.methods.asap:ASAP",
        "enas": "sif.methods.enas:ENAS",
        "bayesnas": "sif.methods.bayesnas:BAYESNAS",
        "random-ws": "sif.methods.random_ws:RANDOM_WS",
        "random": "sif.methods.random_search:RANDOM",
        "tpe": "sif.methods.tpe:TPE",
        "nsga2": "sif.methods.nsga2:NSGA2",
        "regularized-evolution": "sif.methods.regularized_evolution:REGULARIZED_EVOLUTION",
        "local-search": "sif.methods.local_search:LOCAL_SEARCH",
        "pnas": "sif.methods.pnas:PNAS",
        "popnas": "sif.methods.popnas:POPNAS",
        "successive-halving": "sif.methods.successive_halving:SUCCESSIVE_HALVING",
        "exhaustive": "sif.methods.exhaustive:EXHAUSTIVE",
    },
)  # fmt: skip
