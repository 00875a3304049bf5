"""Gated recurrent cells as values: the form of every gate, and the activations.

A cell keeps an output h and a memory c. A step with the input x computes

    c' = forget * c + input * candidate, clipped
    h' = output * activation(c')

LSTM (Hochreiter & Schmidhuber, 1997; Gers et al., 2000), GRU (Cho et al., EMNLP 2014), the LSTM
with coupled gates (Greff et al., 2017), Elman's network and multiplicative integration (Wu et al.,
NIPS 2016) are points of this space.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from sif.errors import GenotypeError
from sif.spaces.genotype_text import parse_genotype
from sif.utils.registry import unknown

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": F.gelu,
    "identity": lambda x: x,
}
"""Activations of the candidate and of the memory."""

CHOICES: dict[str, tuple[str, ...]] = {
    "input": ("sigmoid", "one"),
    "forget": ("sigmoid", "coupled"),
    "reset": ("none", "before", "after", "product"),
    "candidate": tuple(ACTIVATIONS),
    "activation": tuple(ACTIVATIONS),
    "output": ("sigmoid", "one"),
}
"""Fields of `GatedCell` to their alternatives."""
CLIP = 50.0
"""Bound of the memory, positive and negative (Sak et al., Interspeech 2014): a candidate without
tanh may make it grow from step to step, and a cell that is drawn must not spoil the weights that it
shares. The memories of LSTM and GRU stay far below."""
CANDIDATE = "candidate"
"""Name of the product that the candidate is an activation of, beside those of gates."""


@dataclass(frozen=True)
class GatedCell:
    """A cell.

    Attributes:
        input: Gate of the candidate: a sigmoid of x and h, or one.
        forget: Gate of the memory: a sigmoid of x and h, or coupled (1 minus the input gate).
        reset: Share of h in the candidate: Uh (none), U(rh) (before), r(Uh + b) (after), or
            (1 + Wx + a)(Uh + b) (product), where r is a gate of its own.
        candidate: Activation of the candidate.
        activation: Activation of the new memory, which the output gate multiplies.
        output: Gate of the output: a sigmoid of x and h, or one.

    Raises:
        GenotypeError: An unknown alternative.
    """

    input: str
    forget: str
    reset: str
    candidate: str
    activation: str
    output: str

    def __post_init__(self) -> None:
        for name, chosen in asdict(self).items():
            if chosen not in CHOICES[name]:
                raise unknown(f"gated cell: {name}", chosen, CHOICES[name], GenotypeError)

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates that have weights."""
        own = [name for name in ("input", "forget", "output") if vars(self)[name] == "sigmoid"]
        return (*own, "reset") if self.reset in ("before", "after") else tuple(own)

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products of x and h with matrices; that of the candidate is the last."""
        return (*self.gates, CANDIDATE)

    @property
    def inner_bias(self) -> bool:
        """True if the share of h has a bias of its own, before something multiplies it."""
        return self.reset in ("after", "product")

    def size(self, width: int) -> int:
        """Number of weights at a width of x, h and c."""
        return len(self.products) * (2 * width + 1) * width + self.inner_bias * width


def parse_gated(text: str, where: str = "genotype") -> GatedCell:
    """Reads `Genotype(input='sigmoid', forget=..., ...)`.

    Raises:
        GenotypeError: Anything else; the message begins with `where`.
    """
    names = tuple(entry.name for entry in fields(GatedCell))

    def build(found: Mapping[str, ast.expr]) -> GatedCell:
        return GatedCell(**{name: str(ast.literal_eval(found[name])) for name in names})

    return parse_genotype(text, where, names, build)


def format_gated(cell: GatedCell) -> str:
    """The text that `parse_gated` reads."""
    return f"Genotype({', '.join(f'{name}={chosen!r}' for name, chosen in asdict(cell).items())})"


def expression(cell: GatedCell) -> str:
    """The cell on one line, such as "f = sigmoid, g = tanh(Wx + Uh), c = f c + g, h = tanh(c)"."""
    parts = [f"{name[0]} = sigmoid" for name in cell.gates]
    parts.append(f"g = {_applied(cell.candidate, _inside(cell))}")
    parts.append(f"c = {_memory(cell)}")
    output = _applied(cell.activation, "c")
    return ", ".join([*parts, f"h = {'o ' if cell.output == 'sigmoid' else ''}{output}"])


def equations(cell: GatedCell) -> list[str]:
    """The cell line by line, with its matrices and biases; W x is a product, f c one by element."""
    lines = [
        f"{name[0]} = sigmoid(W{name[0]} x + U{name[0]} h + b{name[0]})" for name in cell.gates
    ]
    lines.append(f"g = {_applied(cell.candidate, _inside(cell, biased=True))}")
    lines.append(f"c' = {_memory(cell)}")
    output = _applied(cell.activation, "c'")
    return [*lines, f"h' = {'o ' if cell.output == 'sigmoid' else ''}{output}"]


INPUTS = ("x, h", "c")
"""Names of the first nodes of a graph."""


def graph(cell: GatedCell) -> tuple[list[list[tuple[str, int]]], list[int]]:
    """The cell as a graph for drawings.

    Returns:
        For each node behind `INPUTS`, whose numbers go on from there, the operations and the nodes
        that they read; and the nodes that the output is made of.
    """
    nodes: list[list[tuple[str, int]]] = []

    def node(*edges: tuple[str, int]) -> int:
        nodes.append(list(edges))
        return len(nodes) + len(INPUTS) - 1

    own = {name: node((f"{name} gate", 0)) for name in cell.gates}
    if cell.input == "sigmoid" and cell.forget == "coupled":
        own["forget"] = node(("1 - input gate", own["input"]))
    share = "h * (1 + x)" if cell.reset == "product" else cell.candidate
    reset = [(f"reset {cell.reset}", own["reset"])] if "reset" in own else []
    fresh = node((share if cell.reset != "product" else f"{cell.candidate}, {share}", 0), *reset)
    gated = [("times input", own["input"])] if "input" in own else []
    memory = [("candidate", fresh), *gated]
    memory += [("memory", 1), ("times forget", own["forget"])] if "forget" in own else []
    behind = node(*memory)
    active = node((cell.activation, behind))
    return nodes, [active, own["output"]] if "output" in own else [active]


def _applied(activation: str, text: str) -> str:
    return text if activation == "identity" else f"{activation}({text})"


def _inside(cell: GatedCell, biased: bool = False) -> str:
    """Sum under the candidate's activation."""
    given, share = ("W x + a", "U h + b") if biased else ("Wx", "Uh")
    if cell.reset == "none":
        return f"{given.replace('a', 'b')} + U h" if biased else f"{given} + {share}"
    if cell.reset == "before":
        return f"{given.replace('a', 'b')} + U (r h)" if biased else f"{given} + U(r h)"
    factor = "r" if cell.reset == "after" else f"(1 + {given})"
    return f"{given} + {factor} ({share})" if biased else f"{given} + {factor} {share}"


def _memory(cell: GatedCell) -> str:
    """Sum of the old memory and the candidate under their gates."""
    new = "i g" if cell.input == "sigmoid" else "g"
    if cell.forget == "coupled":
        return f"(1 - i) c + {new}" if cell.input == "sigmoid" else new
    return f"f c + {new}"


LSTM_CELL = GatedCell("sigmoid", "sigmoid", "none", "tanh", "tanh", "sigmoid")
"""The LSTM as a point of the space."""
PUBLISHED: dict[str, GatedCell] = {
    "gru": GatedCell("sigmoid", "coupled", "after", "tanh", "identity", "one"),
    "lstm-cell": LSTM_CELL,
    "lstm-coupled": GatedCell("sigmoid", "coupled", "none", "tanh", "tanh", "sigmoid"),
    "elman": GatedCell("one", "coupled", "none", "tanh", "identity", "one"),
}
"""Published cells. `lstm-cell` is the LSTM as a point of the space, with the space's first
weights; `lstm` is torch's. The input gate of `gru` is 1 minus torch's update gate."""
