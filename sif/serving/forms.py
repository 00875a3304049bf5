"""The forms that bodies of requests are made of: ids, numbers, features; and the refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sif.data.interactions.ids import LONGEST
from sif.errors import one_line

MOST_ITEMS = 10_000
"""Items of a history, of a list of items, and of an answer."""

Id = (
    Annotated[str, Field(min_length=1, max_length=LONGEST)]
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
)
Ids = Annotated[list[Id], Field(max_length=MOST_ITEMS, fail_fast=True)]
Numbers = Annotated[list[float], Field(max_length=MOST_ITEMS, fail_fast=True)]
Count = Annotated[int, Field(ge=1, le=MOST_ITEMS)]


class Refused(Exception):
    """A request that gets no answer.

    Attributes:
        status: HTTP status.
        line: What was wrong, on one line.
        headers: Further ones of the reply.
    """

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, one_line(line), dict(headers or {})


class Body(BaseModel):
    """A body of a request: unknown fields and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


Value = str | int | float | bool
"""Of a feature."""
Values = Annotated[list[Value], Field(max_length=MOST_ITEMS, fail_fast=True)]
Features = Annotated[dict[str, Value | Values | None], Field(min_length=1, max_length=100)]
"""Column of a model's features to a value, or to a list of tags or numbers."""
