"""A trained model as a file that other programs read.

- implicit (.npz): factors of users and items, for `AlternatingLeastSquares.load`.
- onnx (.onnx) and torch (.pt2, for `torch.export.load`), of a function: one input `users`, float32
  (b, d + 1), a user's vector and, last, its bias (0 where there is none); one output `scores`,
  float32 (b, n_items). `user_inputs` and `history_inputs` give what goes in.
- The same two of an item-item model: inputs `history`, int64 (b, length), and, where the model
  reads time, `times`, float64; see `sif.adapters.history_scores`, which gives what goes in.
- The same two of a reader of histories, by `export_reader`: one input `history`.

The graphs carry the items' original ids in the order of the scores, as JSON under the name `items`,
beside `expression`.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from sif.adapters.history_scores import MOST_BYTES, PADDING, HistoryScores
from sif.adapters.state_scores import StateScores
from sif.adapters.torch_module import InteractionFunction
from sif.errors import ConfigError
from sif.recommender.arguments import history_row
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.retrieval.engine import Engine
from sif.spaces.histories.models import HistoryModel
from sif.utils.checkpoint import write_bytes_atomic
from sif.utils.registry import unknown

ONNX_BYTES = MOST_BYTES
"""Most bytes of weights in one ONNX file, whose format ends at 2 GB."""


class CatalogueScores(nn.Module):
    """A trained function with its items: users (b, d + 1) to scores (b, n_items).

    The rule of rankings for untrained items is kept, minus infinity; that for cold users (the
    popular) is not.
    """

    items: Tensor
    offset: Tensor

    def __init__(self, model: ServedModel) -> None:
        super().__init__()
        self.function = InteractionFunction.of(model).requires_grad_(False)
        interaction, tables = model.network.interaction(), model.network.tables
        offset = tables.intercept.detach().expand(len(model.vocabularies[1]))
        if tables.biases:
            offset = offset + tables.biases[1].detach()
        if model.rule is not None:
            offset = offset.masked_fill(torch.from_numpy(model.rule.never_recommended), -torch.inf)
        self.register_buffer("items", interaction.table(1).detach().clone())
        self.register_buffer("offset", offset.clone())
        self.mean, self.deviation = float(model.scale.mean), float(model.scale.deviation)

    def forward(self, users: Tensor) -> Tensor:
        """Scores (b, n_items) of users (b, d + 1), in rating units for models of ratings."""
        p = self.function.transforms[0](users[:, :-1])
        scores = self.function.combined(p[:, None, :], self.items) + self.offset + users[:, -1:]
        return self.mean + self.deviation * scores


def user_inputs(recommender: Recommender, users: Iterable[Any]) -> NDArray[np.float32]:
    """Inputs of known users, by their original ids: float32 (b, d + 1).

    Raises:
        UnknownIdError: An unknown user.
        ConfigError: An item-item model; see `sif.adapters.history_scores`.

    Examples:
        >>> from sif.adapters.export import user_inputs
        >>> user_inputs(model, ["c1", "c2"]).shape[0]
        2
    """
    model = _of_vectors(recommender)
    rows = model.vocabularies[0].index(list(users), "user")
    inputs = Engine(model.network.interaction()).vectors(rows)
    return _inputs(inputs.vectors, inputs.biases)


def history_inputs(
    recommender: Recommender, history: Any, ratings: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Input of somebody who is in no table: float32 (1, d + 1); see `recommend_new`.

    Raises:
        UnknownIdError: An unknown item.
        ConfigError: An item-item model; see `sif.adapters.history_scores`.

    Examples:
        >>> from sif.adapters.export import history_inputs
        >>> history_inputs(model, ["mug1", "mug2"]).shape[0]
        1
    """
    model = _of_vectors(recommender)
    return _inputs(*model.fold(0).vectors(history_row(model, history, ratings)))


def export(recommender: Recommender, to: str, output: Path) -> Path:
    """Writes a fitted recommender for another program; returns the file.

    Args:
        recommender: A fitted one, whose fields are user and item.
        to: Key of `FORMATS`.
        output: A name with that format's ending.

    Raises:
        ConfigError: An unknown format, another ending, no such folder, a library that is missing,
            or a function that the format cannot hold.
        CheckpointError: A failed write; nothing has changed.

    Examples:
        >>> from pathlib import Path
        >>> from sif.adapters.export import export
        >>> export(model, "torch", Path("model.pt2")).name
        'model.pt2'
    """
    output = _checked(to, output, FORMATS)
    model = recommender.fitted_model()
    IndexedRecommender(model).refuse_unpersonalized()
    written = FORMATS[to][1](model)
    write_bytes_atomic(output, written)
    return output


def export_reader(
    network: HistoryModel, items: Iterable[str], to: str, output: Path, *, length: int,
    expression: str = "",
) -> Path:  # fmt: skip
    """Writes a trained reader of histories for another program; returns the file.

    Args:
        network: Trained, as `HistoryProblem.train` gives it.
        items: Original ids in the order of its catalog.
        to: "onnx" or "torch".
        output: A name with that format's ending.
        length: Places of the input `history`, int64 (b, length): of longer histories the last ones
            go in, shorter ones end with -1.
        expression: The function, for the metadata.

    Raises:
        ConfigError: For the reasons of `export`, or another number of items than the catalog's.
        CheckpointError: A failed write; nothing has changed.

    Examples:
        >>> from pathlib import Path
        >>> from sif.adapters.export import export_reader
        >>> from sif.spaces.histories.models import history_model
        >>> from sif.spaces.rnn.dropout import TextShape
        >>> gru = history_model(TextShape(vocabulary=3, hidden=4), "gru")
        >>> export_reader(gru, ["a", "b", "c"], "torch", Path("gru.pt2"), length=5).name
        'gru.pt2'
    """
    output, ids = _checked(to, output, GRAPHS), list(items)
    if len(ids) != network.shape.vocabulary:
        raise ConfigError(f"items: expected {network.shape.vocabulary}, found {len(ids)}")
    if length < 1:
        raise ConfigError(f"length: expected at least 1, found {length}")
    history = torch.full((2, length), PADDING, dtype=torch.int64)
    sizes = {"history": {0: torch.export.Dim("users", min=1)}}
    module = StateScores(copy.deepcopy(network).cpu()).eval()
    graph = _Graph(module, {"history": history}, sizes, _noted(ids, expression))
    write_bytes_atomic(output, GRAPHS[to][1](graph))
    return output


