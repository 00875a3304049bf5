"""The table of a panel: for the terminal, in markdown, and as a data frame."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sif.bench.panel.ranks import Ranking
from sif.bench.panel.results import Line
from sif.bench.report import number, spread
from sif.bench.statistics import Estimate
from sif.tasks.console import markdown_table
from sif.tasks.console import table as aligned

_WIDTH = 100
LEGEND = (
    "Test figures; every choice is by validation. served: the model that a job saves; searched: "
    "the searched function, or by its name what stands for it; best baseline: by validation; "
    "highest: the highest known figure, as the list of data sets gives it. Means over seeds with "
    "their standard deviation; s: of a whole job; MB: most memory that a job had at once."
)


def frame(lines: Sequence[Line]) -> pd.DataFrame:
    """One row per data set, numbers as numbers."""
    return pd.DataFrame([_row(line) for line in lines])


def _row(line: Line) -> dict[str, object]:
    entry, highest = line.entry, line.entry.highest
    return {
        "data": entry.name,
        "status": line.status,
        "message": line.message,
        **{key: line.first.get(key) for key in ("protocol", "rows", "users", "items")},
        "metric": entry.metric,
        "seeds": line.seeds,
        "served": line.served,
        **_numbers("served", line.served_value),
        "searched": line.searched,
        **_numbers("searched", line.searched_value),
        "baseline": line.baseline,
        **_numbers("baseline", line.baseline_value),
        "highest": None if highest is None else highest.value,
        "highest_model": None if highest is None else highest.model,
        "highest_source": None if highest is None else highest.source,
        **_numbers("seconds", line.seconds, ""),
        "peak_memory_mb": line.peak_memory_mb,
        "found": line.found,
        "verdict": line.verdict,
    }


def _numbers(name: str, found: Estimate, suffix: str = "_value") -> dict[str, float]:
    return {f"{name}{suffix}": found.mean, f"{name}_deviation": found.deviation}


def _cells(line: Line, sign: str) -> dict[str, str]:
    """The cells that terminal and markdown both show."""
    highest = line.entry.highest
    return {
        "data": line.entry.name,
        "metric": line.entry.metric,
        "seeds": str(line.seeds),
        "served": _whose(line.served, line.served_value, sign),
        "searched": _whose(line.searched, line.searched_value, sign),
        "best baseline": _whose(line.baseline, line.baseline_value, sign),
        "highest": "" if highest is None else f"{highest.model} {highest.value:.4f}".strip(),
        "s": number(line.seconds.mean, ".1f"),
        "MB": number(line.peak_memory_mb, ",.0f"),
    }


def _whose(name: str, found: Estimate, sign: str) -> str:
    return f"{name} {spread(found, sign)}".strip()


def terminal(lines: Sequence[Line], ranking: Ranking) -> str:
    """Numbers, then some words on each data set, and the order of the models."""
    cells = [_cells(line, "+-") for line in lines]
    parts = [aligned(list(cells[0]), [list(one.values()) for one in cells])]
    parts.append(textwrap.fill(LEGEND, _WIDTH))
    parts += [_told(line) for line in lines]
    return "\n".join([*parts, *_order(ranking)])


def _told(line: Line) -> str:
    """A data set in words."""
    name = line.entry.name
    if not line.seeds:
        return f"{name}: {line.status}: {line.message}".rstrip(": ")
    rest = "" if line.status == "finished" else f"; {line.status}: {line.message}"
    return f"{name}: {_size(line)}; found {line.found}; {line.verdict}{rest}"


def _size(line: Line) -> str:
    first = line.first
    return (
        f"{first['protocol']}, {first['rows']:,} rows, {first['users']:,} users, "
        f"{first['items']:,} items"
    )


def _order(ranking: Ranking) -> list[str]:
    if not ranking.models:
        return []
    shown = ", ".join(f"{one.name} {one.mean:.2f}" for one in ranking.models)
    return [f"average ranks: {shown}", ranking.meaning]


def markdown(lines: Sequence[Line], ranking: Ranking, figures: Sequence[str]) -> str:
    """The content of report.md."""
    cells = []
    for line in lines:
        first = line.first
        cells.append(
            {
                **_cells(line, "±"),
                "protocol": str(first.get("protocol", "")),
                **{key: _count(first.get(key)) for key in ("rows", "users", "items")},
                "found": line.found,
                "verdict": line.verdict or f"{line.status}: {line.message}".rstrip(": "),
            }
        )
    order = ("data", "protocol", "rows", "users", "items", "metric", "seeds", "served", "searched",
             "best baseline", "highest", "s", "MB", "found", "verdict")  # fmt: skip
    table = markdown_table(order, [[one[key] for key in order] for one in cells])
    parts = [f"# Panel of {len(lines)} data sets", table, LEGEND, *_sources(lines)]
    parts += ["\n".join(f"- {line}" for line in missing(lines))] if missing(lines) else []
    parts += [f"![{name}](plots/{name})" for name in figures]
    parts += [" ".join(_order(ranking))] if ranking.models else []
    parts.append(
        "`panel.csv` has the table in numbers, `trials.csv` one row per job; every job is a run "
        "folder in `trials/`, its settings are in `jobs/`."
    )
    return "\n\n".join(parts) + "\n"


def _sources(lines: Sequence[Line]) -> list[str]:
    """Of the highest known figures."""
    known = [(line.entry.name, line.entry.highest) for line in lines if line.entry.highest]
    return ["\n".join(f"- {name}: {one.source}" for name, one in known if one)] if known else []


def missing(lines: Sequence[Line]) -> list[str]:
    """One line per data set that has not finished."""
    return [f"{one.status}: {one.entry.name}: {one.message}" for one in lines
            if one.status != "finished"]  # fmt: skip


def _count(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{int(value):,}"
