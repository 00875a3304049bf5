"""The processes that work on one job together, as `torchrun` starts them.

Every process runs the whole job, step by step with the others. What a clock, a draw or a file
decides, the first process tells them. In shared work each has some users or items, and what they
find is added up. All other work is the first one's, who is alone in it and tells what came of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from sif.errors import ConfigError, LostRankError, RankError, SifError

Value = TypeVar("Value")
PATIENCE = timedelta(days=7)
"""Time that processes wait for the first one, which works alone in most stages. One that died is
noticed at once, as its connections end."""
_LOST = (RuntimeError, ConnectionError)  # torch's errors of a connection that ended


@dataclass(frozen=True)
class Ranks:
    """The processes of a job, as one of them sees them.

    Attributes:
        number: Of this process, from 0.
        count: Of all.
    """

    number: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True for the process that writes, reports and decides."""
        return self.number == 0

    def own(self, things: range) -> range:
        """Those of some numbered things that this process works on."""
        return things[self.number :: self.count]

    def add(self, *tensors: Tensor) -> None:
        """Adds up each tensor over all processes, in place; all get the same bits.

        Raises:
            LostRankError: A process ended.
        """
        self._in_place(tensors, dist.all_reduce)

    def align(self, *tensors: Tensor) -> None:
        """Gives each tensor the first process's bits, in place.

        Raises:
            LostRankError: A process ended.
        """
        self._in_place(tensors, partial(dist.broadcast, src=0))

    def _in_place(self, tensors: Iterable[Tensor], exchange: Callable[..., Any]) -> None:
        if self.count == 1:
            return
        with _connected(self):
            both = [(values := one.detach(), values.contiguous()) for one in tensors]
            begun = [exchange(whole, async_op=True) for _, whole in both]
            for (values, whole), exchanged in zip(both, begun, strict=True):
                exchanged.wait()
                if whole.data_ptr() != values.data_ptr():
                    values.copy_(whole)

    def told(self, value: Value) -> Value:
        """The first process's value, on all.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return value
        with _connected(self):
            box = [value if self.is_first else None]
            dist.broadcast_object_list(box, src=0)
            return box[0]  # type: ignore[return-value]

    def gathered(self, value: Value) -> list[Value]:
        """The values of all processes by number, on each.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return [value]
        with _connected(self):
            found: list[Any] = [None] * self.count
            dist.all_gather_object(found, value)
            return found

    def first(self, work: Callable[[], Value]) -> Value | None:
        """Work of the first process alone; None on the others, where its errors are raised too.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return work()
        value, error = None, None
        if self.is_first:
            with shared_by(ALONE):
                value, error = _tried(work)
        told = self.told(error)
        if told is not None:
            raise told
        return value

    def once(self, work: Callable[[], Value]) -> Value:
        """The result of work of the first process alone, on all; its errors are raised by all.

        Raises:
            LostRankError: A process ended.
        """
        return self.told(self.first(work))  # type: ignore[return-value]

    def together(self, work: Callable[[], Value]) -> Value:
        """Work of each process on its share; an error of one is raised by all.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return work()
        value, error = _tried(work)
        for one in self.gathered(error):
            if one is not None:
                raise one
        return value  # type: ignore[return-value]

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """Work of the first process before that of the others, which find what it left behind.

        Raises:
            LostRankError: A process ended.
            RankError: The work fails on this process alone.
        """
        found = [work()] if self.is_first else []
        self.told(None)
        if found:
            return found[0]
        try:
            return work()
        except SifError as error:
            raise RankError(f"process {self.number} of {self.count}: {error}") from error


def _tried(work: Callable[[], Value]) -> tuple[Value | None, SifError | None]:
    """The result of work, or its error; LostRankError is no error of the work."""
    try:
        return work(), None
    except LostRankError:
        raise
    except SifError as error:
        return None, error


ALONE = Ranks()
_present = contextvars.ContextVar("ranks", default=ALONE)


def sharing() -> Ranks:
    """The processes that share the present work; in most of it this one is alone."""
    return _present.get()


@contextlib.contextmanager
def shared_by(ranks: Ranks) -> Iterator[None]:
    """A block of code that all of these run together, in the same order."""
    token = _present.set(ranks)
    try:
        yield
    finally:
        _present.reset(token)


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that `torchrun` started, for as long as the block takes; elsewhere this one.

    Args:
        device: Setting of the job; on GPUs, one a process, sums go over NCCL, else over Gloo.

    Raises:
        ConfigError: The environment is not that of `torchrun`, or the others cannot be reached.
    """
    if not several() or dist.is_initialized():  # a job within another one
        yield sharing()
        return
    backend = "gloo"
    if device != "cpu" and torch.cuda.is_available():
        if ":" in device:
            raise ConfigError(f"device: expected cuda, a card for each process, found {device}")
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, number, count = next(iter(rendezvous("env://", timeout=PATIENCE)))
        dist.init_process_group(
            backend, store=store, rank=number, world_size=count, timeout=PATIENCE
        )
        _meeting.append(store)
    except (ValueError, *_LOST) as error:
        raise ConfigError(f"torchrun: the processes of the job did not meet: {error}") from error
    try:
        ranks = Ranks(dist.get_rank(), dist.get_world_size())
        with shared_by(ranks):
            yield ranks
            with contextlib.suppress(LostRankError):
                ranks.gathered(None)  # none leaves before all are done
    except LostRankError:
        raise
    except BaseException:
        tells()  # asked before the others notice that this process ends
        raise
    dist.destroy_process_group()


def several() -> bool:
    """True if `torchrun` started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ


def tells() -> bool:
    """True for the process that tells people of an error, which ends all.

    It is the first that asked; before processes have met, the first one of each machine.
    """
    if not _meeting:
        number = os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0"))
        return not several() or number == "0"
    if not _asked:
        try:
            _asked.append(_meeting[-1].add("told", 1) == 1)
        except _LOST:  # where they met has ended, too
            _asked.append(True)
    return _asked[0]


def leave(code: int) -> int:
    """Ends a process that has met others, at once; elsewhere returns its exit code.

    Libraries that still hold a connection to a process that has ended may abort this one while
    Python takes them down.
    """
    if not _meeting:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_meeting: list[Any] = []
"""The store by which the processes met; none before."""
_asked: list[bool] = []
"""The answer of `tells`, once it was asked for."""


def on_cpu(value: Any) -> Any:
    """Nested dicts, lists and tuples, tensors on the CPU: for processes with other cards."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: on_cpu(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(on_cpu, value))
    return value


@contextlib.contextmanager
def _connected(ranks: Ranks) -> Iterator[None]:
    """A block in which the end of another process is told in one line."""
    try:
        yield
    except _LOST as error:
        raise LostRankError(
            f"torchrun: process {ranks.number} of {ranks.count} lost another one, which ended; the "
            "job can be resumed"
        ) from error
