"""Decimals of the values of metrics, alike in verdicts and on pages."""

from __future__ import annotations

COARSE = {"error": 2, "perplexity": 2}
"""Metrics whose numbers are large, and their decimals; the others have four."""


def digits_of(metric: str) -> int:
    """Decimals of a metric's values, also where words stand before its name, as in "valid error".

    Args:
        metric: Its name, the last word.
    """
    return COARSE.get(metric.rpartition(" ")[2], 4)
