"""The search over constants of closed forms: repeatable, resumable, ended in time, and right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from sif.config import CFConfig, load_config
from sif.data.interactions import Interactions, Split, Vocabulary, build_split
from sif.data.interactions.parts import TEST, TRAIN, VALID
from sif.errors import ConfigError, DivergedError
from sif.evaluation.evaluate import evaluate_on, pair_matrix
from sif.problems.base import Session, Trained
from sif.problems.closed_forms import MATRICES, ClosedProblem, ClosedRefit, closed_problem
from sif.problems.closed_sample import ClosedSample, fitted_users
from sif.problems.halving import FINALISTS, Halving, Judge
from sif.problems.interactions import InteractionProblem
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.design import FAMILIES, OPEN, closed_design, genotype_of
from sif.spaces.closed.family import Family
from sif.spaces.closed.filters import GraphFilter
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.closed.spectrum import Spectrum
from sif.spaces.closed.weights import FilterWeights
from sif.spaces.linear.weights import ItemWeights
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


def split_of(taken: Any, seed: int = 0) -> Split:
    """A split of clicks (n_users, n_items) bool: of each user an item for valid, one for test."""
    draws = np.random.default_rng(seed)
    users, items = np.nonzero(taken)
    ids = np.stack([users, items], axis=1)
    names = tuple(Vocabulary(np.arange(size)) for size in taken.shape)
    order = np.lexsort((draws.random(len(users)), users))
    starts = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(taken)))])[:-1]
    place = np.empty(len(users), dtype=np.int64)
    place[order] = np.arange(len(users)) - starts[users[order]]
    part = np.where(place == 0, VALID, np.where(place == 1, TEST, TRAIN))
    return build_split(Interactions(ids, ("user", "item"), names), part, protocol="file", seed=0)


def groups(users: int = 200, items: int = 60, seed: int = 0) -> Split:
    """Users take two in five items of one of six groups, and some others by popularity."""
    draws = np.random.default_rng(seed)
    group = np.arange(items) % 6
    popular = draws.dirichlet(np.full(items, 0.5)) * 4
    taken = draws.random((users, items)) < np.minimum(popular, 0.5)
    taken |= (draws.integers(0, 6, users)[:, None] == group) & (draws.random(taken.shape) < 0.4)
    taken[np.arange(users), draws.integers(0, items, users)] = True
    return split_of(taken, seed)


def problem_of(split: Split, *sets: str) -> ClosedProblem:
    config = load_config("cf", sets=["threads=1", *sets])
    assert isinstance(config, CFConfig)
    functions = InteractionProblem(split.train, split.valid, config, make_runtime("cpu", 0, 1))
    found = closed_problem(functions)
    assert found is not None
    return found


def trained(problem: ClosedProblem, checkpointer: Any = None) -> Trained[Any]:
    return problem.train(OPEN, NullTracker(), checkpointer or NoCheckpoint())


@pytest.fixture(scope="module")
def once() -> tuple[ClosedProblem, Trained[Any]]:
    problem = problem_of(groups())
    return problem, trained(problem)


class Interrupted(Exception):
    pass


class Kept:
    """Keeps every offered state, and may stop the work at one."""

    def __init__(self, state: Any = None, stop: int | None = None) -> None:
        self.state, self.stop, self.offers = state, stop, 0

    def restore(self) -> Any:
        return self.state

    def offer(self, state: Callable[[], Any]) -> None:
        self.offers += 1
        self.state = state()
        if self.offers == self.stop:
            raise Interrupted


def test_a_search_repeats_itself(once: tuple[ClosedProblem, Trained[Any]]) -> None:
    _, first = once
    again = trained(problem_of(groups()))
    assert again.network.genotype == first.network.genotype
    assert again.result.valid == first.result.valid and again.numbers == first.numbers


def test_judgments_by_some_users_are_no_figures_of_all(
    once: tuple[ClosedProblem, Trained[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = once[1].result.history
    assert len(history) > 1
    assert all("ndcg@10" in entry for entry in history)
    monkeypatch.setattr("sif.problems.closed_sample.MANY", 50)
    monkeypatch.setattr("sif.problems.closed_sample.SCORES", 1)
    *judged, last = trained(problem_of(groups())).result.history
    assert judged
    assert not any("ndcg@10" in entry for entry in judged)
    assert all(entry["ndcg@10 of some users"] > 0 for entry in judged)
    assert last["ndcg@10"] > 0


def test_a_resumed_search_is_the_uninterrupted_one(
    once: tuple[ClosedProblem, Trained[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = once
    kept = Kept(stop=40)
    with pytest.raises(Interrupted):
        trained(problem_of(groups()), kept)
    judged: list[str] = []
    merit = ClosedSample.judge.func  # type: ignore[attr-defined]

    def counted(sample: ClosedSample) -> Judge:
        judge = merit(sample)

        def heard(design: Family, level: int) -> float:
            judged.append(f"{level} {design!r}")
            return float(judge.merit(design, level))

        return replace(judge, merit=heard)

    monkeypatch.setattr(ClosedSample, "judge", property(counted))
    resumed = trained(problem_of(groups()), Kept(kept.state))
    assert resumed.network.genotype == whole.network.genotype
    told = [[(one["name"], one["value"], one.get("users")) for one in each.tried]
            for each in (whole, resumed)]  # fmt: skip
    assert told[0] == told[1] and len(told[0]) > 20
    by_all = [(value, name) for name, value, users in told[0] if users is None]
    best = max(value for value, _ in by_all)
    assert whole.network.expression in {name for value, name in by_all if value == best}
    assert resumed.result.epochs == whole.result.epochs
    assert judged and not set(judged) & set(kept.state["told"])
    assert resumed.result.seconds > kept.state["seconds"]


class Steps(NullTracker):
    """Keeps the steps that are logged."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.steps.append(step)


