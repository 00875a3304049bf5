"""Objectives of a search: how they are asked for, and that methods keep and use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sif.core.bounds import CostBound, CostTable
from sif.core.gates import Block, Selection
from sif.core.method import Plan
from sif.core.pieces import Applied, Example, Piece, Pieces
from sif.errors import ConfigError
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.nsga2 import Nsga2, Nsga2Settings
from sif.methods.popnas import Popnas, PopnasSettings
from sif.search import latency
from sif.search.front import check_pick, front_of, hypervolume, picked
from sif.search.latency import LatencyTable
from sif.search.loop import SearchResult
from sif.search.objectives import asked_objectives
from sif.testing.toys import toy_run
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from tests.doubles import PlantedSpace

RUNTIME = make_runtime("cpu", 0, threads=1)
PAIRS = [(0.1, 5.0), (0.2, 3.0), (0.3, 4.0), (0.5, 1.0), (0.5, 1.0)]


def found(method: str, *sets: str) -> SearchResult:
    run = toy_run("space=primitives", *sets)
    run.check(method)
    return run.run(method, NullTracker(), NoCheckpoint(), lambda *_: None)


def test_names_and_bounds_are_read() -> None:
    asked = asked_objectives(["parameters", " latency<=2.5 "])
    assert [(one.name, one.most) for one in asked] == [
        ("parameters", float("inf")), ("latency", 2.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["latncy"], "search.objectives: expected one of .*found 'latncy'; did you mean 'latency'"),
        (["latency >= 2"], "such as 'latency <= 2', found 'latency >= 2'"),
        (["latency <= 0"], "expected a number above 0, found '0'"),
        (["latency <= nan"], "expected a number above 0, found 'nan'"),
        (["memory", "memory <= 2"], "expected different objectives, found memory twice"),
        (["memory", "latency", "parameters", "multiply_adds"], "at most 3 beside the error"),
    ],
)
def test_other_texts_are_refused(texts: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        asked_objectives(texts)


def test_a_space_without_pieces_is_refused() -> None:
    with pytest.raises(ConfigError, match="sums of measured pieces, found staged"):
        toy_run("space=staged", "search.objectives=[parameters]")


def test_nasp_returns_a_selection_within_the_bound() -> None:
    free = found("nasp", "search.objectives=[multiply_adds]")
    (one,) = free.objectives
    least = 0.97 * one["value"]
    kept = found("nasp", f"search.objectives=multiply_adds <= {least}")
    (bound,) = kept.objectives
    assert bound["most"] == least
    assert bound["value"] <= least < one["value"]
    run = toy_run("space=primitives", f"search.objectives=multiply_adds <= {least}")
    (limit,) = run.objectives.bounds
    blocks = run.make_space(False).blocks
    chosen = [Selection(entry["selection"]) for entry in kept.history]
    assert all(limit.keeps(selection, blocks) for selection in chosen)


def test_an_impossible_bound_is_refused_before_the_search() -> None:
    with pytest.raises(ConfigError, match="multiply_adds: expected a bound of at least"):
        found("nasp", "search.objectives=multiply_adds <= 5")


def test_methods_that_keep_no_bound_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"with bounds in search\.objectives, found darts-1"):
        found("darts-1", "search.objectives=multiply_adds <= 1e9")


def planted(costs: dict[str, float], score: dict[str, float]) -> tuple[PlantedSpace, CostTable]:
    block = Block("f", tuple(costs), costs=(tuple(costs.values()),))
    gains = torch.tensor([list(score.values())], dtype=torch.float64)
    space = PlantedSpace([block], lambda gates: (gates["f"] * gains).sum())
    return space, CostTable("latency", "ms", 1.0, {"f": [costs]})


def nasp(space: PlantedSpace, bounds: tuple[CostBound, ...], eta: float) -> Selection:
    settings = NaspSettings(
        arch_optimizer="plain", arch_lr=0.05, complexity_penalty=eta, score="gradient"
    )
    method = Nasp(space, settings, Plan(50, bounds=bounds), torch.Generator().manual_seed(0))
    for _ in range(50):
        method.arch_step(space, None, None)
        assert all(bound.keeps(method.best_gates().choices(), space.blocks) for bound in bounds)
    return method.best_gates().choices()


@pytest.mark.parametrize("most", [2.0, 3.0, 4.0, 6.0])
def test_nasp_finds_the_best_selection_within_a_bound(most: float) -> None:
    costs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 5.0}
    score = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    space, table = planted(costs, score)
    able = [name for name in costs if 1.0 + costs[name] <= most]
    best = min(able, key=score.__getitem__)
    chosen = nasp(space, (CostBound(table, most),), 0.0)
    assert list(costs)[chosen["f"][0]] == best


def test_the_penalty_prefers_what_is_cheap() -> None:
    space, _ = planted({"slow": 9.0, "fast": 1.0}, {"slow": 0.1, "fast": 0.12})
    assert nasp(space, (), 0.0) == {"f": (0,)}
    assert nasp(space, (), 1.0) == {"f": (1,)}


@pytest.mark.parametrize("method", ["nsga2", "popnas", "random"])
def test_samplers_record_a_front_and_return_the_picked_point(method: str) -> None:
    if method == "nsga2":
        pytest.importorskip("pymoo")
    sets = [
        "search.objectives=[parameters, multiply_adds]", "search.steps=12",
        "search.candidate_epochs=1", "methods.nsga2.population=3", "methods.popnas.beam=3",
    ]  # fmt: skip
    result = found(method, *sets, "search.pick=multiply_adds")
    assert result.front is not None
    points = result.front["points"]
    front = [p for p in points if p["number"]]
    (chosen,) = [p for p in points if p["picked"]]
    assert chosen["number"] is not None
    assert chosen["values"][2] == min(p["values"][2] for p in front)
    assert [one["value"] for one in result.objectives] == chosen["values"][1:]
    assert result.history[-1]["selection"] == chosen["selection"]
    json.dumps(result.front)
    for p in points:
        beaten = any(
            all(q <= v for q, v in zip(o["values"], p["values"], strict=True))
            and o["values"] != p["values"]
            for o in points
        )
        assert not (p["number"] and beaten)


@pytest.mark.parametrize("kind", ["nsga2", "popnas"])
def test_methods_search_by_the_objectives_and_restore_them(kind: str) -> None:
    if kind == "nsga2":
        pytest.importorskip("pymoo")
    blocks = [Block("a", ("x", "y", "z")), Block("b", ("x", "y", "z"))]
    space = PlantedSpace(blocks, lambda gates: torch.zeros(()))

    def made() -> Any:
        if kind == "nsga2":
            return Nsga2(space, 0, Nsga2Settings(population=4), 2)
        return Popnas(space, 0, PopnasSettings(beam=3))

    method, told = made(), {}
    for _ in range(7):
        selection = method.ask()
        values = [float(selection["a"][0]), float(selection["b"][0])]
        excess = max(0.0, values[0] - 1)
        method.measured(selection, values, excess)
        method.tell(selection, 1.0 / (1 + sum(values)), 0.0)
        told[selection] = values
    other = made()
    other.load_state_dict(json.loads(json.dumps(method.state_dict())))
    assert [r.values for r in other.results] == [tuple(v) for v in told.values()]
    assert other.ask() == method.ask()
    if kind == "nsga2":
        assert {r.selection for r in method.front()} <= set(told)


def test_the_front_within_bounds_and_its_picks() -> None:
    free = [float("inf")]
    assert front_of(PAIRS, free) == [0, 1, 3]
    assert front_of(PAIRS, [3.5]) == [1, 3]
    assert front_of(PAIRS, [0.5]) == [3]  # nothing keeps it: the closest
    assert picked(PAIRS, ["latency"], free, "error") == 0
    assert picked(PAIRS, ["latency"], free, "latency") == 3
    assert picked(PAIRS, ["latency"], free, "2") == 1
    assert picked(PAIRS, ["latency"], free, "knee") == 1
    with pytest.raises(ConfigError, match="a point of a front of 3, found 4"):
        picked(PAIRS, ["latency"], free, "4")


@pytest.mark.parametrize("pick", ["memory", "0", "-1", "kne", "²"])
def test_picks_that_name_no_point_are_refused(pick: str) -> None:
    with pytest.raises(ConfigError, match=r"search\.pick: expected error, knee, latency"):
        check_pick(pick, ["latency"])


def test_a_pick_without_objectives_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected search\.objectives to pick by, found 'knee'"):
        check_pick("knee", [])


def test_the_hypervolume_by_hand() -> None:
    pytest.importorskip("pymoo")
    points = [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    # Of the box up to 1.1: strips of .1 x 1.1 and the square from (.5, .5), less what is twice.
    area = 0.1 * 1.1 + 0.6 * 0.6 + 1.1 * 0.1 - 2 * 0.1 * 0.6 + 0.0
    assert hypervolume(points, [0, 1, 2]) == pytest.approx(area / 1.21)
    assert hypervolume(points, [2]) == pytest.approx(0.36 / 1.21)


class Counting:
    """Pretended times, and how often they were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, module: nn.Module, inputs: Any, threads: int) -> float:
        self.taken += 1
        return float(len(inputs))


