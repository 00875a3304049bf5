from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.core.genotype import Genotype, check_names, read
from sif.errors import GenotypeError
from sif.spaces.cnn.supernet import SPECS as IMAGES
from sif.spaces.notation import WRITERS
from sif.spaces.rnn.supercell import SPACE

CELL = Genotype(
    "cells",
    {"normal": ((0, "skip"), (2, "conv")), "operation": ((0, "multiply"),)},
    {"user.w": ((2, 2), (0.1, -2.5, 1e-300, 3.0)), "user.b": ((), (0.25,))},
)

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True).map(sorted),
        max_size=3,
    ),
    st.dictionaries(st.text(max_size=5), st.lists(finite, max_size=6), max_size=3),
    st.text(max_size=8),
)
def test_json_round_trip_is_exact(
    blocks: dict[str, list[int]], parameters: dict[str, list[float]], operation: str
) -> None:
    genotype = Genotype(
        "s",
        {name: tuple((edge, operation) for edge in edges) for name, edges in blocks.items()},
        {name: ((len(x),), tuple(x)) for name, x in parameters.items()},
    )
    assert Genotype.from_json(genotype.to_json()) == genotype


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(CELL.to_json(), encoding="utf-8")
    assert read(path) == CELL


def test_a_genotype_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CELL.space = "other"  # type: ignore[misc]
    assert dataclasses.replace(CELL) == CELL
    assert dataclasses.replace(CELL, space="other") != CELL


@pytest.mark.parametrize("edges", [[], [-1], [1, 1], [2, 0]])
def test_edges_must_ascend_from_zero(edges: list[int]) -> None:
    with pytest.raises(GenotypeError, match="ascending"):
        Genotype("s", {"b": tuple((edge, "x") for edge in edges)})


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (((2,), (1.0,)), "expected 2 numbers"),
        (((), ()), "expected 1 numbers"),
        (((1,), (float("nan"),)), "finite"),
        (((1,), (float("inf"),)), "finite"),
    ],
)
def test_parameters_must_fill_their_shape(parameter: Any, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        Genotype("s", {}, {"p": parameter})


def test_operation_of_a_block_with_one_edge() -> None:
    assert CELL.operation("operation") == "multiply"
    for block, count in (("normal", 2), ("absent", 0)):
        with pytest.raises(GenotypeError, match=f"{block}.*found {count}"):
            CELL.operation(block)


LEGAL = {"normal": ("skip", "conv"), "operation": ("multiply", "plus")}


def test_legal_names_pass() -> None:
    check_names(CELL, "cells", LEGAL)


@pytest.mark.parametrize(
    ("space", "legal", "message"),
    [
        ("rnn", LEGAL, "expected space 'rnn', found 'cells'"),
        ("cells", {"normal": ("skip", "conv")}, "found normal, operation"),
        ("cells", LEGAL | {"more": ("x",)}, "expects blocks normal, operation, more"),
        ("cells", LEGAL | {"normal": ("skip", "pool")}, "one of skip, pool, found 'conv'"),
    ],
)
def test_foreign_names_are_refused_with_the_legal_ones(
    space: str, legal: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(GenotypeError, match=message):
        check_names(CELL, space, legal)


def document(**changes: Any) -> str:
    return json.dumps({**json.loads(CELL.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[]", "expected an object"),
        ('{"format": "other"}', "expected an object"),
        (document(version=2), "version 1, found 2"),
        (document(space=3), "genotype.json: space: expected a text, found 3"),
        (document(blocks=[]), "malformed"),
        (document(blocks={"b": [[0, "x", "y"]]}), "malformed"),
        (document(blocks={"b": [["0", "x"]]}), "blocks: expected .*a whole number, a text.*found"),
        (document(blocks={"b": [[True, "x"]]}), "blocks: expected .*a whole number, a text.*found"),
        (document(blocks={"b": [[1, "x"], [0, "x"]]}), "ascending"),
        (document(parameters={"p": {"shape": [1], "numbers": [float("nan")]}}), "finite"),
        (document(parameters={"p": {"shape": [1], "numbers": [10**400]}}), "malformed"),
        (document(parameters={"p": {"shape": [1]}}), "malformed.*numbers"),
    ],
)
def test_malformed_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GenotypeError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GenotypeError, match=r"absent\.json: cannot be read"):
        read(tmp_path / "absent.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GenotypeError, match=r"binary\.json: cannot be read"):
        read(binary)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("sif", None), "blocks"), ((3, {}), "space"), (("sif", {"a": None}), "blocks"),
        (("sif", {"a": ((0, "x"),)}, 3), "parameters"), (("sif", {3: ((0, "x"),)}), "blocks"),
    ],
)  # fmt: skip
def test_other_types_are_refused_by_name(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises(GenotypeError, match=rf"^genotype: {name}: expected .*, found ") as caught:
        Genotype(*arguments)
    assert "\n" not in str(caught.value)
    with pytest.raises(GenotypeError, match=r"^genotype: expected JSON, found"):
        Genotype.from_json(None)  # type: ignore[arg-type]


CELLS = {name: tuple((edge, "sep_conv_3x3") for edge in (0, 1, 2, 3, 5, 6, 9, 10)) for name in
         ("normal", "reduce")}  # fmt: skip
SCRIPT = """
import sys
from sif.core.genotype import Genotype
genotype = Genotype.from_json(sys.argv[1])
before = genotype.expression
import sif.problems.images, sif.problems.text, sif.recommender.recommender
print(before == genotype.expression, before)
"""


def test_an_expression_depends_on_no_import() -> None:
    text = Genotype("nasp-7op", CELLS).to_json()
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, text], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("True normal: 2 = sep_conv_3x3(0) + sep_conv_3x3(1)")


def test_spaces_of_cells_have_their_notation() -> None:
    assert set(WRITERS) == {"closed", "gated", *IMAGES, SPACE}


def test_a_genotype_that_its_space_does_not_have_is_written_by_blocks() -> None:
    assert Genotype("nasp-7op", {"a": ((0, "x"),)}).expression == "a: x"