def test_a_resumed_search_logs_its_own_judgments_alone(
    once: tuple[ClosedProblem, Trained[Any]],
) -> None:
    _, whole = once
    logs: list[list[int]] = []
    kept: Kept | None = None
    for stop in (40, None):
        tracker = Steps()
        problem, kept = problem_of(groups()), Kept(None if kept is None else kept.state, stop)
        with contextlib.suppress(Interrupted):
            problem.train(OPEN, tracker, kept)
        logs.append(tracker.steps)
    first, second = logs
    assert first and second and not set(first) & set(second)
    logged = [int(one["epoch"]) for one in whole.result.history[:-1]]
    assert first + second == logged


def test_the_sample_judges_as_validation_does(once: tuple[ClosedProblem, Trained[Any]]) -> None:
    problem, found = once
    sample = ClosedSample(problem.train_part, problem.valid_part, 5)
    assert sample.users == len(np.unique(problem.valid_part.ids[:, 0]))
    for design in (closed_design(found.network.genotype), Spectrum(rank=4.0), ItemItem()):
        network = problem.fitted(genotype_of(design), {})
        expected = problem.validate(network)["ndcg@10"]
        assert sample.judge.merit(design, 2) == pytest.approx(expected, abs=1e-6)


def test_it_is_better_than_plain_ease_and_popularity_on_validation(
    once: tuple[ClosedProblem, Trained[Any]],
) -> None:
    problem, found = once
    plain = problem.validate(problem.fitted(genotype_of(ItemItem()), {}))
    assert found.result.valid["ndcg@10"] >= plain["ndcg@10"]
    assert found.result.valid == problem.validate(found.network)
    history = [entry["ndcg@10"] for entry in found.result.history]
    assert history == sorted(history) and found.numbers["parameters"] > 0


def test_the_budget_ends_a_search_with_the_best_so_far() -> None:
    problem = problem_of(groups())
    problem = problem.at_pace(out_of_time=lambda: True)
    found = trained(problem)
    assert found.result.valid["ndcg@10"] > 0 and found.result.epochs < 10