def test_the_table_measures_once_and_adds_what_whole_networks_take_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = Counting()
    monkeypatch.setattr(latency, "milliseconds", timer)
    zero = torch.zeros(1)

    def piece(name: str, inputs: int, count: int = 1) -> Piece:
        return Piece(name, lambda: Applied(lambda *x: x), lambda: (zero,) * inputs, count)

    one, two, whole = piece("one", 1, 2), piece("two", 2), piece("whole", 7)
    pieces = Pieces([one], {"f": [{"two": [two]}]}, examples=[Example(whole, [one, two])])
    table = LatencyTable(RUNTIME, tmp_path)
    assert table.measure(pieces) == 7 - (2 * 1 + 2)
    assert timer.taken == 3
    document = json.loads(table.path.read_text())
    assert document["threads"] == 1
    assert document["machine"]
    again = LatencyTable(RUNTIME, tmp_path)
    assert again.measure(pieces) == 3
    assert timer.taken == 3
    table.path.write_text('{"milliseconds": 3}')
    with pytest.raises(ConfigError, match="expected a table of latencies"):
        LatencyTable(RUNTIME, tmp_path)


def test_more_work_takes_more_time() -> None:
    small, large = torch.randn(8, 8), torch.randn(512, 512)
    product = Applied(torch.mm)
    times = [latency.milliseconds(product, (x, x), 1) for x in (small, large)]
    assert 0 < times[0] < times[1]
