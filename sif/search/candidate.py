"""One candidate of a sampler: a selection that is trained alone, from fresh weights, and judged.

Nothing here depends on the other candidates, so that another process may do it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sif.core.gates import Block, Gates, Selection
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import DivergedError, NotNumberError
from sif.methods.fixed import fixed
from sif.search.checks import refuse_illegal
from sif.search.history import Diagnostics
from sif.search.loop import SearchResult, SearchSettings, search
from sif.tracking import NullTracker

State = dict[str, Any]
Streams = Callable[[], tuple[Stream, Stream]]
Judged = Callable[[Space, Gates], Mapping[str, float]]
"""Numbers about a selection of a space with its weights, the first of which decides."""
Offer = Callable[[Callable[[], State]], None]


@dataclass(frozen=True, eq=False)
class Trainer:
    """The same for every candidate of a search.

    Attributes:
        make_space: A space with fresh weights, always the same.
        streams: Fresh batches of the train and the validation part, always the same.
        judge: Asked about the candidate after its training.
        continuous_lr: Adam step size of continuous architecture parameters.
        method: Name of the sampler's class, for messages.
    """

    make_space: Callable[[], Space]
    streams: Streams
    judge: Judged
    continuous_lr: float
    method: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained candidate.

    Attributes:
        found: Result of its training; None: it diverged.
        judged: What the judge said; empty where it diverged, or where the budget ended before.
        steps: Weight steps of its whole training.
        end: State at the end of the training, to go on from; None: nobody will.
        blocks: Of its space.
        seconds: Wall time.
        cpu_seconds: CPU time of the process.
    """

    found: SearchResult | None
    judged: Mapping[str, float]
    steps: int
    end: State | None
    blocks: Sequence[Block]
    seconds: float
    cpu_seconds: float


class EndKeeper(Checkpointer):
    """Keeps the state of a candidate's training at its end.

    Args:
        epochs: After which it ends.
        wanted: Whether somebody may go on from there.
        saved: Where the training begins; None: at the start.
        offer: Gets every state; by default nobody does.

    Attributes:
        end: That state, with clock and counts at their beginning; None: it has not come.
    """

    def __init__(
        self, epochs: int, wanted: bool, saved: State | None = None,
        offer: Offer = lambda state: None,
    ) -> None:  # fmt: skip
        self._epochs, self._wanted, self._saved, self._offer = epochs, wanted, saved, offer
        self.end = self._ended(saved) if saved is not None else None

    def restore(self) -> State | None:
        """Where the training begins."""
        return self._saved

    def offer(self, state: Callable[[], State]) -> None:
        """Keeps the state if it is the last one."""
        if self._wanted:
            self.end = self._ended(state())
        self._offer(state)

    def _ended(self, state: State) -> State | None:
        if state["epoch"] < self._epochs:
            return None
        afresh = {"seconds": 0.0, "cpu_seconds": 0.0, "diagnostics": vars(Diagnostics())}
        return copy.deepcopy({**state, "history": state["history"][-1:], **afresh})


def train_candidate(
    trainer: Trainer, selection: Selection, loop: SearchSettings, keeper: EndKeeper
) -> Candidate:
    """Trains and judges a selection.

    Args:
        trainer: See `Trainer`.
        selection: Of the space.
        loop: Length and step size of the training.
        keeper: Gives its beginning, and keeps its end.

    Raises:
        ConfigError: The selection is none of the space's.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    space = trainer.make_space()
    refuse_illegal(selection, space.blocks, trainer.method)
    train, valid = trainer.streams()
    steps = loop.length * (loop.steps_per_epoch or train.steps_per_pass)
    found: SearchResult | None = None
    judged: Mapping[str, float] = {}
    try:
        one = fixed(space, selection, trainer.continuous_lr)
        found = search(space, one, train, valid, loop, NullTracker(), keeper)
        if found.steps == steps:
            judged = trainer.judge(space, selection.to_gates(space.blocks))
    except (DivergedError, NotNumberError):
        pass  # the method is told so: as bad as can be
    return Candidate(
        found, judged, steps, keeper.end, space.blocks, time.perf_counter() - wall,
        time.process_time() - cpu,
    )  # fmt: skip


def train_apart(
    trainer: Trainer, selection: Selection, loop: SearchSettings, before: State | None, keeps: bool
) -> Candidate:
    """`train_candidate` in another process.

    Args:
        trainer: See `Trainer`.
        selection: Of the space.
        loop: Length and step size of the training.
        before: State that it goes on from; None: it begins.
        keeps: Whether somebody may go on from its end.
    """
    begin = copy.deepcopy(before)  # optimizers write into theirs
    return train_candidate(trainer, selection, loop, EndKeeper(loop.length, keeps, begin))
