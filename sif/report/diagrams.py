"""Diagrams as SVG: the way from user and item to a score, and cells as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Nodes = Sequence[Sequence[tuple[str, int]]]
"""For each intermediate node its operations and the nodes that they read."""

WIDE, TALL, GAP, LANE = 148, 54, 40, 84
"""Pixels of a box, between two, and from lane to lane."""
LETTERS = 19
"""Letters of a line that fit into a box."""
COLUMN, STEP = 132, 30
"""Pixels from node to node of a cell, at most, and from arrow to arrow."""
WHOLE, LEAST = 850, 88
"""Pixels that all nodes of a cell take, unless they are closer than so many."""
_SHADES = 9
_LETTER, _BESIDE = 6.6, 30  # pixels of a letter above an arrow, and of what has no room for any


@dataclass(frozen=True)
class Box:
    """A step of the way.

    Attributes:
        name: Kind of the step, small.
        text: What was chosen.
        strong: Whether it is searched, and not the neutral choice.
    """

    name: str
    text: str
    strong: bool = False


def flow(lanes: Sequence[Sequence[Box]], tail: Sequence[Box], told: str) -> Markup:
    """Lanes that run side by side and meet at the first box of the tail.

    Args:
        lanes: Boxes from left to right, at least one lane.
        tail: Where they meet, and what follows.
        told: For readers that do not see it.
    """
    longest = max(map(len, lanes))
    columns = longest + len(tail)
    width = columns * WIDE + (columns - 1) * GAP
    height = (len(lanes) - 1) * LANE + TALL
    middle = (height - TALL) / 2
    parts = []
    for k, lane in enumerate(lanes):
        top = k * LANE
        for place, box in enumerate(lane):
            parts.append(_box(box, place * (WIDE + GAP), top))
            if place:
                parts.append(_arrow(place * (WIDE + GAP) - GAP, top, top))
        start = (len(lane) - 1) * (WIDE + GAP) + WIDE
        parts.append(_bend(start, top, longest * (WIDE + GAP), middle))
    for place, box in enumerate(tail):
        left = (longest + place) * (WIDE + GAP)
        parts.append(_box(box, left, middle))
        if place:
            parts.append(_arrow(left - GAP, middle, middle))
    return _svg(width, height, parts, told, "flow")


def _svg(width: float, height: float, parts: Sequence[str], told: str, kind: str) -> Markup:
    # Every part has been escaped where it was made.
    inside = Markup("").join(map(Markup, parts))
    return Markup(
        '<svg class="diagram {}" role="img" aria-label="{}" viewBox="-1 -1 {} {}" '
        'style="width:{}px">{}</svg>'
    ).format(kind, told, width + 2, height + 2, width + 2, inside)


def _box(box: Box, left: float, top: float) -> str:
    first, second = _two_lines(box.text)
    name = f'<text class="kind" x="{left + 12:g}" y="{top + 17:g}">{escape(box.name)}</text>'
    at = top + (37 if not second else 33)
    text = f'<text x="{left + 12:g}" y="{at:g}">{escape(first)}</text>'
    if second:
        text += f'<text x="{left + 12:g}" y="{top + 47:g}">{escape(second)}</text>'
    strong = " strong" if box.strong else ""
    full = f"<title>{escape(box.name)}: {escape(box.text)}</title>"
    return (
        f'<g class="box{strong}">{full}<rect x="{left:g}" y="{top:g}" width="{WIDE}" '
        f'height="{TALL}" rx="6"/>{name}{text}</g>'
    )


def _two_lines(text: str) -> tuple[str, str]:
    """A text on one or two lines of a box, cut where it is longer."""
    if len(text) <= LETTERS:
        return text, ""
    cut = text.rfind(" ", 0, LETTERS + 1)
    cut = LETTERS if cut < LETTERS // 2 else cut
    return text[:cut], shortened(text[cut:].strip(), LETTERS)


def shortened(text: str, letters: int) -> str:
    """A text that is cut beyond so many letters."""
    return text if len(text) <= letters else f"{text[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


def _arrow(left: float, top: float, bottom: float) -> str:
    y = top + TALL / 2
    return f'<path class="arrow" d="M{left + 3:g} {y:g}H{left + GAP - 4:g}"/>' + _head(
        left + GAP - 3, bottom + TALL / 2
    )


def _bend(start: float, top: float, end: float, middle: float) -> str:
    a, b = top + TALL / 2, middle + TALL / 2
    if a == b:
        return f'<path class="arrow" d="M{start + 3:g} {a:g}H{end - 4:g}"/>' + _head(end - 3, a)
    turn = end - GAP / 2
    curve = f"M{start + 3:g} {a:g}H{turn - 12:g}C{turn + 4:g} {a:g} {turn - 8:g} {b:g} {end - 4:g} "
    return f'<path class="arrow" d="{curve}{b:g}"/>' + _head(end - 3, b)


def _head(tip: float, y: float) -> str:
    return f'<path class="head" d="M{tip:g} {y:g}l-6 -3.5v7z"/>'


def cell(
    nodes: Nodes, concat: Sequence[int], inputs: Sequence[str], output: str, kinds: Sequence[str]
) -> Markup:
    """A cell: a column per node, and an arrow per operation from what it reads.

    Args:
        nodes: The intermediate nodes.
        concat: Numbers of the nodes that make the output.
        inputs: Names of what comes before the nodes, whose numbers go on from there.
        output: Operation on the nodes of the output.
        kinds: Names of all operations of the page, whose places are their colors.
    """
    first, count = len(inputs), sum(map(len, nodes))
    names = [*inputs, *(str(k) for k in range(first, first + len(nodes))), "out"]
    column = min(COLUMN, max(LEAST, WHOLE // (len(names) - 1)))
    width = column * (len(names) - 1) + 70
    height = 44 + STEP * (count + 1)
    xs = [34 + column * k for k in range(len(names))]
    parts = [
        f'<path class="lane" d="M{at} 30V{height - 6}"/>'
        f'<text class="node" x="{at}" y="16">{escape(name)}</text>'
        for at, name in zip(xs, names, strict=True)
    ]
    y = 48
    for number, edges in enumerate(nodes, start=first):
        for name, source in edges:
            shade = kinds.index(name) % _SHADES + 1
            parts.append(_operation(xs[source], xs[number], y, name, shade))
            y += STEP
    for number in concat:
        parts.append(f'<path class="arrow" d="M{xs[number]} {y}H{xs[-1] - 9}"/>')
        parts.append(f'<circle class="dot quiet" cx="{xs[number]}" cy="{y}" r="3"/>')
    parts.append(_head(xs[-1] - 5, y))
    parts.append(f'<text class="kind" x="{xs[-1]}" y="{y + 20}">{escape(output)}</text>')
    told = "; ".join(
        f"node {number}: " + ", ".join(f"{name} of {names[source]}" for name, source in edges)
        for number, edges in enumerate(nodes, start=first)
    )
    return _svg(width, height + 14, parts, told, "cell")


def _operation(start: float, end: float, y: float, name: str, shade: int) -> str:
    color = f"var(--c{shade})"
    label = shortened(name, int((end - start - _BESIDE) / _LETTER))
    return (
        f"<g><title>{escape(name)}</title>"
        f'<path d="M{start} {y}H{end - 9}" stroke="{color}" class="operation"/>'
        f'<circle cx="{start}" cy="{y}" r="3.5" fill="{color}"/>'
        f'<path d="M{end - 4} {y}l-7 -4v8z" fill="{color}"/>'
        f'<text x="{end - 16}" y="{y - 6}" text-anchor="end">{escape(label)}</text></g>'
    )
