"""Figures: valid files of the expected size, the data in them, text that never meets text."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from sif import plots
from sif.errors import CheckpointError, ShapeError
from sif.plots import cells, function, gates, lines, methods, results, style, trajectories
from sif.plots import splits as protocol
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES

PLACE = importlib.util.spec_from_file_location(
    "pictures", Path(__file__).parents[2] / "benchmarks/pictures.py"
)
assert PLACE is not None and PLACE.loader is not None
trade = importlib.util.module_from_spec(PLACE)
sys.modules["pictures"] = trade  # dataclasses look their module up
PLACE.loader.exec_module(trade)

LONG = "a very long name of a model that somebody has called by all of its hyper-parameters"
ODD = "costs $5_{x}$ 用户 \t\n🙂"
X = np.linspace(-2, 2, 41)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def history(
    blocks: dict[str, list[str]], epochs: int, unscored: int = 0, edges: int = 1, seed: int = 0
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)

    def rows(names: list[str]) -> list[list[float]]:
        return rng.normal(size=(edges, len(names))).tolist()

    return [
        {
            "alpha": {b: rows(names) for b, names in blocks.items()},
            "scores": {"replacement_loss": {b: rows(names) for b, names in blocks.items()}}
            if epoch >= unscored
            else {},
            "selection": {b: [len(names) - 1] * edges for b, names in blocks.items()},
            "seconds": 1.0 + epoch,
            "loss": 0.5,
            "valid_loss": None,
        }
        for epoch in range(epochs)
    ]


OPERATION = {"operation": list(OPERATIONS)}
TRIPLE = {**OPERATION, "user": list(PRIMITIVES), "item": list(PRIMITIVES)}
MANY = {"block": [f"candidate {i}" for i in range(24)]}
ROWS: list[results.Row] = [
    ("popularity", 0.21, 0.20, 0.22, False),
    ("ours", 0.42, 0.41, 0.43, True),
    ("ease", 0.40, 0.39, 0.41, False),
]
SERIES = {
    "search": [(1.0, 0.1), (2.0, 0.3), (3.0, 0.35)],
    "fixed multiply": [(1.5, 0.2), (3.0, 0.34)],
    "random": [(2.0, 0.1), (9.0, 0.33)],
}

MODELS: list[results.Row] = [
    ("unbounded", 0.4, -np.inf, np.inf, True),
    ("lost", np.nan, np.nan, np.nan, False),
]
ODD_MODELS: list[results.Row] = [(LONG, 0.4, 0.3, 0.5, True), (ODD, 0.35, 0.3, 0.39, False)]
ODD_SERIES = {LONG: [(1.0, 0.1), (2.0, np.nan), (3.0, 0.2)], ODD: [(1.0, 0.2)]}
WILD_CURVE = [(float(i), y) for i, y in enumerate([80.0, *np.linspace(1.0, 0.9, 50).tolist()])]
Z = np.outer(X, X)


def wild(blocks: dict[str, list[str]]) -> Figure:
    """Twelve epochs, alpha and score of the second out of all proportion."""
    entries = history(blocks, 12)
    for block in blocks:
        for table in (entries[1]["alpha"], entries[1]["scores"]["replacement_loss"]):
            table[block][0][0] = 500.0
    return trajectories.alpha_trajectories.build(entries, blocks, warmup=1)


def alpha(blocks: dict[str, list[str]], epochs: int, warmup: int = 0, edges: int = 1) -> Figure:
    entries = history(blocks, epochs, warmup, edges)
    return trajectories.alpha_trajectories.build(entries, blocks, warmup=warmup)


def surface(z: np.ndarray, heading: str = "u v") -> Figure:
    return function.interaction_surface.build(X, X, z, heading)


def comparison(rows: list[results.Row], reference: str | None) -> Figure:
    return results.test_comparison.build(rows, "ndcg@10", reference=reference)


SPANS = ["none", "< 1 min", "< 30 days", "longer"]
BARS = {"cold-user": 0.4, "history-1-9": 0.1, "warm": 0.25}


def timeline(bins: int, days: int) -> Figure:
    counts = {
        "train": [100 * (i < 0.8 * bins) for i in range(bins)],
        "valid": [40 * (0.8 * bins <= i < 0.9 * bins) for i in range(bins)],
        "test": [60 * (i >= 0.9 * bins) for i in range(bins)],
    }
    cuts = [int(share * bins) * days * 86400 for share in (0.8, 0.9)]
    return protocol.split_timeline.build(0, days, counts, cuts, dict.fromkeys(counts, 1234))


def groups(models: list[str]) -> Figure:
    bars = {n: [(v + 0.01 * k, v - 0.1, v + 0.1) for k in range(len(models))]
            for n, v in BARS.items()}  # fmt: skip
    notes = ["116 users, 8,466 rows", "1 user, 41 rows", "80 users, 1,520 rows"]
    return protocol.group_comparison.build(bars, notes, models, "ndcg@10")


EDGES = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
STRIPS = [gates.Strips("normal", ["conv", "skip"], EDGES, [30, 10]),
          gates.Strips(ODD, [LONG, ODD], EDGES[:2])]  # fmt: skip
LOW = [gates.Strips(name, MANY["block"][:12], EDGES[:1]) for name in "ab"]
SELECTIONS: list[dict[str, Any]] = [
    {"selection": {"normal": [0, -1, 1, 0, -1], ODD: [1, 1]}},
    {"selection": {"normal": [0, -1, 1, -1, 0], ODD: [0, 1]}},
    {"selection": {"normal": [1, -1, 1, -1, 0], ODD: [0, -1]}},
]
CHOICES = [trade.Choice("eta 0", [(3.0, 40.0), (3.2, 41.0)]), trade.Choice(LONG, [(3.1, 40.2)]),
           trade.Choice(ODD, [(1.0, 44.0), (1.1, 46.0)]), trade.Choice("nothing", [])]  # fmt: skip
FRONTS = {
    "NSGA-II": [(10.0, 5.0), (20.0, 3.0), (15.0, 6.0), (40.0, 3.0)],
    "NASP, one search per eta": [(12.0, 4.0), (12.0, 4.5), (30.0, 2.0)],
}
SEARCHED = {
    "error": "exported_error", "names": ["parameters", LONG], "units": ["", "ms"],
    "bounds": [None, 2.5],
    "points": [
        {"values": [10.0, 900.0, 3.0], "number": 1, "picked": False},
        {"values": [12.0, 700.0, 2.0], "number": 2, "picked": True},
        {"values": [14.0, 950.0, 4.0], "number": None, "picked": False},
    ],
}  # fmt: skip
COSTS = [("nasp", [0.5, 0.25]), (LONG, [3.0, 3.0]), (ODD, [9.0, 3.0])]
CURVES = {
    "nasp": [[(1.0, 0.5), (2.0, 0.3)], [(1.5, 0.6), (4.0, 0.2)]],
    LONG: [[(3.0, 0.4)], []],
    "random": [[(0.5, 9.0), (3.5, 0.31)], [(0.7, 8.0), (3.9, 0.3)]],
    "refused": [],
}
POINTS: list[methods.PointRow] = [
    ("nasp", [0.31, 0.33], 0.32, 0.2, 0.44),
    (LONG, [0.4], 0.4, np.nan, np.nan),
    (ODD, [0.2, 0.3, 0.25], 0.25, 0.13, 0.37),
    ("nothing", [], np.nan, np.nan, np.nan),
]
WILD: list[methods.PointRow] = [*POINTS, ("wild", [0.3, 0.3, 90.0], 30.2, -98.0, 158.0)]

RANKS = [
    plots.RankRow("served", [1, 1.5, 1], 1.17, 0.2, 2.1),
    plots.RankRow(LONG, [2, 1.5, 3], 2.17, 1.2, 3.1),
    plots.RankRow(ODD, [3, 3, 2], 2.67, 2.2, 3.6),
]
UNSURE = [plots.RankRow(str(n), [n], n, np.nan, np.nan) for n in range(1, 31)]

DECAYS = {
    "0.3, last 3": [1.0, 0.3, 0.09, *[0.0] * 346],
    "half-life 116 days, last 349": [0.85**age for age in range(349)],
}

anytime = functools.partial(methods.anytime_curves.build, clock="CPU seconds")
compared = protocol.group_comparison.build
transforms = function.transform_curves.build
validation = results.validation_against_seconds.build

FIGURES = {
    "anytime": lambda: anytime(CURVES, "perplexity"),
    "many anytime": lambda: anytime(
        {f"method {i}": [[(i / 9, 0.1), (2.0, 0.4)]] for i in range(30)},
        "ndcg@10",
        clock="CPU seconds",
    ),
    "one judged point": lambda: anytime({ODD: [[(0.0, 0.4)]]}, "error"),
    "nothing judged": lambda: anytime({"nasp": [[], []]}, "error"),
    "methods": lambda: methods.method_points.build(POINTS, "rmse"),
    "wild methods": lambda: methods.method_points.build(WILD, "ndcg@10"),
    "one method": lambda: methods.method_points.build(POINTS[1:2], "rmse"),
    "no methods": lambda: methods.method_points.build(POINTS[3:], "rmse"),
    "ranks": lambda: plots.average_ranks.build(RANKS, 3, f"bars: {LONG}"),
    "ranks on one data set": lambda: plots.average_ranks.build(UNSURE, 1, ""),
    "no ranks": lambda: plots.average_ranks.build([], 3, ""),
    "gates": lambda: gates.gate_trajectories.build(SELECTIONS, STRIPS, warmup=1),
    "gates of one epoch": lambda: gates.gate_trajectories.build(
        SELECTIONS[:1], STRIPS[:1], warmup=0
    ),
    "more operations than edges": lambda: gates.gate_trajectories.build(
        [{"selection": {"a": [0], "b": [11]}}], LOW, warmup=0
    ),
    "no gates": lambda: gates.gate_trajectories.build([], STRIPS, warmup=0),
    "trade-off": lambda: trade.trade_off.build(CHOICES, "parameters", "error (%)"),
    "one choice": lambda: trade.trade_off.build(CHOICES[1:2], "parameters", "error (%)"),
    "no choice": lambda: trade.trade_off.build(CHOICES[3:], "parameters", "error (%)"),
    "fronts": lambda: trade.fronts.build(FRONTS, "parameters", "error (%)"),
    "a front of one": lambda: trade.fronts.build({"nasp": [(3.0, 4.0)]}, "parameters", "error (%)"),
    "front of a search": lambda: plots.search_front.build(SEARCHED),
    "front of nothing": lambda: plots.search_front.build({**SEARCHED, "points": []}),
    "no fronts": lambda: trade.fronts.build({"nasp": []}, "parameters", "error (%)"),
    "costs": lambda: trade.cost_bars.build(COSTS, ["architecture step", "weight step"], "seconds"),
    "one cost": lambda: trade.cost_bars.build(COSTS[2:], ["a", "b"], "seconds"),
    "no cost": lambda: trade.cost_bars.build([], ["a"], "seconds"),
    "operation": lambda: alpha(OPERATION, 12, 3),
    "triple": lambda: alpha(TRIPLE, 30, 5),
    "wild": lambda: wild(TRIPLE),
    "wild under a long name": lambda: wild({LONG: [LONG, "x"]}),
    "no warm-up": lambda: alpha(OPERATION, 5),
    "unscored": lambda: alpha(OPERATION, 4, 4),
    "one epoch": lambda: alpha(TRIPLE, 1),
    "one operation": lambda: alpha({"b": ["x"]}, 5),
    "many operations": lambda: alpha(MANY, 6, 2),
    "edges": lambda: alpha(OPERATION, 6, edges=7),
    "odd names": lambda: alpha({ODD: [LONG, ODD]}, 6, 1),
    "no epochs": lambda: alpha(OPERATION, 0),
    "transforms": lambda: transforms({"user": (X, X**2), LONG: (X, np.tanh(X))}),
    "four": lambda: transforms(dict.fromkeys(("a", "b", "c", ODD), (X, X * 9))),
    "gaps": lambda: transforms({"user": (X, np.where(X < 0, np.nan, X))}),
    "one point": lambda: transforms({"user": ([1.0], [2.0])}),
    "no transforms": lambda: transforms({}),
    "decays": lambda: function.history_decays.build(DECAYS),
    "no decays": lambda: function.history_decays.build({}),
    "surface": lambda: surface(Z),
    "positive surface": lambda: surface(Z**2, ODD),
    "constant surface": lambda: surface(np.full_like(Z, 3.0)),
    "zero surface": lambda: surface(np.zeros_like(Z)),
    "surface with gaps": lambda: surface(np.where(Z < 0, np.nan, Z), LONG),
    "no surface": lambda: surface(np.full_like(Z, np.nan)),
    "comparison": lambda: comparison(ROWS, "ease"),
    "one model": lambda: comparison([("ours", 0.9, 0.9, 0.9, True)], None),
    "no interval": lambda: comparison(MODELS, "lost"),
    "odd models": lambda: comparison(ODD_MODELS, LONG),
    "no models": lambda: comparison([], None),
    "validation": lambda: validation(SERIES, "ndcg@10"),
    "one validation": lambda: validation({"a": [(3.0, 0.5)], "b": []}, "rmse"),
    "validation at once": lambda: validation({"a": [(0.0, 0.5)]}, "rmse"),
    "odd series": lambda: validation(ODD_SERIES, "rmse"),
    "no validation": lambda: validation({}, "rmse"),
    "timeline": lambda: timeline(30, 7),
    "long timeline": lambda: timeline(120, 365),
    "one day": lambda: timeline(1, 1),
    "no timeline": lambda: timeline(0, 1),
    "gaps in time": lambda: protocol.last_gaps.build(SPANS, [400, 0, 12, 3], "17 s"),
    "no gaps in time": lambda: protocol.last_gaps.build(SPANS, [0] * 4, "0 s"),
    "groups": lambda: groups(["ours", "ease", "als"]),
    "one model in groups": lambda: groups([LONG]),
    "odd groups": lambda: compared({ODD: [(0.0, 0.0, 0.0)]}, [LONG], [ODD], LONG),
    "objectives": lambda: objectives(["searched", "ease", "als", LONG, ODD]),
    "many by objectives": lambda: objectives([f"m{n}" for n in range(20)]),
    "one by objectives": lambda: objectives(["searched"]),
    "none by objectives": lambda: objectives([]),
    "no groups": lambda: compared({}, [], ["ours"], "rmse"),
}


def objectives(names: list[str]) -> Figure:
    rng = np.random.default_rng(0)
    points = [
        plots.FrontPoint(name, float(rng.random()), rng.random(2).tolist(), n == 0, [n < 3, n < 2])
        for n, name in enumerate(names)
    ]
    bounded = [plots.Bounded("coverage@10", low=0.3), plots.Bounded("arp@10", high=0.5)]
    return plots.objective_front.build(points, "ndcg@10", bounded)


def png(path: Path) -> np.ndarray:
    """Gray values of a file, (height, width)."""
    image = Image.open(path)
    image.load()
    assert image.format == "PNG" and [round(n) for n in image.info["dpi"]] == [150, 150]
    return np.asarray(image.convert("L"), dtype=np.float64)


def boxes(figure: Figure) -> list[tuple[str, Any]]:
    """Every visible text, tick labels included, with its extent in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        low, high = sorted(axes.get_xlim())
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes._left_title]  # type: ignore[attr-defined]
        texts += [t.label1 for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
        low, high = sorted(axes.get_ylim())
        for tick in axes.yaxis.get_major_ticks():
            if low <= tick.get_loc() <= high:
                texts += [tick.label1, tick.label2]
    shown = [t for t in texts if t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in shown]


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_holds_all_that_is_drawn_and_no_text_meets_other_text(
    name: str, tmp_path: Path
) -> None:
    pages: list[Figure] = []

    def build() -> Figure:
        pages.append(FIGURES[name]())
        return pages[-1]

    path = tmp_path / "new" / "a.png"
    style.write(build, path)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    pixels = png(path)
    assert pixels.std() > 5
    for edge in (pixels[:5], pixels[-5:], pixels[:, :5], pixels[:, -5:]):
        assert (edge == 255).all()  # nothing is cut off
    texts = style.styled(lambda: boxes(pages[0]))
    for i, (text, box) in enumerate(texts):
        for other, that in texts[i + 1 :]:
            across = min(box.x1, that.x1) - max(box.x0, that.x0)
            # Extents hold room for descenders, which neighbors may share.
            along = min(box.y1, that.y1) - max(box.y0, that.y0)
            assert across <= 0 or along <= 0.3 * min(box.height, that.height), (text, other)


def test_a_file_takes_one_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    draw = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, *a: (drawn.append(self), draw(self, *a)))
    for number, name in enumerate(("a.png", "a.svg"), start=1):
        style.write(FIGURES["groups"], tmp_path / name)
        assert len(drawn) == number


