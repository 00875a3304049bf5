"""Lines with their names at their ends, in place of a legend.

Names stand in the right margin at the height where their line ends, moved apart where they would
meet, each joined to its line by a thin stroke in the line's color.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sif.plots.style import (
    FONT,
    INK,
    PALETTE,
    QUIET,
    Floats,
    clean,
    cut_remark,
    inches,
    limits,
    panel,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_STEP = 0.165
"""Inches between the centers of two neighboring names."""
_REACH = 0.3
"""Inches from the right edge of the axes to the names."""


@dataclass(frozen=True, eq=False)
class Line:
    """One series by the name at its end; points that are not finite are gaps.

    Attributes:
        name: Text at its end.
        x: (n,), ascending.
        y: (n,).
        color: Of line and stroke.
        strong: Whether it is the one to look at.
        dashed: Tells apart lines that share a color.
    """

    name: str
    x: Floats
    y: Floats
    color: str
    strong: bool = False
    dashed: bool = False

    @property
    def end(self) -> tuple[float, float] | None:
        """The last finite point."""
        finite = np.flatnonzero(np.isfinite(self.y) & np.isfinite(self.x))
        return (float(self.x[finite[-1]]), float(self.y[finite[-1]])) if finite.size else None


def colored(index: int) -> tuple[str, bool]:
    """Color of the index-th line, and whether it is dashed because colors have run out."""
    return PALETTE[index % len(PALETTE)], (index // len(PALETTE)) % 2 == 1


def margin(names: Sequence[str]) -> float:
    """Inches that the names take to the right of the axes."""
    return _REACH + text_width([clean(name) for name in names]) + 0.2


def over_time(
    figure: Figure, lines: Sequence[Line], values: Sequence[Floats], clock: str, label: str
) -> Axes:
    """Axes from time 0 to the last end of some lines, which are named but not yet drawn.

    All lines have an end. The values, whatever will be drawn, give the limits.
    """
    axes = panel(figure, 4.8, max(3.0, LABEL_STEP * len(lines)))
    axes.set_xlim(0, 1.02 * max(float(np.nanmax(line.x)) for line in lines) or 1.0)
    low, high, cut = limits(values, [line.end[1] for line in lines if line.end])
    axes.set_ylim(low, high)
    name_ends(axes, lines)
    axes.set_xlabel(clock)
    axes.set_ylabel(label)
    if cut:
        cut_remark(axes)
    return axes


def draw(axes: Axes, lines: Sequence[Line]) -> None:
    """Draws the lines, the strong ones on top; points without neighbors become dots."""
    for line in lines:
        y = np.where(np.isfinite(line.y), line.y, np.nan)
        axes.plot(
            line.x,
            y,
            color=line.color,
            linewidth=2.6 if line.strong else 1.2,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            zorder=4 if line.strong else 3,
            marker="o",
            markersize=5 if line.strong else 3.5,
            markevery=_lonely(y),
            label=clean(line.name),
        )


def name_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Writes each line's name beside its end; the limits of the axes must be final.

    A line without a finite point gets no name.
    """
    from matplotlib.lines import Line2D

    width, height = inches(axes)
    # Reversed before a stable sort: of equal ends the line given first stands on top.
    ended = [(line, end) for line in reversed(lines) if (end := line.end) is not None]
    ended.sort(key=lambda pair: pair[1][1])
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    ends = np.array([((x - x0) / (x1 - x0), (y - y0) / (y1 - y0)) for _, (x, y) in ended])
    # Names stay beside the axes, also the outermost: above and beneath is room for others.
    step = LABEL_STEP / height
    heights = spread(ends[:, 1] if len(ends) else ends, step, step / 2, 1 - step / 2)
    for (line, _), (x, y), at in zip(ended, ends, heights, strict=True):
        stroke = Line2D(
            [x, 1 + 0.06 / width, 1 + (_REACH - 0.05) / width],
            [y, y, at],
            transform=axes.transAxes,
            color=line.color,
            linewidth=1.6 if line.strong else 0.8,
            linestyle=(0, (1, 2)) if x < 0.97 else "-",
            clip_on=False,
            zorder=2,
        )
        axes.add_artist(stroke)
        axes.text(
            1 + _REACH / width,
            at,
            clean(line.name),
            transform=axes.transAxes,
            va="center_baseline",
            color=INK if line.strong else QUIET,
            fontsize=FONT,
            fontweight="bold" if line.strong else "normal",
        )


def spread(positions: Floats, step: float, low: float, high: float) -> Floats:
    """Nearest positions, in squares, that keep a distance and stay within bounds.

    Positions (n,) are ascending, before and after. The distance is less than `step` where the
    bounds leave no room for it.
    """
    n = len(positions)
    if n == 0:
        return np.empty(0)
    step = min(step, (high - low) / max(n - 1, 1))
    offsets = step * np.arange(n)
    # Without the offsets the distances become an order, and pooling adjacent violators finds the
    # nearest one. SciPy has it too, in a package whose import takes as long as the whole sheet.
    pools: list[tuple[float, int]] = []
    for value in positions - offsets:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    level = np.repeat([mean for mean, _ in pools], [size for _, size in pools])
    return np.asarray(np.clip(level, low, high - offsets[-1]) + offsets, dtype=np.float64)


def _lonely(y: Floats) -> list[int]:
    """Indices of finite points between gaps, which a line would not show."""
    here = np.concatenate([[False], np.isfinite(y), [False]])
    return [int(i) for i in np.flatnonzero(here[1:-1] & ~here[:-2] & ~here[2:])]
