"""Basis of all figures: axes measured in inches, the style, text that always renders, the file.

The data get as many inches as they need, and matplotlib cuts the page to what was drawn. Its layout
engines do the opposite: they shrink the axes until all text fits on a page of a given size.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import DataError
from sif.evaluation.metrics import higher_is_better
from sif.utils.checkpoint import write_bytes_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

Floats = NDArray[np.float64]

DPI = 150
FONT = 9.0
"""Points."""
INK, QUIET, FAINT, SHADE = "#222222", "#6b6b6b", "#d9d9d9", "#f1efe8"
# Paul Tol's "muted" scheme, nine colors told apart by color-blind readers, strongest first.
PALETTE = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#999933", "#aa4499", "#44aa99", "#882255",
    "#ddcc77",
)  # fmt: skip
ACCENT, REFERENCE = "#332288", "#cc6677"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so `clean` knows its glyphs
    "font.size": FONT,
    "axes.edgecolor": QUIET,
    "axes.formatter.useoffset": False,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a dollar
    "xtick.color": QUIET,
    "xtick.labelsize": FONT - 1,
    "ytick.color": QUIET,
    "ytick.labelsize": FONT - 1,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "sif",  # an SVG is the same every time
}
_CUT = "axis cut: a few values lie beyond"
_PAD = 0.13  # inches around what was drawn
_LARGEST = 4000.0  # square inches, 90 million pixels
_DATED = {"png": "Software", "svg": "Date"}  # what would differ between two drawings


P = ParamSpec("P")


class Drawing(Generic[P]):
    """A figure of the house: a function that draws on an empty page, and the file of that page.

    The page measures an inch by an inch, so fractions of it are inches; `panel` places axes on and
    beside it. The file is cut to what was drawn, so that any name has room.

    Args:
        draw: Draws its arguments on a figure.
    """

    def __init__(self, draw: Callable[Concatenate[Figure, P], None]) -> None:
        functools.update_wrapper(self, draw)
        self._draw = draw

    def __call__(self, path: Path, *args: P.args, **kwargs: P.kwargs) -> None:
        """Draws and writes the file.

        Raises:
            CheckpointError: The file could not be written.
        """
        write(lambda: self.build(*args, **kwargs), path)

    def build(self, *args: P.args, **kwargs: P.kwargs) -> Figure:
        """The figure, in whatever style is set."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1, 1), dpi=DPI)
        self._draw(figure, *args, **kwargs)
        return figure


def panel(figure: Figure, width: float, height: float, left: float = 0.0, top: float = 0.0) -> Axes:
    """Axes of a size in inches, their upper left corner `left` and `top` inches from the page's."""
    return figure.add_axes((left, -top - height, width, height))


def write(build: Callable[[], Figure], path: Path) -> None:
    """Builds a figure in the house style and writes it atomically, as PNG of 150 dpi or SVG.

    Raises:
        CheckpointError: The file could not be written.
        DataError: The page would be too large for memory.
    """
    buffer, kind = io.BytesIO(), path.suffix.removeprefix(".")
    options: dict[str, Any] = {"format": kind, "metadata": {_DATED[kind]: None}}

    def save() -> None:
        figure = build()
        page = _drawn(figure)
        if not page.width * page.height < _LARGEST:
            raise DataError(f"{path.name}: expected a page, found {page.width} x {page.height} in")
        figure.savefig(buffer, bbox_inches=page, **options)

    styled(save)
    write_bytes_atomic(path, buffer.getvalue())


def _drawn(figure: Figure) -> Bbox:
    """Inches of all that is drawn, with air; "tight" would have matplotlib draw twice for them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(_PAD)


def styled(action: Callable[[], Any]) -> Any:
    """Runs an action under the house style and puts the caller's settings back."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        return action()


def message(figure: Figure, text: str) -> None:
    """Says why there is nothing to draw."""
    figure.text(0, 0, clean(text, 90), color=QUIET)