def series(figure: Figure, axes: int, label: str) -> np.ndarray:
    (line,) = [n for n in figure.axes[axes].lines if n.get_label() == label]
    return np.column_stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())])


def written(figure: Figure) -> list[str]:
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, *axes.get_yticklabels(), axes._left_title]  # type: ignore[attr-defined]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
    return [t.get_text() for t in texts if t.get_text()]


def test_trajectories_show_alpha_and_score_of_every_operation() -> None:
    entries = history(TRIPLE, 9, unscored=4)
    figure = trajectories.alpha_trajectories.build(entries, TRIPLE, warmup=4)
    assert len(figure.axes) == 6
    for panel, (block, names) in enumerate(TRIPLE.items()):
        for k, name in enumerate(names):
            drawn = series(figure, 2 * panel, name)
            np.testing.assert_array_equal(drawn[:, 0], np.arange(1, 10))
            np.testing.assert_array_equal(drawn[:, 1], [e["alpha"][block][0][k] for e in entries])
            score = series(figure, 2 * panel + 1, name)[:, 1]
            assert np.isnan(score[:4]).all()
            expected = [e["scores"]["replacement_loss"][block][0][k] for e in entries[4:]]
            np.testing.assert_array_equal(score[4:], expected)
    assert "user: ~square chosen" in written(figure)
    # Every operation is named once beside alpha and once beside the score.
    assert written(figure).count("~sqrt") == 4


