"""Ray as the cluster that trials run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sif.bench.cluster.drive import LostError
from sif.bench.cluster.files import Files
from sif.bench.cluster.node import carry_out
from sif.bench.cluster.orders import Order, Report
from sif.bench.executor import Needs
from sif.bench.state import State
from sif.errors import SifError
from sif.utils import ray_cluster
from sif.utils.optional import library
from sif.utils.ray_cluster import reason_of

_ANSWERS = 60.0  # seconds in which the actor at home must answer


class HomeActor:
    """Home as nodes reach it: a process on the machine of the bench, which writes the logs."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._stopping = False

    def begin(self, name: str) -> bool:
        """Implements `Home`."""
        if not self._stopping:
            self._running.add(name)
        return not self._stopping

    def tell(self, log: Path, text: bytes) -> bool:
        """Implements `Home`."""
        if text:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                file.write(text)
        return not self._stopping

    def end(self, name: str) -> None:
        """Implements `Home`."""
        self._running.discard(name)

    def running(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return frozenset(self._running)

    def stop(self) -> frozenset[str]:
        """Implements `Cluster`."""
        self._stopping = True
        return self.running()


class _RemoteHome:
    """`Home` on a node: calls of the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, name: str) -> bool:
        return bool(self._ask(self._actor.begin, name))

    def tell(self, log: Path, text: bytes) -> bool:
        return bool(self._ask(self._actor.tell, log, text))

    def end(self, name: str) -> None:
        self._ask(self._actor.end, name)

    def fetch(self, data: Any) -> Files:
        import ray

        found: Files = ray.get(data)
        return found

    def _ask(self, method: Any, *arguments: Any) -> Any:
        import ray

        return ray.get(method.remote(*arguments))


def trial(order: Order, actor: Any) -> Report:
    """The task of Ray: a trial on a node."""
    return carry_out(order, _RemoteHome(actor))


class RayCluster:
    """`Cluster` by a connection to Ray."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        here = ray.get_runtime_context().get_node_id()
        strategies = library("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        # An actor that needs nothing is asked for at a node drawn by chance, which may be one that
        # was lost a moment ago; this sliver of its own address makes Ray ask at this node.
        sliver = {f"node:{ray.util.get_node_ip_address()}": 0.001}
        actor = ray.remote(HomeActor).options(
            num_cpus=0, resources=sliver, scheduling_strategy=strategy
        )
        self._home = actor.remote()
        self._trial = ray.remote(trial)

    def put(self, data: Any) -> Any:
        """Implements `Cluster`; the reference travels inside an order, and nobody fetches it."""
        return self._ray.put(data)

    def submit(self, order: Order, needs: Needs) -> Any:
        """Implements `Cluster`."""
        memory = {} if needs.memory is None else {"memory": needs.memory}
        # Lost trials are run again by `Drive`, which tells it; Ray would do so silently.
        placed = self._trial.options(
            num_cpus=needs.cores, num_gpus=needs.gpus, **memory, name=order.name, max_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        return placed.remote(order, self._home)

    def ended(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Implements `Cluster`."""
        if not tickets:
            return ()
        found: Sequence[Any] = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)[0]
        return found

    def report(self, ticket: Any) -> Report:
        """Implements `Cluster`."""
        errors = self._ray.exceptions
        try:
            found: Report = self._ray.get(ticket)
        except errors.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            return Report(State("failed", f"on a node of the cluster: {reason}"))
        except errors.RayError as error:
            raise LostError(reason_of(error)) from None
        return found

    def running(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return self._asked(self._home.running)

    def stop(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return self._asked(self._home.stop)

    def _asked(self, method: Any) -> frozenset[str]:
        try:
            found: frozenset[str] = self._ray.get(method.remote(), timeout=_ANSWERS)
        except self._ray.exceptions.RayError as error:
            raise SifError(f"executor ray: lost the cluster: {reason_of(error)}") from None
        return found


@contextmanager
def connected(
    address: str | None, needs: Sequence[Needs], told: Callable[[str], None]
) -> Iterator[RayCluster]:
    """A cluster for the time of a block, see `sif.utils.ray_cluster.connected`."""
    with ray_cluster.connected(address, needs, told) as ray:
        yield RayCluster(ray)
