"""The lines about the data with which a job on interactions begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sif.config import CFConfig
from sif.data.interactions import Interactions, Split
from sif.evaluation.cold_start_choice import ColdStartChoice
from sif.evaluation.evaluate import evaluated_users
from sif.evaluation.populations import Populations
from sif.problems.interactions import InteractionProblem

NO_DOWNLOAD = (
    "dataset planted: generated here with a known truth; for real data: "
    "dataset ml-100k (downloads), or a CSV, TSV, Parquet or .inter file; "
    "the paper's setting: dataset ml-100k with the preset cf/sif-paper"
)


def data_lines(config: CFConfig, label: str, split: Split) -> list[str]:
    """The sizes of the data and of the parts.

    Args:
        config: Of the job.
        label: Name of the data.
        split: All parts.
    """
    rows, fields = split.interactions, split.interactions.fields
    lines = []
    if config.dataset == "planted" and config.data.split_file is None:
        lines.append(NO_DOWNLOAD)
    sizes = ", ".join(f"{size:,} {f}s" for f, size in zip(fields, rows.sizes, strict=True))
    parts = f"{len(split.train):,} / {len(split.valid):,} / {len(split.test):,}"
    told = f"{split.protocol}, train / valid / test {parts}, split {split.hash}"
    return [*lines, f"{label}: {len(rows):,} interactions, {sizes}; {told}"]


def on_times(split: Split, later: bool) -> list[str]:
    """Says where the rows of rankings have times that the split does not follow.

    Args:
        split: All parts.
        later: Whether the valid rows come later than their users' train rows.
    """
    if split.interactions.timestamp is None or later or split.protocol == "file":
        return []
    told = f"rows have times, and {split.protocol} does not split by them"
    return [f"{told}; data.protocol=last-item does, and models in order are tried then"]


def on_fields(fields: Sequence[str], baselines: Collection[str]) -> list[str]:
    """Says what baselines do not see of further fields."""
    if not fields[2:] or not baselines:
        return []
    return [f"the classical baselines see users and items, not {', '.join(fields[2:])}"]


def on_blocks(problem: InteractionProblem) -> list[str]:
    """The blocks of users in which histories are read, where there are several."""
    if not problem.encodes:
        return []
    named = (("search", problem.searched), ("training", problem))
    return [
        f"histories, {name}: {one.block_plan.told} (train.block_bytes)"
        for name, one in named
        if one.block_plan.blocks > 1
    ]


def on_drawn_users(truth: Interactions) -> list[str]:
    """Says where rankings are tested for some of the users alone.

    Args:
        truth: The test part of rankings.
    """
    drawn, without = evaluated_users(truth)
    those = truth.sizes[0] - without
    if len(drawn) == those:
        return []
    return [f"test: ranked for {len(drawn):,} of {those:,} users, drawn, the same for all models"]


def on_new_users(known: Populations, choice: ColdStartChoice) -> list[str]:
    """Their numbers and the order in which they get the items, where there are any.

    Args:
        known: The users of validation and test.
        choice: Of that order.
    """
    if not (known.valid.new_users or known.test.new_users):
        return []
    counts = ", ".join(
        f"{p.new_users:,} of {p.users:,} in {name}"
        for name, p in (("valid", known.valid), ("test", known.test))
    )
    who = f"new users, without a fitted row: {counts}"
    return [f"{who}; every model ranks the items for them by {choice.told}"]


def on_readers(asked: Sequence[str], readers: Collection[str]) -> list[str]:
    """Says which readers of histories take part.

    Args:
        asked: Names that the settings have.
        readers: Names of those that can be trained; none: valid rows are not the later ones.
    """
    if not asked:
        return []
    left_out = "left out: valid rows have to come later than their users' train rows"
    told = "compared, not served" if readers else left_out
    return [f"readers of histories ({', '.join(readers or dict.fromkeys(asked))}): {told}"]
