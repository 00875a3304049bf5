"""ifc-bench: classes against enumeration, questions against tables worked out by hand, resuming."""

from __future__ import annotations

import fnmatch
import itertools
import math
import pickle
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from sif.bench import tabular as ifcbench
from sif.bench.tabular import plan, ranges, records, store
from sif.bench.tabular.records import pooled
from sif.core.genotype import Genotype
from sif.errors import DataError, GenotypeError, NotInTableError
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES, Mlp

ROOT = Path(__file__).parents[3]
SIDES = {"R": (-2, -1, 0, 1, 2), "+": (0, 1, 2), "-": (0, -1, -2)}


# Classes


def reachable(operation: str, user: str, item: str) -> Any:
    """Scores of two users and two items within reach of one dimension, for both readout signs.

    Scores of two by two without a mixed difference are sums of a user's and an item's term; which
    of these there are decides, not their values, which further dimensions extend.
    """
    combine = OPERATIONS[operation].combine
    shape = {"user": SIDES[user], "item": SIDES[item]}
    tables = set()
    for u, v in itertools.product(
        itertools.product(shape["user"], repeat=2), itertools.product(shape["item"], repeat=2)
    ):
        p = torch.tensor(u, dtype=torch.float32)[:, None].expand(2, 2)[..., None]
        q = torch.tensor(v, dtype=torch.float32).expand(2, 2)[..., None]
        scores = combine([p, q]).sum(dim=-1).int()  # of concat: both readouts alike
        tables |= {tuple((sign * scores).flatten().tolist()) for sign in (1, -1)}
    if any(a - b - c + d for a, b, c, d in tables):
        return frozenset(tables)
    by_user, by_item = any(a != c for a, _, c, _ in tables), any(a != b for a, b, *_ in tables)
    return {(True, True): "additive", (True, False): "user alone"}.get(
        (by_user, by_item), "item alone"
    )


def test_classes_are_what_free_embeddings_can_tell_apart() -> None:
    by_reach: dict[Any, set[str]] = {}
    for operation, user, item in itertools.product(OPERATIONS, SIDES, SIDES):
        name = ranges.class_of(operation, user, item)
        by_reach.setdefault(reachable(operation, user, item), set()).add(name)
    assert all(len(names) == 1 for names in by_reach.values())
    assert len(by_reach) == len({name for names in by_reach.values() for name in names}) == 12
    for alone in ("additive", "user alone", "item alone"):
        assert by_reach[alone] == {alone}


def test_classes_have_the_members_that_counting_gives() -> None:
    count = Counter(map(plan.kind_of, plan.space()))
    names = set(count)
    assert sum(count.values()) == len(set(plan.space())) == 405
    assert count.pop("additive") == 2 * 81
    products = {"R,R": 9, "R,half": 18, "half,R": 18, "half,half": 36}
    assert {n: count.pop(f"multiply({n})") for n in products} == products
    assert count.pop("max(+,+)") == 3 * 18
    assert set(count.values()) == {18}  # 9 pairs of magnitudes, as max and as min
    trained = {plan.kind_of(names) for names in plan.functions("ranking")}
    assert trained == names


@pytest.mark.parametrize("name", PRIMITIVES)
def test_range_and_growth_of_a_primitive_are_those_in_its_name(name: str) -> None:
    sign = {"~": "R"}.get(name[0], name[0])
    assert ranges.range_of(PRIMITIVES[name]) == sign
    assert ranges.growth_of(PRIMITIVES[name]) == name[1:]


def learned(operation: str, user: float, item: float) -> Genotype:
    """A function of `sif` that starts at u + user and v + item."""
    numbers = {}
    for side, offset in (("user", user), ("item", item)):
        for name, value in Mlp(torch.Generator().manual_seed(0), offset).state_dict().items():
            numbers[f"{side}.{name}"] = (tuple(value.shape), tuple(value.flatten().tolist()))
    return Genotype("sif", {"operation": ((0, operation),)}, numbers)


