"""The record that refactorings are held against: it reports what differs, and only that."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", ROOT / "benchmarks" / "golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def kept(**values: Any) -> dict[str, Any]:
    return {"values": values, "cpu_seconds": {}, "skipped": {}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": {"b": 0.1}}, {"a": {"b": 0.1}}, []),
        ({"a": [math.nan, None]}, {"a": [math.nan, None]}, []),
        ({"a": math.nan}, {"a": 0.5}, ["/a: NaN -> 0.5"]),
        ({"a": {"b": 0.1}}, {"a": {"b": 0.1 + 2**-56}}, ["/a/b: 0.1 -> 0.10000000000000002"]),
        ({"a": 1}, {"a": 1.0}, ["/a: 1 -> 1.0"]),
        ({"a": 0.0}, {"a": -0.0}, ["/a: 0.0 -> -0.0"]),
        ({"a": 1, "b": 2}, {"b": 2}, ["/a: 1 -> missing"]),
        ({"b": 2}, {"a": None, "b": 2}, ["/a: missing -> null"]),
        ({"b": 2}, {"a@20": 1, "b": 2}, []),  # of lists of 20, which the earlier record may lack
        ({"a@20": 1}, {}, ["/a@20: 1 -> missing"]),
        ({"a@20": 1}, {"a@20": 2}, ["/a@20: 1 -> 2"]),
        ({"a": [1, 2]}, {"a": [3]}, ["/a: 2 entries -> 1 entries", "/a/0: 1 -> 3"]),
        ({"a": [1]}, {"a": {"0": 1}}, ['/a: [1] -> {"0": 1}']),
    ],
)
def test_every_difference_has_its_path_and_both_values(
    golden: ModuleType, before: Any, after: Any, expected: list[str]
) -> None:
    assert list(golden.differences(before, after)) == expected


def test_jobs_are_compared_one_by_one(
    golden: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept(same={"x": math.nan}, changed={"x": 1}, gone={"x": 1})
    after = kept(same={"x": math.nan}, changed={"x": 2}, fresh={})
    assert golden.compare(before, after, []) == 3
    assert capsys.readouterr().out.splitlines() == [
        "same: equal",
        "changed: differs", "  /x: 1 -> 2",
        "gone: differs", "  recorded on one side alone",
        "fresh: differs", "  recorded on one side alone",
    ]  # fmt: skip
    assert golden.compare(before, after, ["same"]) == 0


def test_two_records_that_differ_end_with_1(
    golden: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / f"{name}.json").write_text(json.dumps(kept(job={"x": value})))
    for other, code in (("b", 0), ("c", 1)):
        paths = [str(tmp_path / f"{name}.json") for name in ("a", other)]
        monkeypatch.setattr(sys, "argv", ["golden.py", "compare", *paths])
        with pytest.raises(SystemExit) as end:
            golden.main()
        assert end.value.code == code


def test_what_may_vary_is_left_out_and_new_names_are_told_by_their_old_ones(
    golden: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(golden.RENAMED, "rivals", "controls")
    monkeypatch.setitem(golden.REWORDED, "rich", "staged")
    found = {
        "controls": [{"seconds": 1.0, "l2_seconds": 2.0, "search.peak_memory_mb": 3.0, "l2": 4.0}],
        "dataset": f"{tmp_path}/ratings.csv", "space": "staged",
    }  # fmt: skip
    assert golden.told(found, tmp_path) == {
        "rivals": [{"l2": 4.0}], "dataset": "./ratings.csv", "space": "rich",
    }  # fmt: skip


@pytest.mark.slow
def test_a_job_is_recorded_alike_twice(golden: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow: four processes that import torch."""
    few = "search.epochs=3 train.epochs=3 train.l2=[2] train.beyond=0 baselines=[] rivals=[]"
    monkeypatch.setitem(golden.JOBS, "tiny", golden.cf(golden.SMALL + few))
    first, second = (golden.record(ROOT, ["tiny"]) for _ in range(2))
    assert golden.compare(first, second, []) == 0
    found = first["values"]["tiny"]
    assert found["genotype"]["format"] == "sif-genotype"
    assert found["metrics"]["test"] == found["answers"]["evaluate"]
    assert list(found["answers"]["recommend"]) == list(golden.USERS)
    assert len(found["answers"]["similar"]) == 5 * len(golden.ITEMS)
    assert found["log"] and first["cpu_seconds"]["tiny"] > 0


def test_a_job_that_fails_does_not_end_the_record(
    golden: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(golden.JOBS, "tiny", golden.cf("search.epoch=3"))
    found = golden.record(ROOT, ["tiny"])
    assert found["values"] == {}
    assert "did you mean 'epochs'?" in found["skipped"]["tiny"]
    assert golden.compare(kept(tiny={}), found, []) == 1
