"""A second thread changes the model: it takes interactions in, and loads what takes its place.

It makes the next model while the first one answers, and swaps them in one step. What a server
knows is the file of the model and the journal: after a reload it is as after a start.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sif.errors import CheckpointError, SifError
from sif.recommender.alike import with_items
from sif.recommender.drift import counted
from sif.recommender.extend import grown_by_all
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.inputs import further_interactions
from sif.recommender.model import ServedModel
from sif.recommender.new_users import with_users
from sif.recommender.precision import with_precision
from sif.serving.answering import Answering
from sif.serving.forms import Refused
from sif.serving.journal import Journal
from sif.serving.metrics import Metrics
from sif.serving.questions import MOST_QUESTIONS, Change, NewItem, NewUser
from sif.serving.source import Found, found
from sif.utils.compact_rows import Precision

_logger = logging.getLogger("sif.serving")
_ID = "\x01id"
"""Column of ids in a table of features, which no feature is called."""


@dataclass(eq=False)
class _Asked:
    """A change that somebody wants; no events: a reload. The future is None for a signal."""

    events: Sequence[Change] | None
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[dict[str, Any]] | None = None

    def told(self, result: dict[str, Any] | Refused) -> None:
        """Hands the result to whoever waits."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._deliver, result)

    def _deliver(self, result: dict[str, Any] | Refused) -> None:
        if self.future is None or self.future.done():
            return
        if isinstance(result, Refused):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Changes:
    """The model that answers, and the thread that changes it.

    Args:
        folder: Of the model.
        unknown: Answer to an unknown user.
        metrics: Are told of every change.
        journal: Of the interactions; None: they end with the process, or with a reload.
        watch: Seconds between two looks at the folder; 0: none.
        most: Changes that may wait; more are refused with 503.
        precision: Of the items in memory; None: as in the file.

    Attributes:
        answering: The model that answers.
        last_failure: Why the last reload failed; empty: it did not.
        events: Interactions since the model was loaded, those of the journal included.

    Raises:
        SifError: The model or the journal cannot be used.
    """

    def __init__(
        self, folder: Path, unknown: str, metrics: Metrics, journal: Journal | None = None,
        watch: float = 1.0, most: int = 256, precision: Precision | None = None,
    ) -> None:  # fmt: skip
        self._precision = precision
        self._folder, self._unknown, self._metrics = folder, unknown, metrics
        self._journal, self._watch, self._most = journal, watch, most
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._work, name="changes", daemon=True)
        self.last_failure = ""
        self._found = self._tried = found(folder)
        self.events, self._changes = 0, 0
        self.answering = self._loaded(self._found)
        self._serve(self.answering)

    def start(self) -> None:
        """Begins to change the model, and to watch its folder."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the changes that were accepted."""
        self._queue.put(None)
        self._thread.join()

    async def take_in(self, events: Sequence[Change]) -> dict[str, Any]:
        """Takes interactions, items or users in; from the reply on answers know of them.

        Raises:
            Refused: The model cannot take them in, or too many changes wait.
        """
        return await self._ask(events)

    async def reload(self) -> dict[str, Any]:
        """Loads the model that the folder has now.

        Raises:
            Refused: It cannot be read; the one before answers.
        """
        return await self._ask(None)

    def reload_soon(self) -> None:
        """Loads the model that the folder has now; a signal may call this."""
        self._queue.put(_Asked(None))

    async def _ask(self, events: Sequence[Change] | None) -> dict[str, Any]:
        if self._waiting >= self._most:
            raise Refused(
                503, f"busy: {self._most:,} changes wait; try again", {"retry-after": "1"}
            )
        loop = asyncio.get_running_loop()
        asked = _Asked(events, loop, loop.create_future())
        assert asked.future is not None  # noqa: S101
        self._waiting += 1
        try:
            self._queue.put(asked)
            return await asked.future
        finally:
            self._waiting -= 1

    # In the thread

    def _work(self) -> None:
        looked = time.monotonic()
        while True:
            asked, ends = self._next()
            for same in _runs(asked):
                if same[0].events is None:
                    self._reload_for(same)
                else:
                    self._take_in(same)
            if ends:
                return
            if self._watch and time.monotonic() - looked >= self._watch:
                self._look()
                looked = time.monotonic()

    def _next(self) -> tuple[list[_Asked], bool]:
        """Changes that wait, in their order; whether it is the end."""
        asked: list[_Asked] = []
        rows = 0
        while rows < MOST_QUESTIONS:
            try:
                if asked:
                    one = self._queue.get_nowait()
                else:
                    one = self._queue.get(timeout=self._watch or None)
            except queue.Empty:
                break
            if one is None:
                return asked, True
            asked.append(one)
            rows += len(one.events or ())
        return asked, False

    def _take_in(self, asked: list[_Asked]) -> None:
        """Takes in the events of several requests at once; if that fails, of one by one."""
        events = [event for one in asked for event in one.events or ()]
        try:
            model = grown(self.answering.model, events)
            following = self._answering(model, self._changes + 1)
            if self._journal is not None:
                self._journal.append(events)
        except Exception as error:
            if len(asked) > 1:
                for one in asked:
                    self._take_in([one])
                return
            self._metrics.refused_events.inc(len(events))
            status = 503 if isinstance(error, CheckpointError) else 422  # of the journal
            asked[0].told(_refusal(error, "the interactions could not be taken in", status))
            return
        self.events += len(events)
        self._changes += 1
        self._serve(following)
        self._metrics.events.inc(len(events))
        for one in asked:
            one.told({"events": len(one.events or ()), "version": following.version})

    def _look(self) -> None:
        """Loads another model if the folder has one that was not tried yet."""
        try:
            now = found(self._folder)
        except SifError as error:
            self._fails(error)
            return
        if now.stamp not in (self._found.stamp, self._tried.stamp):
            self._reload(now)
        elif now.stamp == self._found.stamp:
            self.last_failure = ""  # what was broken has been put right

    def _reload_for(self, asked: list[_Asked]) -> None:
        try:
            result: dict[str, Any] | Refused = self._reload(found(self._folder))
        except SifError as error:
            result = self._fails(error)
        for one in asked:
            one.told(result)

    def _reload(self, now: Found) -> dict[str, Any] | Refused:
        """Loads first and swaps afterwards; keeps the model before where the new one is broken."""
        self._tried = now
        before = self.events, self._changes
        try:
            following = self._loaded(now)
        except Exception as error:
            self.events, self._changes = before
            return self._fails(error)
        self._found, self.last_failure = now, ""
        self._serve(following)
        self._metrics.reloads.inc()
        _logger.info("serving version %s", following.version)
        return {"version": following.version}

    def _fails(self, error: Exception) -> Refused:
        refused = _refusal(error, "the model could not be loaded", status=409)
        if refused.line != self.last_failure:  # once, not at every look
            self._metrics.failures.inc()
            version = self.answering.version
            _logger.warning("reload failed: %s; version %s goes on", refused.line, version)
        self.last_failure = refused.line
        return refused

    def _loaded(self, now: Found) -> Answering:
        """The model of a file, with what the journal has."""
        model = now.load()
        if self._precision is not None:
            model = with_precision(model, self._precision)
            _logger.info("%s", model.item_precision or "float32 items")
        self.events, self._changes = 0, 0
        for events in () if self._journal is None else self._journal.batches():
            model = self._replayed(model, events)
            self.events += len(events)
            self._changes = 1
        answering = Answering(model, self._unknown, self._version(now, self._changes))
        answering.warm()
        return answering

    def _replayed(self, model: ServedModel, events: list[Change]) -> ServedModel:
        """The model with a run of the journal."""
        assert self._journal is not None  # noqa: S101
        try:
            return grown(model, events)
        except SifError as error:
            raise CheckpointError(
                f"{self._journal.path}: expected a journal that the model can take in, found: "
                f"{error}; move the file away if the model was fitted with its rows"
            ) from None

    def _answering(self, model: ServedModel, changes: int) -> Answering:
        return Answering(model, self._unknown, self._version(self._found, changes)).prepare()

    @staticmethod
    def _version(now: Found, changes: int) -> str:
        """Name of a model with its changes, such as "2026-05-01+3"."""
        return f"{now.version}+{changes}" if changes else now.version

    def _serve(self, answering: Answering) -> None:
        self.answering = answering  # one step of the interpreter
        users, items = (len(names) for names in answering.model.vocabularies[:2])
        self._metrics.serves(answering.version, users, items, answering.model.folding.rows)


