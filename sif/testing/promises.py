"""Common to the suites: a broken promise, and searches or trainings that are killed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sif.core.stream import Checkpointer
from sif.errors import CheckpointError
from sif.utils import checkpoint

Result = TypeVar("Result")


class ContractError(AssertionError):
    """A promise that was not kept: what was expected, and what was found.

    Examples:
        >>> from sif.testing import ContractError
        >>> issubclass(ContractError, AssertionError)
        True
    """


def promise(kept: bool, expected: str, found: object) -> None:
    """Raises ContractError, one line, unless a promise was kept."""
    if not kept:
        raise ContractError(f"expected {expected}, found {found}")


def promise_close(
    found: Tensor, expected: Tensor, what: str, rtol: float = 1e-10, atol: float = 1e-12
) -> None:
    """Raises ContractError unless two tensors agree but for rounding.

    Args:
        found: Any shape.
        expected: Of the same shape and dtype.
        what: Is to be as expected, for the message.
        rtol: Relative difference that is rounding.
        atol: Absolute one.
    """
    try:
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    except AssertionError as error:
        told = " ".join(str(error).split())
        raise ContractError(f"expected {what}, found a difference: {told}") from error


class Killed(Exception):
    """Work is interrupted."""


class _KillingFile:
    """Saves every state to a file, and kills the work after one of them.

    Args:
        path: Of the file.
        kill: Number of the saved state after which it is killed, from 1; 0: never.
    """

    def __init__(self, path: Path, kill: int) -> None:
        self.path, self.kill, self._offers = path, kill, 0

    def restore(self) -> dict[str, Any] | None:
        """The saved state; None: there is none."""
        if not self.path.exists():
            return None
        found: dict[str, Any] = checkpoint.load(self.path, "search")
        return found

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves one state of all."""
        self._offers += 1
        if self._offers == self.kill:
            try:
                checkpoint.save(self.path, state(), "search")
            except CheckpointError as error:
                raise ContractError(f"expected a state that can be saved: {error}") from error
            raise Killed


def killed_and_resumed(work: Callable[[Checkpointer], Result], kill: int = 1) -> Result:
    """The result of work that is killed once and goes on, from a state that a checkpoint can hold.

    Args:
        work: Keeps its states with what it gets.
        kill: Number of the saved state after which it is killed, from 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _KillingFile(Path(folder) / "state.safetensors", kill)
        with contextlib.suppress(Killed):
            work(file)
        promise(file.path.exists(), f"{kill} saved states", "fewer")
        file.kill = 0
        return work(file)