def test_trajectories_emphasise_the_chosen_operation_only() -> None:
    figure = alpha(OPERATION, 5)
    assert len(figure.axes) == 2  # alpha and the score
    for axes in figure.axes:
        widths = {n.get_label(): n.get_linewidth() for n in axes.lines}
        others = [widths[name] for name in OPERATION["operation"][:-1]]
        assert widths["concat"] >= 2 * max(others)
        bold = [t.get_text() for t in axes.texts if t.get_fontweight() == "bold"]
        assert bold == ["concat"]


def test_operations_of_a_block_have_different_looks() -> None:
    figure = alpha(TRIPLE, 5)
    drawn = [n for n in figure.axes[2].lines if n.get_label() in PRIMITIVES]
    assert len({(n.get_color(), n.get_linestyle()) for n in drawn}) == len(PRIMITIVES) == 9


def test_warmup_is_shaded_from_the_start_and_not_beyond_the_end() -> None:
    for warmup, right in ((3, 3), (50, 10)):
        figure = alpha(OPERATION, 10, warmup)
        assert figure.axes
        for axes in figure.axes:
            (span,) = axes.patches
            assert (span.get_x(), span.get_x() + span.get_width()) == (0, right)
    figure = alpha(OPERATION, 10)
    assert not any(axes.patches for axes in figure.axes)


