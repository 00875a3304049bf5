"""Charts with a row per name: the name to the left of a band of numbers, a text to its right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sif.plots.style import FAINT, FONT, INK, clean, few_ticks, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def band(figure: Figure, names: Sequence[str], step: float) -> Axes:
    """Axes whose rows are `step` inches high; place 0 is the top one."""
    axes = panel(figure, 4.2, step * len(names) + 0.1)
    axes.set_ylim(len(names) - 0.5 + 0.05 / step, -0.5 - 0.05 / step)
    axes.set_yticks(range(len(names)), [clean(name) for name in names])
    axes.tick_params(axis="y", length=0, pad=8, labelsize=FONT, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    return axes


def embolden(axes: Axes, place: int) -> None:
    """Makes a row the one to look at."""
    axes.get_yticklabels()[place].set_fontweight("bold")


def beside(axes: Axes, place: int, text: str, weight: str = "normal") -> None:
    """A text to the right of a row."""
    axes.annotate(
        text, (1, place), xycoords=("axes fraction", "data"), xytext=(10, 0),
        textcoords="offset points", va="center_baseline", color=INK, fontweight=weight,
    )  # fmt: skip


def ruled(axes: Axes) -> None:
    """Faint lines at a few round numbers."""
    few_ticks(axes, x=5)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
