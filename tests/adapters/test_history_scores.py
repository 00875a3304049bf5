"""Item-item models as graphs: histories in, scores out, by hand and as `Recommender` answers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from sif import Recommender
from sif.adapters.export import export, export_reader
from sif.adapters.history_scores import (
    HistoryScores,
    SparseWeights,
    history_sequences,
    user_sequences,
)
from sif.core.genotype import Genotype
from sif.data.interactions import Vocabulary
from sif.errors import ConfigError, ShapeError, UnknownIdError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.scorers import Scale
from sif.recommender.model import ServedModel
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.filters import GraphFilter
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.closed.weights import FilterWeights, Powers
from sif.spaces.histories.models import HistoryModel, history_model
from sif.spaces.histories.scales import ScalesDesign
from sif.spaces.linear.design import decay_of, given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.sequences import Decay
from sif.spaces.linear.weights import ItemWeights
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import TextShape

N = 9
UNTRAINED = 8
SCALES = (Decay(0.5, 2), Decay(0.8), Decay(1.0))
TIMED = Genotype(
    "order",
    {
        "target": ((0, "next"),), "recent": ((0, "0.3"),), "middle": ((0, "last"),),
        "long": ((0, "none"),), "half-life": ((0, "3600"),), "discount": ((0, "0"),),
    },
)  # fmt: skip


def served(network: OrderNetwork, seed: int = 0) -> Recommender:
    """A recommender of 5 users, the last of whom has nothing, and one item without training."""
    draws = np.random.default_rng(seed)
    rows = np.zeros((5, N))
    for user in range(4):
        items = draws.permutation(N - 1)[: user + 2]
        rows[user, items] = 1e9 + np.arange(1.0, len(items) + 1) * 2000
    order = np.append(-np.arange(1.0, N), -np.inf).astype(np.float32)
    ids = tuple(
        Vocabulary([f"{kind}{n}" for n in range(size)]) for kind, size in (("u", 5), ("i", N))
    )
    model = ServedModel(
        network.genotype, network, ("user", "item"), ids, sp.csr_array(rows), {}, Scale(),
        cold_start=ColdStartRule(order, rows.sum(1) == 0),
    )  # fmt: skip
    recommender = Recommender()
    recommender._serve(model)
    return recommender


def numbers(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def sparse(rows: int, filled: int = 6) -> sp.csr_matrix:
    weights = numbers(rows, N)
    weights[np.random.default_rng(2).random(weights.shape) > filled / 30] = 0
    return sp.csr_matrix(weights)


def two_each(rows: int, count: int = 2) -> sp.csr_matrix:
    """So many weights at most in each row."""
    weights = numbers(rows, N)
    weights[np.argsort(np.argsort(weights, axis=1), axis=1) >= count] = 0
    weights[::4] = 0
    return sp.csr_matrix(weights)


def a_filter(rank: int, clicks: bool) -> OrderNetwork:
    rows = abs(sparse(7, 12)) if clicks else None
    polynomial = Powers(3.0, (1.0, 0.5)) if clicks else None
    ones = np.ones(N, np.float32)
    sides = numbers(N, rank), numbers(N, rank)
    design = genotype_of(GraphFilter(user=0.4, phi=0.2, rank=4.0, second=-0.25))
    return ClosedNetwork(design, N).take(
        FilterWeights(N, rows, polynomial, 2 * ones, ones / 2, sides)
    )


def networks() -> dict[str, OrderNetwork]:
    a_set, scales = given_genotype(()), given_genotype(SCALES)
    some = np.array([0, 3, 5])
    return {
        "dense set": OrderNetwork(a_set, N).take(ItemWeights(numbers(N, N), N)),
        "sparse set": OrderNetwork(a_set, N).take(ItemWeights.sparse(two_each(N), numbers(N))),
        "filled set": OrderNetwork(a_set, N).take(ItemWeights.sparse(sparse(N, 30), numbers(N))),
        "offsets alone": OrderNetwork(a_set, N).take(
            ItemWeights.sparse(sp.csr_matrix((N, N), dtype=np.float32), numbers(N))
        ),
        "dense scales": OrderNetwork(scales, N).take(ItemWeights(numbers(3 * N, N), N)),
        "some dense": OrderNetwork(scales, N).take(
            ItemWeights(numbers(3 * 3, N), N, some, two_each(3 * N, 1))
        ),
        "time": OrderNetwork(TIMED, N).take(ItemWeights(numbers(2 * N, N), N)),
        "factors": a_filter(3, False),
        "clicks": a_filter(3, True),
        "clicks alone": a_filter(0, True),
    }


NETWORKS = networks()
ONNX = ("sparse set", "some dense", "time", "factors")


def graph(recommender: Recommender, **inputs: Any) -> Any:
    module = HistoryScores(recommender.model_)
    with torch.no_grad():
        return module(**{name: torch.from_numpy(part) for name, part in inputs.items()}).numpy()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_scores_are_the_recommenders(network: OrderNetwork) -> None:
    recommender = served(network)
    users = recommender.model_.vocabularies[0].ids
    found = graph(recommender, **user_sequences(recommender, users))
    expected = recommender.server().scores(np.arange(5))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.isneginf(found[:, UNTRAINED]).all()
    # Somebody new, with an item twice; and somebody with nothing that was trained.
    for history in (["i1", "i4", "i1", "i2"], ["i8"], []):
        (row,) = graph(recommender, **history_sequences(recommender, [history]))
        ids, best = recommender.recommend_new(history, N, exclude_seen=False, as_arrays=True)
        np.testing.assert_allclose([row[int(i[1:])] for i in ids], best, rtol=1e-5, atol=1e-6)


def test_a_decayed_history_by_hand() -> None:
    weights = numbers(3 * N, N)
    recommender = served(OrderNetwork(given_genotype(SCALES), N).take(ItemWeights(weights, N)))
    (row,) = graph(recommender, history=np.array([[4, 2, 7]]))
    by_scale = [{2: 0.5, 7: 1.0}, {4: 0.64, 2: 0.8, 7: 1.0}, {4: 1.0, 2: 1.0, 7: 1.0}]
    expected = sum(
        value * weights[scale * N + item]
        for scale, values in enumerate(by_scale)
        for item, value in values.items()
    )
    np.testing.assert_allclose(row[:UNTRAINED], expected[:UNTRAINED], rtol=1e-5, atol=1e-6)


def test_time_by_hand() -> None:
    weights = numbers(2 * N, N)
    recommender = served(OrderNetwork(TIMED, N).take(ItemWeights(weights, N)))
    inputs = history_sequences(recommender, [["i4", "i2"]], [[100.0, 3700.0]])
    (row,) = graph(recommender, **inputs)
    # An hour halves a weight of the longest scale; the other one counts items.
    expected = weights[2] + weights[N + 2] + 0.3 * weights[4] + 0.5 * weights[N + 4]
    np.testing.assert_allclose(row[:UNTRAINED], expected[:UNTRAINED], rtol=1e-5, atol=1e-6)


def test_padding_is_nothing_wherever_it_stands() -> None:
    recommender = served(NETWORKS["time"])
    bare = graph(recommender, history=np.array([[3, 1]]), times=np.array([[10.0, 20.0]]))
    padded = graph(
        recommender, history=np.array([[-1, 3, -1, 1, -1]]),
        times=np.array([[np.nan, 10.0, 1e12, 20.0, 0.0]]),
    )  # fmt: skip
    np.testing.assert_allclose(padded, bare, rtol=1e-6)


def test_times_are_sorted_and_a_repeated_item_counts_once() -> None:
    recommender = served(NETWORKS["time"])
    one = history_sequences(recommender, [["i3", "i1", "i3"]], [[30.0, 20.0, 10.0]])
    assert one["history"].tolist() == [[3, 1, 3]] and one["times"].tolist() == [[10, 20, 30]]
    bare = history_sequences(recommender, [["i1", "i3"]], [[20.0, 30.0]])
    np.testing.assert_allclose(graph(recommender, **one), graph(recommender, **bare), rtol=1e-6)


def test_sparse_weights_stay_sparse_where_that_is_smaller() -> None:
    kinds = {
        name: [type(part).__name__ for part in HistoryScores(served(one).model_).parts]
        for name, one in NETWORKS.items()
    }
    assert kinds["sparse set"] == ["PaddedWeights"] and kinds["filled set"] == ["RowWeights"]
    assert kinds["offsets alone"] == [] and kinds["factors"] == ["FactorWeights"]
    assert kinds["some dense"] == ["RowWeights", "PaddedWeights"]


def test_rows_of_all_sizes_stay_sparse_where_nothing_else_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sif.adapters.history_scores.MOST_BYTES", 100)
    recommender = served(NETWORKS["filled set"])
    parts = [type(part).__name__ for part in HistoryScores(recommender.model_).parts]
    assert parts == ["SparseWeights"]
    found = graph(recommender, **user_sequences(recommender, ["u0", "u1", "u2"]))
    expected = recommender.server().scores(np.arange(3))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_sparse_products_of_many_terms() -> None:
    weights = sp.random(4000, 50, 0.5, "csr", np.float32, random_state=0)
    entries = np.arange(4000)[None]
    values = np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32)
    found = SparseWeights(weights)(torch.from_numpy(entries), torch.from_numpy(values))
    expected = values.astype(np.float64) @ weights.astype(np.float64)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime_answers_alike(name: str, tmp_path: Path) -> None:
    """A graph of each kind, any number of users and items; the exporter takes a second each."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    recommender = served(NETWORKS[name])
    session = runtime.InferenceSession(export(recommender, "onnx", tmp_path / "f.onnx"))
    reads_time = recommender.model_.reads_time
    shapes = {told.name: told.shape for told in session.get_inputs()}
    assert list(shapes) == (["history", "times"] if reads_time else ["history"])
    assert all(shape == ["users", "length"] for shape in shapes.values())
    assert session.get_outputs()[0].shape == ["users", N]
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["items"]) == [f"i{n}" for n in range(N)]
    assert notes["expression"] == recommender.model_.expression
    for histories in ([["i1", "i4", "i1", "i2"]], [[f"i{n}" for n in range(8)], ["i8"], []]):
        inputs = history_sequences(recommender, histories)
        (found,) = session.run(["scores"], inputs)
        np.testing.assert_allclose(found, graph(recommender, **inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["some dense", "time"])
def test_torch_answers_alike(name: str, tmp_path: Path) -> None:
    recommender = served(NETWORKS[name])
    file = export(recommender, "torch", tmp_path / "f.pt2")
    module = torch.export.load(io.BytesIO(file.read_bytes())).module()
    inputs = user_sequences(recommender, ["u3", "u0", "u4"])
    found = module(*map(torch.from_numpy, inputs.values()))
    np.testing.assert_allclose(found.numpy(), graph(recommender, **inputs), rtol=1e-6)


def test_too_large_weights_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.adapters.history_scores.MOST_BYTES", 4 * 8 * 8)
    monkeypatch.setattr(FilterWeights, "table", None)
    with pytest.raises(ConfigError, match=r"expected a catalog of at most 8 items .* found 9"):
        export(served(NETWORKS["clicks"]), "torch", tmp_path / "f.pt2")
    assert not list(tmp_path.iterdir())


def test_bad_inputs_are_told_in_one_line(make: Any) -> None:
    timed, untimed = served(NETWORKS["time"]), served(NETWORKS["dense set"])
    with pytest.raises(UnknownIdError, match="'nobody'"):
        user_sequences(timed, ["nobody"])
    with pytest.raises(UnknownIdError, match="'nothing'"):
        history_sequences(untimed, [["i1"], ["nothing"]])
    with pytest.raises(ConfigError, match="times: expected none for a model that reads none"):
        history_sequences(untimed, [["i1"]], [[1.0]])
    with pytest.raises(ShapeError, match="times of history 1: expected 2, found 1"):
        history_sequences(timed, [["i1"], ["i1", "i2"]], [[1.0], [1.0]])
    with pytest.raises(ShapeError, match="times: expected 1, one per history, found 2"):
        history_sequences(timed, [["i1"]], [[1.0], [1.0]])
    with pytest.raises(ConfigError, match=r"expected an item-item model, found max\(user, item\)"):
        user_sequences(make("max"), ["u0"])


SHAPE = TextShape(vocabulary=N, hidden=4, nodes=3)
READERS = {
    "scales": ScalesDesign({"middle": decay_of("0.8"), "long": decay_of("set")}, "max"),
    "no product": ScalesDesign({"middle": decay_of("0.8")}, outer="min"),
    "gru": "gru", "lstm": "lstm",
    "cell": RecurrentCell((("tanh", 0), ("relu", 1), ("sigmoid", 0)), (1, 2, 3)),
}  # fmt: skip


def reader(name: str) -> HistoryModel:
    torch.manual_seed(0)
    network = history_model(SHAPE, READERS[name])
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(std=0.7)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_readers_answer_in_onnxruntime(name: str, tmp_path: Path) -> None:
    """A graph of each reader, unrolled where it is recurrent, which takes the exporter seconds."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    network, items = reader(name), [f"i{n}" for n in range(N)]
    file = export_reader(network, items, "onnx", tmp_path / "f.onnx", length=5, expression="it")
    session = runtime.InferenceSession(file)
    assert session.get_inputs()[0].shape == ["users", 5] and network.training
    assert session.get_modelmeta().custom_metadata_map["expression"] == "it"
    history = np.array([[1, 5, 2, -1, -1], [4, 0, 3, 8, 7], [-1] * 5])
    expected = network.eval().scores(network.last_states(torch.from_numpy(history.T)))
    (found,) = session.run(["scores"], {"history": history})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_torch_reads_a_reader(tmp_path: Path) -> None:
    network, items = reader("gru"), [f"i{n}" for n in range(N)]
    file = export_reader(network, items, "torch", tmp_path / "f.pt2", length=4)
    module = torch.export.load(io.BytesIO(file.read_bytes())).module()
    history = torch.tensor([[1, 5, 2, -1], [4, -1, -1, -1], [8, 7, 6, 5]])
    expected = network.eval().scores(network.last_states(history.t()))
    torch.testing.assert_close(module(history), expected)


def test_readers_are_checked_before_they_are_written(tmp_path: Path) -> None:
    network, items = reader("gru"), [f"i{n}" for n in range(N)]
    cases: list[tuple[str, dict[str, Any]]] = [
        ("items: expected 9, found 2", {"items": ["a", "b"]}),
        ("length: expected at least 1, found 0", {"length": 0}),
        ("to: expected one of onnx, torch, found 'implicit'", {"to": "implicit"}),
        ("expected a name that ends in .pt2", {"output": tmp_path / "f.onnx"}),
    ]
    usual = {"items": items, "to": "torch", "output": tmp_path / "f.pt2", "length": 5}
    for message, change in cases:
        with pytest.raises(ConfigError) as caught:
            export_reader(network, **usual | change)
        assert message in str(caught.value)
    assert not list(tmp_path.iterdir())
