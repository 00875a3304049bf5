"""A trained language model at reading: passages word by word, and its worst words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sif.problems.text import TextProblem
from sif.spaces.rnn.networks import LanguageModel

Ids = NDArray[np.int64]

READ = 3_000
"""Words of the test part that are read for the page."""
PASSAGES, PASSAGE = 2, 160
"""Passages that are shown word by word, and the words of each."""
WORDS = 20
"""Words that are listed, of those that are predicted worst."""
OFTEN = 3
"""Occurrences among the words read, from which a word is listed."""


@torch.no_grad()
def readings(problem: TextProblem, network: LanguageModel, test: Ids) -> dict[str, Any]:
    """How likely a model finds the words of a text, and which words it expects in their place.

    Args:
        problem: Knows the words, and how a text comes in windows.
        network: The model.
        test: The text, of which the beginning is read.

    Returns:
        "passages": words with the nats that each takes and the word expected most; "words": those
        that take most nats, with what is expected in their place.
    """
    network.eval()
    names, parts = problem.words, list[tuple[Ids, Ids, NDArray[np.float64]]]()
    for window in problem.windows(test[:READ]):
        answer = network(window.inputs, window.carry.value)
        window.carry.value = answer.state
        logs = answer.logits.double().log_softmax(dim=-1)
        nats = -logs.gather(-1, window.targets[..., None])[..., 0]
        guesses = logs.argmax(dim=-1)
        parts.append((window.targets.cpu().numpy(), guesses.cpu().numpy(), nats.cpu().numpy()))
    columns = [np.concatenate([part[k] for part in parts]) for k in range(3)]
    words, guessed, nats = columns  # each (steps, columns): a column is a stretch of the text
    passages = [
        [
            {"word": names[word], "guess": names[guess], "nats": round(float(cost), 2)}
            for word, guess, cost in zip(
                words[:PASSAGE, k], guessed[:PASSAGE, k], nats[:PASSAGE, k], strict=True
            )
        ]
        for k in range(min(PASSAGES, words.shape[1]))
    ]
    return {"read": int(words.size), "passages": passages, "words": _worst(columns, names)}


def _worst(columns: list[Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The words that take most nats, with what is expected in their place."""
    words, guessed, nats = (one.ravel() for one in columns)
    counts = np.bincount(words, minlength=len(names))
    mean = np.bincount(words, nats, minlength=len(names)) / np.maximum(counts, 1)
    often = np.flatnonzero(counts >= OFTEN)
    found = []
    for word in often[np.argsort(-mean[often], kind="stable")][:WORDS].tolist():
        at_word = guessed[words == word]
        guess = int(np.bincount(at_word).argmax())
        found.append(
            {
                "word": names[word], "count": int(counts[word]),
                "nats": round(float(mean[word]), 2),
                "right": round(float((at_word == word).mean()), 3), "guess": names[guess],
            }
        )  # fmt: skip
    return found
