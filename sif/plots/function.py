"""What a search found: the transforms P and Q, and the surface f(u, v) of one dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import ShapeError
from sif.plots import lines as ends
from sif.plots.lines import Line
from sif.plots.style import (
    ACCENT,
    FAINT,
    INK,
    QUIET,
    Floats,
    Sheet,
    clean,
    limits,
    message,
    title,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Curve = tuple[ArrayLike, ArrayLike]


def transform_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """Draws the element-wise function of every field over the identity.

    Args:
        curves: Field name to inputs (n,), ascending, and outputs (n,), both in embedding units.
        path: PNG to write.

    Raises:
        ShapeError: Inputs and outputs of a field differ in length.
    """
    write(lambda: build_transforms(curves), path)


def interaction_surface(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    heading: str,
    path: Path,
    *,
    fields: tuple[str, str] = ("user", "item"),
) -> None:
    """Draws f(u, v) for one embedding dimension as a filled contour.

    Args:
        x: (m,) entries u of the first field's embedding, ascending.
        y: (n,) entries v of the second field's embedding, ascending.
        z: (n, m) values; `z[j, i]` belongs to `x[i]` and `y[j]`.
        heading: Above the figure, e.g. the function's expression.
        path: PNG to write.
        fields: Names of the two fields.

    Raises:
        ShapeError: The three do not fit each other or make no surface.
    """
    write(lambda: build_surface(x, y, z, heading, fields), path)


def build_transforms(curves: Mapping[str, Curve]) -> Figure:
    """The figure of `transform_curves`."""
    if not curves:
        return message("The space has no element-wise transforms.")
    left, width, right, top, height, below = 0.75, 2.5, ends.margin(["identity"]), 0.4, 2.3, 0.6
    columns = len(curves) if len(curves) <= 3 else math.ceil(math.sqrt(len(curves)))
    rows = -(-len(curves) // columns)
    sheet = Sheet(columns * (left + width + right), rows * (top + height + below))
    for i, (name, curve) in enumerate(curves.items()):
        row, column = divmod(i, columns)
        axes = sheet.axes(
            column * (left + width + right) + left,
            row * (top + height + below) + top,
            width,
            height,
        )
        _draw_transform(axes, name, *_checked_curve(name, curve))
    return sheet.figure


def build_surface(
    x: ArrayLike, y: ArrayLike, z: ArrayLike, heading: str, fields: tuple[str, str]
) -> Figure:
    """The figure of `interaction_surface`."""
    from matplotlib.ticker import MaxNLocator

    u, v, f = (np.asarray(a, dtype=np.float64) for a in (x, y, z))
    if u.ndim != 1 or v.ndim != 1 or min(u.size, v.size) < 2 or f.shape != (v.size, u.size):
        raise ShapeError(
            f"interaction surface: expected x (m,), y (n,), z (n, m) with m, n >= 2, "
            f"found {u.shape}, {v.shape}, {f.shape}"
        )
    if not np.isfinite(f).any():
        return message("The interaction function has no finite value here.")
    sheet = Sheet(5.2, 4.3)
    axes = sheet.axes(0.75, 0.45, 3.3, 3.3)
    bar = sheet.axes(4.2, 0.45, 0.16, 3.3)
    levels, colors, norm = _levels(f)
    shown = np.ma.masked_invalid(f)
    filled = axes.contourf(u, v, shown, levels=levels, cmap=colors, norm=norm)
    axes.contour(
        u, v, shown, levels=levels, colors=INK, linewidths=0.4, alpha=0.45, linestyles="solid"
    )
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"u: {clean(fields[0], 24)} embedding entry")
    axes.set_ylabel(f"v: {clean(fields[1], 24)} embedding entry")
    title(axes, heading, beyond=0.9)
    for spine in axes.spines.values():
        spine.set_visible(True)
    scale = sheet.figure.colorbar(filled, cax=bar)
    scale.set_label("f(u, v)")
    scale.outline.set_linewidth(0.4)
    return sheet.figure


def _checked_curve(name: str, curve: Curve) -> tuple[Floats, Floats]:
    x, y = (np.asarray(a, dtype=np.float64) for a in curve)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ShapeError(
            f"transform of {name}: expected two arrays (n,), n >= 1, found {x.shape} and {y.shape}"
        )
    return x, y


def _draw_transform(axes: Axes, name: str, x: Floats, y: Floats) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high, _ = limits([x])
    axes.set_xlim(low, high)
    finite = np.where(np.isfinite(y), y, np.nan)
    axes.set_ylim(*limits([], [*x, *finite])[:2])
    for line in (axes.axhline, axes.axvline):
        line(0.0, color=FAINT, linewidth=0.8, zorder=1)
    identity = Line("identity", x, x, QUIET)
    axes.plot(x, x, color=QUIET, linewidth=0.9, linestyle=(0, (5, 2)), zorder=2, label="identity")
    ends.draw(axes, [Line(name, x, y, ACCENT, strong=True)])
    ends.name_ends(axes, [identity])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("embedding entry")
    axes.set_ylabel("transformed entry")
    title(axes, name)


def _levels(f: Floats) -> tuple[NDArray[np.float64], str, Normalize]:
    """Contour levels and colors: centered on 0 where the function changes sign."""
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    low, high = float(np.nanmin(f[np.isfinite(f)])), float(np.nanmax(f[np.isfinite(f)]))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    levels = np.asarray(MaxNLocator(14).tick_values(low, high), dtype=np.float64)
    if low < 0 < high:
        bound = max(-levels[0], levels[-1])
        return levels, "PuOr_r", Normalize(-bound, bound)
    return levels, "cividis", Normalize(levels[0], levels[-1])
