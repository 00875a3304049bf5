"""Element-wise functions of one embedding: the P and Q of an interaction function.

`PRIMITIVES` is the finite set of the first SIF code: a magnitude (sqrt|x|, |x|, x^2) times a sign
(+1, -1, sign(x)), written "<sign><magnitude>" with "+", "-" and "~" for the sign, so "~abs" is the
identity. `Mlp` is the learned 1-8-1 tanh network of SIF (WWW 2020, section 4.1). Further functions
are added to `PRIMITIVES` by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Elementwise = Callable[[Tensor], Tensor]
Numbers = tuple[tuple[int, ...], tuple[float, ...]]
"""Shape and values in row-major order (`Genotype.parameters`)."""

HIDDEN = 8
"""Hidden units of P and Q (SIF, WWW 2020; models_binary.py of the published code)."""
SQRT_SHIFT = 1e-4
"""Added below the root: sqrt(|x| + s) - sqrt(s) has a finite slope, 1 / (2 sqrt(s)), at 0."""
SPAN = 2.0
"""An `Mlp` starts close to x + offset for inputs in [-SPAN, SPAN]."""
_CHUNK = 1 << 15
"""Entries that a frozen `Mlp` evaluates at once: 1 MB of hidden units stays in cache."""


# Functions at the top of the module, with types: `torch.jit.script` compiles no others, and knows
# no global numbers, only those of defaults.


def _sqrt(x: Tensor, shift: float = SQRT_SHIFT) -> Tensor:
    return torch.sqrt(x.abs() + shift).sub(shift**0.5)


def _minus_sqrt(x: Tensor) -> Tensor:
    return -_sqrt(x)


def _signed_sqrt(x: Tensor) -> Tensor:
    return torch.sign(x) * _sqrt(x)


def _minus_abs(x: Tensor) -> Tensor:
    return -torch.abs(x)


def _minus_square(x: Tensor) -> Tensor:
    return -torch.square(x)


def _signed_square(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.square(x)


def _identity(x: Tensor) -> Tensor:
    return x  # sign(x)|x|, without the two products and with slope 1 at 0


def is_identity(transform: Elementwise) -> bool:
    """True if an element-wise function is the identity of `PRIMITIVES`."""
    return transform is _identity


IDENTITY = "~abs"
PRIMITIVES: dict[str, Elementwise] = {
    "+sqrt": _sqrt, "+abs": torch.abs, "+square": torch.square,
    "-sqrt": _minus_sqrt, "-abs": _minus_abs, "-square": _minus_square,
    "~sqrt": _signed_sqrt, IDENTITY: _identity, "~square": _signed_square,
}  # fmt: skip

RANGES = {"+": "positive", "-": "negative", "~": "real"}
"""Values that a transform of a free embedding can reach, by the sign in its name."""


class _Frozen(torch.autograd.Function):
    """A frozen `Mlp`: keeps its slope at every entry for the backward pass, and no hidden units."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mlp: Mlp) -> Any:
        flat = x.detach().flatten()
        value, slope = torch.empty_like(flat), torch.empty_like(flat)
        chain = mlp.hidden_weight * mlp.output_weight
        for start in range(0, len(flat), _CHUNK):
            part = slice(start, start + _CHUNK)
            hidden = mlp.hidden(flat[part])
            torch.addmv(mlp.output_bias, hidden, mlp.output_weight, out=value[part])
            slope[part] = chain.sum() - hidden.square_() @ chain
        ctx.save_for_backward(slope.view_as(x))
        return value.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * ctx.saved_tensors[0], None


class Mlp(nn.Module):
    """x -> b2 + w2 . tanh(w1 x + b1), applied to every entry alike.

    Args:
        generator: Draws the hidden slopes; the output layer is then fitted so that the function
            starts close to x + offset.
        offset: 0 starts at no transform at all. At x itself multiply starts on a saddle (both
            factors near 0); (u + c)(v + c) starts as plus, which it contains.
    """

    def __init__(self, generator: torch.Generator, offset: float = 0.0) -> None:
        super().__init__()
        slope = 0.25 + 0.5 * torch.rand(HIDDEN, generator=generator, dtype=torch.float64)
        x = torch.linspace(-SPAN, SPAN, 201, dtype=torch.float64)
        design = torch.tanh(x[:, None] * slope)
        # A small ridge keeps the output weights of order one; they stay easy to train.
        gram = design.T @ design + 1e-3 * torch.eye(HIDDEN, dtype=torch.float64)
        output = torch.linalg.solve(gram, design.T @ x)
        dtype = torch.get_default_dtype()
        self.hidden_weight = nn.Parameter(slope.to(dtype))
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN, dtype=dtype))
        self.output_weight = nn.Parameter(output.to(dtype))
        self.output_bias = nn.Parameter(torch.tensor(offset, dtype=dtype))

    def hidden(self, x: Tensor) -> Tensor:
        """Hidden units (..., HIDDEN) at x (...)."""
        return torch.tanh(x[..., None] * self.hidden_weight + self.hidden_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.hidden_weight.requires_grad:
            frozen: Tensor = _Frozen.apply(x, self)
            return frozen
        return self.hidden(x) @ self.output_weight + self.output_bias

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Tensor]) -> Mlp:
        """A frozen copy from the four (8,), (8,), (8,), () tensors of `state_dict`."""
        module = cls(torch.Generator())
        module.load_state_dict(dict(numbers))
        return module.requires_grad_(False)


def mlp_numbers(fields: Sequence[str], mlps: Iterable[nn.Module]) -> dict[str, Numbers]:
    """Parameters of a genotype that hold the fields' functions; none where there are none."""
    return {
        f"{field}.{name}": (tuple(value.shape), tuple(value.double().flatten().tolist()))
        for field, mlp in zip(fields, mlps, strict=False)
        for name, value in mlp.state_dict().items()
    }