def test_learned_transforms_are_classed_by_their_values() -> None:
    assert ifcbench.family(learned("multiply", 0.0, 0.0)) == ("multiply(R,R)", "abs", "abs")
    assert ifcbench.range_class(learned("multiply", 0.0, 3.0)) == "multiply(R,half)"
    assert ifcbench.range_class(learned("min", -3.0, 0.0)) == "max(+,+)"
    assert ifcbench.range_class(learned("max", 3.0, -3.0)) == "user alone"
    assert ifcbench.range_class(learned("concat", 3.0, -3.0)) == "additive"


def test_other_functions_have_no_class() -> None:
    staged = Genotype("staged", {"operation": ((0, "multiply+max"),)})
    with pytest.raises(GenotypeError, match="'primitives' or 'sif', found 'staged'"):
        ifcbench.range_class(staged)
    with pytest.raises(GenotypeError, match=r"an operation of .*, found 'divide'"):
        ranges.class_of("divide", "R", "R")


# Questions

A, B, C = ("multiply", "~abs", "~abs"), ("multiply", "~abs", "+abs"), ("multiply", "~abs", "-abs")
D, SUM = ("multiply", "~abs", "-sqrt"), ("plus", "~abs", "~abs")
TESTS = {  # seeds 0 and 1
    A: (0.90, 0.94), B: (1.00, 1.02), C: (1.04, 1.06), D: (1.20, 1.20), SUM: (1.30, 1.30),
}  # fmt: skip


def row(
    names: ranges.Names, seed: int, test: float, l2: float = 10.0, **more: Any
) -> dict[str, Any]:
    objective = more.pop("objective", "rating")
    values = {
        f"test_{records.MAIN[objective]}": test,
        f"valid_{records.MAIN[objective]}": test - 0.1,
    }
    for part, metric in itertools.product(records.PARTS, records.METRICS[objective]):
        values.setdefault(f"{part}_{metric}", 0.5)
    return {
        "objective": objective, **dict(zip(("operation", "user", "item"), names, strict=True)),
        "dimension": 8, "seed": seed, "l2": l2, "chosen": True, **values, "parameters": 100 + seed,
        "epochs": 10, "best_epoch": 5, "cpu_seconds": 1.0 + seed, **more,
    }  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> ifcbench.Table:
    rows = [row(f, seed, test) for f, both in TESTS.items() for seed, test in enumerate(both)]
    rows.append(row(A, 0, 0.5, l2=4.0, chosen=False))
    rows += [row(A, 0, 0.30, objective="ranking"), row(SUM, 0, 0.10, objective="ranking")]
    store.write(rows, tmp_path / "t.parquet", {"dataset": "toy"})
    return ifcbench.read(tmp_path / "t.parquet")


def test_an_entry_is_the_mean_over_seeds_of_the_chosen_strength(table: ifcbench.Table) -> None:
    entry = table.query(A)
    assert entry.test == pytest.approx(0.92)
    assert entry.valid == pytest.approx(0.82)
    assert entry.test_deviation == pytest.approx(math.sqrt(2) * 0.02)
    assert (entry.seeds, entry.l2, entry.seconds) == ((0, 1), 10.0, 1.5)
    assert entry.family == ("multiply(R,R)", "abs", "abs")
    one = table.query(A, seed=1)
    assert (one.test, one.seeds, one.parameters) == (0.94, (1,), 101)
    assert math.isnan(one.test_deviation)
    assert table.query(ifcbench.genotype_of(A)) == entry
    assert table.query(A, "ranking").metrics["test_ndcg@10"] == 0.30
    assert table.metadata["dataset"] == "toy"


