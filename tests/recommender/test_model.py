"""Files of models that were tampered with: one error, which names the file, where they are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Vocabulary
from sif.errors import CheckpointError
from sif.evaluation.cold_start import ColdStartRule
from sif.problems.interactions import InteractionProblem
from sif.recommender.model import FILE, KIND, ServedModel
from sif.spaces.interaction.registry import design_of
from sif.utils.checkpoint import load as load_file
from sif.utils.checkpoint import save as save_file
from sif.utils.device import make_runtime

USERS, ITEMS = 6, 5
State = dict[str, Any]
Change = Callable[[State], object]
GENOTYPE = Genotype("staged", {
    "operation": ((0, "multiply"),), "encoding": ((0, "history"), (1, "id")),
    "embedding": ((0, "identity"),), "weighting": ((0, "even"),),
})  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ServedModel:
    """Not trained: it is the file that matters."""
    has = np.random.default_rng(0).random((USERS, ITEMS)) < 0.6
    names = (Vocabulary(range(USERS)), Vocabulary(range(ITEMS)))
    titles = {"0": "First", "1": "Second"}
    known = Interactions(np.argwhere(has), ("user", "item"), names, titles=titles)
    config = load_config("cf", sets=["train.dimension=4", "threads=1"])
    assert isinstance(config, CFConfig)
    problem = InteractionProblem(known, known, config, make_runtime("cpu", 0, 1))
    network = problem.network(design_of(GENOTYPE, known.fields), torch.Generator().manual_seed(0))
    return ServedModel.of(problem, GENOTYPE, network, 0.1, known)


@pytest.fixture
def file(model: ServedModel, tmp_path: Path) -> Path:
    return model.save(tmp_path)


def put(*place: Any) -> Change:
    """Puts the last argument at the place that the others name."""

    def change(state: State) -> None:
        at: Any = state
        for key in place[:-2]:
            at = at[key]
        at[place[-2]] = place[-1]

    return change


def packed(*texts: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(list(texts)).encode(), dtype=np.uint8).copy()


def lost(*place: Any) -> Change:
    """Puts a NaN into an array or tensor."""

    def change(state: State) -> None:
        at: Any = state
        for key in place:
            at = at[key]
        at[(0,) * at.ndim] = np.nan

    return change


ROWS = "tables.embeddings.0"
CHANGES: dict[str, Change] = {
    "no scale": lambda state: state.pop("scale"),
    "genotype of another space": put("genotype", GENOTYPE.to_json().replace("staged", "poor")),
    "genotype deep": put("genotype", "[" * 100_000),
    "genotype a number": put("genotype", 3),
    "objective unknown": put("objective", "regret"),
    "objective a list": put("objective", ["ranking"]),
    "objective of another loss": put("objective", "rating"),
    "loss unknown": put("folds", 0, 1, "loss", "hinge"),
    "loss of ratings": put("folds", 1, 1, "loss", "squared"),
    "scale of one": put("scale", [0.0]),
    "scale of three": put("scale", [0.0, 1.0, 1.0]),
    "scale as text": put("scale", [0.0, "1"]),
    "scale true": put("scale", [True, 1.0]),
    "deviation zero": put("scale", [0.0, 0.0]),
    "deviation negative": put("scale", [0.0, -1.0]),
    "mean NaN": put("scale", [float("nan"), 1.0]),
    "deviation infinite": put("scale", [0.0, float("inf")]),
    "mean too long": put("scale", [10**400, 1.0]),
    "places short": lambda state: put("fallback", 0, state["fallback"][0][:-1])(state),
    "places NaN": lost("fallback", 0),
    "places as whole numbers": put("fallback", 0, np.zeros(ITEMS, np.int64)),
    "marks short": lambda state: put("fallback", 1, state["fallback"][1][:-1])(state),
    "marks as numbers": put("fallback", 1, np.zeros(USERS)),
    "fallback of three": lambda state: state["fallback"].append(np.zeros(1)),
    "fallback a number": put("fallback", 3),
    "untrained as floats": put("untrained", [np.zeros(1), np.zeros(1)]),
    "untrained outside": put("untrained", [np.array([USERS]), np.array([0])]),
    "untrained of one field": put("untrained", [np.array([0])]),
    "reading a text": put("reading", "user"),
    "reading of more": put("reading", {"user": "user", "more": 1}),
    "reading of a number": put("reading", {"min_rating": "x"}),
    "no folds": put("folds", []),
    "one fold": lambda state: state["folds"].pop(),
    "three folds": lambda state: state["folds"].append(state["folds"][0]),
    "folds exchanged": lambda state: state["folds"].reverse(),
    "fold of two words": put("folds", 0, ["a", "b"]),
    "fold with more": put("folds", 0, 0, "more", 1),
    "history short": put("folds", 0, 0, "history", torch.zeros(ITEMS - 1, 4)),
    "history NaN": lost("folds", 0, 0, "history"),
    "history narrow": put("folds", 0, 0, "history", torch.zeros(ITEMS, 3)),
    "power as text": put("folds", 0, 0, "power", "0.5"),
    "free as text": put("folds", 1, 0, "free", "yes"),
    "even short": put("folds", 1, 1, "even", torch.ones(USERS - 1)),
    "even NaN": lost("folds", 1, 1, "even"),
    "extra infinite": put("folds", 1, 1, "extra", torch.full((USERS,), torch.inf)),
    "extra whole": put("folds", 1, 1, "extra", torch.ones(USERS, dtype=torch.int64)),
    "l2 NaN": put("folds", 0, 1, "l2", float("nan")),
    "negatives none": put("folds", 0, 1, "negatives", 0),
    "negatives too many": put("folds", 0, 1, "negatives", 1.5),
    "vectors NaN": lost("network", ROWS),
    "vectors infinite": put("network", ROWS, torch.full((USERS, 4), torch.inf)),
    "vectors narrow": put("network", ROWS, torch.zeros(USERS, 3)),
    "vectors a list": put("network", ROWS, [[1.0] * 4] * USERS),
    "no vectors": lambda state: state["network"].pop(ROWS),
    "readout long": put("network", "readout", torch.ones(9)),
    "readout NaN": lost("network", "readout"),
    "network a list": put("network", []),
    "dimension as text": put("shape", "dimension", "4"),
    "dimension huge": put("shape", "dimension", 10**12),
    "dimension zero": put("shape", "dimension", 0),
    "sizes as floats": put("shape", "sizes", (float(USERS), float(ITEMS))),
    "sizes a number": put("shape", "sizes", 5),
    "biases as text": put("shape", "biases", "yes"),
    "start NaN": put("shape", "init", float("nan")),
    "start as text": put("shape", "init", "0.1"),
    "encodings as text": put("shape", "encodings", "id"),
    "shape with more": put("shape", "more", 1),
    "shape a list": put("shape", [5, 4]),
    "titles as numbers": put("titles", [packed("0"), packed(1)]),
    "titles of numbers": put("titles", [packed(0), packed("First")]),
    "titles short": put("titles", [packed("0", "1"), packed("First")]),
    "titles no JSON": put("titles", [np.zeros(3, np.uint8)] * 2),
    "titles a table": put("titles", {}),
    "titles deep": put("titles", [np.full(100_000, ord("["), np.uint8)] * 2),
    "an id twice": put("vocabularies", 0, np.array(["0", "0", *map(str, range(4))])),
    "ids as numbers": put("vocabularies", 0, np.arange(USERS)),
    "ids in a square": put("vocabularies", 0, np.array([["0", "1"]] * USERS)),
    "ids a text": put("vocabularies", 0, "012345"),
    "ids of three fields": lambda state: state["vocabularies"].append(np.array(["0"])),
    "fields of three": put("fields", ["user", "item", "hour"]),
    "a field twice": put("fields", ["user", "user"]),
    "fields as numbers": put("fields", [1, 2]),
    "fields a text": put("fields", "ui"),
    "pairs outside": lambda state: put("seen", 1, state["seen"][1] + ITEMS)(state),
    "pairs negative": lambda state: put("seen", 1, state["seen"][1] - ITEMS)(state),
    "pairs as floats": lambda state: put("seen", 1, state["seen"][1] + 0.5)(state),
    "pairs NaN": lost("seen", 2),
    "pairs short": lambda state: put("seen", 2, state["seen"][2][:-1])(state),
    "edges of more": lambda state: put("seen", 0, np.append(state["seen"][0], 99))(state),
    "pairs a list": put("seen", 2, [1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_was_tampered_with_is_refused(name: str, file: Path) -> None:
    state = load_file(file, KIND)
    CHANGES[name](state)
    save_file(file, state, KIND)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))}: ") as caught:
        ServedModel.load(file.parent)
    told = str(caught.value)
    assert "\n" not in told and len(told) < 400


@pytest.mark.parametrize("state", [None, [], 3, "text", {}])
def test_a_file_of_something_else_is_refused(state: Any, file: Path) -> None:
    save_file(file, state, KIND)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))}: "):
        ServedModel.load(file.parent)


def header_of(text: str) -> bytes:
    content = json.dumps({"__metadata__": {"sif": text}}).encode()
    return len(content).to_bytes(8, "little") + content


DEEP = 100_000
HEADERS = {
    "brackets": (DEEP).to_bytes(8, "little") + b"[" * DEEP,
    "brackets within": header_of("[" * DEEP),
    "state of brackets": header_of(
        '{"format": 1, "kind": "recommender", "state": ' + '{"list": [' * DEEP
    ),
    "nested state": header_of(
        '{"format": 1, "kind": "recommender", "state": ' + '{"list": [' * 800 + "]}" * 800 + "}"
    ),
    "list": header_of("[]"),
    "state a number with a name": header_of(
        '{"format": 1, "kind": "recommender", "state": {"dict": 3}}'
    ),
    "text of no width": header_of(
        '{"format": 1, "kind": "recommender", "state": {"text": ["0", -1]}}'
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_none_are_refused(name: str, file: Path) -> None:
    file.write_bytes(HEADERS[name])
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))}: "):
        ServedModel.load(file.parent)


def test_what_was_saved_is_loaded(model: ServedModel, file: Path) -> None:
    loaded = ServedModel.load(file.parent)
    assert file.name == FILE and loaded.titles == model.titles
    state = load_file(file, KIND)
    state["fallback"][0] = -np.arange(ITEMS, dtype=np.float32)
    save_file(file, state, KIND)
    rule = ServedModel.load(file.parent).cold_start
    assert isinstance(rule, ColdStartRule) and not np.signbit(rule.order[0])
