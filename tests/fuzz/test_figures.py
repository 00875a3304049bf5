"""Damaged data of figures are drawn or refused in one line.

A thousand:  SIF_FUZZ_TRIALS=1000 pytest tests/fuzz/test_figures.py
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sif.errors import LONGEST, DataError
from sif.tasks.figures import DATA, draw_again
from sif.tasks.registry import TASKS

VALUES = (
    None, True, "", "x", [], {}, -1, 0, -0.5, 1e308, 10**9, 10**30, "a" * 400, [[]], [None],
    {"a": 1},
)  # fmt: skip


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory, tiny: list[str]) -> str:
    """The data of the figures of a job."""
    from sif.cli import main as cli

    run = tmp_path_factory.mktemp("figures") / "run"
    job = ["--task", "cf", "--no-tracking", "--quiet", "--output-dir", str(run), *tiny]
    assert cli.main(job) == 0
    return (run / "plots" / DATA).read_text()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to the values of a document, few of each list."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else ()
    inside = list(enumerate(value))[:4] if isinstance(value, list) else inside
    for key, one in inside:
        yield from places(one, (*at, key))


def damaged(text: str, draws: random.Random) -> str:
    """A text that is cut, or has other characters, or another value or none at a place."""
    kind = draws.random()
    if kind < 0.15:
        return text[: draws.randrange(len(text))]
    if kind < 0.3:
        at = draws.randrange(len(text))
        return text[:at] + draws.choice('{}[],:0"x') + text[at + 1 :]
    document = json.loads(text)
    *way, last = draws.choice(list(places(document)))
    inside = document
    for key in way:
        inside = inside[key]
    if draws.random() < 0.3:
        del inside[last]
    else:
        inside[last] = draws.choice(VALUES)
    return json.dumps(document)


@pytest.mark.slow
def test_damaged_data_are_drawn_or_refused_in_one_line(
    intact: str, tmp_path: Path, trials: int
) -> None:
    """Slow: a drawing takes up to a second."""
    for seed in range(trials):
        (tmp_path / DATA).write_text(damaged(intact, random.Random(seed)))
        try:
            draw_again(tmp_path, TASKS["cf"].draw)
        except DataError as error:
            told = str(error)
            assert DATA in told and len(told) <= LONGEST and "\n" not in told, (seed, told)
        except BaseException:
            print(f"seed {seed}")
            raise
