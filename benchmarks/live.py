"""Further interactions into a served model: milliseconds by family, and quality of a fresh fit.

Of the train rows of MovieLens 1M some are new: a model is fitted without them and takes them in by
`partial_fit`. It is judged by NDCG@10 of the touched users on the test part, beside a model that is
fitted on all train rows with the same constants. The valid part chooses the epoch of both.

    OMP_NUM_THREADS=1 python benchmarks/live.py --data ml-1m-full.npz --output FILE.csv
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from table_files import write_table

from sif import Recommender
from sif.baselines import BASELINES
from sif.config import CFConfig, load_config
from sif.data.interactions import Interactions
from sif.data.interactions.npz_files import read_npz_parts
from sif.errors import CheckpointError
from sif.problems.closed_forms import ClosedProblem
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.order import OrderProblem
from sif.recommender.model import ServedModel
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.sequences import Decay
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.random import derive_seed

PARAMS: dict[str, dict[str, float]] = {
    "ease": {"l2": 300.0},
    "als": {"dimension": 64, "l2": 30.0, "alpha": 4.0, "epochs": 15},
}
"""Constants of the baselines."""
SIZES = (1, 10, 100, 1000)
"""Rows of a batch."""


@dataclass(frozen=True)
class Case:
    """The parts of the data.

    Attributes:
        before: Train rows of the first fit.
        further: Train rows that come later.
        train, valid, test: The whole parts.
        config: Settings of all fits.
    """

    before: Interactions
    further: Interactions
    train: Interactions
    valid: Interactions
    test: Interactions
    config: CFConfig

    @classmethod
    def of(cls, path: Path, count: int, seed: int, sets: list[str]) -> Case:
        """The latest train rows are new where times are known, and drawn ones elsewhere."""
        rows, part = read_npz_parts(path)
        if not part.any():  # the file has no parts
            part = np.random.default_rng([seed, 1]).choice(3, len(rows), p=(0.8, 0.1, 0.1))
        train, valid, test = (rows.select(part == number) for number in range(3))
        new = np.random.default_rng(seed).permutation(len(train))[:count]
        if train.timestamp is not None:
            new = np.argsort(train.timestamp, kind="stable")[-count:]
        is_new = np.zeros(len(train), dtype=bool)
        is_new[new] = True
        config = load_config("cf", sets=["baselines=[]", "threads=1", *sets])
        assert isinstance(config, CFConfig)
        before, further = train.select(~is_new), train.select(is_new)
        return cls(before, further, train, valid, test, config)

    def problem(self, rows: Interactions) -> InteractionProblem:
        """Of some train rows."""
        runtime = make_runtime("cpu", self.config.seed, self.config.threads)
        return InteractionProblem(rows, self.valid, self.config, runtime)


def _vectors(case: Case, rows: Interactions, **stages: Any) -> ServedModel:
    problem = case.problem(rows)
    genotype = fixed_multiply(problem)
    genotype = replace(genotype, blocks={**genotype.blocks, **stages})
    l2 = case.config.search.l2
    trained = problem.train(genotype, NullTracker(), NoCheckpoint(), l2=l2)
    return ServedModel.of(problem, genotype, trained.network, l2, rows)


def _histories(case: Case, rows: Interactions) -> ServedModel:
    return _vectors(case, rows, encoding=((0, "both"), (1, "id")))


def _closed(case: Case, rows: Interactions) -> ServedModel:
    functions = case.problem(rows)
    problem = ClosedProblem(rows, case.valid, case.config, functions.runtime)
    genotype = genotype_of(ItemItem(l2=5.0, user=0.15, item=0.1))
    return ServedModel.in_order(problem, genotype, problem.fitted(genotype, {}), rows)


def _order(case: Case, rows: Interactions) -> ServedModel:
    functions = case.problem(rows)
    problem = OrderProblem(rows, case.valid, case.config, functions.runtime)
    genotype = given_genotype((Decay(0.8, 16), Decay(0.97, 116)))
    numbers = {"l2": 200.0, "ahead": 0.0, "discount": 0.1}
    return ServedModel.in_order(problem, genotype, problem.fitted(genotype, numbers), rows)


def _baseline(name: str, case: Case, rows: Interactions) -> ServedModel:
    problem, params = case.problem(rows), PARAMS[name]
    fit = BASELINES[name].fit(rows, params, derive_seed(0, "baseline", name), 1)
    serving = BASELINES[name].serving
    assert serving is not None
    network = serving.network(fit, rows, params)
    return ServedModel.of_baseline(problem, name, params, network, rows)


FAMILIES: dict[str, Callable[[Case, Interactions], ServedModel]] = {
    "vectors": _vectors, "histories": _histories, "closed": _closed, "order": _order,
    "als": partial(_baseline, "als"), "ease": partial(_baseline, "ease"),
}  # fmt: skip


def kept(folder: Path | None, name: str, make: Callable[[], ServedModel]) -> ServedModel:
    """A model of an earlier call, or a new one, which is kept where there is a folder."""
    if folder is None:
        return make()
    try:
        return ServedModel.load(folder / name)
    except CheckpointError:
        make().save(folder / name)
        return ServedModel.load(folder / name)


def frame_of(rows: Interactions) -> pd.DataFrame:
    """Rows as a data frame of ids."""
    columns: dict[str, Any] = {
        name: rows.vocabularies[f].ids[rows.ids[:, f]] for f, name in enumerate(rows.fields)
    }
    if rows.timestamp is not None:
        columns["timestamp"] = rows.timestamp
    return pd.DataFrame(columns)


def serving(model: ServedModel) -> Recommender:
    """A recommender of a model, warm: it has answered, and taken something in."""
    found = Recommender()
    found._serve(model)
    users, items = (vocabulary.ids for vocabulary in model.vocabularies)
    found.recommend(users[0])
    copy.copy(found).partial_fit(pd.DataFrame({"user": users[:1], "item": items[:1]}))
    return found


def timed(model: Recommender, rows: pd.DataFrame, times: int) -> list[dict[str, float]]:
    """Milliseconds of taking batches in, and of the first answer after it."""
    found = []
    for size in SIZES:
        spent, answers = [], []
        for number in range(times if size < 1000 else max(5, times // 5)):
            batch = rows.iloc[number * size % len(rows) :][:size]
            warm = copy.copy(model)
            begin = time.perf_counter()
            warm.partial_fit(batch)
            middle = time.perf_counter()
            warm.recommend(batch["user"].iloc[0])
            spent.append(middle - begin)
            answers.append(time.perf_counter() - middle)
        p50, p99 = (1e3 * float(np.quantile(spent, q)) for q in (0.5, 0.99))
        found.append({"rows": size, "p50_ms": p50, "p99_ms": p99,
                      "answer_ms": 1e3 * float(np.median(answers))})  # fmt: skip
    return found


def ndcg(model: ServedModel, case: Case) -> float:
    """NDCG@10 of the touched users on the test part; what they have is not recommended."""
    touched = np.unique(case.further.ids[:, 0])
    truth = case.test.select(np.isin(case.test.ids[:, 0], touched))
    ids = case.test.vocabularies[0].ids[touched]
    items = [set[str]() for _ in touched]
    place = dict(zip(touched.tolist(), range(len(touched)), strict=True))
    names = case.test.vocabularies[1].ids
    for user, item in truth.ids[:, :2].tolist():
        items[place[user]].add(str(names[item]))
    recommender = Recommender()
    recommender._serve(model)
    best, _ = recommender.recommend(ids, 10, as_arrays=True)
    gains = 1 / np.log2(np.arange(2, 12))
    found = [
        float(gains[[item in liked for item in row]].sum() / gains[: len(liked)].sum())
        for row, liked in zip(best.tolist(), items, strict=True) if liked
    ]  # fmt: skip
    return float(np.mean(found))


def main() -> None:
    """Prints a row per family and size, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--rows", type=int, default=1000, help="that come later")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--models", type=Path, help="folder that keeps fits from call to call")
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    case, rows = Case.of(values.data, values.rows, values.seed, values.set), []
    for name in values.families:
        if name == "order" and case.train.timestamp is None:
            continue
        before = kept(values.models, f"{name}-before", partial(FAMILIES[name], case, case.before))
        fresh = kept(values.models, f"{name}-fresh", partial(FAMILIES[name], case, case.train))
        model = serving(before)
        for one in timed(model, frame_of(case.further), values.times):
            rows.append({"family": name, **one})
        grown = copy.copy(model).partial_fit(frame_of(case.further)).fitted_model()
        judged = {"before": before, "folded": grown, "fresh": fresh}
        rows[-1] |= {f"ndcg_{told}": ndcg(one, case) for told, one in judged.items()}
        for row in rows[-len(SIZES) :]:
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
    if values.output:
        write_table(values.output, rows, tuple(rows[-1]), form=".4f")


if __name__ == "__main__":
    main()
