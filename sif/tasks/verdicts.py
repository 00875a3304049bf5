"""The verdicts of a job: on our model, and on the search behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.evaluation.comparison import Verdict, holm, one_verdict, verdict
from sif.evaluation.evaluate import Evaluation
from sif.tasks.base import Entry
from sif.tasks.study import Study
from sif.tasks.summary import namesakes
from sif.utils.random import derive_seed


def main_verdict(study: Study, designs: Mapping[str, Any], entries: Mapping[str, Entry]) -> Verdict:
    """Ours against the best of the others; a control of the same design is none of them.

    Args:
        study: Of the job.
        designs: By entrant.
        entries: All models.
    """
    entrants, metric = study.entrants, study.problem.metric
    itself = namesakes(designs, entries, entrants.ours)
    apart = (entrants.ours, *itself, *entrants.paced)
    others = {name: one for name, one in entries.items() if name not in apart}
    return verdict(
        entrants.subject or study.expression(designs[entrants.ours]),
        entries[entrants.ours].test,
        {name: entry.test for name, entry in others.items()},
        {name: entry.valid[metric] for name, entry in others.items()},
        metric,
        itself=itself,
        seed=_seed(study),
    )


def search_verdict(
    study: Study, design: Any, ours: Evaluation, control: str, other: Evaluation
) -> Verdict:  # fmt: skip
    """A found function against its control, both as first fitted.

    Args:
        study: Of the job.
        design: The found one.
        ours: Its test.
        control: Name of the control.
        other: Test of the control.
    """
    return one_verdict(
        study.expression(design), ours, control, other, study.problem.metric,
        "trained for the same seconds: first fits, test", seed=_seed(study),
    )  # fmt: skip


def corrected(main: Verdict, searching: Verdict | None) -> tuple[Verdict, Verdict | None]:
    """Both verdicts as two comparisons of one job."""
    both = [one for one in (main, searching) if one and one.comparison and not one.no_interval]
    if searching is None or len(both) < 2:
        return main, searching
    first, second = holm([one.comparison.p for one in both if one.comparison])
    return main.among(first, 2), searching.among(second, 2)


def _seed(study: Study) -> int:
    return derive_seed(study.config.seed, "verdict")
