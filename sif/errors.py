"""Errors that a user can cause or must know of.

Every message is one line that says what was wrong, where, what was expected and what was found. The
command line prints it and exits with code 2; library users catch `SifError`.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Self

LONGEST = 300
"""Characters of a message, which may quote what was found at any length."""


_PASSWORD = re.compile(r"(://[^\s:/?#@]*):\S*@")
_SECRET_OPTION = re.compile(r"(?<=[?&])(?:ssl)?password=[^&\s]*&?", re.IGNORECASE)
_NO_OPTION = re.compile(r"[?&](?=\s|$)")


def without_passwords(text: str) -> str:
    """A text in which addresses have no passwords: "://user:secret@host" is "://user@host"."""
    text, count = _SECRET_OPTION.subn("", _PASSWORD.sub(r"\1@", text))
    return _NO_OPTION.sub("", text) if count else text


def one_line(text: str, most: int = LONGEST) -> str:
    """A text in one line, control characters escaped, the middle of a long one left out.

    Addresses in it lose their passwords.
    """
    line = " ".join(without_passwords(text).splitlines())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    end = (most - 5) // 2
    return line if len(line) <= most else f"{line[:end]} ... {line[-end:]}"


class SifError(Exception):
    """Base class of every error raised on purpose by sif.

    Its message is one line of at most `LONGEST` characters.

    Examples:
        >>> try:
        ...     sif.Recommender(objective="stars").fit(orders)
        ... except sif.SifError as error:
        ...     print(error)
        objective: expected 'ranking' or 'rating', found 'stars'
    """

    def __init__(self, message: str = "", *further: object) -> None:
        super().__init__(one_line(str(message)), *further)

    def __reduce__(self) -> tuple[object, ...]:
        """For other processes: kinds that make their own message are not to make it again."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[SifError], args: tuple[object, ...], state: dict[str, object]) -> SifError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error


class ConfigError(SifError):
    """A configuration key, value or combination that cannot be run.

    Examples:
        >>> sif.Recommender(settings={"train": {"epoch": 5}}).fit(orders)
        Traceback (most recent call last):
        sif.errors.ConfigError: settings: train.epoch: unknown key; did you mean 'epochs'?
    """


class BudgetError(ConfigError):
    """A search whose budget does not cover its necessary steps."""


class DivergedError(ConfigError):
    """A search or training whose numbers are no longer finite."""


class LostRankError(SifError):
    """A process that worked on the same job ended."""


class RankError(SifError):
    """One process of a job fails where the first one did not."""


class FailedJobsError(SifError):
    """Jobs that failed beside others, whose results are there."""


class NotFittedError(ConfigError, ValueError, AttributeError):
    """A model used before `fit`; a ValueError and AttributeError, as in scikit-learn.

    Examples:
        >>> sif.Recommender().recommend("c1")
        Traceback (most recent call last):
        sif.errors.NotFittedError: Recommender: expected a fitted one, found one before fit
    """

    def __new__(cls, *arguments: Any) -> Self:
        """An instance of scikit-learn's `NotFittedError` as well, where that is imported."""
        theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
        kind: Any = cls
        if theirs is not None:
            kind = type(cls.__name__, (cls, theirs), {"__module__": cls.__module__})
        made: Self = super().__new__(kind, *arguments)
        return made

    def __reduce__(self) -> Any:
        return NotFittedError, self.args


class DataError(SifError):
    """A data file or data set that cannot be used as it is.

    Examples:
        >>> sif.Recommender("rating").fit(orders)
        Traceback (most recent call last):
        sif.errors.DataError: objective rating: expected a rating column, found none
    """


class NotNumberError(DataError):
    """A model's answer that is not a number."""


class ScoreError(NotNumberError):
    """A score that is not a number, so that it cannot rank.

    Attributes:
        row: Of the scores, from 0.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"scores of user {row}: expected numbers, found NaN")
        self.row = row


class UnknownIdError(DataError):
    """A user or item that a vocabulary does not have."""


class EntryError(DataError):
    """A cell of a column that cannot be used.

    Attributes:
        row: Of the column, from 0.
        expected: Beginning of its message: "expected an id".
        found: End of its message: "nothing".
    """

    def __init__(self, row: int, expected: str, found: str) -> None:
        super().__init__(f"row {row + 1}: {expected}, found {found}")
        self.row, self.expected, self.found = row, expected, found


class ShapeError(SifError):
    """An array or tensor of the wrong shape or type."""


class GenotypeError(SifError):
    """A genotype that names unknown operations or does not fit its space."""


class NotInTableError(SifError, KeyError):
    """A question that the table of ifc-bench has no training for."""

    __str__ = Exception.__str__  # a KeyError's own text is quoted


class CheckpointError(SifError):
    """A checkpoint that is truncated, foreign, of another version, or could not be written."""


class DamagedError(CheckpointError):
    """A checkpoint whose content is not what was written."""


MALFORMED: tuple[type[Exception], ...] = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, SifError, TypeError,
    ValueError,
)  # fmt: skip
"""Exceptions that reading a malformed file may raise; a recursion error is a RuntimeError."""


class TrackingError(SifError):
    """A requested tracking store that cannot be used."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its name where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