def test_a_second_fit_knows_the_valid_rows_and_restores_its_network(
    once: tuple[ClosedProblem, Trained[Any]],
) -> None:
    split, (problem, first) = groups(), once
    both = replace(split, part=np.where(split.part == VALID, TRAIN, split.part))
    refit = ClosedRefit.of(problem, both.train)
    assert refit.seconds(first.result) > 0
    design = problem.trained_design(OPEN, first)
    second = refit.network("closed", design, first, Session())
    assert second.refit["seconds"] > 0 and second.network.genotype == first.network.genotype
    users = np.arange(9)
    scores = [p.scorer(n.network).scores(users) for p, n in
              ((problem, first), (refit.problem, second))]  # fmt: skip
    assert not np.allclose(*scores)
    restored = problem.network(design)
    restored.load_state_dict(second.network.state_dict())
    np.testing.assert_array_equal(refit.problem.scorer(restored).scores(users), scores[1])
    # At the test of a first fit the history stays what was fitted, as that of EASE does.
    stale = evaluate_on(
        problem.scorer(first.network), split.train, (split.train, split.valid), split.test,
        "ranking",
    ).metrics  # fmt: skip
    assert problem.test(first.network, split).metrics == stale


def test_the_test_part_changes_nothing(once: tuple[ClosedProblem, Trained[Any]]) -> None:
    split = groups()
    at = split.part == TEST
    split.interactions.ids[at, 1] = (split.interactions.ids[at, 1] + 7) % 60
    found = trained(problem_of(split))
    assert found.network.genotype == once[1].network.genotype


def test_gates_are_refused_and_so_are_ratings() -> None:
    problem = problem_of(groups())
    for refused in (problem.space, problem.streams, problem.method_run):
        with pytest.raises(ConfigError, match="they have no gates"):
            refused()
    config = load_config("cf", sets=["objective=rating"])
    assert isinstance(config, CFConfig)
    with pytest.raises(ConfigError, match="expected rankings of user and item"):
        ClosedProblem(problem.train_part, problem.valid_part, config, problem.runtime)
    config = load_config("cf", sets=["search.stages=[order,encoding]"])
    functions = InteractionProblem(
        problem.train_part, problem.valid_part, config, make_runtime("cpu", 0, 1)
    )
    assert closed_problem(functions) is None


def test_costs_are_told_before() -> None:
    cost, size = problem_of(groups()).cost()
    assert cost.closed and cost.searching is None and cost.grid > 0 and size > 0


# The order of a search, on merits by hand


def judge_of(merit: Callable[[Family, int], float], **changed: Any) -> Judge:
    made = Judge(3, merit, lambda design, level: 0.1, lambda family: family.grids)
    return replace(made, **changed)


def test_fewer_candidates_at_each_level_and_steps_around_the_best() -> None:
    seen: list[tuple[int, Family]] = []

    def merit(design: Family, level: int) -> float:
        seen.append((level, design))
        if not isinstance(design, ItemItem):
            return 0.1
        return 1 - abs(np.log10(design.l2)) / 10 - design.dropout - abs(design.item - 0.1)

    search = Halving(judge_of(merit), list(FAMILIES.values()), 0, lambda: False)
    best = search.run()
    assert isinstance(best, ItemItem)
    assert (best.l2, best.dropout, best.item) == (1.0, 0.0, 0.1)
    levels = [sum(level == n for level, _ in seen) for n in range(3)]
    assert levels[0] > 2 * levels[1] > 2 * FINALISTS * len(FAMILIES)
    assert len(seen) == len(set(seen)) == len(search.told)


