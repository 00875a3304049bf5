"""The pretended accelerator: it computes what the CPU computes, and misses no mistake."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sif.core.probe import probe
from sif.testing import Accelerator, MixedDevicesError, toy_problem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import finish, free_memory, make_runtime, peak_memory_mb

CPU = torch.device("cpu")


@pytest.fixture
def gpu() -> Iterator[Accelerator]:
    with Accelerator() as accelerator:
        yield accelerator


def test_tensors_lie_where_they_were_put(gpu: Accelerator) -> None:
    x = torch.arange(6.0, device="cuda")
    assert x.is_cuda and not x.is_cpu and x.get_device() == 0
    for other in (
        x[2:], x.view(2, 3).T, 2 * x, torch.zeros_like(x), x.new_ones(2), x.new_tensor([1.0]),
        copy.deepcopy(x), torch.zeros(2, device=x.device), torch.tensor(1.0, device="cuda:0"),
        torch.ones(2).to(x), torch.ones(2).cuda(), torch.stack([x, x]), nn.Parameter(x).detach(),
        torch.sparse_coo_tensor(torch.zeros(1, 6, dtype=torch.int64, device=x.device), x),
    ):  # fmt: skip
        assert other.device == gpu.device
    for other in (x.cpu(), torch.zeros(2), torch.zeros_like(x, device="cpu"), x.to("cpu")):
        assert other.device == CPU
    assert torch.equal(x.cpu(), torch.arange(6.0))


def test_a_module_moves_and_its_gradients_follow(gpu: Accelerator) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(gpu.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.ones(5, 3, device=gpu.device)).square().mean().backward()
        assert all(p.grad is not None and p.grad.device == gpu.device for p in model.parameters())
        optimizer.step()
    assert all(x.device == gpu.device for x in model.state_dict().values())
    assert model.cpu()[0].weight.device == CPU


def test_gradients_return_through_a_copy(gpu: Accelerator) -> None:
    x = torch.ones(3, requires_grad=True)
    (x.to(gpu.device) * torch.arange(3.0, device=gpu.device)).sum().backward()
    assert x.grad is not None and x.grad.device == CPU and x.grad.tolist() == [0.0, 1.0, 2.0]


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda x: x + torch.ones(3),
    "product": lambda x: torch.ones(3, 3) @ x,
    "stack": lambda x: torch.stack([x, torch.ones(3)]),
    "gather": lambda x: torch.ones(3)[x.long()],
    "values": lambda x: x.index_put_((torch.tensor([0, 1], device=x.device),), torch.ones(2)),
    "generator": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
    "loss": lambda x: nn.functional.mse_loss(x, torch.ones(3)),
    "module": nn.Linear(3, 1),
}


@pytest.mark.parametrize("name", MIXED)
def test_two_devices_are_refused(name: str, gpu: Accelerator) -> None:
    with pytest.raises(MixedDevicesError, match=r"cpu.*; at test_accelerator.py:\d+"):
        MIXED[name](torch.ones(3, device=gpu.device))


def test_numpy_reads_no_accelerator(gpu: Accelerator) -> None:
    x = torch.ones(3, device=gpu.device)
    for read in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="to numpy"):
            read()
    assert x.cpu().numpy().tolist() == [1.0, 1.0, 1.0]


def test_a_number_on_the_cpu_is_allowed(gpu: Accelerator) -> None:
    x = torch.ones(3, device=gpu.device)
    assert (x * torch.tensor(2.0)).device == gpu.device
    assert not gpu.usage().waits


WAITING: dict[str, tuple[int, Callable[[Tensor], Any]]] = {
    "item": (1, lambda x: x.sum().item()),
    "float": (1, lambda x: float(x[0])),
    "if": (1, lambda x: bool((x > 0).all())),
    "list": (1, lambda x: x.tolist()),
    "mask": (1, lambda x: x[x > 0]),
    "nonzero": (1, lambda x: x.nonzero()),
    "unique": (1, lambda x: x.unique()),
    "equal": (1, lambda x: torch.equal(x, x)),
    "to the host": (1, lambda x: x.cpu()),
    "from the host": (1, lambda x: torch.ones(3).to(x.device)),
    "numbers": (1, lambda x: torch.tensor([1.0, 2.0], device=x.device)),
    "index on the host": (1, lambda x: x[[0, 2]]),
    "one value": (1, lambda x: x.__setitem__(0, 0.5)),
    "repeat": (1, lambda x: torch.repeat_interleave(x.long())),
    "repeat, size known": (0, lambda x: torch.repeat_interleave(x.long(), output_size=3)),
    "from the host without waiting": (0, lambda x: torch.ones(3).to(x, non_blocking=True)),
    "filled by a mask": (0, lambda x: x.__setitem__(x > 0, 0.5)),
    "where": (0, lambda x: torch.where(x > 0, x, 0.0)),
    "kernels": (0, lambda x: (x.exp().topk(2), x[1:], x.cumsum(0), x.sort(), torch.zeros_like(x))),
    "fill": (0, lambda x: x[0].fill_(0.5)),
}


@pytest.mark.parametrize("name", WAITING)
def test_the_host_waits_as_often_as_on_a_gpu(name: str, gpu: Accelerator) -> None:
    expected, act = WAITING[name]
    x = torch.ones(3, device=gpu.device)
    before = gpu.usage()
    act(x)
    waits = (gpu.usage() - before).waits
    assert sum(waits.values()) == expected
    assert all("at test_accelerator.py:" in where for where in waits)


def test_code_inside_a_backward_pass_is_watched(gpu: Accelerator) -> None:
    x = torch.ones(3, device=gpu.device, requires_grad=True)
    weights = torch.ones(2, device=gpu.device, requires_grad=True)
    seen = []

    def candidate() -> Tensor:
        seen.append(x.device)
        return torch.ones(3, device=x.device)

    probe(2 * x, weights, [candidate, candidate]).sum().backward()
    assert seen == [gpu.device] * 2 and weights.grad is not None
    assert weights.grad.tolist() == [3.0, 3.0]

    def strays() -> Tensor:
        return torch.ones(3)

    with pytest.raises(MixedDevicesError):
        probe(2 * x, weights, [strays, strays]).sum().backward()


def test_bytes_are_counted_until_nobody_holds_them(gpu: Accelerator) -> None:
    before = gpu.usage()
    x = torch.zeros(1000, device=gpu.device)
    view, y = x[10:], x + 1
    used = gpu.usage() - before
    assert (used.made, used.alive) == (8000, 8000)
    del x, y
    assert (gpu.usage() - before).alive == 4000  # which the view holds
    del view
    assert (gpu.usage() - before).alive == 0 and gpu.peak >= 8000
    torch.zeros(1000)  # on the CPU
    assert (gpu.usage() - before).made == 8000


def test_the_runtime_finds_it(gpu: Accelerator) -> None:
    for name in ("cuda", "cuda:0", "auto"):
        assert make_runtime(name).device == gpu.device
    assert make_runtime("cpu").device == CPU
    runtime = make_runtime("cuda")
    big = torch.zeros(1 << 18, device=runtime.device)
    assert peak_memory_mb(runtime) >= 1 and free_memory(runtime.device) < 16 << 30
    del big
    before = gpu.usage()
    finish(runtime.device)
    assert sum((gpu.usage() - before).waits.values()) == 1
    finish(CPU)


def weights_after_training(device: str) -> dict[str, Tensor]:
    problem, _ = toy_problem("objective=rating", device=device)
    design = problem.kind.multiply(problem.fields)
    network = problem.train(design, NullTracker(), NoCheckpoint()).network
    return {name: value.cpu() for name, value in network.state_dict().items()}


def test_it_computes_what_the_cpu_computes() -> None:
    ours = weights_after_training("cpu")
    with Accelerator():
        theirs = weights_after_training("cuda")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_planted_copy_to_the_host_is_caught(
    gpu: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sif.spaces.interaction.function import Interaction

    pairs = Interaction.pairs
    monkeypatch.setattr(Interaction, "pairs", lambda *args: pairs(*args).cpu())
    monkeypatch.setattr(Interaction, "is_factorized", False)
    problem, _ = toy_problem("objective=rating", device="cuda")
    design = problem.kind.multiply(problem.fields)
    with pytest.raises(MixedDevicesError, match=r"cuda:0.*; at sif/spaces/interaction/losses"):
        problem.train(design, NullTracker(), NoCheckpoint())


def test_nothing_of_it_stays() -> None:
    former = torch.Generator, torch.autograd._engine_run_backward, torch.cuda.synchronize  # type: ignore[attr-defined]
    with Accelerator() as gpu:
        x = torch.ones(2, device=gpu.device)
        assert torch.Generator is not former[0]
    assert former == (
        torch.Generator, torch.autograd._engine_run_backward, torch.cuda.synchronize,  # type: ignore[attr-defined]
    )  # fmt: skip
    assert x.device == CPU and x.tolist() == [1.0, 1.0]
