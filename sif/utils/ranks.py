"""The processes that work on one job together, as `torchrun` starts them.

Every process runs the whole job. Most stages are work of the first one, which tells the others what
came of it; in stages that are shared each process has some blocks of the users, and what they find
is added up. Outside such stages a process is alone, whatever it computes.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from sif.errors import ConfigError, LostRankError

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
        """Whether this is the process that writes, reports and decides."""
        return self.number == 0

    def own(self, things: range) -> range:
        """Those of some numbered things that this process works on."""
        return things[self.number :: self.count]

    def add(self, *tensors: Tensor) -> None:
        """Adds up each tensor over all processes, in place; all get the same bits.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return
        with _connected(self):
            for tensor in tensors:
                whole = tensor.contiguous()
                dist.all_reduce(whole)
                if whole.data_ptr() != tensor.data_ptr():
                    tensor.copy_(whole)

    def told(self, value: Value) -> Value:
        """What the first process has here, on all.

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
        """What each process has here, on all, by number.

        Raises:
            LostRankError: A process ended.
        """
        if self.count == 1:
            return [value]
        with _connected(self):
            found: list[Any] = [None] * self.count
            dist.all_gather_object(found, value)
            return found

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """Work of the first process before that of the others, which find what it left behind."""
        found = [work()] if self.is_first else []
        self.told(None)
        return found[0] if found else work()


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
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that `torchrun` started, for as long as the block takes; elsewhere this one.

    Args:
        device: Of the job; on GPUs sums go over NCCL, else over Gloo.

    Raises:
        ConfigError: The environment is not that of `torchrun`, or the others cannot be reached.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1" or "RANK" not in os.environ:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, *_LOST) as error:
        raise ConfigError(f"torchrun: the processes of the job did not meet: {error}") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def agreed(ranks: Ranks, what: str, value: str) -> None:
    """Refuses values of which the processes have different ones.

    Raises:
        ConfigError: The first that differs is named, by every process.
    """
    found = ranks.gathered(value)
    other = next((number for number, one in enumerate(found) if one != found[0]), None)
    if other is not None:
        raise ConfigError(
            f"torchrun: {what}: expected the same in all processes, found {found[0]} in process 0 "
            f"and {found[other]} in process {other}"
        )


def summed(parts: Iterable[Any]) -> Any:
    """The sum of what processes gathered, in their order."""
    first, *others = parts
    for one in others:
        first = first + one
    return first


@contextlib.contextmanager
def _connected(ranks: Ranks) -> Iterator[None]:
    """A block in which the end of another process is told in one line."""
    try:
        yield
    except _LOST as error:
        raise LostRankError(
            f"torchrun: process {ranks.number} of {ranks.count} lost the others: one of them ended"
        ) from error