def test_classes_and_families_pool_their_functions(table: ifcbench.Table) -> None:
    classes = table.classes()
    assert list(classes) == ["multiply(R,R)", "multiply(R,half)", "additive"]
    half = classes["multiply(R,half)"]
    assert half.functions == (B, C, D)
    assert half.test == pytest.approx((1.01 + 1.05 + 1.20) / 3)
    assert half.between_seeds == pytest.approx(math.sqrt((2e-4 + 2e-4 + 0) / 3))
    family = table.families()["multiply(R,half)", "abs", "abs"]
    assert family.functions == (B, C)
    assert family.between_functions == pytest.approx(math.sqrt(2) * 0.02)
    assert math.isnan(classes["additive"].between_functions)
    assert list(table.classes("ranking")) == ["multiply(R,R)", "additive"]  # higher is better
    assert pooled([[1.0, 3.0], [5.0], [0.0, 0.0, 3.0]]) == pytest.approx(math.sqrt(8 / 3))


def test_regret_is_the_distance_to_the_best_in_the_metrics_direction(table: ifcbench.Table) -> None:
    assert table.regret(A) == pytest.approx(0)
    assert table.regret(A, seed=0) == pytest.approx(-0.02)
    assert table.regret(SUM) == pytest.approx(1.30 - 0.92)
    assert table.regret(SUM, part="valid", goal="function") == pytest.approx(1.20 - 0.82)
    assert table.regret(SUM, "ranking", goal="class") == pytest.approx(0.20)
    with pytest.raises(NotInTableError, match="family or class or function, found 'test', 'luck'"):
        table.regret(A, goal="luck")


def test_goals_are_of_functions_with_all_seeds(tmp_path: Path) -> None:
    rows = [row(f, seed, test) for f, both in TESTS.items() for seed, test in enumerate(both)]
    lucky = ("multiply", "+abs", "~abs")  # alone in its class, and one more in that of A
    rows += [row(lucky, 0, 0.50), row(("multiply", "~sqrt", "~abs"), 0, 0.60)]
    store.write(rows, tmp_path / "t.parquet", {})
    table = ifcbench.read(tmp_path / "t.parquet")
    for goal in ("family", "class", "function"):
        assert table.regret(A, goal=goal) == pytest.approx(0)
        assert table.regret(A, goal=goal, part="valid") == pytest.approx(0)
    assert table.regret(lucky) == pytest.approx(0.50 - 0.92)
    one = [r for r in rows if r["seed"] == 0]
    store.write(one, tmp_path / "one.parquet", {})
    assert ifcbench.read(tmp_path / "one.parquet").regret(lucky) == pytest.approx(0)


def test_nine_families_have_one_member() -> None:
    members = Counter(plan.families().values())
    assert len(members) == 96
    assert sum(n == 1 for n in members.values()) == 9
    assert members["multiply(R,R)", "abs", "abs"] == 1


