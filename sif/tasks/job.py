"""The job of every task: search, train, test, compare, report, and resume.

Stages: whatever the search has to wait for; a search per method; a training per design; where the
study has it so, a second fit of each on more rows; one evaluation each on the test part, which
nothing before has seen; the same of each baseline without a network. Where a baseline may be
served, validation chooses between ours and them before any of these is fitted again.
A `Study` says what the data are, what is trained on them and how the job reports on it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.errors import BudgetError, ConfigError, DataError, DivergedError
from sif.evaluation.choice import Choice
from sif.evaluation.comparison import Verdict
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Problem, State, Trained
from sif.problems.budget import StageEnd, TimeBudget
from sif.problems.plan import FREE, paced_seconds
from sif.search.history import shared_entries
from sif.search.loop import SearchResult
from sif.tasks.base import Entry, Found, JobContext, Results, RunResult, Tuned
from sif.tasks.checkpoint import LoopCheckpointer
from sif.tasks.ending import Ending
from sif.tasks.figures import Draw
from sif.tasks.live import Clock
from sif.tasks.objectives import objective_lines, objective_numbers
from sif.tasks.plan import MEASURING, Measurements, Plan, make_plan
from sif.tasks.records import JobRecords, as_markdown
from sif.tasks.study import Study
from sif.tasks.verdicts import corrected, main_verdict, search_verdict
from sif.utils.device import give_back_memory, peak_memory_mb
from sif.utils.environment import environment
from sif.utils.ranks import sharing

Merits = NDArray[np.float64]
"""Of a model by validation user, the higher the better."""
LEAST = 0.02
"""Share of the whole budget that a stage gets even if nothing is left."""
ENDED = "the job was ended before it"
"""Why an entrant is left out of a job that ends with what is there."""
EARLY = 0.2
"""Share of the time, at most, of what is trained before anything is planned."""


class JobRunner:
    """One run over its run folder.

    Args:
        study: The study that it runs.
        context: Store of stages, console and trackers.
        draw: Draws the figures.
    """

    def __init__(self, study: Study, context: JobContext, draw: Draw) -> None:
        self.study, self.context, self.draw = study, context, draw
        self.problem, self.entrants = study.problem, study.entrants
        self.records = JobRecords(study, context)
        self._trained: dict[str, Trained[Any] | None] = {}
        self._made: dict[str, Any] = {}  # the designs of those
        self._diverged: dict[str, DivergedError] = {}
        self._left_out: dict[str, str] = {}
        self.plan = Plan(None, {}, (), (), (), 0.0)
        self.budget = TimeBudget(None)
        self._begun: list[str] = []
        self._found: dict[str, Found] = {}
        self._cut: dict[str, None] = {}
        self._paced: set[str] = set()
        self._refits = False
        self._source = study.entrants.ours  # of the network that stands for ours

    def run(self) -> RunResult:
        """All stages, then the verdict and everything that is left behind."""
        self._announce()
        self._train_early()
        self._take_plan()
        start, summary = self.study.start(self._train, self.context.console)
        found = self._searches(start, summary)
        designs, trained = self._first_fits(found)
        first = dict(designs)
        if self.entrants.ours in trained:
            self._last_word(designs, trained)
        else:
            self._stand_in(designs, trained)
        self._refits = self.study.refits and self._time_for_refits(trained)
        if self._refits:
            trained = self._refitted(designs, trained)
        entries = {
            name: self._tested(name, designs[name], one, found.get(name))
            for name, one in trained.items()
        }
        merits = self._merits(designs)
        entries |= self._baselines(merits)
        decision = self._verdict(designs, entries, found)
        decision, searching = corrected(decision, self._searching(first))
        choice, baseline = self._chosen(merits, entries)
        served = None
        ours = choice is None or choice.name == self.entrants.ours
        if ours and self._refits:
            served = self._fitted_on_all(designs, trained)
        seconds = self.context.stages.seconds()
        trials = {name: one.features for name, one in self._trained.items() if one is not None}
        results = Results(
            found, designs, trained, entries, decision, seconds, self._left_out, served, choice,
            baseline, searching, None if self._source == self.entrants.ours else self._source,
            trials,
        )  # fmt: skip
        return sharing().once(partial(self._finish, results))

    def _first_fits(
        self, found: Mapping[str, Found]
    ) -> tuple[dict[str, Any], dict[str, Trained[Any]]]:
        """The designs that were found and given, and their first fits, by entrant."""
        designs = {name: self._searched(name).design(one.genotype) for name, one in found.items()}
        given = self.entrants.given
        designs |= {name: one for name, one in given.items() if not self._spared(name)}
        trained = {
            name: one
            for name, design in designs.items()
            if (one := self._train(name, design)) is not None
        }
        for name, one in trained.items():
            design = designs[name]
            designs[name] = self.study.problem_of(design).trained_design(design, one)
        return designs, trained

    def _finish(self, results: Results) -> RunResult:
        """Leaves everything behind."""
        plan = self.plan.document() | {"cut": list(self._cut)}
        ending = Ending(self.study, self.context, self.records, self.draw)
        return ending.finish(results, plan, self._late)

    def _late(self) -> str | None:
        """The words of a budget that was not kept; None: it was, or the job was ended."""
        return None if self.context.finish else self.budget.verdict()

    def _train_early(self) -> None:
        """Soon there is something good, whatever the plan makes of the rest."""
        study = self.study
        self.budget = self._time(study.config.budget)
        study.pace(self._stage_end)
        for name in study.early:
            self._train(name, self.entrants.given[name], EARLY)

    def _time(self, seconds: float | None) -> TimeBudget:
        """The budget of the job; none is left of one that ends with what is there."""
        stages = self.context.stages
        return TimeBudget(0.0 if self.context.finish else seconds, stages.seconds, start=0.0)

    def _given_up(self, name: str, *stages: str) -> bool:
        """True for an entrant whose stages an ended job had not begun, which is left out."""
        begun = self.context.stages.begun
        if not self.context.finish or any(map(begun, stages)):
            return False
        self._left_out[name] = ENDED
        self.context.console.line(f"left out: {name}: {ENDED}")
        return True

    def _take_plan(self) -> None:
        """Measures a few steps of everything, once, and goes on as planned."""
        context, study = self.context, self.study

        def measure(_: LoopCheckpointer) -> State:
            context.console.line("plan: a few steps of every entrant are measured")
            began, elapsed = time.perf_counter(), context.stages.seconds()
            budget = study.config.budget
            measured = Measurements(self.problem, budget and MEASURING * budget)
            costs = study.costs(measured)
            methods = tuple(study.measured_methods.values())
            return make_plan(
                study.config, self.problem, measured, costs, study.optional, methods, began, elapsed
            ).state()

        self.plan = Plan.restored(context.stages.run("plan", measure))
        for line in self.plan.lines():
            context.console.line(line)
        self.budget = self._time(self.plan.budget)
        runtime = self.problem.runtime
        runtime = replace(runtime, out_of_time=self._stage_end, calls=context.calls)
        study.take(self.plan, runtime)
        self.problem, self.entrants = study.problem, study.entrants

    @property
    def _stage_end(self) -> StageEnd:
        """Tells when the present stage has to end, which is noted."""
        return StageEnd(self.budget, lambda: self._cut.update({self._begun[-1]: None}))

    @contextlib.contextmanager
    def _stage(self, name: str, share: float = 1.0) -> Iterator[None]:
        """A stage of the plan, which ends in time for those that come after it."""
        self._begun.append(name)
        give_back_memory()
        seconds = self.plan.budget or self.study.config.budget
        self.context.console.stage(name, Clock(self.context.stages.seconds, seconds))
        later = self.plan.later(self._begun)
        with self.budget.stage(name, share, least=LEAST, later=later):
            yield
        if name in self._cut:
            why = "so that the job keeps to its budget"
            if self.context.finish:
                why = "as the job was ended"
            elif name in self._paced:
                why = "a control has the seconds of the search and of the training after it"
            self.context.console.line(f"{name}: cut, {why}")

    def _verdict(
        self, designs: Mapping[str, Any], entries: Mapping[str, Entry], found: Mapping[str, Found]
    ) -> Verdict:
        """Of ours, with what has to be said of the search first."""
        decision = main_verdict(self.study, designs, entries)
        if remark := self._of_search(found):
            return replace(decision, text=f"{remark}; {decision.text}")
        return decision

    def _of_search(self, found: Mapping[str, Found]) -> str:
        """The words that stand first in the verdict on a search; empty: none."""
        ours = self.entrants.ours
        if ours not in found:
            if ours in self.entrants.given:
                return ""
            stage = self.study.stage_in_words(self._source)
            if stage and ours not in self._diverged:
                return f"the search's answer is a {stage}"
            return f"{ours} {self._missing(ours)}, so {self._source} takes its place"
        if self._source != ours:
            return f"validation prefers {self._source} to what the search found"
        return "the search did not move" if found[ours].at_rest else ""

    def _missing(self, name: str) -> str:
        """Why an entrant has no model, in words."""
        return "diverged" if name in self._diverged else "is left out"

    def _searching(self, designs: Mapping[str, Any]) -> Verdict | None:
        """The found function against its control, both as first fitted; None without the two."""
        for control, name in self.entrants.paced.items():
            one, other = self._trained.get(name), self._trained.get(control)
            if one is None or other is None or designs[name] == designs[control]:
                continue
            tests = [self._first_test(each, designs[each]) for each in (name, control)]
            return search_verdict(self.study, designs[name], tests[0], control, tests[1])
        return None

    def _first_test(self, name: str, design: Any) -> Evaluation:
        """Of a first fit."""
        trained = self._trained[name]
        assert trained is not None  # noqa: S101

        def test(_: LoopCheckpointer) -> State:
            return vars(self.study.test_first(design, trained.network))

        return Evaluation(**self.context.stages.run(f"test-first-{name}", test))

    def _announce(self) -> None:
        for line in self.study.opening():
            self.context.console.line(line)
        self.records.announce(environment(self.context.runtime)["git_commit"])

    def _searched(self, name: str) -> Problem[Any, Any]:
        """The problem whose designs an entrant finds."""
        return self.study.searched_by(name) or self.problem

    def _searches(self, start: Problem[Any, Any], summary: Mapping[str, Any]) -> dict[str, Found]:
        found = self._found
        for name, method in self.entrants.methods.items():
            if self._spared(name):
                continue
            own = self.study.searched_by(name)
            stage = self.study.search_stage.format(name) if own is None else f"search-{name}"
            if self._given_up(name, stage):
                continue
            work = partial(self._search, own or start, stage, name, method)
            with self._stage(f"search {name}"):
                shares = (own or start).shares
                kept = partial(self.context.stages.run, stage, work, shares)
                state = self._unless_diverged(name, kept)
            if state is None:
                continue
            one = Found.restored(state, summary if own is None else {})
            if reason := (own or start).refuses(one.genotype):
                self.context.console.line(f"left out: {name}: {reason}")
                continue
            found[name] = one
            if own is not None:  # in seconds, and others may be spared for what it shows
                self._train(name, own.design(one.genotype))
        return found

    def _spared(self, name: str) -> bool:
        """True for an entrant without a prospect, which is named and left out."""
        reason = self.study.without_prospect(name, self._trained)
        if reason and name not in self._left_out:
            self._left_out[name] = reason
            self._begun += [f"{kind} {name}" for kind in ("search", "train", "refit")]
            self.context.console.line(f"left out: {name}: {reason}")
        return bool(reason)

    def _unless_diverged(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of work; None where an entrant diverged, which is named and left out."""
        try:
            return work()
        except DivergedError as error:
            self._diverged[name] = error
            self._left_out[name] = str(error)
            self.context.console.line(f"left out: {name}: {error}")
            return None

    def _search(
        self, problem: Problem[Any, Any], stage: str, name: str, method: str,
        checkpointer: LoopCheckpointer,
    ) -> State:  # fmt: skip
        study, console, epochs = self.study, self.context.console, problem.config.search.epochs
        operations = self._searched(name).operations  # on no clock

        def show(epoch: int, entry: Mapping[str, Any]) -> None:
            loss = entry["selected_loss"]  # of what is shown, not of what is on trial beside it
            loss = entry["loss"] if loss is None else loss
            text = f"loss {loss:.4f} {study.leaders(entry['selection'], operations)}"
            console.progress(f"search {method}", epoch, max(epoch, epochs), text)

        child = self.context.tracker.child(stage, name, "search")
        child.log_params(study.searched_under())
        result: SearchResult = problem.search(child, checkpointer, show, method)
        found = Found(
            **vars(result),
            operations=operations,
            resting=round(problem.resting_share(method) * len(shared_entries(result.history))),
            peak_memory_mb=peak_memory_mb(self.context.runtime),
        )
        if found.at_rest:
            console.line(f"{name}: the search did not move: {found.at_rest}")
        for line in [*study.search_lines(name, method, found), *found.finish_lines(name)]:
            console.line(line)
        for line in objective_lines(found, problem.config.search.pick):
            console.line(f"{name}: {line}")
        child.log({**study.search_numbers(found), **objective_numbers(found)}, 0)
        text = study.expression(problem.design(found.genotype))
        child.set_tags({"genotype": text, "method": method})
        child.describe(as_markdown(f"search by {method}: {text}"))
        child.close()
        return found.state()

    def _train(self, name: str, design: Any, share: float = 1.0) -> Trained[Any] | None:
        """A design's training in a share of the time, made once; None where it diverged."""
        stages = f"train-{name}", f"{name}-[0-9]*"
        if name not in self._trained and (other := self._alike(name, design)) is not None:
            self._trained[name] = self._trained[other]
            self._begun.append(f"train {name}")
            self.context.console.line(f"{name}: the same design as {other}, which trains once")
        if name not in self._trained and self._given_up(name, *stages):
            self._trained[name] = None
        if name not in self._trained:
            work = partial(self.study.problem_of(design).fit, name, design, self.context)
            with self._stage(f"train {name}", share):
                self._pace(name)
                self._trained[name] = self._unless_diverged(name, work)
            if (one := self._trained[name]) is not None:
                self._made[name] = design
                self._rated(name, one.result.valid)
        return self._trained[name]

    def _alike(self, name: str, design: Any) -> str | None:
        """An entrant whose training, from the same first weights, would be the same; None: none.

        Those are told apart that a budget ended: a control's has seconds of its own.
        """
        if name in self.entrants.paced:
            return None
        for other, made in self._made.items():
            whole = f"train {other}" not in self._cut and other not in self.entrants.paced
            if whole and made == design:
                return other
        return None

    def _rated(self, name: str, valid: Mapping[str, float]) -> None:
        """Tells the console how validation rates a model."""
        problem, ours = self.problem, name == self.entrants.ours
        text = f"{valid[problem.shown]:{problem.format}}"
        self.context.console.standings.add(name, problem.merit(valid), text, ours)

    def _pace(self, name: str) -> None:
        """Gives a control the seconds of the search that it controls for, and of its training."""
        other = self.entrants.paced.get(name, "")
        found, trained = self._found.get(other), self._trained.get(other)
        if found is not None and trained is not None:
            self.budget.limit(paced_seconds(found.seconds + trained.result.seconds))
            self._paced.add(f"train {name}")

    def _last_word(self, designs: dict[str, Any], trained: dict[str, Trained[Any]]) -> None:
        """Validation has it: nobody is served what it likes less than a fallback."""
        ours, study = self.entrants.ours, self.study
        others = [name for name in self.entrants.fallbacks if name in trained]
        best = study.preferred({name: trained[name].result.valid for name in (ours, *others)})
        if best == ours:
            return
        metric, form = self.problem.shown, self.problem.format
        kept, found = (
            f"{study.expression(designs[name])} ({trained[name].result.valid[metric]:{form}})"
            for name in (best, ours)
        )
        self.context.console.line(f"kept: {kept}, which validation prefers to the found {found}")
        self._serve(best, designs, trained)

    def _serve(
        self, name: str, designs: dict[str, Any], trained: dict[str, Trained[Any]]
    ) -> None:  # fmt: skip
        """Another entrant's network is ours; the seconds stay those of the searched function."""
        ours, other = self.entrants.ours, trained[name]
        self._source = name
        seconds = trained[ours].result.seconds if ours in trained else other.result.seconds
        designs[ours] = designs[name]
        trained[ours] = replace(other, result=replace(other.result, seconds=seconds))

    def _stand_in(self, designs: dict[str, Any], trained: dict[str, Trained[Any]]) -> None:
        """Ours is left out: the best fallback is served, or else what validation ranks best.

        Raises:
            DivergedError, BudgetError: Nothing else was trained.
        """
        ours = self.entrants.ours
        served = [name for name in trained if name not in self.entrants.compared]
        if not served and self.context.finish:
            raise ConfigError(f"{self.context.folder}: expected a trained model, found none yet")
        if not served and ours not in self._diverged:
            reasons = "; ".join(dict.fromkeys(self._left_out.values())) or "no time for any"
            raise BudgetError(f"expected a trained model, found none: {reasons}")
        if not served:
            raise self._diverged[ours]
        others = [name for name in self.entrants.fallbacks if name in trained] or served
        other = self.study.preferred({name: trained[name].result.valid for name in others})
        told = self.study.expression(designs[other])
        self.context.console.line(f"kept: {told} of {other}, as {ours} {self._missing(ours)}")
        self._serve(other, designs, trained)

    def _time_for_refits(self, trained: Mapping[str, Trained[Any]]) -> bool:
        """True if the budget has time for second fits of all models: all are tested alike."""
        begun = [*self._begun, *(f"refit {name}" for name in trained)]
        again = [one for name, one in trained.items() if name not in self.entrants.paced]

        def decide(_: LoopCheckpointer) -> State:
            if self.context.finish:
                return {"no_time": ENDED}
            needed = self.study.refit_seconds(again) + self.plan.later(begun)
            left = self.budget.left
            told = f"with all that follows they take {needed:.0f} s, and {left:.0f} s are left"
            return {"no_time": told if needed > left else ""}

        no_time: str = self.context.stages.run("refit", decide)["no_time"]
        if no_time:
            self.study.skip_refits(no_time)
            self.context.console.line(f"no second fits, for no model: {no_time}")
        return not no_time

    def _refitted(
        self, designs: dict[str, Any], trained: Mapping[str, Trained[Any]]
    ) -> dict[str, Trained[Any]]:
        """All networks fitted again; one that diverges is left out."""
        self.study.begin_refits()
        found: dict[str, Trained[Any]] = {}
        done: dict[int, Trained[Any]] = {}  # ours may be the fallback's network
        order = sorted(trained, key=lambda name: name == self.entrants.ours)
        for name in order:
            one = trained[name]
            if name in self.entrants.paced:  # controls are compared as first fitted, never served
                found[name] = one
                continue
            former = done.get(id(one.network))
            if former is None:
                work = partial(self.study.refit, name, designs[name], one, self.context)
                with self._stage(f"refit {name}"):
                    former = self._unless_diverged(name, work)
            if former is not None:
                done[id(one.network)] = former
                found[name] = replace(former, result=one.result)
        if self.entrants.ours not in found:
            self._stand_in(designs, found)
        return {name: found[name] for name in designs if name in found}

    def _fitted_on_all(
        self, designs: Mapping[str, Any], trained: Mapping[str, Trained[Any]]
    ) -> Trained[Any] | None:
        """Ours once more where the study wants it; None where it does not, or where it diverged."""
        ours = self.entrants.ours
        work = partial(self.study.fit_on_all, designs[ours], trained[ours], self.context)
        with self._stage("fit on all rows"):
            served: Trained[Any] | None = self._unless_diverged("the fit on all rows", work)
        return served

    def _tested(self, name: str, design: Any, trained: Trained[Any], found: Found | None) -> Entry:
        valid, seconds = trained.result.valid, trained.result.seconds

        def test(_: LoopCheckpointer) -> State:
            if name in self.entrants.paced:
                evaluation = self._first_test(name, design)
            else:
                evaluation = self.study.test(design, trained.network)
            params = self.study.params(trained, found)
            entry = Entry(name, valid, evaluation, seconds, params, trained.refit)
            self.records.network(entry, self.study.expression(design), trained, found)
            return entry.state()

        return Entry.restored(self.context.stages.run(f"test-{name}", test))

    def _merits(self, designs: Mapping[str, Any]) -> dict[str, Merits]:
        """Of the first fit of ours by validation user, where a baseline may be served instead."""
        name, study = self._source, self.study
        first = self._trained[name]
        if not study.chooses or first is None:
            return {}
        study.keep_first(designs[name], first)

        def judge(_: LoopCheckpointer) -> State:
            return {"merits": study.merits(designs[name], first)}

        state = self.context.stages.run(f"valid-{name}", judge)
        return {self.entrants.ours: state["merits"]}

    def _choice(
        self, merits: Mapping[str, Merits], others: Mapping[str, Entry | Tuned]
    ) -> Choice | None:
        """Of the model that is served, between ours and others; None: ours without a choice."""
        if not merits:
            return None
        able = {name: one.merits for name, one in others.items() if one.merits is not None}
        first = self._trained[self._source]
        assert first is not None  # noqa: S101 (it has merits)
        valid: dict[str, Mapping[str, float]] = {self.entrants.ours: first.result.valid}
        valid |= {name: others[name].valid for name in able}
        return self.study.choice({**merits, **able}, valid)

    def _chosen(
        self, merits: Mapping[str, Merits], entries: Mapping[str, Entry]
    ) -> tuple[Choice | None, Any]:
        """The choice with the baseline that it is of; None: it is of ours."""
        able = dict(entries)
        while (choice := self._choice(merits, able)) and choice.name != self.entrants.ours:
            entry = able.pop(choice.name)
            stage = "fit on all rows" if self.plan.of("fit on all rows") else "fit served"
            try:
                with self._stage(stage):
                    model = partial(self.study.baseline_model, entry.name, entry.params)
                    return choice, sharing().first(model)
            except (ConfigError, DataError) as error:
                self.context.console.line(f"{entry.name} cannot be served: {error}")
        return choice, None

    def _baselines(self, merits: Mapping[str, Merits]) -> dict[str, Entry]:
        """All are tuned, then fitted again where everything is; the one to serve comes last."""
        left_out: dict[str, list[str]] = {}

        def each(names: Iterable[str], work: Callable[[str], State]) -> dict[str, State]:
            found = {}
            for name in names:
                try:
                    found[name] = work(name)
                except (ConfigError, DataError) as error:
                    left_out.setdefault(str(error), []).append(name)
            return found

        self._start_baselines()
        states = each(self.study.baselines, self._baseline)
        if self._refits:
            tuned = {name: Tuned(**state) for name, state in states.items()}
            choice = self._choice(merits, tuned)
            last = None if choice is None else choice.name
            order = sorted(tuned, key=lambda name: name == last)  # or it waits beside all others
            again = each(order, lambda name: self._refit_baseline(tuned[name], name == last))
            states = {name: again[name] for name in tuned if name in again}
        for reason, names in left_out.items():
            self.context.console.line(f"left out: baselines {', '.join(names)}: {reason}")
        return {name: Entry.restored(state) for name, state in states.items()}

    def _start_baselines(self) -> None:
        """Begins the tuning of all that are to come, which do not wait for each other.

        Those that others than this process make share the time until whatever comes after them.
        """
        stages, plan = self.context.stages, self.plan
        names = [n for n in self.study.baselines if stages.read(f"baseline-{n}") is None]
        if self.context.finish:
            names = [name for name in names if plan.of(f"baseline {name}") <= FREE]
        later = plan.later([*self._begun, *(f"baseline {name}" for name in names)])
        if names:
            self.budget.limit(self.budget.allowed(least=LEAST, later=later))
            self.study.start_baselines(names, self._refits)

    def _baseline(self, name: str) -> State:
        stages, stage = self.context.stages, f"baseline-{name}"

        def fit(_: LoopCheckpointer) -> State:
            self.records.begin(stage, name)
            if self._refits:
                return vars(self.study.tune(name))
            return self._recorded(self.study.baseline(name))

        done = [one.removeprefix("baseline ") for one in self._begun]
        waiting = sum(self.plan.of(f"refit {one}") for one in self.study.baselines if one in done)
        late = self.budget.left <= waiting and self.plan.of(f"baseline {name}") > FREE
        if late and stages.read(stage) is None:
            left = ENDED if self.context.finish else f"no time is left of {self.plan.budget:g} s"
            raise BudgetError(f"budget: {left}")
        with self._stage(f"baseline {name}"):
            state = stages.run(stage, fit)
        self._rated(name, state["valid"])
        self.context.console.line(
            f"baseline {name}: {self.problem.describe(state['valid'])} "
            f"({state['seconds']:.1f} s for its grid)"
        )
        return state

    def _refit_baseline(self, tuned: Tuned, keep: bool) -> State:
        def work(_: LoopCheckpointer) -> State:
            return self._recorded(self.study.refit_baseline(tuned, keep))

        with self._stage(f"refit {tuned.name}"):
            return self.context.stages.run(f"refit-{tuned.name}", work)

    def _recorded(self, entry: Entry) -> State:
        """A baseline's state, once it is in the records."""
        self.records.baseline(entry)
        return entry.state()
