"""Search and training of language models on a small generated text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sif.config import load_config
from sif.config.rnn import RNNConfig
from sif.data.text.corpus import Corpus
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.errors import ConfigError
from sif.methods.registry import METHODS
from sif.problems.text import EXPORTED, TextProblem, matched_width, nats, perplexity
from sif.spaces.rnn.designs import PUBLISHED, TextDesign, recurrence
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import LanguageModel
from sif.spaces.rnn.supernet import recurrent_cell
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

TINY = [
    "search.epochs=2", "search.columns=8", "search.bptt=6", "search.hidden=6", "search.nodes=3",
    "search.dropout.hidden=0.2", "train.epochs=3", "train.columns=8", "train.bptt=6",
    "train.hidden=7", "train.vary=true", "train.averaging=1", "train.dropout.word=0.1",
]  # fmt: skip
GRAMMAR = Grammar(keys=3, depth=1, fillers=3, shortest=1, longest=2)


class Keeps:
    """Keeps every state, and dies at one of them."""

    def __init__(self, saved: dict[str, Any] | None = None, dies: int = 0) -> None:
        self.saved, self.dies, self.offers = saved, dies, 0

    def restore(self) -> dict[str, Any] | None:
        return self.saved

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.offers += 1
        if self.offers == self.dies:
            import copy

            self.saved = copy.deepcopy(state())
            raise InterruptedError


def corpus() -> Corpus:
    return grammar_corpus(GRAMMAR, train=1500, valid=400, test=400)


def language(text: Corpus | None = None, *sets: str) -> TextProblem:
    config = load_config("rnn", sets=[*TINY, *sets])
    assert isinstance(config, RNNConfig)
    return TextProblem(config, text or corpus(), make_runtime("cpu", 0, threads=1))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_cell_that_is_judged_as_it_is(method: str) -> None:
    # Of two nodes there are 32 cells, all of which a method may train.
    exhaustive = method == "exhaustive"
    text = grammar_corpus(GRAMMAR, train=300, valid=150, test=100) if exhaustive else corpus()
    nodes = 2 if exhaustive else 3
    sets = (f"search.nodes={nodes}",)
    at_work = language(text, *sets)
    found = at_work.search(NullTracker(), NoCheckpoint(), method=method)
    exported = found.history[-1]["judged"][EXPORTED]
    assert len(recurrent_cell(found.genotype).nodes) == nodes
    if exhaustive:
        assert len(found.history) == 32
    assert 1 < exported < 50
    again = language(text, *sets).search(NullTracker(), NoCheckpoint(), method=method)
    assert again.genotype == found.genotype
    assert again.history[-1]["judged"] == found.history[-1]["judged"]


@pytest.mark.parametrize("space", ["nasp-ptb", "gated"])
def test_a_killed_search_goes_on_to_the_same_end(space: str) -> None:
    sets = (None, f"space={space}")
    whole = language(*sets).search(NullTracker(), NoCheckpoint())
    keeps = Keeps(dies=1)
    with pytest.raises(InterruptedError):
        language(*sets).search(NullTracker(), keeps)
    found = language(*sets).search(NullTracker(), Keeps(keeps.saved))
    assert found.genotype == whole.genotype
    assert found.history[-1]["judged"] == whole.history[-1]["judged"]


def trained(at_work: TextProblem, keeps: Any = None, name: str = "darts-v1") -> LanguageModel:
    return at_work.train(PUBLISHED[name], NullTracker(), keeps or NoCheckpoint()).network


@pytest.mark.parametrize("name", ["darts-v1", "gru", "lstm"])
def test_a_killed_training_goes_on_to_the_same_weights(name: str) -> None:
    """With dropout of states, which the LSTM has, too."""
    sets = (None, "train.dropout.hidden=0.2")
    straight = trained(language(*sets), name=name)
    keeps = Keeps(dies=2)
    with pytest.raises(InterruptedError):
        trained(language(*sets), keeps, name)
    resumed = trained(language(*sets), Keeps(keeps.saved), name)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_learns_and_reports_the_perplexity_of_the_weights_it_keeps() -> None:
    at_work = language()
    untrained = at_work.network(PUBLISHED["darts-v1"])
    before = perplexity(nats(untrained, at_work.windows(at_work.valid)))
    done = at_work.train(PUBLISHED["darts-v1"], NullTracker(), NoCheckpoint())
    after = perplexity(nats(done.network, at_work.windows(at_work.valid)))
    assert after < before
    assert done.result.valid["perplexity"] == pytest.approx(after)


def test_training_survives_passes_that_end_with_one_step() -> None:
    columns, bptt = 8, 6
    text = corpus()
    cut = text.train[: columns * (20 * bptt + 2)]  # 20 windows and one more target a column
    settings = (f"train.bptt={bptt}", "train.vary=false", "train.slowness=0.001")
    model = trained(language(dataclasses.replace(text, train=cut), *settings))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_the_test_part_changes_nothing() -> None:
    text = corpus()
    other = dataclasses.replace(text, test=text.test[::-1].copy())
    ours, theirs = trained(language(text)), trained(language(other))
    assert all(torch.equal(v, theirs.state_dict()[n]) for n, v in ours.state_dict().items())


def test_the_parts_of_a_search_are_the_train_text_in_two() -> None:
    at_work = language(None, "search.valid_share=0.25")
    weights, alphas = at_work.searched
    assert np.array_equal(np.concatenate([weights, alphas]), corpus().train)
    assert len(alphas) == round(0.25 * len(corpus().train))


def test_perplexity_is_that_of_every_word_once() -> None:
    at_work = language()
    model = at_work.network(PUBLISHED["enas"])
    found = nats(model, at_work.windows(at_work.valid, columns=1))
    n = len(at_work.valid) - 1
    assert found.shape == (n, 1)
    words = torch.from_numpy(at_work.valid)[:, None]
    with torch.no_grad():
        logits = model(words[:-1], None).logits[:, 0]
    chances = torch.log_softmax(logits, 1)[torch.arange(n), words[1:, 0]]
    np.testing.assert_allclose(found[:, 0], -chances.numpy(), rtol=1e-4, atol=1e-5)
    assert perplexity(found) == pytest.approx(math.exp(found.mean()))


@pytest.mark.parametrize("nats", [[30.0, 50.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_perplexity_stays_a_number(nats: list[float]) -> None:
    assert perplexity(np.array(nats)) == 1e6


@pytest.mark.parametrize("name", ["lstm", "gru", "elman"])
def test_a_model_of_equal_size_is_as_near_as_can_be(name: str) -> None:
    design: TextDesign = PUBLISHED[name]

    def size(width: int) -> int:
        shape = TextShape(50, width)
        return LanguageModel(shape, recurrence(design, shape)).counted()

    for wanted in (500, 12_345, 200_000):
        width = matched_width(design, 50, wanted)
        off = abs(size(width) - wanted)
        assert off <= min(abs(size(w) - wanted) for w in (max(width - 1, 1), width + 1))


def test_too_little_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")

    monkeypatch.setattr("sif.spaces.rnn.supernet.RNNSpace.loss", full)
    lower = r"another 2.00 GiB; lower search.columns \(8\), search.bptt \(6\), search.hidden \(6\)"
    with pytest.raises(ConfigError, match=lower):
        language().search(NullTracker(), NoCheckpoint())


def test_a_test_places_its_network_and_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = language()
    model, part = problem.network(PUBLISHED["enas"]), problem.valid
    expected = problem.test(model, part)
    found = problem.test(model.double(), part)  # as of another device
    assert next(model.parameters()).dtype == problem.runtime.dtype
    assert found.metrics == expected.metrics

    def full(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")

    monkeypatch.setattr("sif.problems.text.nats", full)
    with pytest.raises(ConfigError, match=r"lower train.columns \(\d+\), train.bptt"):
        problem.test(model, part)


@pytest.mark.parametrize("name", ["darts-v2", "lstm"])
def test_lower_precision_trains_and_evaluates_in_full(name: str) -> None:
    design = PUBLISHED.get(name, name)
    found = []
    for precision in ("float32", "bfloat16"):
        at_work = language(None, f"precision={precision}", "train.averaging=null")
        trained = at_work.train(design, NullTracker(), NoCheckpoint())
        assert {p.dtype for p in trained.network.parameters()} == {torch.float32}
        found.append(trained.result.valid["perplexity"])
    assert found[0] != found[1] == pytest.approx(found[0], rel=0.05)