def test_without_any_score_there_is_no_empty_panel() -> None:
    figure = alpha(TRIPLE, 4, 4)
    assert len(figure.axes) == 3
    assert all(axes.get_xlabel() == "epoch (shaded: alpha rests)" for axes in figure.axes)


@pytest.mark.parametrize(
    "draw", [lambda: wild(OPERATION), lambda: anytime({"a": [WILD_CURVE]}, "rmse")]
)
def test_the_remark_of_a_cut_axis_stands_where_nothing_is_drawn(draw: Callable[[], Figure]) -> None:
    figure = draw()
    remarks = [box for text, box in boxes(figure) if text.startswith("axis cut")]
    assert len(remarks) == len(figure.axes)
    for axes in figure.axes:
        assert not any(box.overlaps(axes.get_window_extent()) for box in remarks)


def test_names_stay_beside_their_axes_so_that_those_of_stacked_axes_keep_apart() -> None:
    for blocks in (TRIPLE, MANY):
        drawn = alpha(blocks, 6).axes
        assert len(drawn) == 2 * len(blocks)
        for axes in drawn:
            half = lines.LABEL_STEP / 2 / style.inches(axes)[1]
            at = [t.get_position()[1] for t in axes.texts if t.get_position()[0] > 1]
            assert at and min(at) >= half - 1e-9 and max(at) <= 1 - half + 1e-9


