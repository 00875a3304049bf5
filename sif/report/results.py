"""The table of the test: every model with its interval, and ours compared with each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sif.report.files import RunFiles
from sif.report.numbers import decimals, is_number, p_value, signed, with_unit
from sif.report.section import Section
from sif.utils.digits import digits_of

WIDTH, MARGIN = 200.0, 8.0
"""Pixels of the column of intervals, and of its air."""
CORE, AIR = 0.75, 0.6
"""Share of the models that is shown in any case; how much further the column may reach for the
others, of what these take."""


def section(run: RunFiles) -> Section | None:
    """The section; None of a run without a test."""
    models = run.models or _of_metrics(run)
    if not models or run.moments:  # which have a table of their own
        return None
    metric = str(run.record.get("metric") or run.metrics.get("metric") or "")
    sign = 1 if run.record.get("higher_is_better", True) else -1
    order = sorted(models, key=lambda one: (-sign * _main(one, metric), one["name"] != run.ours))
    ends = [one["interval"] or (one["test"].get(metric),) * 2 for one in order]
    scale = Scale.of(ends, sign, digits_of(metric))
    columns = [name for name in order[0].get("row") or {} if name != metric]
    compared = [one for one in models if one.get("compared")]
    values = {
        "metric": metric,
        "heading": with_unit(metric),
        "better": "higher is better" if sign > 0 else "lower is better",
        "columns": columns,
        "rows": [_row(one, metric, columns, scale, run.ours) for one in order],
        "ticks": scale.ticks,
        "width": WIDTH,
        "comparisons": len(compared),
        "units": run.record.get("units") or "users",
        "ours": run.ours,
        "notes": _notes(order),
        "edges": {one["name"]: one["edge"] for one in order if one.get("edge")},
    }
    return Section("test", "Test", "results.html", values)


class Scale:
    """Places of values in the column of intervals, from a few ends of which it may be cut.

    Args:
        low, high: Ends of what is shown.
        digits: Decimals of the values.
    """

    def __init__(self, low: float, high: float, digits: int = 4) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.digits = digits

    @classmethod
    def of(cls, values: Sequence[Any], sign: int, digits: int = 4) -> Scale:
        """Of all models, unless the worse ones would leave no room for the others.

        Args:
            values: Of each model its ends, or its value twice.
            sign: 1 where more is better, else -1.
            digits: Decimals of the values.
        """
        known = sorted(
            (one for one in values if all(map(is_number, one))), key=lambda one: -sign * sum(one)
        )
        known = known or [(0.0, 1.0)]
        kept = known[: max(2, round(CORE * len(known)))]
        low, high = min(a for a, _ in kept), max(b for _, b in kept)
        lowest, highest = min(a for a, _ in known), max(b for _, b in known)
        air = AIR * (high - low)
        return cls(max(lowest, low - air), min(highest, high + air), digits)

    def __call__(self, value: float) -> float:
        """Pixels from the left, at an end for what lies beyond."""
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)

    def beyond(self, value: float) -> str:
        """The side on which a value lies beyond; empty: on none."""
        return "left" if value < self.low else "right" if value > self.high else ""

    @property
    def ticks(self) -> list[dict[str, Any]]:
        """Its two ends."""
        return [
            {"x": self(end), "label": decimals(end, max(1, self.digits - 1))}
            for end in (self.low, self.high)
        ]


def _main(model: Mapping[str, Any], metric: str) -> float:
    value = model["test"].get(metric)
    return float(value) if is_number(value) else float("-inf")


def _row(
    model: Mapping[str, Any], metric: str, columns: Sequence[str], scale: Scale, ours: str
) -> dict[str, Any]:
    value, ends = model["test"].get(metric), model["interval"]
    compared, digits = model.get("compared") or {}, digits_of(metric)
    drawn = {"at": scale(value), "beyond": scale.beyond(value)} if is_number(value) else {}
    if drawn and ends and all(map(is_number, ends)):
        drawn |= {"low": scale(ends[0]), "high": scale(ends[1])}
    return {
        "name": model["name"],
        "ours": model["name"] == ours,
        "expression": "" if model.get("expression") == model["name"] else model.get("expression"),
        "kind": model.get("kind", ""),
        "served": model.get("served"),
        "reference": model.get("reference"),
        "alike": model.get("alike"),
        "cells": [(model.get("row") or {}).get(name, "") for name in columns],
        "value": decimals(value, digits),
        "interval": f"{decimals(ends[0], digits)} to {decimals(ends[1], digits)}" if ends else "",
        "drawn": drawn,
        "difference": signed(compared.get("difference"), digits) if compared else "",
        "ends": f"{signed(compared.get('low'), digits)} to {signed(compared.get('high'), digits)}"
        if compared else "",
        "p": p_value(compared.get("corrected_p")) if compared else "",
        "outcome": compared.get("outcome", ""),
    }  # fmt: skip


def _notes(models: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [
        f"{one['name']}: {one['stands_for']} takes its place, so both rows are the same model"
        for one in models
        if one.get("stands_for")
    ]
    return notes + [
        f"{one['name']} is the same design as ours and is not compared"
        for one in models
        if one.get("alike")
    ]


def _of_metrics(run: RunFiles) -> list[dict[str, Any]]:
    """The models of a run of an earlier version, without intervals."""
    metrics = run.metrics
    if not metrics:
        return []
    comparison = metrics.get("comparison") or {}
    bars = {row[0]: row for row in (run.figures.get("comparison") or {}).get("rows", [])}
    models = {run.ours: metrics.get("test") or {}, **(metrics.get("baselines") or {})}
    return [
        {
            "name": name,
            "expression": metrics.get("genotype", "") if name == run.ours else "",
            "test": {key: value for key, value in test.items() if is_number(value)},
            "row": {}, "interval": list(bars[name][2:4]) if name in bars else None,
            "reference": name == comparison.get("against"),
            "compared": comparison if name == comparison.get("against") else None,
        }
        for name, test in models.items()
    ]  # fmt: skip
