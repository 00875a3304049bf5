"""The words of a job on interactions: what was found, its worth, and what it recommends.

Everything here is plain lines for people; the numbers are those of the table and of metrics.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sif.core.genotype import Genotype
from sif.data.interactions import Split
from sif.errors import SifError
from sif.evaluation.comparison import Comparison, compare, counted
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.report import PAGE
from sif.spaces.closed.design import NAME as CLOSED
from sif.spaces.closed.design import closed_design
from sif.spaces.interaction.design import (
    EMBEDDING_BLOCK,
    ENCODING_BLOCK,
    OPERATION_BLOCK,
    has_features,
)
from sif.spaces.linear.design import GIVEN, LinearDesign, linear_design
from sif.spaces.linear.design import NAME as ORDER
from sif.spaces.linear.sequences import Decay, duration
from sif.tasks.base import Entry, Found, Results
from sif.tasks.cf.recovery import Recovery

RIVALS = ("als", "ease", "biased-mf", "bias-only")
"""Baselines that everybody knows, with whom the last words always compare."""
_RIVALS_TOLD = {
    "als": "tuned ALS", "ease": "tuned EASE", "bpr": "tuned BPR", "slim": "tuned SLIM",
    "item-knn": "tuned item neighbors", "rp3beta": "tuned RP3beta", "popularity": "popularity",
    "recent-popularity": "recent popularity", "markov": "what followed the last item",
    "decayed-ridge": "a single fixed time scale (decayed-ridge)", "biased-mf": "tuned biased MF",
    "bias-only": "user and item means", "global-mean": "the mean of all ratings",
    "fixed-multiply": "the plain product (fixed-multiply)", "closed": "the closed form",
    "order": "the model in order", "random-function": "a random function",
}  # fmt: skip
_METRICS = {"ndcg@10": "NDCG@10 (1: all that was wanted, on top)", "rmse": "RMSE (0: no error)"}
_MEETINGS = {
    "multiply": "their product", "plus": "their sum", "max": "the larger of both, entry by entry",
    "min": "the smaller of both, entry by entry", "concat": "both side by side",
}  # fmt: skip
_READ = {
    ("user", "id"): "a user has a vector of his own",
    ("user", "history"): "a user is the items that he has",
    ("user", "both"): "a user is a vector of his own and the items that he has",
    ("item", "id"): "an item has a vector of its own",
    ("item", "history"): "an item is the users who have it",
    ("item", "both"): "an item is a vector of its own and the users who have it",
}
_FAMILIES = {
    "item-item": "each item that a user has speaks for others, by a weight for each pair",
    "filter": "items are near to one another by the users who have both, and those near to what a "
    "user has are recommended",
    "chebyshev": "items are near to one another by the users who have both, and those near to what "
    "a user has are recommended",
    "spectrum": "what users have is condensed to a few tastes, and what suits a user's is "
    "recommended",
}  # fmt: skip
_NO_ORDER = "The model does not look at the order of rows."
_SHORT, _MEDIUM = 1.5, 4.0
"""Half-lives in rows up to which a scale is that of the last one or two, or of the last few."""


def search_words(stage: str, expression: str, found: Found) -> str:
    """The function that a search found, and how often it changed its mind, on one line."""
    counts, summary = found.diagnostics, found.summary
    changes = counted(int(counts["flips"]), "times")
    return (
        f"{stage}: the search found {expression} in {counted(summary['epochs'], 'epochs')}, "
        f"{summary['seconds']:.1f} s (its selection changed {changes}; "
        f"the closest choice was ahead of the next by {counts['margin']:.2f})"
    )


def found_words(design: Any, expression: str) -> str:
    """A design in a sentence or two.

    Args:
        design: A genotype of any space, or another design.
        expression: The design on one line, for those that have no words here.
    """
    if isinstance(design, Genotype):
        if design.space in (ORDER, GIVEN):
            return _order_words(linear_design(design))
        if design.space == CLOSED:
            family = closed_design(design)
            return (
                f"{_capital(_FAMILIES[family.name])}. The model does not look at the order of rows."
            )
        if ENCODING_BLOCK in design.blocks:
            return _function_words(design)
    return f"A user and an item meet by {expression}."


def _order_words(design: LinearDesign) -> str:
    if not design.decays:
        return f"{_capital(_FAMILIES['item-item'])}. {_NO_ORDER}"
    scales = [_scale_words(decay) for decay in sorted(design.decays, key=lambda one: one.gamma)]
    words = [f"The next item follows {_joined(scales)}"]
    if len(scales) > 1:
        words.append("either is enough, since what they call for is added up")
    told = ["; ".join(words)]
    if design.ahead:
        told.append("The items after the next one taught it too")
    if design.discount:
        told.append("What is popular anyway is held back a little")
    return ". ".join(told) + "."


def _scale_words(decay: Decay) -> str:
    """Such as "the last few (half-life 2 rows)"."""
    timed = "" if decay.half_life is None else f"half-life {duration(decay.half_life)}"
    if decay.gamma == 1:
        alike = "all rows" if decay.window is None else f"the last {decay.window} rows"
        return f"the long taste ({timed or f'{alike} count alike'})"
    half_life = math.log(0.5) / math.log(decay.gamma)
    name = "the longer taste"
    if half_life <= _MEDIUM:
        name = "the last one or two" if half_life <= _SHORT else "the last few"
    rows = f"half-life {half_life:.2g} {'row' if round(half_life, 1) == 1 else 'rows'}"
    return f"{name} ({', '.join(filter(None, [rows, timed]))})"


def _function_words(design: Genotype) -> str:
    """A function of `staged`: who is what, and how both meet."""
    fields = ("user", "item")
    encodings = [name for _, name in design.blocks[ENCODING_BLOCK]]
    read = [
        _READ.get((field, name), f"{field} is {name}")
        for field, name in zip(fields, encodings, strict=False)
    ]
    operation = design.operation(OPERATION_BLOCK)
    words = f"{_capital(_joined(read))}; what counts is {_MEETINGS.get(operation, operation)}."
    if design.operation(EMBEDDING_BLOCK) != "identity":
        words += " The vectors pass through a learned step first."
    if has_features(design):
        words += " Features have a part in the vectors."
    return words


def worth_words(
    entries: Mapping[str, Entry], against: str | None, metric: str, seed: int
) -> list[str]:
    """The worth of ours at test, against well-known baselines and the one of the verdict.

    Each interval is a 95 % one on its own; the verdict is the one that accounts for several looks.

    Args:
        entries: Of the job.
        against: The baseline of the verdict.
        metric: That decides.
        seed: Of the bootstrap.
    """
    ours = entries[SEARCHED].test
    named = _METRICS.get(metric, metric)
    lines = [
        f"On the test part, {len(ours.users):,} users, its {named} is {ours.metrics[metric]:.4f}:"
    ]
    rivals = [name for name in RIVALS if name in entries]
    if against is not None and against not in rivals:
        rivals.append(against)
    for name in rivals:
        found = compare(ours, entries[name].test, metric, seed=seed)
        value = entries[name].test.metrics[metric]
        best = ", the best other model on validation" if name == against else ""
        lines.append(f"{_gain_words(found, metric, name)} ({value:.4f}{best})")
    return lines


def _gain_words(found: Comparison, metric: str, name: str) -> str:
    """Such as "better than tuned ALS by 0.1100, 95 % interval 0.0987 to 0.1221"."""
    told = _RIVALS_TOLD.get(name, name)
    gain = merit(metric, found.difference)
    low, high = sorted((merit(metric, found.low), merit(metric, found.high)))
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"against {told} a difference of {gain:+.4f}, without an interval"
    if found.outcome == "undecided":
        return (
            f"level with {told}: a difference of {gain:+.4f}, 95 % interval {low:+.4f} to "
            f"{high:+.4f}, may be chance"
        )
    low, high = (low, high) if gain > 0 else (-high, -low)
    return f"{found.outcome} than {told} by {abs(gain):.4f}, 95 % interval {low:.4f} to {high:.4f}"


def recovery_words(found: Recovery | None) -> list[str]:
    """The recovery of a planted truth, and how it is judged; of other data nothing."""
    if found is None:
        return []
    best = "" if found.best is None else f" Who knew that would reach {found.best:.4f}."
    answer = "yes" if found.recovered else "no"
    return [
        f"Planted: {found.truth}.{best}",
        f"Planted truth recovered: {answer}. Asked for: {found.judged}.",
    ]


def recommendation_words(model: ServedModel, split: Split) -> list[str]:
    """Three recommendations for one user of the test part, each with what speaks for it.

    The user is not picked for the result: of those with at least the median number of rows it is
    the first one.

    Args:
        model: That is saved.
        split: Whose train part it knows.
    """
    counts = np.bincount(split.train.ids[:, 0], minlength=split.train.sizes[0])
    tested = np.unique(split.test.ids[:, 0])
    known = tested[counts[tested] > 0]
    if not len(known):
        return []
    number = known[np.argmax(counts[known] >= np.median(counts[known]))]
    user = str(split.interactions.vocabularies[0].ids[number])
    recommender = Recommender(objective=model.objective)
    recommender.model_ = model
    try:
        best = recommender.recommend(user, n=3)
    except SifError as error:
        return [f"No recommendations: {error}"]
    lines = [f"{_number_word(len(best))} for user {user}{_latest(split, int(number), model)}:"]
    for rank, row in enumerate(best.to_dict("records"), 1):
        reasons = _reasons(recommender, user, row["item"])
        lines.append(f"  {rank}. {_title(row)}{reasons}")
    return lines


def _latest(split: Split, user: int, model: ServedModel) -> str:
    """The latest items of a user, where rows have an order."""
    rows = split.interactions.select(np.flatnonzero(split.interactions.ids[:, 0] == user))
    if rows.moment is None:
        return ""
    items = rows.ids[np.argsort(rows.moment, kind="stable")[::-1][:3], 1]
    names = [str(split.interactions.vocabularies[1].ids[item]) for item in items]
    return f", whose latest are {_joined([model.titles.get(name, name) for name in names])}"


def _reasons(recommender: Recommender, user: str, item: Any) -> str:
    """The two items that speak most for a recommendation, and how long ago each was."""
    try:
        reasons = recommender.explain(user, item, n=2)
    except SifError:
        return ""
    told = []
    for row in reasons.to_dict("records"):
        if row["score"] <= 0:
            continue
        ago = f" ({row['age']} {'row' if row['age'] == 1 else 'rows'} ago)" if "age" in row else ""
        told.append(f"{_title(row)}{ago}")
    return f", because of {_joined(told)}" if told else ""


def _title(row: Mapping[Any, Any]) -> str:
    """The title of an item, or else its id."""
    title = row.get("title")
    return str(title) if isinstance(title, str) and title else str(row["item"])


def place_words(folder: Path) -> list[str]:
    """Where everything lies."""
    lines = [f"Run folder: {folder}"]
    page = folder / PAGE
    return [*lines, f"Report: {page}"] if page.is_file() else lines


def served_words(results: Results) -> list[str]:
    """The model that is saved, where it is not ours."""
    if results.baseline is None or results.choice is None:
        return []
    told = _RIVALS_TOLD.get(results.choice.name, results.choice.name)
    return [f"Served is {told}: simpler, or better on validation."]


def block(title: str, lines: Iterable[str]) -> str:
    """Lines below a title, those after the first one indented."""
    first, *rest = lines
    return "\n".join([f"{title} {first}", *(f"  {line}" for line in rest)])


def _joined(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _number_word(count: int) -> str:
    words = ("No recommendation", "One recommendation", "Two recommendations")
    return words[count] if count < len(words) else "Three recommendations"
