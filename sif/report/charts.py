"""Vega-Lite specifications of a page's figures, from plain numbers.

Colors are variables of the page's style, so that figures change with light and dark without being
drawn again. Specifications hold no addresses: nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sif.report.numbers import plain

COLORS = tuple(f"var(--c{k})" for k in range(1, 10))
"""Of series, the strongest first."""
ACCENT, QUIET, INK = "var(--accent)", "var(--quiet)", "var(--ink)"
HEIGHT = 220
MARKED = 40
"""Points of a line, in the mean, up to which each is marked."""
LETTER, BESIDE = 6.6, 44
"""Pixels of a letter of a legend, and of what is beside a name."""
DASH = "\N{EN DASH}"
"""Between the ends of a range; an axis shows where it begins."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
"""That of the page, by which figures measure their labels."""

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

CONFIG: Spec = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET, "titleColor": QUIET, "domainColor": "var(--rule)",
        "tickColor": "var(--rule)", "gridColor": "var(--rule)", "gridOpacity": 0.6,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "labelPadding": 5, "titlePadding": 8, "tickSize": 4, "labelLimit": 220,
        "labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 6,
    },
    "axisX": {"grid": False, "titleAnchor": "end"},
    "axisQuantitative": {"tickCount": 6},
    "axisY": {"domain": False, "ticks": False, "titleAnchor": "end", "titleAngle": 0,
              "titleAlign": "left", "titleX": 0, "titleY": -12},
    "legend": {"labelColor": INK, "titleColor": QUIET, "labelFontSize": 12, "orient": "bottom",
               "title": None, "symbolType": "stroke", "symbolStrokeWidth": 3,
               "columns": {"expr": "max(1, floor(width / 130))"},
               "labelLimit": 200, "offset": 10, "columnPadding": 18, "rowPadding": 4},
    "header": {"labelColor": INK, "titleColor": QUIET, "labelFontSize": 12, "title": None},
    "title": {"color": INK, "fontSize": 12, "fontWeight": 600, "anchor": "start"},
    "range": {"category": list(COLORS)},
    "line": {"strokeWidth": 2},
    "bar": {"color": ACCENT},
}  # fmt: skip


def chart(rows: Rows, height: int = HEIGHT, **content: Any) -> Spec:
    """A figure as wide as its place.

    Args:
        rows: Its data.
        height: Pixels.
        content: Mark, encoding, layers and the like.
    """
    return {
        "width": "container", "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"}, "config": CONFIG,
        "data": {"name": "rows", "values": plain(list(rows))}, **content,
    }  # fmt: skip


def x(name: str, title: str | None = None, **further: Any) -> Spec:
    """A quantity along an axis, which need not begin at 0."""
    scale = {"zero": False, "nice": True, **further.pop("scale", {})}
    return {
        "field": name, "type": "quantitative", "title": name if title is None else title,
        "scale": scale, **further,
    }  # fmt: skip


def named(name: str, **further: Any) -> Spec:
    """A name along an axis, as a color or in a tooltip."""
    return {"field": name, "type": "nominal", **further}


def tips(**fields: str) -> list[Spec]:
    """A tooltip: field to its title."""
    return [{"field": name, "title": title} for name, title in fields.items()]


def legend(names: Sequence[str], **further: Any) -> Spec | None:
    """A legend with as many columns as its names leave room for; None: one name needs none."""
    if len(names) < 2:
        return None
    wide = LETTER * max(map(len, names)) + BESIDE
    return {"columns": {"expr": f"max(1, floor(width / {wide:g}))"}, **further}


def lines(
    rows: Rows, across: tuple[str, str], up: tuple[str, str], series: str = "series",
    height: int = HEIGHT,
) -> Spec:  # fmt: skip
    """Lines by series; a click in the legend brings one to the fore.

    Args:
        rows: With the fields of both axes and the series.
        across: Field and title of the x axis.
        up: Those of the y axis.
        series: Field of the series.
        height: Pixels.
    """
    order = list(dict.fromkeys(row[series] for row in rows))
    few = len(rows) <= MARKED * len(order)
    tooltip = [
        {"field": series, "title": "of"},
        {"field": across[0], "title": across[1], "format": ".4~g"},
        {"field": up[0], "title": up[1], "format": ".4~f"},
    ]
    color = named(series, sort=order, scale={"range": list(COLORS)}, legend=legend(order))
    ticks: Spec = {"axis": {"tickMinStep": 1}} if across[0] == "epoch" else {}
    return chart(
        rows, height,
        params=[{
            "name": "fore", "select": {"type": "point", "fields": [series]}, "bind": "legend",
        }],
        mark={"type": "line", "strokeWidth": 2,
              "point": {"size": 26, "filled": True} if few else False},
        encoding={
            "x": x(*across, scale={"zero": True}, **ticks), "y": x(*up), "color": color,
            "tooltip": tooltip,
            "opacity": {"condition": {"param": "fore", "value": 1}, "value": 0.12},
        },
    )  # fmt: skip


def bars(
    labels: Sequence[str], values: Sequence[float], across: str, up: str, height: int = 170
) -> Spec:  # fmt: skip
    """Bars by name, in their order."""
    rows = [{"label": a, "value": b} for a, b in zip(labels, values, strict=True)]
    return chart(
        rows, height, mark={"type": "bar", "cornerRadiusEnd": 2, "color": ACCENT},
        encoding={
            "x": named("label", sort=None, title=across, axis={
                "labelAngle": 0, "labelExpr": f"split(datum.label, '{DASH}')[0]", "ticks": False,
            }),
            "y": {"field": "value", "type": "quantitative", "title": up,
                  "axis": {"tickCount": 4, "format": "~s"}},
            "tooltip": [{"field": "label", "title": across},
                        {"field": "value", "title": up, "format": ","}],
        },
    )  # fmt: skip