def test_missing_numbers_are_gaps_and_lonely_points_are_dots() -> None:
    entries = history({"b": ["x", "y"]}, 5)
    for epoch, value in zip((0, 2, 3), (None, float("nan"), float("inf")), strict=True):
        entries[epoch]["scores"]["replacement_loss"]["b"][0][0] = value
    entries[4]["scores"] = None
    figure = trajectories.alpha_trajectories.build(entries, {"b": ["x", "y"]}, warmup=0)
    score = series(figure, 1, "x")[:, 1]
    assert np.isfinite(score).tolist() == [False, True, False, False, False]
    (line,) = [n for n in figure.axes[1].lines if n.get_label() == "x"]
    assert line.get_markevery() == [1]
    assert np.isfinite(figure.axes[1].get_ylim()).all()


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"epoch 1: block b: expected 3 .* found 2"):
        blocks = {"b": ["x", "y", "z"]}
        trajectories.alpha_trajectories.build(history({"b": ["x", "y"]}, 2), blocks, warmup=0)


def test_transforms_are_drawn_over_the_identity() -> None:
    figure = transforms({"user": (X, X**2), "item": (X, -X)})
    assert [a.get_title(loc="left") for a in figure.axes] == ["user", "item"]
    for axes, name, y in ((0, "user", X**2), (1, "item", -X)):
        np.testing.assert_array_equal(series(figure, axes, name)[:, 1], y)
        np.testing.assert_array_equal(series(figure, axes, "identity")[:, 1], X)
        low, high = figure.axes[axes].get_ylim()
        assert low < min(y.min(), X.min()) and high > max(y.max(), X.max())
        widths = {n.get_label(): n.get_linewidth() for n in figure.axes[axes].lines}
        assert widths["identity"] > widths[name]  # seen also beneath a transform that is it
    with pytest.raises(ShapeError, match="transform of user"):
        transforms({"user": (X, X[1:])})


def test_decays_are_shown_as_far_as_they_count() -> None:
    axes = function.history_decays.build(DECAYS).axes[0]
    low, high = axes.get_ylim()
    assert low < 0 and 1 < high < 1.1
    assert 25 < axes.get_xlim()[1] < 35  # 0.85 to the power of 28 is a hundredth


def test_surface_has_u_to_the_right_v_upwards_and_zero_in_the_middle_of_the_colors() -> None:
    u, v = np.linspace(0, 1, 5), np.linspace(0, 2, 9)
    z = np.broadcast_to(u[None, :] - 0.25, (9, 5))
    figure = function.interaction_surface.build(u, v, z, "u")
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 1) and axes.get_ylim() == (0, 2)
    assert axes.get_xlabel() == "u: user embedding entry"
    assert axes.get_ylabel() == "v: item embedding entry"
    filled = axes.collections[0]
    assert filled.norm.vmin == -filled.norm.vmax  # type: ignore[attr-defined]
    # The lowest band lies at the left, over all of v.
    corners = [p.vertices for p in filled.get_paths() if len(p.vertices)]
    assert corners[0][:, 0].max() < 0.3 and np.ptp(corners[0][:, 1]) == 2
    for bad in (z.T, z[:1], z[:, :1]):
        with pytest.raises(ShapeError, match="interaction surface"):
            function.interaction_surface.build(u, v, bad, "u")


@pytest.mark.parametrize("up", [True, False])
def test_comparison_has_the_best_model_on_top(up: bool) -> None:
    order = ["ours", "ease", "popularity"] if up else ["popularity", "ease", "ours"]
    metric = "ndcg@10" if up else "rmse"
    figure = results.test_comparison.build(ROWS, metric, reference="ease")
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    assert low > high  # place 0 is at the top
    for place, name in enumerate(order):
        row = next(r for r in ROWS if r[0] == name)
        np.testing.assert_array_equal(series(figure, 0, name), [[row[1], place]])
        bars = [np.asarray(n.get_xdata()) for n in axes.lines if list(n.get_ydata()) == [place] * 2]
        np.testing.assert_array_equal(bars, [[row[2], row[3]]])
    assert [t for t in written(figure) if t in order] == order
    texts = [*axes.get_yticklabels(), *axes.texts]
    assert [t.get_text() for t in texts if t.get_fontweight() == "bold"] == ["ours", "0.4200"]
    assert "ease: best baseline on validation" in written(figure)
    assert any(list(n.get_xdata()) == [0.40, 0.40] for n in axes.lines)
    left, right = axes.get_xlim()
    assert left < 0.20 and right > 0.43


def test_a_model_without_a_value_stands_last_and_says_so() -> None:
    rows = [("lost", np.nan, np.nan, np.nan, False), *ROWS]
    figure = results.test_comparison.build(rows, "ndcg@10", reference="lost")
    assert "no value" in written(figure)
    assert [t for t in written(figure) if t in {"lost", "popularity"}] == ["popularity", "lost"]


def test_validation_is_drawn_in_order_of_time() -> None:
    shuffled = {name: points[::-1] for name, points in SERIES.items()}
    figure = validation(shuffled, "ndcg@10")
    for name, points in SERIES.items():
        np.testing.assert_array_equal(series(figure, 0, name), points)
    assert figure.axes[0].get_xlabel() == "training time (seconds)"
    assert figure.axes[0].get_ylabel() == "validation ndcg@10 (higher is better)"
    assert [t for t in written(figure) if t in SERIES] == ["random", "fixed multiply", "search"]


