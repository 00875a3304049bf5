"""Bodies of requests as typed values; whatever is wrong with one is a line for its sender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from sif.config import did_you_mean
from sif.data.interactions.ids import LONGEST
from sif.data.interactions.times import EXPECTED, seconds_of
from sif.errors import EntryError, one_line
from sif.serving.forms import (
    MOST_ITEMS,
    Body,
    Count,
    Features,
    Id,
    Ids,
    Numbers,
    Refused,
    Values,
)
from sif.serving.rules import MOST_LABELS, MOST_POOL, RULES, STEPS, Rules
from sif.utils.argument_types import shown

COUNT = 10
"""Items per answer where nothing else is asked for."""
MOST_QUESTIONS = 10_000
"""Questions of a request, and events of one."""
MOST_ANSWERS = 1_000_000
"""Questions of a request times items per answer: what a reply may hold."""


class RecommendQuestion(Body):
    """One question: what should somebody get?"""

    user: Id | None = Field(None, description="a known user")
    history: Ids | None = Field(
        None, description="in place of a user: item ids, oldest first; may be empty"
    )
    features: Features | None = Field(
        None,
        description="in place of a user: column of the model's features of users to a value; they "
        "count where nothing of the history is known",
    )
    times: Numbers | None = Field(
        None, description="seconds since 1970, one per item of the history, which they order"
    )
    ratings: Numbers | None = Field(
        None, description="one per item of the history; for models of ratings, and there always"
    )
    n: Count = Field(COUNT, description="items of the answer, at most")
    exclude_seen: bool | Literal["all", "trained", "none"] = Field(
        True, description="leave out what the user or the history has; true: as the model is set"
    )
    exclude_items: Ids | None = Field(None, description="item ids that are left out")
    items: Ids | None = Field(None, description="item ids to choose among")
    where: dict[str, Values] | None = Field(
        None, description="features of items and the values to choose among", max_length=100
    )
    rerank: Rules | None = Field(
        None, description="business rules and re-ranking: steps, which are applied in their order"
    )
    pool: int | None = Field(
        None, ge=1, le=MOST_POOL,
        description="candidates that the steps choose among; left out: 10 n, at least 100",
    )  # fmt: skip


class SimilarQuestion(Body):
    """One question: what is like an item, or like a user?"""

    item: Id | None = Field(None, description="an item")
    user: Id | None = Field(None, description="in place of an item: a user")
    n: Count = Field(COUNT, description="neighbors of the answer, at most")
    exclude: Ids | None = Field(None, description="ids that are left out")


class ExplainQuestion(Body):
    """One question: which items of a user carry the score of an item?"""

    user: Id = Field(description="a known user")
    item: Id = Field(description="an item")
    n: Count = Field(COUNT, description="items of the answer, at most")


def _many(kind: type[Body]) -> Any:
    """Several questions of a kind."""
    return Annotated[list[kind], Field(min_length=1, max_length=MOST_QUESTIONS, fail_fast=True)]  # type: ignore[valid-type]


class RecommendBody(RecommendQuestion):
    """One question, or `questions`, a list of them."""

    questions: _many(RecommendQuestion) | None = Field(  # type: ignore[valid-type]
        None, description="several questions, in place of one"
    )


class SimilarBody(SimilarQuestion):
    """One question, or `questions`, a list of them."""

    questions: _many(SimilarQuestion) | None = Field(  # type: ignore[valid-type]
        None, description="several questions, in place of one"
    )


class Event(Body):
    """One interaction that has happened."""

    user: Id = Field(description="a user, known or new")
    item: Id = Field(description="an item, known or new")
    rating: float | None = Field(None, description="for models of ratings, and there always")
    timestamp: int | float | str | None = Field(
        None, description="seconds since 1970, or an ISO date; as in files"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that it has; all events of a table have the same."""
        return tuple(name for name in EVENT if getattr(self, name) is not None)


EVENT = ("user", "item", "rating", "timestamp")
"""Fields of an event."""


