"""Figures of a job on interactions: each model once, under the name that the table has."""

from __future__ import annotations

import pytest

from sif.tasks.cf.figures import shown_names

ROWS = [
    ["searched", 0.3, 0.2, 0.4, True],
    ["closed", 0.3, 0.2, 0.4, False],
    ["als", 0, 0, 0, False],
]


@pytest.mark.parametrize(
    ("served", "names"),
    [
        ("searched", {"searched": "searched = closed (served)", "als": "als"}),
        ("als", {"searched": "searched = closed", "als": "als (served)"}),
    ],
)
def test_a_design_of_two_names_is_drawn_once_and_the_served_one_marked(
    served: str, names: dict[str, str]
) -> None:
    assert shown_names({"rows": ROWS, "alike": ["closed"], "served": served}) == names


def test_figures_of_earlier_jobs_keep_their_names() -> None:
    assert shown_names({"rows": ROWS}) == {name: name for name in ("searched", "closed", "als")}
