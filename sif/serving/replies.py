"""Bodies of replies in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from sif.serving.answering import Answer, Answering, Result

JSON = "application/json"


def one(answering: Answering, _: Sequence[Any], results: Sequence[Result]) -> bytes:
    """The reply to one question."""
    return to_json({**_shown(answering, results[0]), "version": answering.version})


def several(answering: Answering, _: Sequence[Any], results: Sequence[Result]) -> bytes:
    """The reply to several questions: an answer for each, in their order."""
    answers = [_shown(answering, result) for result in results]
    return to_json({"answers": answers, "version": answering.version})


def _shown(answering: Answering, answer: Result) -> dict[str, Any]:
    assert isinstance(answer, Answer)  # noqa: S101
    shown: dict[str, Any] = {answer.kind: answer.ids, "scores": answer.scores}
    titles = answering.model.titles
    if answer.kind == "items" and titles:
        shown["titles"] = [titles.get(item, "") for item in answer.ids]
    return shown | answer.further
