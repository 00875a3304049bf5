"""Element-wise functions of one embedding: the P and Q of an interaction function.

`PRIMITIVES` is the finite set of the first SIF code: a magnitude (sqrt|x|, |x|, x^2) times a sign
(+1, -1, sign(x)), written "<sign><magnitude>" with "+", "-" and "~" for the sign, so "~abs" is the
identity. `Mlp` is the learned 1-8-1 tanh network of SIF (WWW 2020, section 4.1). Further functions
are added to `PRIMITIVES` by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Elementwise = Callable[[Tensor], Tensor]

HIDDEN = 8
"""Hidden units of P and Q (SIF, WWW 2020; models_binary.py of the published code)."""
SQRT_SHIFT = 1e-4
"""Added below the root: sqrt(|x| + s) - sqrt(s) has a finite slope, 1 / (2 sqrt(s)), at 0."""
SPAN = 2.0
"""An `Mlp` starts close to x + OFFSET for inputs in [-SPAN, SPAN]."""
OFFSET = 0.5
"""At x itself multiply starts on a saddle (both factors near 0) and is judged before it has left it;
(u + c)(v + c) starts as plus, which it contains. Other operations do not notice the shift."""


def _sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x.abs() + SQRT_SHIFT) - SQRT_SHIFT**0.5


def _signed(sign: str, magnitude: Elementwise) -> Elementwise:
    if sign == "+":
        return magnitude
    if sign == "-":
        return lambda x: -magnitude(x)
    return lambda x: torch.sign(x) * magnitude(x)


def _identity(x: Tensor) -> Tensor:
    return x


_MAGNITUDES: dict[str, Elementwise] = {"sqrt": _sqrt, "abs": torch.abs, "square": torch.square}
_SIGNS = ("+", "-", "~")

PRIMITIVES: dict[str, Elementwise] = {
    sign + name: _signed(sign, function) for sign in _SIGNS for name, function in _MAGNITUDES.items()
}
PRIMITIVES["~abs"] = _identity  # sign(x)|x|, without the two products and with slope 1 at 0

RANGES = {"+": "positive", "-": "negative", "~": "real"}
"""Values that a transform of a free embedding can reach, by the sign in its name."""


class Mlp(nn.Module):
    """x -> b2 + w2 . tanh(w1 x + b1), applied to every entry alike.

    Args:
        generator: Draws the hidden slopes and offsets; the output layer is then fitted so that the
            function starts close to x + OFFSET: no transform, seen from where every operation moves.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        slope = 0.5 + 0.5 * torch.rand(HIDDEN, generator=generator, dtype=torch.float64)
        offset = SPAN * (2 * torch.rand(HIDDEN, generator=generator, dtype=torch.float64) - 1)
        x = torch.linspace(-SPAN, SPAN, 201, dtype=torch.float64)
        design = torch.cat([torch.tanh(x[:, None] * slope + offset), torch.ones(201, 1)], dim=1)
        # A small ridge keeps the output weights of order one; they stay easy to train.
        gram = design.T @ design + 1e-3 * torch.eye(HIDDEN + 1, dtype=torch.float64)
        output = torch.linalg.solve(gram, design.T @ (x + OFFSET))
        dtype = torch.get_default_dtype()
        self.hidden_weight = nn.Parameter(slope.to(dtype))
        self.hidden_bias = nn.Parameter(offset.to(dtype))
        self.output_weight = nn.Parameter(output[:-1].to(dtype))
        self.output_bias = nn.Parameter(output[-1].to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        hidden = torch.tanh(x[..., None] * self.hidden_weight + self.hidden_bias)
        return hidden @ self.output_weight + self.output_bias

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Tensor]) -> Mlp:
        """A frozen copy from the four (8,), (8,), (8,), () tensors of `state_dict`."""
        module = cls(torch.Generator())
        module.load_state_dict(dict(numbers))
        return module.requires_grad_(False)
