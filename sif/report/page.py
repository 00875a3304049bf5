"""A page: its sections, styles and scripts in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sif.errors import first_line
from sif.report import (
    beyond,
    cells,
    costs,
    data,
    found,
    groups,
    moments,
    new_ids,
    numbers,
    recommendations,
    results,
    search,
    settings,
    verdict,
)
from sif.report.files import PAGE, RunFiles
from sif.report.section import Section
from sif.utils.checkpoint import write_text_atomic
from sif.utils.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

SECTIONS: Sequence[Callable[[RunFiles], Section | None]] = (
    verdict.section, moments.section, results.section, new_ids.section, beyond.section,
    found.section, cells.section, search.section, cells.errors, cells.readings, groups.section,
    data.section, recommendations.section, costs.section, settings.section,
)  # fmt: skip
"""In their order on the page."""
FILTERS: Mapping[str, Callable[..., str]] = {
    "decimals": numbers.decimals, "signed": numbers.signed, "number": numbers.count,
    "percent": numbers.percent, "seconds": numbers.seconds, "p_value": numbers.p_value,
    "short": numbers.short,
}  # fmt: skip


def write_page(folder: Path) -> Path:
    """Makes the page of a run, in its folder.

    Args:
        folder: Run folder of a job, which may have been killed.

    Returns:
        Path of the page.

    Raises:
        DataError: It is no run folder.
        CheckpointError: The page cannot be written.
    """
    path = folder / PAGE
    write_text_atomic(path, run_page(RunFiles.read(folder)))
    return path


def run_page(run: RunFiles) -> str:
    """The page of a run as HTML."""
    parts, missing = [], list(run.missing) if run.finished else []
    for build in SECTIONS:
        try:
            section = build(run)
            if section is not None:
                parts.append((section, body(section)))
        except Exception as error:  # old or damaged files may break any line of it
            what = build.__module__.rpartition(".")[2]
            missing.append(f"{what}: {type(error).__name__}: {first_line(error)}")
    title = f"{run.data}: {run.metrics.get('genotype') or run.task}"
    facts = [run.task, str(run.config.get("objective") or ""), run.data]
    facts += [f"seed {run.config.get('seed', 0)}", run.name]
    return rendered("page.html", parts, missing, title=title, facts=list(filter(None, facts)))


def body(section: Section) -> str:
    """The HTML of a section below its heading."""
    return _environment().get_template(section.template).render(**section.values)


def rendered(
    template: str, parts: Sequence[tuple[Section, str]], missing: Sequence[str], **values: Any
) -> str:
    """A page of sections.

    Args:
        template: Name of its file.
        parts: Sections with their HTML, in their order.
        missing: Lines on what the page does not have.
        values: Further ones of the template.
    """
    charts = {name: spec for section, _ in parts for name, spec in section.charts.items()}
    return _environment().get_template(template).render(
        sections=[{"id": one.id, "title": one.title, "html": html} for one, html in parts],
        charts=numbers.plain(charts), missing=missing, version=__version__,
        style=asset("page.css"), script=asset("page.js"),
        library=asset("vega.js") if charts else "",
        license=asset("LICENSE-vega.txt") if charts else "", **values,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    """Templates, in which everything is escaped that is not marked as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sif.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    return environment


@cache
def asset(name: str) -> Any:
    """A file of this package that goes into the page as it is."""
    from markupsafe import Markup

    text = (files("sif.report") / "assets" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 (our own file)
