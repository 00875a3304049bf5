"""cell-bench: small spaces of cells, each trained beforehand, to judge searches by looking up.

Networks for images of handwritten digits (docs/results/cell-bench.md). `sif.bench.cells.recipe`
says how they were trained.
"""

from __future__ import annotations

from sif.bench.cells.store import read, shipped
from sif.bench.cells.table import CellEntry, CellTable, CellTraining

__all__ = ["CellEntry", "CellTable", "CellTraining", "read", "shipped"]