class _New(Body):
    """Somebody or something without interactions, with what is known instead."""

    features: Features = Field(
        description="column of the model's features to a value, or to a list of tags or numbers"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that it has."""
        return tuple(type(self).model_fields)

    @property
    def name(self) -> str:
        """Its id as a text."""
        return str(getattr(self, self.columns[-1]))


class NewItem(_New):
    """One item that nobody has touched, with what it is."""

    item: Id = Field(description="an item, new or without interactions")


class NewUser(_New):
    """One user without interactions, with what is known of him."""

    user: Id = Field(description="a user, new or without interactions")


N = TypeVar("N", bound=_New)
Change = Event | NewItem | NewUser
"""Something that the model takes in."""


def _distinct(rows: list[N]) -> list[N]:
    """The rows, each of another id."""
    seen = set[str]()
    for row in rows:
        if row.name in seen:
            place = f"{row.columns[-1]}s"
            raise ValueError(f"{place}: expected one entry for each id, found {row.name!r} again")
        seen.add(row.name)
    return rows


class ItemsBody(Body):
    """Items that nobody has touched."""

    items: Annotated[
        list[NewItem], Field(min_length=1, max_length=MOST_QUESTIONS, fail_fast=True),
        AfterValidator(_distinct),
    ]  # fmt: skip


class UsersBody(Body):
    """Users without interactions."""

    users: Annotated[
        list[NewUser], Field(min_length=1, max_length=MOST_QUESTIONS, fail_fast=True),
        AfterValidator(_distinct),
    ]  # fmt: skip


def _alike(events: list[Event]) -> list[Event]:
    """The events, which have the same fields, and their times as seconds, read as in files."""
    first = events[0].columns
    for place, event in enumerate(events):
        if event.columns != first:
            raise ValueError(
                f"events[{place}]: expected the fields of the first event "
                f"({', '.join(first)}), found {', '.join(event.columns)}"
            )
    if "timestamp" not in first:
        return events
    try:
        seconds, _ = seconds_of([event.timestamp for event in events])
    except EntryError as error:
        told = f"{error.expected}, found {error.found}"
        raise ValueError(f"events[{error.row}].timestamp: {told}") from None
    return [
        event.model_copy(update={"timestamp": float(time)})
        for event, time in zip(events, seconds, strict=True)
    ]


class EventsBody(Body):
    """Interactions that have happened since the model was fitted."""

    events: Annotated[
        list[Event], Field(min_length=1, max_length=MOST_QUESTIONS, fail_fast=True),
        AfterValidator(_alike),
    ]  # fmt: skip


B = TypeVar("B", bound=Body)


def parsed(kind: type[B], body: bytes) -> B:
    """A body in JSON as a value.

    Args:
        kind: Of the value.
        body: As it was sent.

    Raises:
        Refused: 400 for what is no JSON, 422 for JSON of another form.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refused(error, kind) from None


def checked(kind: type[B], values: Mapping[str, Any]) -> B:
    """Python values as a value; errors as in `parsed`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refused(error, kind) from None


def _refused(error: ValidationError, kind: type[Body]) -> Refused:
    """The first problem on one line."""
    first = error.errors(include_url=False)[0]
    told, where = first["type"], _place(first["loc"])
    if told == "json_invalid":
        return Refused(400, f"body: expected JSON in UTF-8, found {first['ctx']['error']}")
    if told == "value_error":
        return Refused(422, str(first["ctx"]["error"]))
    if told == "extra_forbidden":
        name = str(first["loc"][-1])[:LONGEST]
        hint = did_you_mean(name, known_fields(kind)) if len(name) < 40 else ""
        return Refused(422, f"{one_line(where, 100)}: unknown field{hint}")
    if told in ("union_tag_invalid", "union_tag_not_found"):
        found = shown(first["ctx"].get("tag")) if told == "union_tag_invalid" else "none"
        return Refused(422, f"{where}.step: expected one of {', '.join(STEPS)}, found {found}")
    if told == "missing":
        return Refused(422, f"{where}: expected a value, found none")
    if told == "too_long":
        most, length = first["ctx"]["max_length"], first["ctx"]["actual_length"]
        return Refused(422, f"{where}: expected at most {most:,} of them, found {length or 'more'}")
    value = first["input"]  # whose text may be as long as the body
    found = _KINDS[type(value)] if isinstance(value, list | dict) else shown(value)
    return Refused(422, f"{where}: expected {_expected(first)}, found {found}")


_KINDS: dict[type, str] = {list: "a list", dict: "an object"}
_ID = f"a text of 1 to {LONGEST} characters, or a whole number of 64 bits"
_VALUE = f"a text, a number, true, false, or a list of at most {MOST_ITEMS:,} of these"
_TABLE = (
    f"the name of a column, or an object of 1 to {MOST_ITEMS:,} item ids, each with a label or "
    f"at most {MOST_LABELS} of them"
)
_EXPECTED = {
    "bool_type": "true, false, all, trained or none",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a text",
    "too_short": "at least {min_length} of them",
}
"""Kinds of problems to words; names in them are those of their context."""


def _expected(first: Any) -> str:
    """The words for a problem."""
    if "rerank" in first["loc"] and {"features", "categories"} & set(first["loc"]):
        return _TABLE
    if any("constrained-" in str(part) for part in first["loc"]):
        return _ID
    if "features" in first["loc"] and first["loc"][-1] != "features" and "string" in first["type"]:
        return _VALUE
    if "timestamp" in first["loc"]:
        return EXPECTED.removeprefix("expected ")
    words = _EXPECTED.get(first["type"])
    if words is None:
        return f"another value ({first['msg']})"
    return words.format(**first.get("ctx", {}))


def known_fields(kind: type[Body]) -> list[str]:
    """Names of the fields of a body and of what it holds."""
    inner: dict[type[Body], type[Body]] = {
        RecommendBody: RecommendQuestion,
        SimilarBody: SimilarQuestion,
        EventsBody: Event,
        ItemsBody: NewItem,
        UsersBody: NewUser,
    }
    more = dict(inner[kind].model_fields if kind in inner else {})
    if "rerank" in {**kind.model_fields, **more}:
        for rule in RULES:
            more |= rule.model_fields
    return list({**kind.model_fields, **more})


def _place(location: tuple[int | str, ...]) -> str:
    """The place of a value, such as questions[0].history; unions add words that say nothing."""
    text = ""
    for name in ("features", "categories"):  # labels by item id: the field says enough
        if "rerank" in location and name in location:
            location = location[: location.index(name) + 1]
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "constrained-" not in part and part not in ("str", "int", "bool", "float"):
            text += f".{part}" if text else part
    return text or "body"