def test_a_timeline_stacks_the_parts_and_marks_where_they_begin() -> None:
    counts = {"train": [3, 2, 0], "valid": [0, 1, 0], "test": [0, 0, 4]}
    figure = protocol.split_timeline.build(
        0, 7, counts, [604800, 1209600], dict.fromkeys(counts, 2)
    )
    axes = figure.axes[0]
    bars = {str(c.get_label()).split(":")[0]: c for c in axes.containers}
    heights = {name: [p.get_height() for p in bar.patches] for name, bar in bars.items()}  # type: ignore[attr-defined]
    assert heights == counts
    assert [p.get_y() for p in bars["valid"].patches] == [3, 2, 0]  # type: ignore[attr-defined]
    assert [p.get_y() for p in bars["test"].patches] == [3, 3, 0]  # type: ignore[attr-defined]
    assert [n.get_xdata()[0] for n in axes.lines] == [1, 2]  # type: ignore[index]
    assert axes.get_ylabel() == "interactions per week"
    assert {"train: 5 of 2 users", "test: 4 of 2 users"} <= set(written(figure))
    assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["1970-01-01", "1970-01-08"]


def test_group_bars_have_the_values_and_intervals_of_every_model() -> None:
    figure = groups(["ours", "ease"])
    axes = figure.axes[0]
    for number, bar in enumerate(axes.containers):
        drawn = [p.get_height() for p in bar.patches]  # type: ignore[attr-defined]
        np.testing.assert_allclose(drawn, [v + 0.01 * number for v in BARS.values()])
    # A white line and a dark one per bar, from bound to bound.
    spans = [s[:, 1] for c in axes.collections for s in c.get_segments()]  # type: ignore[attr-defined]
    expected = [[v - 0.1, v + 0.1] for _ in range(4) for v in BARS.values()]
    np.testing.assert_allclose(spans, expected)
    assert [t for t in written(figure) if t in ("ours", "ease")] == ["ours", "ease"]
    assert "0.260" in written(figure)


def test_equal_ends_are_named_in_the_order_given() -> None:
    figure = validation({n: [(0, 0), (1, 1)] for n in "abc"}, "rmse")
    height = {t.get_text(): t.get_position()[1] for t in figure.axes[0].texts}
    assert height["a"] > height["b"] > height["c"]


def test_wild_values_do_not_flatten_the_rest_but_ends_stay_visible() -> None:
    calm = np.linspace(0.9, 1.0, 50)
    low, high, cut = style.limits([[*calm, 40.0]])
    assert cut and low < 0.9 and 1.0 < high < 1.5
    low, high, cut = style.limits([[*calm, 40.0]], keep=[40.0])
    assert high > 40 and not cut
    low, high, cut = style.limits([[*calm, np.nan, np.inf]])
    assert not cut and low < 0.9 and high > 1.0
    assert style.limits([])[2] is False
    wild = {"a": [(float(i), float(y)) for i, y in enumerate([80.0, *calm])]}
    assert any("axis cut" in text for text in written(validation(wild, "rmse")))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.001, 0.3)
)  # fmt: skip
def test_spread_keeps_order_distance_and_bounds_and_moves_nothing_in_vain(
    positions: list[float], step: float
) -> None:
    given_at = np.array(positions)
    found = lines.spread(given_at, step, 0.0, 1.0)
    least = min(step, 1 / max(len(positions) - 1, 1))
    assert (np.diff(found) >= least - 1e-9).all()
    assert found.min() >= -1e-9 and found.max() <= 1 + 1e-9
    if (np.diff(given_at) >= step).all():
        np.testing.assert_allclose(found, given_at, atol=1e-9)


def test_spread_finds_the_nearest_positions_of_a_fine_grid() -> None:
    grid = np.linspace(0, 1, 41)
    a, b, c = np.meshgrid(grid, grid, grid, indexing="ij")
    legal = (b - a >= 0.2 - 1e-9) & (c - b >= 0.2 - 1e-9)
    for wanted in ([0.5, 0.5, 0.5], [0.0, 0.05, 0.9], [0.8, 0.9, 0.95], [0.1, 0.12, 0.4]):
        cost = (a - wanted[0]) ** 2 + (b - wanted[1]) ** 2 + (c - wanted[2]) ** 2
        best = np.unravel_index(np.where(legal, cost, np.inf).argmin(), cost.shape)
        found = lines.spread(np.array(wanted), 0.2, 0.0, 1.0)
        np.testing.assert_allclose(found, grid[list(best)], atol=0.026)


def test_clean_text_is_one_line_of_known_characters() -> None:
    assert style.clean("a\tb\n c") == "a b c"
    assert style.clean("用户 $x$") == "�� $x$"
    assert len(style.clean(LONG, 20)) == 20
    assert style.clean(LONG, 20).startswith("a very") and style.clean(LONG, 20).endswith("eters")


def test_public_functions_write_files_that_do_not_change_when_drawn_again(tmp_path: Path) -> None:
    counts = {part: [1, 2] for part in protocol.PARTS}
    users = dict.fromkeys(protocol.PARTS, 1)
    calls = {
        "a": lambda p: plots.alpha_trajectories(p, history(OPERATION, 4), OPERATION, warmup=1),
        "b": lambda p: plots.transform_curves(p, {"user": (X, X)}),
        "c": lambda p: plots.interaction_surface(p, X, X, np.outer(X, X), "u v"),
        "d": lambda p: plots.test_comparison(p, ROWS, "ndcg@10", reference="ease"),
        "e": lambda p: plots.validation_against_seconds(p, SERIES, "ndcg@10"),
        "f": lambda p: plots.split_timeline(p, 0, 1, counts, [86400], users),
        "g": lambda p: plots.last_gaps(p, SPANS, [1, 2, 3, 4], "1 s"),
        "h": lambda p: plots.group_comparison(p, {"a": [(1.0, 0.5, 2.0)]}, ["b"], ["c"], "rmse"),
        "i": lambda p: plots.gate_trajectories(p, SELECTIONS, STRIPS, warmup=1),
        "j": lambda p: trade.trade_off(p, CHOICES, "parameters", "error"),
        "k": lambda p: trade.cost_bars(p, COSTS, ["a", "b"], "seconds"),
    }
    for name, call in calls.items():
        path = tmp_path / f"{name}.png"
        call(path)
        png(path)
        before = path.read_bytes()
        call(path)
        assert path.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError):
        calls["b"](tmp_path / "file" / "b.png")


