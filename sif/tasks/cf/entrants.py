"""The entrants of a job on interactions: who takes part, and who is spared without a prospect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sif.problems.base import SEARCHED, Trained
from sif.problems.closed_forms import CLOSED
from sif.problems.controls import CONTROLS, FIXED, RANDOM
from sif.problems.histories import READERS
from sif.problems.interactions import InteractionProblem
from sif.problems.order import METHOD, ORDER
from sif.spaces.closed.design import OPEN
from sif.tasks.base import Entrants

HOPE = 2 / 3
"""Validation of fixed multiply, over that of a model in order or in closed form, below which no
function of pairs is searched: the most that a search gained on fixed multiply was a third
(docs/results/closed-forms.md)."""
FAR_AHEAD = {ORDER: "model in order", CLOSED: "closed form"}
"""Names in words of what may spare the search of functions."""


def entrants_of(
    problem: InteractionProblem, readers: Collection[str], in_order: bool, closed: bool
) -> Entrants:  # fmt: skip
    """The entrants of a job; fixed multiply, models in order and closed forms are fallbacks.

    Args:
        problem: Of functions of pairs.
        readers: Names of readers of histories.
        in_order: Whether models in order can be fitted.
        closed: Whether there are closed forms.
    """
    controls: dict[str, Any] = {name: CONTROLS[name](problem) for name in problem.config.controls}
    methods = {SEARCHED: problem.config.method}
    fallbacks = (FIXED,) if FIXED in controls else ()
    if in_order:  # first, since it is cheap and may spare the other
        methods, fallbacks = {ORDER: METHOD, **methods}, (*fallbacks, ORDER)
    if closed:
        controls, fallbacks = {CLOSED: OPEN, **controls}, (*fallbacks, CLOSED)
    methods |= {name: METHOD for name in readers if name in READERS}
    given = controls | {name: name for name in readers if name not in READERS}
    paced = {RANDOM: SEARCHED} if RANDOM in controls else {}
    return Entrants(methods, given, SEARCHED, fallbacks, compared=tuple(readers), paced=paced)


def without_prospect(
    name: str, trained: Mapping[str, Trained[Any] | None], metric: str
) -> str:  # fmt: skip
    """Why functions of pairs are spared: one that is solved for is too far ahead of the simplest.

    That one has told so, and is not fitted again and tested for it.

    Args:
        name: Of an entrant.
        trained: Entrants that were trained before; None: one diverged.
        metric: That validation decides by, the higher the better.

    Returns:
        The reason; empty: the entrant is not spared.
    """
    fixed = trained.get(FIXED)
    solved = {one: found for one in FAR_AHEAD if (found := trained.get(one)) is not None}
    if name not in (SEARCHED, RANDOM, FIXED) or fixed is None or not solved:
        return ""
    best = max(solved, key=lambda one: solved[one].result.valid[metric])
    ahead, behind = solved[best].result.valid[metric], fixed.result.valid[metric]
    if behind >= HOPE * ahead:
        return ""
    return (
        f"validation puts the simplest function of pairs far behind the {FAR_AHEAD[best]} "
        f"({metric} {behind:.4f} of {FIXED}, {ahead:.4f} of {best}), so the job searches none; "
        "search.stages=[encoding,operation,weighting] searches functions alone"
    )
