"""Kneser-Ney models: by hand, against a plain implementation, and on text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sif.baselines.ngram import GRID, NGram, tuned
from sif.data.text.corpus import Corpus
from sif.data.text.load import load_corpus
from sif.errors import DataError

TEXTS = st.lists(st.integers(0, 3), min_size=4, max_size=40)
DISCOUNTS = st.sampled_from([0.05, 0.4, 0.75, 1.0])


def model(ids: list[int], size: int, order: int, discounts: float | list[float] = 0.75) -> NGram:
    return NGram.fit(np.array(ids, dtype=np.int64), size, order, discounts)


def chances(fitted: NGram, context: list[int]) -> np.ndarray:
    """Probability of every word after a context."""
    words = range(fitted.size)
    return np.exp([fitted.log_probabilities(np.array([*context, word]))[-1] for word in words])


def test_bigrams_by_hand() -> None:
    # "a b a c a b", D = 1/2. Before a stood b and c, before b and c only a:
    # P(a) = 3/8 + 3/8 * 1/3 = 1/2, P(b) = P(c) = 1/8 + 1/8 = 1/4.
    # After a came b twice and c once, after b only a:
    fitted = model([0, 1, 0, 2, 0, 1], 3, 2, 0.5)
    after_a = [1 / 3 * 1 / 2, 3 / 2 / 3 + 1 / 3 * 1 / 4, 1 / 2 / 3 + 1 / 3 * 1 / 4]
    after_b = [1 / 2 + 1 / 2 * 1 / 2, 1 / 2 * 1 / 4, 1 / 2 * 1 / 4]
    np.testing.assert_allclose(chances(fitted, [0]), after_a, rtol=1e-12)
    np.testing.assert_allclose(chances(fitted, [2, 1]), after_b, rtol=1e-12)
    text = np.array([1, 0, 1, 1])
    expected = [after_b[0], after_a[1], after_b[1]]
    np.testing.assert_allclose(np.exp(fitted.log_probabilities(text)), expected, rtol=1e-12)
    assert fitted.perplexity(text) == pytest.approx(math.prod(expected) ** (-1 / 3))


def test_single_words_by_hand() -> None:
    # Counts 3, 1, 0 of 4, D = 1/2; what is freed, 1, is shared by three words.
    fitted = model([0, 0, 1, 0], 3, 1, 0.5)
    expected = [2.5 / 4 + 1 / 12, 0.5 / 4 + 1 / 12, 1 / 12]
    np.testing.assert_allclose(chances(fitted, [1, 2]), expected, rtol=1e-12)


def plain(
    ids: list[int], size: int, discounts: list[float], context: tuple[int, ...], word: int
) -> float:
    """The formula, word for word, over sets and lists of n-grams."""

    def count(gram: tuple[int, ...]) -> int:
        n = len(gram)
        places = [i for i in range(len(ids) - n + 1) if tuple(ids[i : i + n]) == gram]
        if n == len(discounts):
            return len(places)
        return len({ids[i - 1] for i in places if i > 0})

    def smoothed(context: tuple[int, ...]) -> float:
        shorter = smoothed(context[1:]) if context else 1 / size
        counts = [count((*context, w)) for w in range(size)]
        if not sum(counts):
            return shorter
        discount = discounts[len(context)]
        kinds = sum(c > 0 for c in counts)
        return (max(counts[word] - discount, 0) + discount * kinds * shorter) / sum(counts)

    return smoothed(context[len(context) - min(len(discounts) - 1, len(context)) :])


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, st.lists(DISCOUNTS, min_size=1, max_size=4))
def test_the_arrays_are_the_formula(
    ids: list[int], text: list[int], discounts: list[float]
) -> None:
    fitted = model(ids, 5, len(discounts), discounts)
    expected = [
        plain(ids, 5, discounts, tuple(text[:place]), text[place]) for place in range(1, len(text))
    ]
    found = fitted.log_probabilities(np.array(text, dtype=np.int64))
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9)


@settings(deadline=None)
@given(TEXTS, st.integers(1, 4), DISCOUNTS, st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_probabilities_sum_to_one_after_every_context(
    ids: list[int], order: int, discount: float, context: list[int]
) -> None:
    fitted = model(ids, 5, order, discount)
    shares = chances(fitted, context)
    assert shares.min() > 0 and shares.sum() == pytest.approx(1, rel=1e-12)


def test_absurd_arguments_are_refused() -> None:
    for order in (0, 5):
        with pytest.raises(DataError, match=f"order: expected 1 to 4 words, found {order}$"):
            model([0, 1, 0, 1], 2, order)
    for discounts in (0.0, [0.5], [0.5, 1.5]):
        with pytest.raises(DataError, match=r"discounts: expected 2 in \(0, 1\], found "):
            model([0, 1, 0, 1], 2, 2, discounts)


@pytest.fixture(scope="module")
def grammar() -> Corpus:
    return load_corpus("grammar", grammar={"train": 8000, "valid": 2000, "test": 2000})


def test_tuning_finds_the_best_of_what_it_tries(grammar: Corpus) -> None:
    best = tuned(grammar, 4)
    valid = best.perplexity(grammar.valid)
    for order in (1, 2, 3, 4):
        for discount in GRID:
            other = NGram.fit(grammar.train, len(grammar.words), order, discount)
            assert valid <= other.perplexity(grammar.valid) + 1e-9
    again = NGram.fit(grammar.train, len(grammar.words), best.order, best.discounts)
    assert again.perplexity(grammar.test) == pytest.approx(best.perplexity(grammar.test))


def test_tuning_leaves_the_test_part_alone(grammar: Corpus) -> None:
    other = replace(grammar, test=grammar.test[::-1].copy())
    assert tuned(grammar, 3).discounts == tuned(other, 3).discounts


def test_the_grammar_is_hard_for_ngrams() -> None:
    corpus = load_corpus("grammar")
    assert corpus.entropy is not None
    best = tuned(corpus, 8)
    assert best.perplexity(corpus.test) > 1.6 * math.exp(corpus.entropy)


def test_a_longer_context_helps_on_english(data_dir: Path) -> None:
    if not (data_dir / "penn-mini" / "train.txt").is_file():
        pytest.skip("needs penn-mini/train.txt in SIF_DATA_DIR")
    corpus = load_corpus("penn-mini", data_dir=data_dir)
    one, two, three = (tuned(corpus, order) for order in (1, 2, 3))
    assert (one.order, two.order, three.order) == (1, 2, 3)
    costs = [fitted.perplexity(corpus.test) for fitted in (one, two, three)]
    assert costs[1] < costs[0] / 2 and costs[2] < 0.95 * costs[1]