def grown(model: ServedModel, events: Iterable[Change]) -> ServedModel:
    """The model with interactions taken in and counted, as `Recommender.partial_fit` does it.

    Or with items or users, as `Recommender.add_items` and `Recommender.add_users` do it.

    Args:
        model: The model.
        events: All interactions with the same fields, all items, or all users.

    Raises:
        SifError: The model cannot take them in.
    """
    rows = list(events)
    if isinstance(rows[0], NewItem):
        items = [(one.item, one.features) for one in rows if isinstance(one, NewItem)]
        return with_items(model, _table(items), _ID)
    if isinstance(rows[0], NewUser):
        users = [(one.user, one.features) for one in rows if isinstance(one, NewUser)]
        return with_users(model, _table(users), _ID)
    usual = {name: getattr(model.reading, name) or name for name in rows[0].columns}
    frame = pd.DataFrame(
        {usual[name]: [getattr(row, name) for row in rows] for name in rows[0].columns}
    )
    further = further_interactions(frame, model.reading, model.objective)
    after = grown_by_all(model, further)
    return counted(IndexedRecommender(model), after, further)


def _table(rows: Sequence[tuple[Any, Any]]) -> pd.DataFrame:
    """Ids with their features as a table; of an id that came again the last row."""
    last = {str(name): features for name, features in rows}
    return pd.DataFrame(list(last.values())).assign(**{_ID: list(last)})


def _runs(asked: list[_Asked]) -> list[list[_Asked]]:
    """Changes that can be made together, in their order."""

    def kind(one: _Asked) -> tuple[str, ...]:
        return () if one.events is None else one.events[0].columns

    runs: list[list[_Asked]] = []
    for one in asked:
        if runs and kind(runs[-1][0]) == kind(one):
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _refusal(error: Exception, told: str, status: int = 422) -> Refused:
    """An error as the reply; of a fault of this package the traceback goes to the log."""
    if isinstance(error, SifError):
        return Refused(status, str(error))
    if not isinstance(error, OSError):
        _logger.error("%s", told, exc_info=error)
    return Refused(500, told)
