"""The objectives of a finished search: for people, and for the tracker."""

from __future__ import annotations

from sif.tasks.base import Found


def objective_lines(found: Found, pick: str) -> list[str]:
    """The values of the selection with their units and bounds, and the front, each on a line.

    Args:
        found: The search.
        pick: The setting `search.pick`.
    """
    if not found.objectives:
        return []
    told = []
    for one in found.objectives:
        text = f"{one['name']} {one['value']:,.6g} {one['unit']}".rstrip()
        if one["most"] is not None:
            kept = one["value"] <= one["most"] * (1 + 1e-9)
            text += f" ({'within' if kept else 'above'} the bound {one['most']:,.6g})"
        told.append(text)
    lines = [", ".join(told)]
    if found.front is not None:
        points = found.front["points"]
        size = sum(point["number"] is not None for point in points)
        number = next((p["number"] for p in points if p["picked"]), None)
        volume = found.front["hypervolume"]
        share = "" if volume is None else f", hypervolume {volume:.3f}"
        lines.append(
            f"{size} of {len(points)} candidates on the front{share}; point {number} picked by "
            f"{pick}"
        )
    return lines


def objective_numbers(found: Found) -> dict[str, float]:
    """The values and the hypervolume, for the tracker."""
    numbers = {str(one["name"]): float(one["value"]) for one in found.objectives}
    volume = None if found.front is None else found.front["hypervolume"]
    return numbers if volume is None else {**numbers, "hypervolume": volume}
