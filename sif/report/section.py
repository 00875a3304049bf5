"""A section of a page: a heading, the values of its template, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Section:
    """One section.

    Attributes:
        id: Of the element, for links.
        title: Heading.
        template: Name of its file in templates/.
        values: What the template shows.
        charts: Id of an element to the Vega-Lite specification drawn there.
    """

    id: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    charts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
