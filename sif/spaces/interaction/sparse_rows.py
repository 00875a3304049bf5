"""Lookup of rows of a large table, and Adam steps whose cost grows with these rows alone.

A batch of a thousandth of the users needs a thousandth of their table. The gradient of `take_rows`
is a sparse tensor of those rows, and `RowAdam` moves only them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Any:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (rows,) = ctx.saved_tensors
        # Sorted and distinct, which is all that "coalesced" says.
        sparse = torch.sparse_coo_tensor(
            rows[None], grads[0], ctx.shape, is_coalesced=True, check_invariants=False
        )
        return sparse, None


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """table[rows], whose gradient by the table is sparse.

    Args:
        table: (n, ...), a leaf; within one loss to be looked up once, so that its gradient stays
            sorted and distinct.
        rows: (b,) int64, ascending and distinct.

    Returns:
        (b, ...).
    """
    result: Tensor = _TakeRows.apply(table, rows)
    return result


class RowAdam(torch.optim.Adam):
    """Adam that moves only the rows a gradient has, each with moments and a step count of its own.

    Parameters with dense gradients take the steps of `torch.optim.Adam`. For a row that is seen
    once in a pass, the global step count of `torch.optim.SparseAdam` corrects nothing, and its
    first steps are up to twice as long as Adam's; with its own count a row takes exactly the steps
    that Adam would take if only the steps with a gradient of that row existed.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; sparse gradients are used up."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(parameter, gradient.coalesce(), group)
                    parameter.grad = None
        return super().step(closure)

    def _step_rows(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(
                len(parameter), dtype=torch.float32, device=parameter.device
            )
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        rows, change = gradient.indices()[0], gradient.values()
        beta1, beta2 = group["betas"]
        # Loading a state leaves what is called "step" on the CPU (torch.optim.Optimizer).
        state["step"] = state["step"].to(parameter.device)
        count = state["step"][rows] + 1
        first = state["exp_avg"][rows].lerp_(change, 1 - beta1)
        second = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(change, change, value=1 - beta2)
        for name, value in (("step", count), ("exp_avg", first), ("exp_avg_sq", second)):
            state[name].index_copy_(0, rows, value)
        shape = (-1, *(1 for _ in change.shape[1:]))
        exact = count.double()
        size = (group["lr"] / (1 - beta1**exact)).to(change.dtype).view(shape)
        scale = (1 - beta2**exact).sqrt().to(change.dtype).view(shape)
        parameter.index_add_(
            0, rows, first.mul_(size).div_(second.sqrt_().div_(scale).add_(group["eps"])), alpha=-1
        )
