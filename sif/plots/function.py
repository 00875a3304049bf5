"""A searched function: its transforms P and Q, and the surface f(u, v) of one dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import ShapeError
from sif.plots import lines as ends
from sif.plots import style
from sif.plots.lines import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Curve = tuple[ArrayLike, ArrayLike]
_FAINT = 0.01
"""Weight of an item of the history, relative to the latest one's, that can still be seen."""


@style.Drawing
def transform_curves(figure: Figure, curves: Mapping[str, Curve]) -> None:
    """Draws the element-wise function of every field over the identity.

    Args:
        figure: Is drawn on.
        curves: Field name to inputs (n,), ascending, and outputs (n,), both in embedding units.
    """
    if not curves:
        style.message(figure, "The space has no element-wise transforms.")
        return
    width, height = 2.5, 2.3
    columns = len(curves) if len(curves) <= 3 else math.ceil(math.sqrt(len(curves)))
    for i, (name, curve) in enumerate(curves.items()):
        row, column = divmod(i, columns)
        left, top = column * (width + ends.margin(["identity"]) + 0.75), row * (height + 1.0)
        axes = style.panel(figure, width, height, left, top)
        x, y = (np.asarray(a, dtype=np.float64) for a in curve)
        if x.ndim != 1 or x.shape != y.shape or x.size == 0:
            raise ShapeError(
                f"transform of {name}: expected two arrays (n,), n >= 1,"
                f" found {x.shape} and {y.shape}"
            )
        _draw_transform(axes, name, x, y)


@style.Drawing
def history_decays(figure: Figure, decays: Mapping[str, Sequence[float]]) -> None:
    """Draws the weight of an item of the history by its age, a line per time scale.

    Ages at which nothing counts any more are left out: windows may reach far beyond.

    Args:
        figure: Is drawn on.
        decays: Name of a scale to its weights (n,), the latest item's first.
    """
    if not decays:
        style.message(figure, "The history is a set: age changes nothing.")
        return
    every = {name: np.asarray(weights, np.float64) for name, weights in decays.items()}
    shown = 2 + max(int(np.flatnonzero(y >= _FAINT).max(initial=0)) for y in every.values())
    drawn = []
    for place, (name, weights) in enumerate(every.items()):
        color, dashed = ends.colored(place)
        ages = np.arange(1.0, len(weights) + 1)
        drawn.append(Line(name, ages[:shown], weights[:shown], color, dashed=dashed))
    whole = [np.array([0.0, 1.0])]
    axes = ends.over_time(figure, drawn, whole, "age (items back, 1: the latest)", "weight")
    ends.draw(axes, drawn)


@style.Drawing
def interaction_surface(
    figure: Figure,
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    heading: str,
) -> None:
    """Draws f(u, v) for one embedding dimension as a filled contour.

    Args:
        figure: Is drawn on.
        x: (m,) entries u of the user's embedding, ascending.
        y: (n,) entries v of the item's embedding, ascending.
        z: (n, m) values; `z[j, i]` belongs to `x[i]` and `y[j]`.
        heading: Above the figure, e.g. the function's expression.

    Raises:
        ShapeError: The three do not fit each other or make no surface.
    """
    u, v, f = (np.asarray(a, dtype=np.float64) for a in (x, y, z))
    if u.ndim != 1 or v.ndim != 1 or min(u.size, v.size) < 2 or f.shape != (v.size, u.size):
        raise ShapeError(
            f"interaction surface: expected x (m,), y (n,), z (n, m) with m, n >= 2, "
            f"found {u.shape}, {v.shape}, {f.shape}"
        )
    if not np.isfinite(f).any():
        style.message(figure, "The interaction function has no finite value here.")
        return
    axes, bar = style.panel(figure, 3.3, 3.3), style.panel(figure, 0.16, 3.3, left=3.45)
    levels, colors, norm = _levels(f)
    shown = np.ma.masked_invalid(f)
    filled = axes.contourf(u, v, shown, levels=levels, cmap=colors, norm=norm)
    axes.contour(
        u, v, shown, levels=levels, colors=style.INK, linewidths=0.4, alpha=0.45, linestyles="solid"
    )
    style.few_ticks(axes, x=5, y=5)
    axes.set_xlabel("u: user embedding entry")
    axes.set_ylabel("v: item embedding entry")
    style.title(axes, heading, beyond=0.9)
    axes.spines[:].set_visible(True)
    scale = figure.colorbar(filled, cax=bar)
    scale.set_label("f(u, v)")
    scale.outline.set_linewidth(0.4)


def _draw_transform(axes: Axes, name: str, x: style.Floats, y: style.Floats) -> None:
    low, high, _ = style.limits([x])
    axes.set_xlim(low, high)
    finite = np.where(np.isfinite(y), y, np.nan)
    axes.set_ylim(*style.limits([], [*x, *finite])[:2])
    for line in (axes.axhline, axes.axvline):
        line(0.0, color=style.FAINT, linewidth=0.8, zorder=1)
    identity = Line("identity", x, x, style.QUIET)
    # So wide that it shows beneath a transform that is the identity itself.
    axes.plot(x, x, color=style.FAINT, linewidth=5.0, zorder=2, label="identity")
    ends.draw(axes, [Line(name, x, y, style.ACCENT, strong=True)])
    ends.name_ends(axes, [identity])
    style.few_ticks(axes, x=5, y=5)
    axes.set(xlabel="embedding entry", ylabel="transformed entry")
    style.title(axes, name)


def _levels(f: style.Floats) -> tuple[NDArray[np.float64], str, Normalize]:
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
