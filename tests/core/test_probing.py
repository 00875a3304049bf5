"""Estimates of the gates' gradient: some of the candidates, some of the rows, and no bias."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sif.core.exploration import probe_factors
from sif.core.gates import Gates, Probing
from sif.core.method import Plan
from sif.core.probe import gate_gradient, probe
from sif.core.proximal import initial_alpha, project
from sif.methods.nasp import Nasp, NaspSettings
from sif.spaces.cnn.networks import Layout
from sif.spaces.cnn.supernet import SPECS, CNNSpace, ImageBatch

F64 = torch.float64
LAYOUT = Layout(classes=3, channels=4, cells=3, image_channels=2, stem_multiplier=1)


@pytest.fixture(params=SPECS)
def space(request: pytest.FixtureRequest) -> CNNSpace:
    torch.manual_seed(0)
    return CNNSpace(request.param, LAYOUT).double()


def batch(n: int = 8) -> ImageBatch:
    draws = torch.Generator().manual_seed(1)
    images = torch.randn(n, 2, 8, 8, generator=draws, dtype=F64)
    return ImageBatch(images, torch.randint(3, (n,), generator=draws))


def some_gates(space: CNNSpace) -> Gates:
    return project(initial_alpha(space.blocks, torch.Generator().manual_seed(4)), space.blocks)


def ones(space: CNNSpace) -> dict[str, Tensor]:
    return {block.name: torch.ones(block.shape, dtype=F64) for block in space.blocks}


def freeze(space: CNNSpace) -> None:
    """Gives all normalizations statistics of their own, which no batch changes."""
    draws = torch.Generator().manual_seed(2)
    for norm in (m for m in space.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.track_running_stats = True
        norm.running_mean = torch.randn(norm.num_features, generator=draws, dtype=F64)
        norm.running_var = 0.5 + torch.rand(norm.num_features, generator=draws, dtype=F64)
        norm.eval()


def test_a_candidate_that_was_not_drawn_does_not_run() -> None:
    ran: list[int] = []

    def candidate(k: int) -> Tensor:
        ran.append(k)
        return torch.full((4, 2), float(k + 1), dtype=F64)

    weights = torch.zeros(3, dtype=F64, requires_grad=True)
    value = torch.zeros(4, 2, dtype=F64, requires_grad=True)
    probed = probe(value, weights, [lambda k=k: candidate(k) for k in range(3)], [1.0, 0.0, 4.0])
    probed.sum().backward()
    assert ran == [0, 2]
    assert weights.grad is not None
    assert weights.grad.tolist() == [8.0, 0.0, 4 * 24.0]
    assert value.grad is not None and value.grad.eq(1).all()


def test_drawn_candidates_count_by_one_over_their_chance(space: CNNSpace) -> None:
    gates, data = some_gates(space), batch()
    exact = gate_gradient(space, data, gates).gates
    alpha = initial_alpha(space.blocks, torch.Generator().manual_seed(4))
    factors = probe_factors(alpha, 0.25, torch.Generator().manual_seed(0))
    found = gate_gradient(space, data, replace(gates, probing=Probing(factors))).gates
    for name, factor in factors.items():
        assert set(factor.unique().tolist()) == {0.0, 1.0, 4.0}
        torch.testing.assert_close(found[name], exact[name] * factor, rtol=1e-9, atol=1e-12)
        best = alpha[name].topk(2, dim=1).indices
        assert factor.gather(1, best).eq(1).all()


def test_some_candidates_give_the_gradient_without_bias(space: CNNSpace) -> None:
    # The mean over many draws: within five standard errors of the exact gradient, in all gates.
    gates, data = some_gates(space), batch(2)
    exact = gate_gradient(space, data, gates).gates
    alpha = initial_alpha(space.blocks, torch.Generator().manual_seed(4))
    draws, n, chance = torch.Generator().manual_seed(7), 80, 0.5
    found = []
    for _ in range(n):
        probing = Probing(probe_factors(alpha, chance, draws))
        found.append(gate_gradient(space, data, replace(gates, probing=probing)).gates)
    for name, expected in exact.items():
        mean = torch.stack([one[name] for one in found]).mean(0)
        error = expected.abs() * ((1 / chance - 1) / n) ** 0.5
        assert ((mean - expected).abs() <= 5 * error + 1e-12).all()
        assert ((mean - expected).abs() > 0.2 * error).any()


def test_factors_have_a_mean_of_one() -> None:
    alpha = {"a": torch.rand(14, 8, dtype=F64, generator=torch.Generator().manual_seed(0))}
    draws, n = torch.Generator().manual_seed(1), 4000
    mean = sum(probe_factors(alpha, 0.25, draws)["a"] for _ in range(n)) / n
    assert isinstance(mean, Tensor)
    assert (mean - 1).abs().max() < 5 * (3 / n) ** 0.5


def halves(space: CNNSpace, gates: Gates, data: ImageBatch) -> dict[str, Tensor]:
    """The mean over both halves of a batch as the rows that probes see."""
    turned = torch.arange(len(data.labels)).roll(len(data.labels) // 2)
    other = ImageBatch(data.images[turned], data.labels[turned])
    half = replace(gates, probing=Probing(ones(space), 0.5))
    first, second = (gate_gradient(space, d, half).gates for d in (data, other))
    return {name: (first[name] + second[name]) / 2 for name in first}


def test_some_rows_give_the_gradient_without_bias_under_frozen_statistics(space: CNNSpace) -> None:
    freeze(space)
    gates, data = some_gates(space), batch()
    exact = gate_gradient(space, data, gates).gates
    for name, mean in halves(space, gates, data).items():
        torch.testing.assert_close(mean, exact[name], rtol=1e-9, atol=1e-12)
    half = gate_gradient(space, data, replace(gates, probing=Probing(ones(space), 0.5))).gates
    assert not torch.allclose(half["normal"], exact["normal"], rtol=0.01)


def test_statistics_of_the_rows_at_hand_bias_it(space: CNNSpace) -> None:
    gates, data = some_gates(space), batch()
    exact = gate_gradient(space, data, gates).gates
    mean = halves(space, gates, data)
    assert not torch.allclose(mean["normal"], exact["normal"], rtol=0.01)
    cosine = torch.cosine_similarity(mean["normal"].flatten(), exact["normal"].flatten(), dim=0)
    assert cosine > 0.9


def test_loss_and_delta_are_those_of_the_whole_batch(space: CNNSpace) -> None:
    gates, data = some_gates(space), batch()
    half = replace(gates, probing=Probing(ones(space), 0.5))
    whole = gate_gradient(space, data, gates).loss
    assert torch.equal(gate_gradient(space, data, half).loss, whole)


def test_a_method_with_estimates_goes_on_where_it_stopped(space: CNNSpace) -> None:
    settings = NaspSettings(arch_lr=0.01, probe_operations=0.5, probe_rows=0.25)

    def fresh() -> Nasp:
        return Nasp(space, settings, Plan(4), torch.Generator().manual_seed(3))

    one, other = fresh(), fresh()
    reports = [one.arch_step(space, batch(), batch()) for _ in range(4)]
    for _ in range(2):
        other.arch_step(space, batch(), batch())
    again = fresh()
    again.load_state_dict(other.state_dict())
    for _ in range(2):
        again.arch_step(space, batch(), batch())
    for name, alpha in one.alpha().items():
        assert torch.equal(alpha, again.alpha()[name])
    undrawn = (reports[-1].scores["gradient"]["normal"] == 0).double().mean()
    assert 0.2 < undrawn < 0.5


def test_probes_run_in_the_precision_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    space = CNNSpace("nasp-7op", LAYOUT)
    gates, data = some_gates(space), batch(64)
    images = ImageBatch(data.images.float(), data.labels)
    full = gate_gradient(space, images, gates)
    space.precision = "bfloat16"
    kinds = set()
    hooks = [
        m.register_forward_hook(lambda *args: kinds.add((torch.is_grad_enabled(), args[-1].dtype)))
        for m in space.modules()
        if isinstance(m, nn.Conv2d)
    ]
    found = gate_gradient(space, images, gates)
    for hook in hooks:
        hook.remove()
    assert kinds == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert found.loss.dtype == torch.float32
    for name, expected in full.gates.items():
        cosine = torch.cosine_similarity(found.gates[name].flatten(), expected.flatten(), dim=0)
        assert 0.95 < cosine < 1
    assert torch.is_autocast_enabled("cpu") is False
