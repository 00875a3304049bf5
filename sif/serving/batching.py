"""One thread that owns the answers: requests that arrive while it answers are answered together."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from sif.serving.answering import Answering, Result
from sif.serving.forms import Refused
from sif.serving.metrics import Metrics

Kind = Literal["recommend", "similar", "explain"]
Write = Callable[[Answering, Sequence[Any], list[Result]], bytes]
"""Makes the body of a reply of the answers to the questions."""

RERANKED = 16
"""Questions with rules that are answered together, at most."""

_logger = logging.getLogger("sif.serving")


@dataclass(eq=False)
class Request:
    """Questions that are answered by one model, and who waits for them.

    Attributes:
        kind: Of the questions.
        questions: At least one.
        write: Makes the body of the reply.
        future: Of the event loop, for the body.
        since: When it arrived, by `perf_counter`.
        results: Of the questions that are answered.
        answering: The model that answered the first of them.
    """

    kind: Kind
    questions: Sequence[Any]
    write: Write
    future: asyncio.Future[bytes]
    since: float = field(default_factory=perf_counter)
    results: list[Result] = field(default_factory=list)
    answering: Answering | None = None

    @property
    def has_rules(self) -> bool:
        """True where a question is re-ranked, which takes longer than to find its candidates."""
        return self.kind == "recommend" and any(one.rerank for one in self.questions)


class Worker:
    """A thread that answers requests, and the queue before it.

    A request of more questions than are answered together is answered in parts, between which
    others get theirs. So is one whose answers are re-ranked, in parts of `RERANKED` questions.

    Args:
        current: Gives the model that answers from now on.
        most: Requests that may wait; more are refused with 503.
        together: Questions that are answered together, at most.
        metrics: Are told of batches.
    """

    def __init__(
        self, current: Callable[[], Answering], most: int, together: int, metrics: Metrics
    ) -> None:
        self._current, self._most, self._metrics = current, most, metrics
        self._together = together
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._large: deque[Request] = deque()
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waiting = 0

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answers what it has, and ends."""
        self._queue.put(None)
        self._thread.join()

    async def body(self, kind: Kind, questions: Sequence[Any], write: Write) -> bytes:
        """The body of the reply to some questions.

        Args:
            kind: Of the questions.
            questions: At least one.
            write: Makes the body, in the worker's thread.

        Raises:
            Refused: 503 where too many wait; or for the first question that cannot be answered.
        """
        if self.waiting >= self._most:
            raise Refused(
                503, f"busy: {self._most:,} requests wait; try again", {"retry-after": "1"}
            )
        self._loop = asyncio.get_running_loop()
        request = Request(kind, questions, write, self._loop.create_future())
        self.waiting += 1
        try:
            self._queue.put(request)
            return await request.future
        finally:
            self.waiting -= 1

    def _work(self) -> None:
        """Answers small requests together, and a part of a large one between two batches."""
        while True:
            batch, ends = self._next()
            done = self._answered(batch) if batch else []
            if self._large:
                done += self._part(self._large[0])
            if done and self._loop is not None:
                self._loop.call_soon_threadsafe(_deliver, done)
            if ends and not self._large:
                return
            if ends:
                self._queue.put(None)

    def _next(self) -> tuple[list[Request], bool]:
        """Small requests that wait, of a limited number of questions; whether it is the end."""
        batch: list[Request] = []
        count = 0
        while count < self._together:
            try:
                wait = not batch and not self._large
                request = self._queue.get() if wait else self._queue.get_nowait()
            except queue.Empty:
                break
            if request is None:
                return batch, True
            if request.future.cancelled():
                continue
            if request.has_rules or len(request.questions) > self._together:
                self._large.append(request)
                continue
            batch.append(request)
            count += len(request.questions)
        return batch, False

    def _answered(self, batch: list[Request]) -> list[tuple[Request, Any]]:
        """Requests with their bodies, or what refuses them."""
        answering, done = self._current(), []
        self._metrics.batches.observe(len(batch))
        for kind in dict.fromkeys(request.kind for request in batch):
            some = [request for request in batch if request.kind == kind]
            questions = [question for request in some for question in request.questions]
            results = _answers(answering, kind, questions)
            start = 0
            for request in some:
                stop = start + len(request.questions)
                request.results, request.answering = results[start:stop], answering
                done.append((request, _written(request)))
                start = stop
        return done

    def _part(self, request: Request) -> list[tuple[Request, Any]]:
        """The next part of a large request, which is done with the last one."""
        request.answering = request.answering or self._current()
        start = len(request.results)
        together = min(self._together, RERANKED) if request.has_rules else self._together
        part = request.questions[start : start + together]
        found = _answers(request.answering, request.kind, part)
        request.results += found
        fails = any(isinstance(one, Refused) for one in found)
        if len(request.results) < len(request.questions) and not fails:
            self._large.rotate(-1)
            return []
        self._large.remove(request)
        return [(request, _written(request))]


def _answers(answering: Answering, kind: Kind, questions: Sequence[Any]) -> list[Result]:
    """Results of questions; a fault of this package is told to the log, and to the client that."""
    try:
        found: list[Result] = getattr(answering, kind)(questions)
        return found
    except Exception:
        if len(questions) > 1:  # no request spoils another
            return [one for question in questions for one in _answers(answering, kind, [question])]
        _logger.exception("a question could not be answered")
        return [Refused(500, "the question could not be answered")]


def _written(request: Request) -> bytes | Refused:
    """The body of a reply, or the first refusal of its questions, which names the question."""
    assert request.answering is not None  # noqa: S101
    for place, one in enumerate(request.results):
        if isinstance(one, Refused):
            where = f"questions[{place}]: " if len(request.questions) > 1 else ""
            return Refused(one.status, where + one.line, one.headers)
    try:
        return request.write(request.answering, request.questions, request.results)
    except Exception:
        _logger.exception("an answer could not be written")
        return Refused(500, "the answer could not be written")


def _deliver(done: list[tuple[Request, Any]]) -> None:
    """In the event loop: hands bodies to those who still wait."""
    for request, body in done:
        if request.future.done():
            continue
        if isinstance(body, Refused):
            request.future.set_exception(body)
        else:
            request.future.set_result(body)
