"""Independent calls: here, and on a cluster that is none, which loses some."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sif.errors import ConfigError, SifError
from sif.utils.calls import CPU, HERE
from sif.utils.ray_calls import CallRoom, RayCalls, made
from sif.utils.ray_cluster import RETRIES, places
from sif.utils.version import __version__

CUDA = torch.device("cuda")
SMALL = CallRoom(1, 0.0, None)


def test_calls_of_this_process_are_made_once_their_result_is_asked_for() -> None:
    asked: list[int] = []
    first, second = (HERE.start(f"call {n}", CPU, asked.append, HERE.put(n)) for n in (1, 2))
    assert asked == []
    second.result()
    first.result()
    assert asked == [2, 1]
    assert HERE.places(CPU) == 1


class RayTaskError(Exception):
    pass


class LostError(Exception):
    pass


class FakeRay:
    """Carries out a task when somebody waits; loses those of the names in `losses`."""

    exceptions = SimpleNamespace(RayTaskError=RayTaskError, RayError=LostError)

    def __init__(self, *losses: str) -> None:
        self.losses, self.options_given, self.cancelled = list(losses), [], []
        self._work: dict[int, Any] = {}

    def remote(self, function: Any) -> Any:
        def options(**given: Any) -> Any:
            def submit(*arguments: Any, **further: Any) -> int:
                self.options_given.append(given)
                ticket = len(self.options_given)
                self._work[ticket] = given["name"], lambda: function(*arguments, **further)
                return ticket

            return SimpleNamespace(remote=submit)

        return SimpleNamespace(options=options)

    def put(self, value: Any) -> Any:
        return value

    def wait(self, tickets: list[int], num_returns: int, timeout: float) -> Any:
        return tickets[-1:], tickets[:-1]  # the last begun ends first

    def get(self, ticket: int) -> Any:
        name, work = self._work[ticket]
        if name in self.losses:
            self.losses.remove(name)
            raise LostError("The worker died.\nThe details follow.")
        try:
            return work()
        except Exception as error:
            raise RayTaskError(repr(error)) from None

    def cancel(self, ticket: int, force: bool) -> None:
        self.cancelled.append((ticket, force))


def calls(*losses: str, room: CallRoom = SMALL) -> tuple[RayCalls, Any, list[str]]:
    ray, lines = FakeRay(*losses), list[str]()
    return RayCalls(ray, room, lines.append), ray, lines


def refuse() -> None:
    raise ConfigError("k: expected less, found 7")


def test_results_are_asked_for_in_any_order_and_errors_are_those_of_the_call() -> None:
    made_there, _, lines = calls()
    begun = [made_there.start(f"call {n}", CPU, pow, n, exp=2) for n in (2, 3, 4)]
    refused = made_there.start("refused", CPU, refuse)
    broken = made_there.start("broken", CPU, int, "x")
    assert [one.result() for one in begun] == [4, 9, 16]
    with pytest.raises(ConfigError, match=r"^k: expected less, found 7$"):
        refused.result()
    with pytest.raises(RayTaskError, match="ValueError"):
        broken.result()
    assert lines == []


def test_lost_calls_are_made_again_which_is_told() -> None:
    made_there, ray, lines = calls("a", "a")
    assert made_there.start("a", CPU, int, "7").result() == 7
    assert lines == ["a: its worker was lost (The worker died); it runs again"] * 2
    assert len(ray.options_given) == 3
    made_there, ray, lines = calls(*["a"] * (RETRIES + 1))
    lost = made_there.start("a", CPU, int, "7")
    with pytest.raises(SifError, match=rf"executor ray: a: its worker was lost {RETRIES + 1} tim"):
        lost.result()
    assert len(lines) == RETRIES


def test_a_call_asks_for_its_room_and_for_gpus_only_where_it_computes_on_one() -> None:
    made_there, ray, _ = calls(room=CallRoom(4, 0.5, 10**9))
    made_there.start("a", CPU, int, "7")
    made_there.start("b", CUDA, int, "7")
    asked = [(o["num_cpus"], o["num_gpus"], o["memory"]) for o in ray.options_given]
    assert asked == [(4, 0.0, 10**9), (4, 0.5, 10**9)]
    assert {o["max_retries"] for o in ray.options_given} == {0}  # it is told of, here


def test_what_nobody_waits_for_is_ended() -> None:
    made_there, ray, _ = calls()
    begun = [made_there.start(name, CPU, int, "7") for name in "abc"]
    assert begun[2].result() == 7
    begun[2].cancel()
    begun[1].cancel()
    assert ray.cancelled == [(2, True)]
    made_there.stop()
    assert ray.cancelled == [(2, True), (1, True)]


def test_in_a_task_calls_are_made_there() -> None:
    assert pickle.loads(pickle.dumps(calls()[0])) is HERE


def test_a_task_computes_with_the_threads_of_the_job_and_refuses_another_version() -> None:
    before = torch.get_num_threads()
    assert made(__version__, before + 1, torch.get_num_threads).value == before + 1
    assert torch.get_num_threads() == before
    other = made("0.0.1", 1, torch.get_num_threads)
    assert (
        str(other.error) == f"executor ray: a node has sif {__version__}, expected 0.0.1 as at home"
    )


def test_places_are_those_of_all_nodes() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 5.0, "memory": 8e9}},
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 8e9}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 1e12}},
    ]
    ray = SimpleNamespace(nodes=lambda: nodes)
    assert places(ray, CallRoom(2, 0.0, None)) == 3
    assert places(ray, CallRoom(1, 0.25, None)) == 2  # of two cores
    assert places(ray, CallRoom(1, 0.0, 4 * 10**9)) == 4
