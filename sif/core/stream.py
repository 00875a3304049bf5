"""Endless streams of batches over a part that lies on the device as tensors.

A stream never ends and is never restarted. It walks through a random order; at its end it carries
the remaining rows over and draws a new order. Its state is two generators and a cursor, so a
resumed job sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from sif.core.space import Batch, Stateful


class Checkpointer(Protocol):
    """Keeps the state of one loop."""

    def restore(self) -> dict[str, Any] | None:
        """The last saved state, or None at the first start."""
        ...

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves the state if it is due."""
        ...


class Stream(Stateful, Protocol):
    """Endless batches; the state decides those to come."""

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over the part."""
        ...

    def next(self) -> Batch:
        """The next batch."""
        ...


class Permutation:
    """Endless random batches of indices 0..n-1, each index once per pass.

    Args:
        n: Number of indices.
        batch_size: Indices per batch; n or more: all, every time.
        generator: On the CPU.
        always: Whether a batch of all indices is shuffled as well; else it is 0..n-1 in order.
    """

    def __init__(
        self, n: int, batch_size: int, generator: torch.Generator, always: bool = False
    ) -> None:
        self.n = n
        self._always = always
        self.batch_size = min(batch_size, n)
        self._generator = generator
        self._order = torch.arange(n)
        self._cursor = n

    @property
    def steps_per_pass(self) -> int:
        """Batches of one pass over the indices, rounded up."""
        return -(-self.n // self.batch_size)

    def next(self) -> Tensor:
        """(batch_size,) int64 on the CPU."""
        if self.batch_size == self.n and not self._always:
            return self._order
        parts: list[Tensor] = []
        missing = self.batch_size
        while missing:
            if self._cursor == self.n:
                self._order = torch.randperm(self.n, generator=self._generator)
                self._cursor = 0
            part = self._order[self._cursor : self._cursor + missing]
            self._cursor += len(part)
            missing -= len(part)
            parts.append(part)
        return torch.cat(parts)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the batches to come."""
        return {
            "order": self._order,
            "cursor": self._cursor,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._order = state["order"]
        self._cursor = state["cursor"]
        self._generator.set_state(state["generator"])
