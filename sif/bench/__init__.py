"""Benches: comparisons of search methods over seeds under an equal budget.

A trial is an ordinary job of one method in a process of its own. A method is judged by its result:
its selection, trained from scratch and tested once.
"""

from __future__ import annotations

from sif.bench.bench import Bench, BenchResult
from sif.bench.plan import Budget, Entrant
from sif.bench.request import Request

__all__ = ["Bench", "BenchResult", "Budget", "Entrant", "Request"]