def test_drawing_leaves_no_trace_in_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sif import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; before = dict(dict.items(matplotlib.rcParams))\n"
        f"plots.transform_curves(Path({str(tmp_path / 'a.png')!r}), {{'user': ([0, 1], [0, 1])}})\n"
        "assert dict(dict.items(matplotlib.rcParams)) == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_score_of_exactly_0_is_shown_of_the_active_operation_alone_and_beside_others() -> None:
    history = [
        {"selection": {"o": [1]}, "scores": {"replacement_loss": {"o": [[0.5, 0.0, 0.0]]}}},
        {"selection": {"o": [0]}, "scores": {"replacement_loss": {"o": [[0.0, -0.2, 0.0]]}}},
        {"selection": {"o": [0]}, "scores": {"replacement_loss": {"o": [[0.0, 0.0, 0.0]]}}},
        {"selection": {"o": [-1]}, "scores": None},
    ]
    found = trajectories._judged(history, "o", 0, ("a", "b", "c"), "replacement_loss")
    nan = np.nan
    # Nothing was judged in the third epoch, so that the 0 of the active one says nothing either.
    expected = [[0.5, 0.0, nan], [0.0, -0.2, nan], [nan, nan, nan], [nan, nan, nan]]
    np.testing.assert_array_equal(found, expected)


CELL = ((("conv", 0), ("skip", 1)), (("conv", 1), ("pool", 2)))


def test_cells_show_every_operation_between_its_nodes(tmp_path: Path) -> None:
    pair = [("normal", CELL, (2, 3)), ("reduce", CELL[:1], (2,))]
    figure = cells.graphs.build(pair)
    first, second = figure.axes
    assert [t.get_text() for t in first.texts].count("conv") == 2
    assert {"2", "3", "out", "skip", "pool", "concat"} <= {t.get_text() for t in first.texts}
    assert "pool" not in {t.get_text() for t in second.texts}
    colors = {t.get_text(): t.get_color() for t in first.texts}
    assert len({colors[name] for name in ("conv", "skip", "pool")}) == 3
    # The same operation has the same color in both cells.
    assert {t.get_text(): t.get_color() for t in second.texts}["skip"] == colors["skip"]
    arrows = [t for t in first.texts if t.get_text() == "" and t.arrow_patch is not None]
    assert len(arrows) == 4 + 2
    spans = [(round(a.xyann[0], 3), round(a.xy[0], 3)) for a in arrows]
    assert all(start < end for start, end in spans)


def test_cells_are_written_as_png_and_svg_the_same_every_time(tmp_path: Path) -> None:
    pair = [("normal", CELL, (2, 3))]
    paths = plots.cell_graphs(tmp_path / "cells.png", pair)
    assert [p.name for p in paths] == ["cells.png", "cells.svg"]
    png(paths[0])
    assert paths[1].read_text().count("<svg ") == 1
    before = paths[0].read_bytes()
    plots.cell_graphs(tmp_path / "cells.png", pair)
    assert paths[0].read_bytes() == before


def test_gates_have_the_color_of_their_operation_for_as_long_as_it_was_chosen() -> None:
    figure = gates.gate_trajectories.build(SELECTIONS, STRIPS[:1], warmup=0)
    (axes,) = figure.axes
    strips = axes.patches
    names = [t.get_text() for t in axes.get_legend().get_texts()]
    assert names == ["conv, 75 % of training", "skip, 25 % of training"]
    named = {name.split(",")[0]: k for k, name in enumerate(names)}
    colors = [matplotlib.colors.to_rgba(c) for c in style.PALETTE]
    rows = sorted({round(b.get_y(), 3) for b in strips})
    spans = {
        (
            rows.index(round(b.get_y(), 3)),
            b.get_x(),
            b.get_width(),
            colors.index(b.get_facecolor()),
        )
        for b in strips
        if b.get_facecolor() in colors
    }
    conv, skip = named["conv"], named["skip"]
    assert spans == {
        (0, 0, 2, conv), (0, 2, 1, skip), (2, 0, 3, skip), (3, 0, 1, conv), (4, 1, 2, conv),
    }  # fmt: skip


def test_operations_of_gates_have_different_looks_also_beyond_the_colors() -> None:
    figure = gates.gate_trajectories.build([{"selection": {"a": [11]}}], LOW[:1], warmup=0)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    looks = [(p.get_facecolor(), p.get_hatch()) for p in legend.get_patches()]
    assert len(set(looks)) == len(looks) == 12
    drawn = figure.axes[0].patches[-1]
    assert (drawn.get_facecolor(), drawn.get_hatch()) == looks[11]


def test_a_trade_off_shows_every_run_and_joins_the_means() -> None:
    (axes,) = trade.trade_off.build(CHOICES, "parameters", "error").axes
    runs, joined, *_ = axes.lines
    assert sorted(zip(*runs.get_data(), strict=True)) == [
        (1.0, 44.0), (1.1, 46.0), (3.0, 40.0), (3.1, 40.2), (3.2, 41.0),
    ]  # fmt: skip
    np.testing.assert_allclose(
        np.array(joined.get_data()).T, [(3.1, 40.5), (3.1, 40.2), (1.05, 45)]
    )


