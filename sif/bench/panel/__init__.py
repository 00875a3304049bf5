"""Panels: the default job over a list of data sets, told in one table and one figure of ranks."""

from __future__ import annotations

from sif.bench.panel.panel import Panel, PanelResult

__all__ = ["Panel", "PanelResult"]