def clean(text: str, limit: int = 44) -> str:
    """One line of at most `limit` characters that the font can draw; the middle gives way."""
    known = _charmap()
    line = "".join(
        c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split())
    )
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 3
    return f"{line[: limit - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{line[-tail:]}"


@functools.cache
def _charmap() -> frozenset[int]:
    from matplotlib import font_manager

    found = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(found.get_charmap())


def text_width(texts: Sequence[str], size: float = FONT, weight: str = "bold") -> float:
    """Inches that the longest of some clean one-line texts takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans", weight=weight)
    paths = [TextPath((0, 0), text, size=size, prop=font) for text in texts if text.strip()]
    return max((path.get_extents().x1 / 72 for path in paths), default=0.0)


def title(axes: Axes, text: str, beyond: float = 0.0, cut: bool = False) -> Text:
    """A bold heading above the axes, from their left edge to `beyond` inches past the right one.

    Beside it stands a remark where the axis is cut.
    """
    width, size = inches(axes)[0] + beyond, FONT + 1
    if cut:
        cut_remark(axes)
        width -= text_width([_CUT], FONT - 1, "normal") + 0.2
    limit = 90
    while limit > 8 and text_width([clean(text, limit)], size) > width:
        limit -= 2
    return axes.set_title(clean(text, limit), loc="left", fontsize=size, fontweight="bold")


def inches(axes: Axes) -> tuple[float, float]:
    """Width and height of the axes."""
    box = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    return float(box.width), float(box.height)


def legend(axes: Axes, columns: int = 1, right: bool = False, **options: Any) -> None:
    """Names of colors, above the axes or to the right of them."""
    options |= {"loc": "upper left" if right else "lower left"}
    axes.legend(
        bbox_to_anchor=(1.02, 1) if right else (0, 1), ncols=columns, frameon=False, borderpad=0,
        labelcolor=INK, fontsize=FONT, handlelength=1.0, **options,
    )  # fmt: skip


def few_ticks(axes: Axes, x: int = 0, y: int = 0, integer: bool = False) -> None:
    """Round numbers on one or both axes, at most so many steps."""
    from matplotlib.ticker import MaxNLocator

    for axis, most in ((axes.xaxis, x), (axes.yaxis, y)):
        if most:
            axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=integer))


def better(metric: str) -> str:
    """The direction of a metric in words."""
    return f"{'higher' if higher_is_better(metric) else 'lower'} is better"


def cut_remark(axes: Axes) -> None:
    """Says above the upper right corner, where no line comes, that an axis does not show all."""
    axes.annotate(
        _CUT, (1, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
        ha="right", va="bottom", color=QUIET, fontsize=FONT - 1,
    )  # fmt: skip


def limits(values: Sequence[ArrayLike], keep: ArrayLike = ()) -> tuple[float, float, bool]:
    """Bounds of an axis, with air, that few wild values do not spoil; whether any lie outside.

    Values that are not finite do not count; those in `keep` must lie inside.
    """
    pooled = np.concatenate([[], *(np.asarray(v, dtype=np.float64).ravel() for v in values)])
    kept = np.asarray(keep, dtype=np.float64).ravel()
    pooled, kept = pooled[np.isfinite(pooled)], kept[np.isfinite(kept)]
    both = np.concatenate([pooled, kept])
    if both.size == 0:
        return 0.0, 1.0, False
    q10, q90 = np.quantile(both, [0.1, 0.9])
    core = q90 - q10
    # Twice the core's width to each side; a core of width 0 says nothing about what is wild.
    low, high = (q10 - 2 * core, q90 + 2 * core) if core > 0 else (both.min(), both.max())
    low = min([max(low, both.min()), *kept])
    high = max([min(high, both.max()), *kept])
    cut = bool((pooled < low).any() or (pooled > high).any())
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return float(low - air), float(high + air), cut
