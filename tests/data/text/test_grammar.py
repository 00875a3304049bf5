"""Generated text: what its sentences look like, and that its entropy is what is said."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from sif.data.text.corpus import EOS, EOS_WORD
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.data.text.load import load_corpus
from sif.errors import DataError

TINY = Grammar(keys=3, depth=2, fillers=3, shortest=1, longest=3, steps=(0.7, 0.3))


def sentences(ids: Any, words: tuple[str, ...]) -> list[list[str]]:
    """Sentences without their ends."""
    text = " ".join(words[word] for word in ids)
    assert text.endswith(EOS_WORD)
    return [sentence.split() for sentence in text.split(EOS_WORD)[:-1]]


def probability(sentence: list[str], grammar: Grammar) -> float:
    """Probability of a sentence, by the module's description; 0 for other texts."""
    d, n = grammar.depth, len(sentence) - 2 * grammar.depth
    if not grammar.shortest <= n <= grammar.longest or sentence[:d] != sentence[-d:][::-1]:
        return 0.0
    if any(not word.startswith(letter) for word, letter in zip(sentence[:d], "abcd", strict=False)):
        return 0.0
    places = [int(word.removeprefix("x")) for word in sentence[d:-d]]
    found = grammar.keys**-d / (grammar.longest - grammar.shortest + 1) / grammar.fillers
    for one, next_one in itertools.pairwise(places):
        step = (next_one - one) % grammar.fillers
        found *= {k % grammar.fillers: p for k, p in enumerate(grammar.steps, 1)}.get(step, 0.0)
    return found


def test_the_entropy_is_that_of_all_sentences() -> None:
    keys = list(itertools.product(["a0", "a1", "a2"], ["b0", "b1", "b2"]))
    total = entropy = length = 0.0
    for n in (1, 2, 3):
        for (a, b), middle in itertools.product(keys, itertools.product("012", repeat=n)):
            p = probability([a, b, *(f"x{place}" for place in middle), b, a], TINY)
            total += p
            if p:
                entropy -= p * math.log(p)
                length += p * (n + 5)
    assert total == pytest.approx(1)
    assert TINY.entropy == pytest.approx(entropy / length, rel=1e-12)
    assert TINY.mean_length == pytest.approx(length, rel=1e-12)


@pytest.mark.parametrize("grammar", [Grammar(), TINY, Grammar(5, 3, 1, 2, 2, (1.0,))])
def test_a_long_sample_is_as_likely_as_the_entropy_says(grammar: Grammar) -> None:
    ids = grammar.sample(200_000, np.random.default_rng(0))
    found = [probability(sentence, grammar) for sentence in sentences(ids, grammar.words)]
    assert min(found) > 0
    assert -sum(map(math.log, found)) / len(ids) == pytest.approx(grammar.entropy, rel=0.004)


def test_the_draws_have_the_stated_probabilities() -> None:
    grammar = Grammar()
    found = sentences(grammar.sample(200_000, np.random.default_rng(1)), grammar.words)
    assert len(found) == pytest.approx(200_000 / grammar.mean_length, rel=0.01)
    lengths = np.bincount([len(sentence) - 4 for sentence in found], minlength=7)[1:]
    np.testing.assert_allclose(lengths / len(found), 1 / 6, atol=0.01)
    for place, letter in ((0, "a"), (1, "b")):
        keys = [int(sentence[place].removeprefix(letter)) for sentence in found]
        np.testing.assert_allclose(np.bincount(keys) / len(found), 0.1, atol=0.01)
    steps = [
        (int(one[1:]) - int(before[1:])) % 6
        for sentence in found
        for before, one in itertools.pairwise(sentence[2:-2])
    ]
    shares = np.bincount(steps, minlength=6) / len(steps)
    np.testing.assert_allclose(shares, [0, 0.5, 0.3, 0.2, 0, 0], atol=0.01)


def test_a_seed_is_a_corpus_and_parts_are_drawn_apart() -> None:
    corpus = grammar_corpus(train=500, valid=400, test=300, seed=3)
    again = grammar_corpus(train=500, valid=400, test=300, seed=3)
    other = grammar_corpus(train=500, valid=400, test=300, seed=4)
    assert corpus.content_hash == again.content_hash != other.content_hash
    assert corpus.entropy == other.entropy == Grammar().entropy
    for part, least in (("train", 500), ("valid", 400), ("test", 300)):
        ids = corpus.parts[part]
        assert least <= len(ids) < least + 11 and ids[-1] == EOS
    assert corpus.train[:250].tolist() != corpus.valid[:250].tolist()
    longer = grammar_corpus(train=900, valid=400, test=300, seed=3)
    assert longer.test.tolist() == corpus.test.tolist()
    assert longer.train[:500].tolist() == corpus.train[:500].tolist()


def test_the_known_name_is_the_default() -> None:
    corpus = load_corpus("grammar")
    assert corpus.content_hash == grammar_corpus().content_hash and corpus.notes == ()
    assert len(corpus.words) == len(set(corpus.train)) + 1 < 60  # all but <unk>
    assert corpus.entropy is not None and 3 < math.exp(corpus.entropy) < 4
    small = load_corpus("grammar", grammar={"keys": 4, "train": 99, "seed": 1}, max_words=16)
    assert len(small.words) == 16 and len(small.train) < 110
    with pytest.raises(DataError, match=r"^grammar: most words: expected at least 28, .*found 27$"):
        load_corpus("grammar", max_words=27)
    with pytest.raises(DataError, match=r"^grammar: expected arguments of keys, .*, found size$"):
        load_corpus("grammar", grammar={"size": 3})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keys": 1}, "keys: expected a whole number from 2 to 1,000, found 1"),
        ({"keys": 2.5}, "keys: expected a whole number from 2 to 1,000, found 2.5"),
        ({"depth": 0}, "depth: expected a whole number from 1 to 23, found 0"),
        ({"fillers": 0}, "fillers: expected a whole number from 1 to 1,000, found 0"),
        ({"shortest": 0}, "shortest: expected a whole number from 1 to 1,000, found 0"),
        ({"shortest": 7}, "longest: expected a whole number from 7 to 1,000, found 6"),
        ({"steps": (0.5, 0.4)}, "steps: expected probabilities with sum 1, found 0.5, 0.4"),
        ({"steps": ()}, "steps: expected probabilities with sum 1, found "),
        ({"steps": (1.5, -0.5)}, "steps: expected probabilities with sum 1, found 1.5, -0.5"),
        ({"fillers": 2}, "steps: expected at most 2, one for each filler, found 3"),
        ({"train": 0}, "train words: expected a whole number from 1 to 100,000,000, found 0"),
        ({"test": 10**9}, "test words: expected a whole number from 1 to 100,000,000, found 10000"),
        ({"seed": -1}, "seed: expected a whole number from 0 to 4,294,967,295, found -1"),
    ],
)
def test_absurd_arguments_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as error:
        load_corpus("grammar", grammar={"train": 50, "valid": 50, "test": 50, **options})
    assert str(error.value).startswith(f"grammar: {told}")
