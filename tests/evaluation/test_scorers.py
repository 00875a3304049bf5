from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from sif.evaluation.scorers import HistoryScorer, InteractionScorer, Scale
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp
from sif.spaces.linear.ridge import histories
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.linear.weights import ItemWeights

USERS, ITEMS = 9, 5


def make_network(
    operation: str, biases: bool = True, intercept: bool = True, sizes: tuple[int, ...] = (9, 5)
) -> InteractionNetwork:
    generator = torch.Generator().manual_seed(4)
    learned = Mlp(generator).requires_grad_(False)
    transforms = [learned, PRIMITIVES["~square"], PRIMITIVES["+sqrt"]][: len(sizes)]
    shape = TableShape(sizes, 4, biases, intercept, init=0.8)
    net = InteractionNetwork(Design(tuple(transforms), OPERATIONS[operation]), shape, generator)
    with torch.no_grad():
        for place, parameter in enumerate(p for p in net.parameters() if p.requires_grad):
            steps = torch.arange(parameter.numel()).view_as(parameter)
            parameter.add_(0.7 * torch.sin(1.3 * steps + place))
    return net


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
def test_scores_are_predictions_pair_by_pair(operation: str, biases: bool, intercept: bool) -> None:
    scorer = InteractionScorer(make_network(operation, biases, intercept).interaction())
    users = np.array([3, 0, 8, 3])
    scores = scorer.scores(users)
    assert scores.shape == (4, ITEMS)
    assert scores.dtype == np.float32
    pairs = np.array(list(itertools.product(users, range(ITEMS))))
    predicted = scorer.predict(pairs).reshape(4, ITEMS)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(scores, predicted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("elements", [1, 30, 40, 61, 1 << 20])
def test_chunks_leave_no_seam(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.retrieval.catalogue.compiled", lambda: None)
    scorer = InteractionScorer(make_network("max").interaction())
    users = np.arange(USERS)
    expected = np.concatenate([scorer.scores(users[i : i + 1]) for i in range(USERS)])
    monkeypatch.setattr("sif.retrieval.kernels._ELEMENTS", elements)
    np.testing.assert_allclose(scorer.scores(users), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operation", ["multiply", "max"])
def test_no_users_no_scores(operation: str) -> None:
    scorer = InteractionScorer(make_network(operation).interaction())
    assert scorer.scores(np.array([], dtype=np.int64)).shape == (0, ITEMS)


def test_predictions_return_to_rating_units() -> None:
    net = make_network("plus")
    pairs = np.array([[0, 1], [7, 4]])
    plain = InteractionScorer(net.interaction()).predict(pairs)
    scaled = InteractionScorer(net.interaction(), Scale(mean=3.5, deviation=0.5)).predict(pairs)
    np.testing.assert_allclose(scaled, 3.5 + 0.5 * plain, rtol=1e-6)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_three_fields_predict(operation: str) -> None:
    net = make_network(operation, sizes=(4, 3, 2))
    ids = np.array(list(itertools.product(range(4), range(3), range(2))))
    found = InteractionScorer(net.interaction()).predict(ids)
    expected = [net(torch.tensor([row])).item() for row in ids.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_scores_carry_no_graph_and_leave_the_network_trainable() -> None:
    net = make_network("min")
    InteractionScorer(net.interaction()).scores(np.array([0]))
    assert all(p.grad is None for p in net.parameters())
    assert net.readout.requires_grad


def test_histories_are_read_for_the_users_that_are_asked_for_alone() -> None:
    """The scores of decayed histories of all users at once, in the memory of some."""
    rng = np.random.default_rng(2)
    users, items = rng.integers(12, size=60), rng.integers(7, size=60)
    users[users == 4] = 5  # one has none
    seconds = rng.permutation(60) * 3600
    known = Sequences.of(users, items, (12, 7), seconds=seconds)
    decays = [Decay(0.8), Decay(1.0, half_life=7200.0)]
    weights = ItemWeights(rng.normal(size=(14, 7)).astype(np.float32), 7)
    read: list[int] = []

    def reader(sequences: Sequences) -> Any:
        read.append(sequences.n_users)
        return histories(sequences, decays)

    every = weights.scores(histories(known, decays))
    scorer = HistoryScorer(reader, known, weights)
    assert not read
    asked = np.array([4, 0, 11, 0])
    np.testing.assert_array_equal(scorer.scores(asked), every[asked])
    pairs = np.stack([rng.integers(12, size=40), rng.integers(7, size=40)], axis=1)
    predicted = scorer.predict(pairs)
    np.testing.assert_allclose(predicted, every[pairs[:, 0], pairs[:, 1]], rtol=1e-5, atol=1e-6)
    assert read == [4, len(np.unique(pairs[:, 0]))]
    assert scorer.predict(pairs[:0]).shape == (0,)
