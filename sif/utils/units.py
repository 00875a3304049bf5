"""The unit of a setting, which stands beside its type and is shown by the reference of settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """The unit of a number, such as `Annotated[int, Unit("users")]`; pydantic keeps and ignores it.

    Attributes:
        name: The unit in words, "share" of numbers from 0 to 1.
    """

    name: str
