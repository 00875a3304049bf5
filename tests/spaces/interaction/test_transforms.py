from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sif.data.interactions.planted import transform
from sif.spaces.interaction.transforms import HIDDEN, PRIMITIVES, RANGES, SPAN, SQRT_SHIFT, Mlp

X = np.array([-4.0, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.25, 1.0, 9.0])
MAGNITUDE = {
    "sqrt": lambda x: np.sqrt(np.abs(x) + SQRT_SHIFT) - np.sqrt(SQRT_SHIFT),
    "abs": np.abs,
    "square": np.square,
}
SIGN = {"+": np.ones_like, "-": lambda x: -np.ones_like(x), "~": np.sign}


def test_nine_primitives_are_named_by_sign_and_magnitude() -> None:
    assert set(PRIMITIVES) == {s + m for s, m in itertools.product(SIGN, MAGNITUDE)}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_primitive_is_its_numpy_formula(name: str) -> None:
    expected = SIGN[name[0]](X) * MAGNITUDE[name[1:]](X)
    found = PRIMITIVES[name](torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_mean_what_generated_data_mean_by_the_name(name: str) -> None:
    found = PRIMITIVES[name](torch.tensor(X)).numpy()
    # The root is shifted by 1e-4 to have a slope at 0, hence at most 0.01 away.
    np.testing.assert_allclose(found, transform(name, X), atol=SQRT_SHIFT**0.5 + 1e-12)


def test_all_primitives_differ() -> None:
    values = [function(torch.tensor(X)) for function in PRIMITIVES.values()]
    for one, other in itertools.combinations(values, 2):
        assert not torch.allclose(one, other)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_slopes_are_finite_everywhere_and_right_away_from_zero(name: str) -> None:
    x = torch.tensor(X, requires_grad=True)
    PRIMITIVES[name](x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    away, h = np.abs(X) > 1e-2, 1e-6
    function = PRIMITIVES[name]
    slope = (function(torch.tensor(X + h)) - function(torch.tensor(X - h))) / (2 * h)
    np.testing.assert_allclose(x.grad.numpy()[away], slope.numpy()[away], rtol=1e-6)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_ranges_tell_the_reachable_values(name: str) -> None:
    values = PRIMITIVES[name](torch.linspace(-3, 3, 50))
    reached = {"positive"} if (values > 0).any() else set()
    reached |= {"negative"} if (values < 0).any() else set()
    assert reached == {"real": {"positive", "negative"}}.get(RANGES[name[0]], {RANGES[name[0]]})


@pytest.fixture
def mlp() -> Mlp:
    return Mlp(torch.Generator().manual_seed(3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_an_mlp_starts_close_to_a_shift(seed: int, offset: float) -> None:
    x = torch.linspace(-SPAN, SPAN, 101)
    error = Mlp(torch.Generator().manual_seed(seed), offset)(x) - (x + offset)
    assert float(error.detach().abs().max()) < 0.1
    assert float(error.detach().pow(2).mean().sqrt()) < 0.03


def test_an_mlp_is_one_tanh_layer_applied_to_every_entry(mlp: Mlp) -> None:
    n = {name: value.numpy().astype(float) for name, value in mlp.state_dict().items()}
    assert {name: value.shape for name, value in n.items()} == {
        "hidden_weight": (HIDDEN,), "hidden_bias": (HIDDEN,), "output_weight": (HIDDEN,),
        "output_bias": (),
    }  # fmt: skip
    x = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    hidden = np.tanh(x[..., None] * n["hidden_weight"] + n["hidden_bias"])
    expected = hidden @ n["output_weight"] + n["output_bias"]
    found = mlp(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    assert found.shape == x.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_mlps_differ_by_seed_and_start_of_order_one(mlp: Mlp) -> None:
    again, other = (Mlp(torch.Generator().manual_seed(s)) for s in (3, 4))
    assert torch.equal(mlp.hidden_weight, again.hidden_weight)
    assert not torch.equal(mlp.hidden_weight, other.hidden_weight)
    assert float(mlp.output_weight.detach().abs().max()) < 30


def perturbed(mlp: Mlp) -> Mlp:
    """With nothing left of the start's symmetry."""
    with torch.no_grad():
        for place, parameter in enumerate(mlp.parameters()):
            parameter.add_(torch.sin(torch.arange(parameter.numel()) + place).view_as(parameter))
    return mlp


def test_a_copy_from_numbers_is_equal_and_frozen(mlp: Mlp) -> None:
    copy = Mlp.from_numbers(perturbed(mlp).state_dict())
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(copy(x), mlp(x), rtol=1e-6, atol=1e-6)
    assert not any(p.requires_grad for p in copy.parameters())
    with torch.no_grad():
        mlp.output_bias += 1
    torch.testing.assert_close(copy(x) + 1, mlp(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 5, 24, 1000])
def test_a_frozen_mlp_computes_in_chunks_what_autograd_computes(
    mlp: Mlp, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.spaces.interaction.transforms._CHUNK", chunk)
    perturbed(mlp).double()
    frozen = Mlp.from_numbers(mlp.state_dict()).double()
    frozen.load_state_dict(mlp.state_dict())  # the numbers themselves, not their float32 copies
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator).transpose(0, 2)
    results = []
    for function in (frozen, mlp):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        (value**3).sum().backward()
        results.append((value.detach(), leaf.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(frozen, x.clone().requires_grad_())


def test_a_frozen_mlp_takes_nothing_and_leaves_its_input(mlp: Mlp) -> None:
    mlp.requires_grad_(False)
    assert mlp(torch.empty(0, 3)).shape == (0, 3)
    x = torch.linspace(-1, 1, 7)
    before = x.clone()
    mlp(x)
    assert torch.equal(x, before)
    assert float(mlp(torch.tensor(0.3))) == pytest.approx(float(mlp(torch.tensor([0.3]))))