def test_levels_without_a_cost_stand_beside_what_was_measured() -> None:
    points, known = {"ours": (10.0, 0.3), "cheap": (0.5, 0.1)}, {"published": 0.4}
    (axes,) = trade.levels.build(points, known, "seconds", "ndcg").axes
    level, *_ = axes.lines
    measured = [
        line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]
    assert set(level.get_ydata()) == {0.4} and axes.get_xscale() == "log"
    assert [tuple(float(n[0]) for n in point.get_data()) for point in measured] == [
        (10.0, 0.3), (0.5, 0.1),
    ]  # fmt: skip
    assert [t.get_text() for t in axes.texts] == ["published", "ours", "cheap"]
    assert axes.get_ylim()[1] > 0.4


def test_cost_bars_say_how_many_times_the_first_a_method_costs() -> None:
    (axes,) = trade.cost_bars.build(COSTS, ["a", "b"], "seconds").axes
    texts = [t.get_text() for t in axes.texts]
    assert texts == ["0.75 s, 1.0x", "6.00 s, 8.0x", "12.00 s, 16.0x"]


def test_a_mean_of_steps_begins_where_all_have_begun_and_holds_their_last_value() -> None:
    first, second = [(1.0, 4.0), (3.0, 2.0)], [(2.0, 8.0), (3.0, 6.0), (5.0, 0.0)]
    expected = [(2.0, 6.0), (3.0, 4.0), (5.0, 1.0)]
    assert methods.mean_curve([first, second, []]).tolist() == [list(pair) for pair in expected]
    assert methods.mean_curve([[], []]).shape == (0, 2)


def test_anytime_curves_show_the_mean_in_bold_and_every_seed() -> None:
    figure = methods.anytime_curves.build(CURVES, "perplexity", clock="CPU seconds")
    expected = [[1.5, 0.55], [2.0, 0.45], [4.0, 0.25]]
    assert np.allclose(series(figure, 0, "nasp"), expected, atol=1e-12)
    thin = [n for n in figure.axes[0].lines if n.get_linewidth() < 1 and n.get_clip_on()]
    assert len(thin) == 5
    assert all(n.get_drawstyle() == "steps-post" for n in thin)
    assert "refused" not in written(figure)


@pytest.mark.parametrize(("metric", "best"), [("rmse", ODD), ("ndcg@10", LONG)])
def test_methods_stand_in_the_order_of_their_means_with_all_seeds(metric: str, best: str) -> None:
    figure = methods.method_points.build(POINTS, metric)
    names = [style.clean(row[0]) for row in POINTS[:3]]
    shown = [text for text in written(figure) if text in names]
    assert shown[0] == style.clean(best)
    assert len(shown) == 3
    (dots,) = [n for n in figure.axes[0].lines if len(n.get_xdata()) == 3]  # type: ignore[arg-type]
    assert list(dots.get_xdata()) == [0.2, 0.3, 0.25]  # type: ignore[arg-type]
    colors = {n.get_label(): n.get_color() for n in figure.axes[0].lines}
    assert colors["nasp"] == lines.colored(0)[0]  # of the curves, wherever it stands


def test_ranks_that_the_best_ones_interval_does_not_meet_are_pale() -> None:
    figure = plots.average_ranks.build(RANKS, 3, "bars: of Nemenyi")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        style.clean(row.name) for row in RANKS
    ]
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    assert [list(line.get_xdata()) for line in bars] == [[row.low, row.high] for row in RANKS]  # type: ignore[arg-type]
    assert [line.get_color() for line in bars] == [style.ACCENT, style.ACCENT, style.QUIET]
    assert {"1.17", "2.17", "2.67"} <= set(written(figure))


def test_a_front_is_what_nothing_cheaper_beats() -> None:
    assert trade.undominated(FRONTS["NSGA-II"]) == [(10.0, 5.0), (20.0, 3.0)]
    assert trade.undominated([(2.0, 1.0), (2.0, 0.5), (1.0, 3.0), (1.0, 3.0)]) == [
        (1.0, 3.0),
        (2.0, 0.5),
    ]


def test_objectives_show_models_bounds_and_the_front() -> None:
    points = [
        plots.FrontPoint("a", 0.3, [0.1], False, [True]),
        plots.FrontPoint("b", 0.2, [0.5], True, [True]),
        plots.FrontPoint("c", 0.1, [0.4], False, [False]),
        plots.FrontPoint("lost", np.nan, [0.4], False, [False]),
    ]
    bounded = [plots.Bounded("coverage@10", low=0.3, high=0.45)]
    figure = plots.objective_front.build(points, "ndcg@10", bounded)
    (axes,) = figure.axes
    assert series(figure, 0, "b (served)").tolist() == [[0.5, 0.2]]
    assert series(figure, 0, "c").tolist() == [[0.4, 0.1]]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["a", "b (served)", "c"]
    front = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_zorder() == 2]
    assert [list(line.get_xdata()) for line in front] == [[0.1, 0.5]]
    low, high = axes.get_xlim()
    shaded = sorted((p.get_x(), p.get_x() + p.get_width()) for p in axes.patches)
    np.testing.assert_allclose(shaded, [(low, 0.3), (0.45, high)])
