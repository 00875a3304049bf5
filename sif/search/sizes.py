"""The objectives that count: parameters, multiply-adds, memory.

docs/concepts/objectives.md has the definitions with their sources.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from sif.core.pieces import Piece, Pieces
from sif.search.objectives import Measure, Objective
from sif.utils.device import Runtime

MIB = 2.0**20


def parameters(pieces: Pieces, runtime: Runtime) -> Measure:
    """Number of trainable values of the network."""
    return Measure(lambda piece: float(_trainable(piece.make())))


def multiply_adds(pieces: Pieces, runtime: Runtime) -> Measure:
    """Multiply-adds of convolutions and matrix products; of functions, of all entries too."""
    return Measure(lambda piece: counted(piece.make(), piece.inputs(), pieces.entrywise))


def memory(pieces: Pieces, runtime: Runtime) -> Measure:
    """MiB of weights, statistics and all values that operations allocate for one input."""

    def measure(piece: Piece) -> float:
        module = piece.make()
        own = [*module.parameters(), *module.buffers()]
        return (sum(t.nbytes for t in own) + activation_bytes(module, piece.inputs())) / MIB

    return Measure(measure)


def _trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def counted(module: nn.Module, inputs: tuple[Tensor, ...], entrywise: bool = False) -> float:
    """Multiply-adds of a module for its inputs, by torch's counter.

    Args:
        module: Runs once.
        inputs: Its arguments.
        entrywise: Whether each entry that an element-wise operation makes counts as one.
    """
    custom = _ENTRYWISE if entrywise else {}
    with FlopCounterMode(display=False, custom_mapping=custom) as counter:
        module(*inputs)
    return float(counter.get_total_flops()) / 2  # it counts multiplications and additions apart


@torch.no_grad()
def activation_bytes(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Bytes of all values that the operations of a module allocate, each block of memory once."""
    with _Allocated([*module.parameters(), *module.buffers(), *inputs]) as seen:
        module(*inputs)
    return float(seen.bytes)


class _Allocated(TorchDispatchMode):
    """Adds up the memory that operations allocate.

    Args:
        known: Tensors that were there before.

    Attributes:
        bytes: The sum.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.bytes = 0
        self._kept = [t.untyped_storage() for t in known]  # kept, so that no address comes again
        self._seen = {storage.data_ptr() for storage in self._kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                if storage.nbytes() and storage.data_ptr() not in self._seen:
                    self._seen.add(storage.data_ptr())
                    self._kept.append(storage)
                    self.bytes += storage.nbytes()
        return result


def _entries(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
    """Two for each entry, as the counter halves them."""
    shape = out_shape if isinstance(out_shape, (tuple, list, torch.Size)) else ()
    return 2 * int(torch.Size(shape).numel()) if len(shape) else 0


def _mv(matrix: Any, vector: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * int(matrix[0]) * int(matrix[1])


_aten = torch.ops.aten
_ENTRYWISE: dict[Any, Any] = {
    _aten.mv: _mv,
    **dict.fromkeys(
        (
            _aten.mul, _aten.add, _aten.sub, _aten.rsub, _aten.neg, _aten.abs, _aten.sqrt,
            _aten.square, _aten.pow, _aten.sign, _aten.relu, _aten.tanh, _aten.addmv, _aten.div,
        ),
        _entries,
    ),
}  # fmt: skip
"""The operations of interaction functions that torch's counter leaves out."""

PARAMETERS = Objective("", parameters)
MULTIPLY_ADDS = Objective("", multiply_adds)
MEMORY = Objective("MiB", memory)