def _checked(to: str, output: Path, formats: Mapping[str, tuple[str, Any]]) -> Path:
    """The file, whose name has the ending of the format."""
    if to not in formats:
        raise unknown("to", to, formats)
    ending = formats[to][0]
    if output.suffix != ending:
        raise ConfigError(f"{output}: expected a name that ends in {ending}")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: expected a name in a folder that is there")
    return output


def _implicit(model: ServedModel) -> bytes:
    try:
        from sif.adapters.implicit import SIFFactors
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name}: not installed; pip install implicit") from None
    file = io.BytesIO()
    SIFFactors.of(model).save(file)
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class _Graph:
    """A model as exporters take it.

    Attributes:
        module: Scores all items.
        inputs: Name of each input to an example of it, of two rows: a size of 1 is a constant to
            exporters.
        sizes: Name of each input to its sizes that vary, by dimension.
        notes: Metadata of the file.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    sizes: Mapping[str, Mapping[int, Any]]
    notes: Mapping[str, str]

    def program(self) -> torch.export.ExportedProgram:
        """The graph; `torch.onnx.export` alone would fix sizes that it cannot keep open."""
        with _without_remarks():
            return torch.export.export(
                self.module, tuple(self.inputs.values()), dynamic_shapes=dict(self.sizes)
            )


def _graph(model: ServedModel) -> _Graph:
    users, notes = torch.export.Dim("users", min=1), _notes(model)
    if not model.reads_order:
        example = torch.zeros(2, model.network.shape.dimension + 1)
        scores = CatalogueScores(model).eval()
        return _Graph(scores, {"users": example}, {"users": {0: users}}, notes)
    inputs = {"history": torch.zeros(2, 3, dtype=torch.int64)}
    if model.reads_time:
        inputs["times"] = torch.zeros(2, 3, dtype=torch.float64)
    both = {0: users, 1: torch.export.Dim("length", min=1)}
    return _Graph(HistoryScores(model).eval(), inputs, dict.fromkeys(inputs, both), notes)


def _torch(graph: _Graph) -> bytes:
    file = io.BytesIO()
    torch.export.save(graph.program(), file, extra_files=dict(graph.notes))
    return file.getvalue()


def _onnx(graph: _Graph) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter is written in it)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name}: not installed; pip install 'sif[onnx]'") from None
    size = sum(tensor.nbytes for tensor in graph.module.state_dict().values())
    if size > ONNX_BYTES:
        raise ConfigError(
            f"onnx: expected at most {ONNX_BYTES} bytes of weights, found {size}; use to=torch"
        )
    with _without_remarks():
        program = torch.onnx.export(
            graph.program(), input_names=list(graph.inputs), output_names=["scores"],
            dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None  # noqa: S101
    proto = program.model_proto
    _name_sizes(proto.graph, graph)
    onnx.helper.set_model_props(proto, dict(graph.notes))
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _name_sizes(proto: Any, graph: _Graph) -> None:
    """Gives sizes that vary their names in an ONNX graph, for which the exporter has numbers."""
    names = {
        told.type.tensor_type.shape.dim[place].dim_param: size.__name__
        for told in proto.input
        for place, size in graph.sizes[told.name].items()
    }
    for told in (*proto.input, *proto.output):
        for size in told.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]
    del proto.value_info[:]  # shapes within, in the exporter's names; programs infer them


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """A block in which the exporter keeps its remarks on itself and on missing libraries."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _of_graph(made: Callable[[_Graph], bytes], model: ServedModel) -> bytes:
    return made(_graph(model))


GRAPHS: Mapping[str, tuple[str, Callable[[_Graph], bytes]]] = {
    "onnx": (".onnx", _onnx),
    "torch": (".pt2", _torch),
}
"""Name to the ending of its files and what makes the content of a graph."""
FORMATS: Mapping[str, tuple[str, Callable[[ServedModel], bytes]]] = {
    "implicit": (".npz", _implicit),
    **{name: (ending, partial(_of_graph, made)) for name, (ending, made) in GRAPHS.items()},
}
"""Name to the ending of its files and what makes the content of a model."""


def _notes(model: ServedModel) -> Mapping[str, str]:
    return _noted(model.vocabularies[1].ids.tolist(), model.expression)


def _noted(items: list[str], expression: str) -> Mapping[str, str]:
    return {"items": json.dumps(items), "expression": expression}


def _of_vectors(recommender: Recommender) -> ServedModel:
    model = recommender.fitted_model()
    if model.reads_order:
        raise ConfigError(
            f"expected a function of vectors of users and items, found {model.expression}; use "
            "user_sequences and history_sequences of sif.adapters.history_scores"
        )
    return model


def _inputs(vectors: Tensor, biases: Tensor | None) -> NDArray[np.float32]:
    last = torch.zeros(len(vectors)) if biases is None else biases
    return np.asarray(torch.cat([vectors, last[:, None]], dim=1).float().cpu().numpy())