def test_all_users_judge_a_known_design_of_each_family_first() -> None:
    levels: list[tuple[int, type[Family]]] = []

    def merit(design: Family, level: int) -> float:
        levels.append((level, type(design)))
        return 0.1 * (1 + level)

    def seconds(design: Family, level: int) -> float:
        return 3.0 if isinstance(design, Spectrum) and level == 2 else 0.1

    families = list(FAMILIES.values())
    search = Halving(judge_of(merit, seconds=seconds), families, 0, lambda: bool(levels))
    best = search.run()  # out of time after the first judgment
    assert levels == [(2, families[0])] and type(best) is families[0]
    assert search.judged_by_all
    levels.clear()
    Halving(judge_of(merit, seconds=seconds), families, 0, lambda: False).run()
    soon = [family for family in families if family is not Spectrum]  # which takes 3 s
    assert levels[: len(soon)] == [(2, family) for family in soon] and levels[len(soon)][0] == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_search_without_time_ends_with_the_best_that_it_was_told(share: float) -> None:
    def merit(design: Family, level: int) -> float:
        late = sum(value == grid[-1] for value, grid in zip(
            design.constants.values(), design.grids.values(), strict=True))  # fmt: skip
        return 0.1 * len(type(design).__name__) + 0.01 * late

    families = list(FAMILIES.values())
    whole = Halving(judge_of(merit), families, 0, lambda: False)
    best = whole.run()
    some = dict(list(whole.told.items())[: round(share * len(whole.told))])

    def refused(design: Family, level: int) -> float:
        raise AssertionError(f"judged again: {level} {design!r}")

    search = Halving(judge_of(refused), families, 0, lambda: True, dict(some))
    found = search.run()
    last = {key.removeprefix("2 "): value for key, value in some.items() if key[0] == "2"}
    assert last[repr(found)] == max(last.values()) and not search.is_new
    assert share < 1 or found == best


def test_designs_that_diverge_or_take_too_long_are_none() -> None:
    def merit(design: Family, level: int) -> float:
        if isinstance(design, Spectrum):
            return 0.5
        raise DivergedError("no")

    def seconds(design: Family, level: int) -> float:
        return 100.0 if isinstance(design, ItemItem) else 0.1

    judge = judge_of(merit, seconds=seconds)
    search = Halving(judge, list(FAMILIES.values()), 0, lambda: False)
    assert isinstance(search.run(), Spectrum)
    assert not any("ItemItem" in key for key in search.told)
    nothing = Halving(judge, [ItemItem], 0, lambda: False)
    with pytest.raises(DivergedError, match="no candidate"):
        nothing.run()


FULL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 GB")


def without_memory(monkeypatch: pytest.MonkeyPatch, *families: type[Family]) -> None:
    """Fits of these families find no memory, of torch or of numpy."""

    def full(self: Family, clicks: Clicks) -> Any:
        raise FULL if isinstance(self, ItemItem) else MemoryError

    for family in families:
        monkeypatch.setattr(family, "weights", full)


def test_designs_that_do_not_fit_into_memory_are_the_worst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_memory(monkeypatch, ItemItem, GraphFilter)
    kept = Kept()
    found = trained(problem_of(groups()), kept)
    assert closed_design(found.network.genotype).name in ("spectrum", "chebyshev")
    assert found.result.valid["ndcg@10"] > 0
    told = [merit for key, merit in kept.state["told"].items() if "ItemItem" in key]
    assert told and set(told) == {-np.inf}


def test_closed_forms_are_left_out_where_none_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = problem_of(groups())
    design = genotype_of(ItemItem())
    without_memory(monkeypatch, *FAMILIES.values())
    told = "; search.stages without closed leaves them out$"
    with pytest.raises(DivergedError, match=f"^closed forms: none fits into memory{told}"):
        trained(problem)
    for work in (problem.cost, lambda: problem.fitted(design, {})):
        with pytest.raises(DivergedError, match=f"^closed forms: out of memory{told}"):
            work()


