"""A function from a genotype is the one that sif trains and serves, in plain torch."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import sif
from sif.adapters import torch_module as functions
from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.errors import CheckpointError, ConfigError, GenotypeError, ShapeError
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS, SUMS
from sif.spaces.interaction.registry import design_of
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp

USERS, ITEMS, D = 7, 5, 6


def primitives(operation: str, user: str = "~sqrt", item: str = "+square") -> Genotype:
    blocks = {"operation": operation, "user": user, "item": item}
    return Genotype("primitives", {name: ((0, choice),) for name, choice in blocks.items()})


def learned(operation: str, fields: tuple[str, ...] = ("user", "item")) -> Genotype:
    numbers = {}
    for place, field in enumerate(fields):
        mlp = Mlp(torch.Generator().manual_seed(place), offset=0.5 * place)
        for name, value in mlp.state_dict().items():
            numbers[f"{field}.{name}"] = (
                tuple(value.shape),
                tuple(value.double().view(-1).tolist()),
            )
    return Genotype("sif", {"operation": ((0, operation),)}, numbers)


def staged(operation: str, weighting: str = "users") -> Genotype:
    return Genotype("staged", {
        "operation": ((0, operation),), "encoding": ((0, "history"), (1, "both")),
        "embedding": ((0, "graph"),), "weighting": ((0, weighting),),
    })  # fmt: skip


CASES = [
    *(primitives(name) for name in OPERATIONS),
    *(primitives("max", sign, "-abs") for sign in PRIMITIVES),
    *(learned(name) for name in OPERATIONS),
    *(staged(name) for name in (*OPERATIONS, *SUMS)),
]


def written(genotype: Genotype, folder: Path) -> Path:
    path = folder / "genotype.json"
    path.write_text(genotype.to_json())
    return path


def name_of(genotype: Genotype) -> str:
    return "-".join(
        [genotype.space, *(c for choices in genotype.blocks.values() for _, c in choices)]
    )


@pytest.mark.parametrize("genotype", CASES, ids=name_of)
def test_scores_are_those_of_the_network(genotype: Genotype, tmp_path: Path) -> None:
    function = sif.InteractionFunction.load(written(genotype, tmp_path), D)
    assert isinstance(function, sif.InteractionFunction)
    design = design_of(genotype, ("user", "item"))
    if genotype.space == "staged":  # what goes in are encoded vectors
        design = functions.design_of(rich_core(genotype), ("user", "item"))
    net = InteractionNetwork(
        design, TableShape((USERS, ITEMS), D), torch.Generator().manual_seed(3)
    )
    with torch.no_grad():
        net.readout.mul_(torch.linspace(0.1, 2.0, len(net.readout)))
        function.readout.copy_(net.readout)
    ids = torch.cartesian_prod(torch.arange(USERS), torch.arange(ITEMS))
    user, item = net.tables.embeddings
    expected = net(ids).view(USERS, ITEMS)
    torch.testing.assert_close(function(user[:, None], item), expected)
    torch.testing.assert_close(function(user[ids[:, 0]], item[ids[:, 1]]), expected.view(-1))
    torch.testing.assert_close(function(user[2], item[4]), expected[2, 4])


def rich_core(genotype: Genotype) -> Genotype:
    around = {"encoding": ((0, "id"), (1, "id")), "embedding": ((0, "identity"),)}
    return Genotype("staged", {**genotype.blocks, **around})


@pytest.mark.parametrize("genotype", [primitives("min"), learned("multiply"), staged("max")],
                         ids=name_of)  # fmt: skip
def test_gradients_reach_vectors_and_readout_and_leave_the_rest(genotype: Genotype) -> None:
    function = sif.InteractionFunction(genotype, D).double()
    draws = torch.Generator().manual_seed(0)
    vectors = [torch.randn(4, D, generator=draws).double().requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(function, vectors)
    assert [name for name, _ in function.named_parameters()] == ["readout"]
    function(*vectors).sum().backward()
    assert function.readout.grad is not None and function.readout.grad.abs().sum() > 0


def test_a_readout_starts_as_in_sif_and_is_bounded() -> None:
    function = sif.InteractionFunction(primitives("concat"), D)
    design = design_of(primitives("concat"), ("user", "item"))
    assert torch.equal(function.readout, TableShape((3, 3), D).initial_readout(design.operation))
    even = sif.InteractionFunction(primitives("concat"), D, mixed_signs=False)
    assert (even.readout == 1).all()
    user, item = torch.randn(2, 3, D)
    before = function(user, item)
    with torch.no_grad():
        function.readout.mul_(100)
    torch.testing.assert_close(function(user, item), before)


def test_what_is_around_a_function_is_told() -> None:
    function = sif.InteractionFunction(staged("multiply"))
    assert function.outside == (
        "encoding of user: history", "encoding of item: both",
        "propagation along the graph of the train part", "weighting of the loss: users",
    )  # fmt: skip
    found = staged("multiply")
    described = Genotype(found.space, {**found.blocks, "features": ((0, "added"),)})
    assert "vectors of features" in sif.InteractionFunction(described).outside
    assert function.expression in repr(function) and "history(user)" in function.expression
    assert sif.InteractionFunction(learned("max")).outside == ()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("genotype", [
    primitives("max"), primitives("concat"), learned("multiply"), staged("min+max"),
], ids=name_of)  # fmt: skip
def test_it_is_copied_saved_traced_and_exported(genotype: Genotype) -> None:
    function = sif.InteractionFunction(genotype, D)
    with torch.no_grad():
        function.readout.mul_(torch.linspace(0.2, 3, len(function.readout)))
    user, item = torch.randn(2, 9, D, generator=torch.Generator().manual_seed(1))
    expected = function(user, item)
    for other in (copy.deepcopy(function), pickle.loads(pickle.dumps(function))):
        assert torch.equal(other(user, item), expected)
    fresh = sif.InteractionFunction(genotype, D)
    fresh.load_state_dict(function.state_dict())
    assert torch.equal(fresh(user, item), expected)
    traced = torch.jit.trace(function, (user[:2], item[:2]))
    torch.testing.assert_close(traced(user, item), expected)
    rows = torch.export.Dim("rows")
    exported = torch.export.export(
        function, (user[:2], item[:2]), dynamic_shapes={"user": {0: rows}, "item": {0: rows}}
    )
    torch.testing.assert_close(exported.module()(user, item), expected)


def answers(function: Any, user: torch.Tensor, item: torch.Tensor) -> list[torch.Tensor]:
    """Scores, and gradients of a weighted sum of them for vectors and readout."""
    inputs = [user.clone().requires_grad_(), item.clone().requires_grad_()]
    scores = function(*inputs)
    weighted = (scores * torch.linspace(-1, 2, scores.numel()).view(scores.shape)).sum()
    return [scores, *torch.autograd.grad(weighted, [*inputs, function.readout])]


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # deprecated, but what some servers load
@pytest.mark.parametrize("genotype", CASES, ids=name_of)
def test_it_is_compiled_by_torch_jit(genotype: Genotype) -> None:
    function = sif.InteractionFunction(genotype, D)
    with torch.no_grad():
        function.readout.mul_(torch.linspace(0.2, 3, len(function.readout)))
    scripted = torch.jit.script(function)
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    loaded = torch.jit.load(io.BytesIO(file.getvalue()))
    draws = torch.Generator().manual_seed(2)
    user, item = torch.randn(4, 1, D, generator=draws), torch.randn(1, 3, D, generator=draws)
    for pair in ((user, item), (user[0, 0], item[0, 1])):
        expected = answers(function, *pair)
        assert expected[0].shape == torch.broadcast_shapes(*(v.shape[:-1] for v in pair))
        for compiled in (scripted, loaded):
            for _ in range(3):  # after the first calls torch runs what it optimized
                torch.testing.assert_close(answers(compiled, *pair), expected)
    with pytest.raises(torch.jit.Error, match=r"item vectors: expected shape \(..., 6\)"):
        loaded(user, item[..., :1])


def test_it_is_an_onnx_graph_as_well() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    function = sif.InteractionFunction(learned("max"), D).eval()
    user, item = torch.randn(2, 9, D, generator=torch.Generator().manual_seed(1))
    rows = torch.export.Dim("rows")
    program = torch.onnx.export(
        function, (user[:2], item[:2]), input_names=["user", "item"], dynamo=True, verbose=False,
        dynamic_shapes={"user": {0: rows}, "item": {0: rows}},
    )  # fmt: skip
    file = io.BytesIO(program.model_proto.SerializeToString())
    session = runtime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {"user": user.numpy(), "item": item.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), function(user, item), rtol=1e-5, atol=1e-5)


def test_a_saved_model_gives_its_trained_readout(make: Any, tmp_path: Path) -> None:
    recommender = make("max")
    recommender.save(tmp_path / "model")
    model = recommender.model_
    user, item = (v.index([name])[0] for v, name in
                  zip(model.vocabularies, ("u3", "i4"), strict=True))  # fmt: skip
    tables = model.network.tables.embeddings
    for folder in (tmp_path, tmp_path / "model"):
        score = sif.InteractionFunction.load(folder)(tables[0][user], tables[1][item])
        assert score.item() == pytest.approx(float(recommender.predict("u3", "i4")), rel=1e-5)
    with pytest.raises(ConfigError, match=r"dimension: expected 8, that of .*, found 4"):
        sif.InteractionFunction.load(tmp_path, 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        sif.InteractionFunction.load(tmp_path / "empty")


def test_the_dimension_of_a_genotype_is_that_of_the_presets(tmp_path: Path) -> None:
    config = load_config("cf")
    assert isinstance(config, CFConfig)
    assert config.train.dimension == functions.DIMENSION
    assert (
        sif.InteractionFunction.load(written(learned("max"), tmp_path)).dimension
        == functions.DIMENSION
    )


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (
            Genotype("darts", {"normal": ((0, "skip"),)}),
            "space: expected one of sif, primitives",
        ),
        (
            Genotype("rnn", {"cell": ((0, "tanh"),)}),
            "space: expected one of sif, primitives",
        ),
        (learned("max", ("user", "item", "time")), "function of user and item, found one of item"),
        (primitives("max(multiply(1,2),3)"), "expected one of multiply"),
        (Genotype("sif", {"operation": ((0, "max"),)}), "parameter 'user.hidden_weight'"),
    ],
    ids=["cnn", "rnn", "fields", "nested", "numbers"],
)
def test_other_genotypes_are_refused(genotype: Genotype, message: str, tmp_path: Path) -> None:
    with pytest.raises(GenotypeError, match=message):
        sif.InteractionFunction.load(written(genotype, tmp_path))


def test_vectors_of_another_dimension_are_refused(tmp_path: Path) -> None:
    function = sif.InteractionFunction(primitives("multiply"), D)
    with pytest.raises(
        ShapeError, match=r"item vectors: expected shape \(..., 6\), found \(..., 1\)"
    ):
        function(torch.ones(3, D), torch.ones(3, 1))
    with pytest.raises(ConfigError, match="dimension: expected at least 1, found 0"):
        sif.InteractionFunction(primitives("multiply"), 0)
    with pytest.raises(GenotypeError, match=r"absent\.json: cannot be read"):
        sif.InteractionFunction.load(tmp_path / "absent.json")
