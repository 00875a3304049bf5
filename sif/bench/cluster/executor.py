"""Trials as tasks of Ray, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from sif.bench.cluster.drive import Drive, marked
from sif.bench.cluster.ray_cluster import connected
from sif.bench.executor import Executor, Listener, Needs, Task
from sif.bench.processes import terminable
from sif.errors import ConfigError
from sif.utils.argument_types import check_fields
from sif.utils.ray_cluster import check_address, check_installed
from sif.utils.sizes import bytes_of

if TYPE_CHECKING:
    import torch

    from sif.utils.calls import Calls

T = TypeVar("T")


@dataclass(frozen=True)
class RayExecutor(Executor):
    """Tasks of Ray: a trial is placed where its cores, memory and GPUs are free.

    A single job takes it as well: `sif.run_job(config, executor=RayExecutor())`.

    Attributes:
        address: Address of a running cluster that this machine belongs to, "host:port" or "auto";
            None: the one that RAY_ADDRESS names, or one of this machine for as long as it takes.
        memory: Memory that Ray reserves for each task, such as "4GB"; None: it reserves none.
        gpus: GPUs of each task, or a share of one; None: one if the setting `device` is cuda,
            otherwise none.

    Examples:
        >>> from sif.bench import RayExecutor
        >>> executor = RayExecutor(memory="2GB", gpus=0.25)
        >>> result = bench.run(executor=executor)  # doctest: +SKIP
    """

    address: str | None = None
    memory: str | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Refuses amounts that cannot be, and an absent Ray.

        Raises:
            ConfigError: One line.
        """
        check_fields(self)
        if self.memory is not None:
            bytes_of(self.memory)
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and self.gpus % 1)):
            raise ConfigError(
                f"gpus: expected a share below 1, or a whole number, found {self.gpus:g}"
            )
        check_installed()

    def check(self) -> None:
        """Looks whether a cluster answers at the address, for a minute at most."""
        check_address(self.address)

    def threads(self, workers: int | None) -> int | None:
        """1: Ray places more of them side by side."""
        return 1

    def run(
        self, tasks: Sequence[Task[T]], listener: Listener[T], workers: int | None,
        inherited: Sequence[int] = (), threads: int | None = 1,
    ) -> None:  # fmt: skip
        """Runs trials as tasks of Ray, see `Executor.run`; a process has a thread per core."""
        if not tasks:
            return
        tasks = [replace(task, needs=self._needs(task.needs)) for task in tasks]
        needs = [task.needs for task in tasks]
        with (
            terminable(),
            marked(tasks[0].work.log.parent) as setting,
            connected(self.address, needs, listener.told) as cluster,
        ):
            Drive(cluster, setting, listener).run(tasks, workers)

    def calls(
        self, threads: int, device: torch.device, told: Callable[[str], None]
    ) -> AbstractContextManager[Calls]:
        """Independent calls of one job as tasks of Ray, see `sif.utils.calls.CallExecutor`."""
        needs = self._needs(Needs(cores=threads, gpus=float(device.type == "cuda")))
        from sif.utils.ray_calls import CallRoom, ray_calls  # torch, which nodes do without

        return ray_calls(self.address, CallRoom(needs.cores, needs.gpus, needs.memory), told)

    def _needs(self, needs: Needs) -> Needs:
        """Those of a job, with what was asked for here."""
        gpus = needs.gpus if self.gpus is None else float(self.gpus)
        memory = None if self.memory is None else bytes_of(self.memory)
        return replace(needs, gpus=gpus, memory=memory)
