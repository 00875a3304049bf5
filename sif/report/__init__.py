"""The page of a run, `report.html`: one file with everything, made of the files of the run folder.

No data, model or network is needed to make it, and none to read it: styles, scripts and the
library of the figures are in the file.
"""

from __future__ import annotations

from sif.report.compare import compare_page
from sif.report.files import PAGE, RECORD, RunFiles
from sif.report.page import run_page, write_page

__all__ = ["PAGE", "RECORD", "RunFiles", "compare_page", "run_page", "write_page"]