def test_an_estimate_is_the_familys_or_the_classs(table: ifcbench.Table) -> None:
    of_family = table.surrogate(ifcbench.genotype_of(("multiply", "~abs", "+abs")))
    assert (of_family.by, of_family.functions) == ("family", 2)
    assert of_family.test == pytest.approx(1.03)
    of_class = table.surrogate(ifcbench.genotype_of(("multiply", "~square", "+abs")))
    assert (of_class.by, of_class.functions) == ("class", 3)
    assert of_class.test_deviation == pytest.approx(
        table.classes()["multiply(R,half)"].test_deviation
    )
    assert table.surrogate(learned("multiply", 0.0, 0.0)).test == pytest.approx(0.92)
    with pytest.raises(NotInTableError, match=r"a class that was trained, found max\(R,R\)"):
        table.surrogate(learned("max", 0.0, 0.0))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ((A, "ratings"), "expected rating or ranking, found 'ratings'; did you mean 'rating'"),
        ((A, "rating", 16), "rating: dimension: expected 8, found 16; nearest is 8"),
        ((A, "rating", 8, 7), "seed: expected 0 or 1, found 7; nearest is 1"),
        ((("multply", "~abs", "~abs"),), "found 'multply'; did you mean 'multiply'"),
        ((("max", "~ab", "~abs"),), "user: expected .* found '~ab'; did you mean '~abs'"),
        ((("max", "~abs"),), "operation, user's transform and item's transform, found 2 names"),
        ((("multiply", "~sqrt", "+abs"),), r"nearest is multiply\(~abs, \+abs\) of that class"),
        ((("max", "~abs", "~abs"),), r"class max\(R,R\); nor of another of that class"),
    ],
)
def test_what_is_missing_is_named(
    table: ifcbench.Table, question: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(NotInTableError, match=message) as caught:
        table.query(*question)
    assert isinstance(caught.value, KeyError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_other_spaces_are_sent_to_the_surrogate(table: ifcbench.Table) -> None:
    with pytest.raises(GenotypeError, match=r"found 'sif'; sif\.bench\.tabular\.surrogate answers"):
        table.query(learned("multiply", 0.0, 0.0))
    with pytest.raises(NotInTableError, match="dimension: expected 8, found 9"):
        table.classes(dimension=9)


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(DataError, match="expected a Parquet file, found: "):
        ifcbench.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("objective\n")
    with pytest.raises(DataError, match="expected a Parquet file, found: "):
        ifcbench.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="version 1, found version None"):
        ifcbench.read(tmp_path / "other.parquet")


def test_a_table_with_holes_says_so(table: ifcbench.Table) -> None:
    assert table.coverage()["rating", 8, 0] == (6, 1215)
    assert table.coverage()["rating", 32, 0] == (0, 405)
    assert not table.complete()
    assert (
        sum(1 for _ in table.holes()) == 2885 - 11
    )  # the ranking rows have a strength that is not planned


# The shipped table


def test_an_installed_package_has_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["sif"]
    name = store.FILE.relative_to(Path(ifcbench.__file__).parents[2]).as_posix()
    assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def test_the_shipped_table_is_complete_and_marks_one_strength_of_a_function() -> None:
    table = ifcbench.shipped()
    assert {r.objective for r in table.trainings} <= set(table.metadata["splits"])
    keys = [(r.objective, r.names, r.dimension, r.seed, r.l2) for r in table.trainings]
    assert len(keys) == len(set(keys))
    for phase, (have, planned) in ifcbench.coverage().items():
        assert have == planned, phase
    assert ifcbench.complete()
    strengths: dict[tuple[str, ranges.Names], set[float]] = {}
    for r in table.trainings:
        assert all(math.isfinite(value) for value in r.metrics.values())
        if r.chosen:
            strengths.setdefault((r.objective, r.names), set()).add(r.l2)
    assert all(len(chosen) == 1 for chosen in strengths.values())


def test_the_chosen_strength_is_the_best_on_validation() -> None:
    table = ifcbench.shipped()
    tried: dict[tuple[str, ranges.Names], dict[float, tuple[float, bool]]] = {}
    for r in table.trainings:
        if plan.chooses(r.dimension, r.seed):
            tried.setdefault((r.objective, r.names), {})[r.l2] = (r.main("valid"), r.chosen)
    assert {objective for objective, _ in tried} == {"ranking", "rating"}
    for (objective, _), found in tried.items():
        best = (max if objective == "ranking" else min)(value for value, _ in found.values())
        chosen = [value for value, is_chosen in found.values() if is_chosen]
        assert chosen == [best] or (not chosen and len(found) < 3)


def test_leaving_out_asks_the_others(
    table: ifcbench.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from ifc_bench_report import left_out

    found = left_out(table)
    # B from C and the other way round; D from its class, B and C; A and SUM have nobody.
    assert found.functions == 3
    assert found.mae == pytest.approx((0.04 + 0.04 + 0.17) / 3)
    by_class = (1.125 - 1.01, 1.105 - 1.05, 1.03 - 1.20)
    assert found.rmse_by_class == pytest.approx(math.sqrt(sum(e * e for e in by_class) / 3))
    assert left_out(table, "ranking").functions == 0
