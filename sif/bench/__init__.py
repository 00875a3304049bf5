"""Benches: a referee of search methods over seeds under an equal budget.

A trial is an ordinary job in a process of its own, with nobody beside the method. A method is
judged by what it would deliver: its pick, trained from scratch and tested once.
"""

from __future__ import annotations

from sif.bench.bench import Bench, BenchResult
from sif.bench.plan import Budget, Entrant
from sif.bench.request import Request

__all__ = ["Bench", "BenchResult", "Budget", "Entrant", "Request"]
