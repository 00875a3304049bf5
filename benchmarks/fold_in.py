"""Users nobody trained on: folding them in against training again with them, and against implicit.

Some users of ML-100K are held out wholly. What they get from half of each history is judged on the
other half: folded into models trained on all other users, and from models that are trained again,
same function and strength, with these halves. Every rating counts as a positive; all items are
ranked, the given half is masked; validation, a tenth of the other users' interactions, chooses
everything.

    OMP_NUM_THREADS=1 python benchmarks/fold_in.py --seeds 0 1 2 --output FILE.csv
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from table_files import write_table

from sif.baselines import BASELINES, fit_best
from sif.config import CFConfig, TrainConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, held_out
from sif.data.interactions.load import load_dataset
from sif.evaluation.evaluate import pair_matrix, rank_all_items
from sif.problems.base import SEARCHED, Session
from sif.problems.controls import FIXED, fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import GridTraining
from sif.recommender.model import ServedModel
from sif.retrieval.engine import Engine, UserVectors
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.environment import environment

METRIC = "ndcg@10"
Scores = NDArray[np.float32]


class Case:
    """One draw of strangers."""

    def __init__(self, values: argparse.Namespace, seed: int) -> None:
        config = load_config("cf", sets=values.set, flags={"dataset": "ml-100k", "seed": seed})
        assert isinstance(config, CFConfig)
        self.config, self.runtime = config, make_runtime("cpu", seed, values.threads)
        known = load_dataset("ml-100k", data_dir=config.data.dir).interactions
        draws = np.random.default_rng([seed, 0xF01D])
        self.strangers = np.sort(draws.choice(known.sizes[0], values.users, replace=False))
        theirs = np.isin(known.ids[:, 0], self.strangers)
        half = np.zeros(len(known), dtype=bool)
        for user in self.strangers:
            rows = np.flatnonzero(known.ids[:, 0] == user)
            half[draws.permutation(rows)[: len(rows) // 2]] = True
        self.given, self.truth = known.select(half), known.select(theirs & ~half)
        others = known.select(~theirs)
        held = held_out(others, seed)
        self.train, self.valid = others.select(~held), others.select(held)
        self.again = Interactions(
            np.concatenate([self.train.ids, self.given.ids]), known.fields, known.vocabularies
        )
        self.pairs = sparse.csr_array(pair_matrix(self.given))[self.strangers]

    def problem(self, train: Interactions) -> InteractionProblem:
        """On the other users, or with the strangers' halves."""
        return InteractionProblem(train, self.valid, self.config, self.runtime)

    def judged(self, scores: Scores) -> float:
        """NDCG@10 of scores (strangers, items) on the other halves."""
        table = np.zeros((self.train.sizes[0], scores.shape[1]), dtype=np.float32)
        table[self.strangers] = scores
        return float(rank_all_items(_Table(table), (self.given,), self.truth).metrics[METRIC])


class _Table:
    """Scores of everybody, made before."""

    def __init__(self, table: Scores) -> None:
        self._table = table

    def scores(self, users: NDArray[np.int64]) -> Scores:
        """(b, n_items) for users (b,)."""
        return self._table[users]


def timed(work: Callable[[], Scores]) -> tuple[Scores, float]:
    """The result of some work, and its CPU milliseconds."""
    start = time.process_time()
    found = work()
    return found, 1e3 * (time.process_time() - start)


def ours(case: Case) -> list[dict[str, object]]:
    """The searched function and fixed multiply."""
    problem = case.problem(case.train)
    found = problem.search(NullTracker(), NoCheckpoint()).genotype
    return [_one(case, problem, n, g)
            for n, g in ((SEARCHED, found), (FIXED, fixed_multiply(problem)))]  # fmt: skip


def trained_only(scores: Scores, model: ServedModel) -> Scores:
    """Scores (b, n_items) with the rule for untrained items, as `InteractionProblem.scorer`."""
    if model.cold_start is None:
        return scores
    return model.cold_start.applied(scores, np.zeros(len(scores), dtype=np.bool_))


def _one(
    case: Case, problem: InteractionProblem, name: str, genotype: Genotype
) -> dict[str, object]:
    trained = _grid(problem, case.config.train).train(name, genotype)
    l2 = trained.numbers["l2"]
    model = ServedModel.of(problem, genotype, trained.network, l2, case.train)
    fold = model.fold(0)
    fold.vectors(case.pairs[:2])  # first calls allocate
    engine = Engine(model.network.interaction())
    folded, took = timed(
        lambda: trained_only(engine.scores(UserVectors(*fold.vectors(case.pairs))), model)
    )
    with_them = case.problem(case.again)
    config = case.config.train.model_copy(update={"l2": (l2,)})
    again = _grid(with_them, config).train(name, genotype)
    scorer = with_them.scorer(again.network)
    return {
        "model": name, "function": model.expression, "folded": case.judged(folded),
        "trained_again": case.judged(scorer.scores(case.strangers)),
        "ms_per_user": took / len(case.strangers),
    }  # fmt: skip


def _grid(problem: InteractionProblem, config: TrainConfig) -> GridTraining:
    session = Session()
    return GridTraining(config, problem, problem.train, session)


def implicit_als(case: Case) -> dict[str, object]:
    """`recalculate_user` of implicit's ALS, tuned on validation."""
    from implicit.als import AlternatingLeastSquares

    chosen = fit_best(BASELINES["als"], case.train, case.valid, "ranking", seed=case.config.seed,
                      threads=case.runtime.threads or 1).params  # fmt: skip

    def fitted(train: Interactions) -> AlternatingLeastSquares:
        model = AlternatingLeastSquares(
            factors=int(chosen["dimension"]), regularization=float(chosen["l2"]),
            alpha=float(chosen["alpha"]), iterations=int(chosen["epochs"]),
            num_threads=case.runtime.threads or 1, random_state=case.config.seed, use_gpu=False,
        )  # fmt: skip
        model.fit(pair_matrix(train), show_progress=False)
        return model

    model, again = fitted(case.train), fitted(case.again)
    rows = sparse.csr_matrix(case.pairs)
    model.recalculate_user(case.strangers[:2], rows[:2])
    folded, took = timed(
        lambda: model.recalculate_user(case.strangers, rows) @ model.item_factors.T
    )
    return {
        "model": "implicit ALS", "function": "product", "folded": case.judged(folded),
        "trained_again": case.judged(again.user_factors[case.strangers] @ again.item_factors.T),
        "ms_per_user": took / len(case.strangers),
    }  # fmt: skip


def main() -> None:
    """Prints a row per model and seed, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    rows: list[dict[str, object]] = []
    for seed in values.seeds:
        case = Case(values, seed)
        machine = environment(case.runtime)["device_name"]
        for row in (*ours(case), implicit_als(case)):
            share = float(str(row["folded"])) / float(str(row["trained_again"]))
            rows.append({"seed": seed, **row, "share": share, "machine": machine})
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()})
    if values.output:
        write_table(values.output, rows, form=".5f")


if __name__ == "__main__":
    main()