def test_another_error_of_a_design_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Family, clicks: Clicks) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(GraphFilter, "weights", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        trained(problem_of(groups()))


def test_what_was_kept_is_given_up_where_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups())
    sample = ClosedSample(problem.train_part, problem.valid_part, 0)
    sample.judge.merit(Spectrum(), 2)
    assert sample.clicks._kept and not sample.lacked_memory
    without_memory(monkeypatch, ItemItem)
    with pytest.raises(DivergedError):
        sample.judge.merit(ItemItem(), 2)
    assert sample.lacked_memory and not sample.clicks._kept


def test_users_are_scored_by_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups())

    def judged() -> list[float]:
        sample = ClosedSample(problem.train_part, problem.valid_part, 0)
        designs = [family() for family in FAMILIES.values()]
        return [sample.judge.merit(one, level) for one in designs for level in (0, 2)]

    whole, sizes = judged(), list[int]()
    for kind in (ItemWeights, FilterWeights):
        scores = kind.scores

        def counted(self: Any, histories: Any, scores: Any = scores) -> Any:
            sizes.append(histories.shape[0])
            return scores(self, histories)

        monkeypatch.setattr(kind, "scores", counted)
    monkeypatch.setattr("sif.problems.closed_sample.SCORES", 7 * 60)
    assert judged() == pytest.approx(whole, abs=1e-12)
    assert max(sizes) == 7 and min(sizes) < 7


def test_the_memory_of_spectra_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups())
    size = problem.cost()[1]
    monkeypatch.setattr("sif.problems.closed_forms.MATRICES", 0)
    # All of 60 vectors of 60 items.
    assert size - problem.cost()[1] == 4 * MATRICES * 60 * 60


def test_users_without_rows_and_items_without_users_are_left_out() -> None:
    taken = np.zeros((6, 8), dtype=bool)
    taken[:4, :5] = True
    taken[4, 6] = True  # valid alone
    split = split_of(taken)
    problem = problem_of(split)
    found = trained(problem)
    assert np.isfinite(found.result.valid["ndcg@10"])
    nobody = ClosedSample(split.train, split.valid.select(split.valid.ids[:, 0] == 4), 0)
    assert nobody.users == 0 and nobody.judge.merit(ItemItem(), 2) == 0


def test_pairs_are_ones() -> None:
    problem = problem_of(groups())
    sample = ClosedSample(problem.train_part, problem.valid_part, 0)
    assert (sample.clicks.pairs != pair_matrix(problem.train_part)).nnz == 0


def test_many_rows_are_fitted_by_those_of_some_users(monkeypatch: pytest.MonkeyPatch) -> None:
    split = groups()
    train = split.train
    counts = np.bincount(train.ids[:, 0], minlength=train.sizes[0])
    assert fitted_users(train, 3) is None and fitted_users(train, 3, len(train)) is None
    few = partial(fitted_users, most=len(train) // 2)
    users = few(train, 3)
    assert users is not None and (np.diff(users) > 0).all()
    assert len(train) // 2 - counts.max() < counts[users].sum() <= len(train) // 2
    np.testing.assert_array_equal(users, few(train, 3))
    other = few(train, 4)
    assert other is not None and not np.array_equal(users, other)

    for module in ("closed_forms", "closed_sample"):
        monkeypatch.setattr(f"sif.problems.{module}.fitted_users", few)
    problem = problem_of(split)
    drawn = few(train, problem._seed)
    sample = ClosedSample(train, problem.valid_part, problem._seed)
    assert (sample.clicks.pairs != pair_matrix(train, drawn)).nnz == 0
    design = genotype_of(ItemItem(l2=2.0))
    found = problem.fitted(design, {})
    expected = ItemItem(l2=2.0).weights(Clicks(pair_matrix(train, drawn), 0)).dense
    np.testing.assert_allclose(found.item_weights.dense, expected, rtol=1e-5, atol=1e-7)
    assert f"fitted on the rows of {len(drawn):,} users, drawn" in problem._drawn()
    others = np.setdiff1d(np.flatnonzero(counts), drawn)  # who get items by their histories, too
    assert np.isfinite(problem.scorer(found).scores(others)).any(axis=1).all()
