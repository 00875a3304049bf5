"""Scripts that train other libraries' models read splits and judge as sif does.

None of these libraries is needed: the scripts import them where they train.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sif.data.interactions.split_file import load_split_file
from sif.evaluation.evaluate import rank_all_items

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "peers" / "sasrec.py"
# Users 0 and 1 in a file of no order; user 2 has train rows alone, two of them at one time.
USER = [1, 0, 0, 1, 0, 2, 1, 0, 2, 1]
ITEM = [4, 0, 3, 1, 2, 5, 0, 1, 2, 3]
TIME = [30, 10, 40, 20, 30, 70, 50, 20, 70, 40]
PART = [0, 0, 2, 0, 1, 0, 2, 0, 0, 1]


@pytest.fixture(scope="module")
def sasrec() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("sasrec", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sasrec", module)  # where dataclasses look
        spec.loader.exec_module(module)
        yield module


def saved(path: Path, **changed: list[int]) -> Path:
    arrays = {"user": USER, "item": ITEM, "timestamp": TIME, "part": PART} | changed
    np.savez(path, **{name: np.array(values) for name, values in arrays.items()})
    return path


class Table:
    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self._scores[users]


def test_rows_come_in_the_order_of_each_user(tmp_path: Path, sasrec: ModuleType) -> None:
    rows = sasrec.read_rows(saved(tmp_path / "a.npz"))
    assert rows.sizes == (3, 6)
    assert rows.user.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert rows.item.tolist() == [0, 1, 2, 3, 1, 4, 3, 0, 5, 2]
    assert rows.before(sasrec.VALID).item.tolist() == [0, 1, 1, 4, 5, 2]
    assert rows.before(sasrec.TEST).item.tolist() == [0, 1, 2, 1, 4, 3, 5, 2]
    for part, items in ((sasrec.VALID, [2, 3]), (sasrec.TEST, [3, 0])):
        users, held = rows.held(part)
        assert users.tolist() == [0, 1] and held.tolist() == items


def test_the_ids_of_a_file_are_the_catalog(tmp_path: Path, sasrec: ModuleType) -> None:
    path = saved(tmp_path / "a.npz", item_ids=list(range(100, 120)))
    assert sasrec.read_rows(path).sizes == (3, 20)


@pytest.mark.parametrize(
    "changed",
    [{"part": [2, *PART[1:]]}, {"timestamp": [60, *TIME[1:]]}],
    ids=["two test rows", "a train row after the test row"],
)
def test_other_protocols_are_refused(
    tmp_path: Path, sasrec: ModuleType, changed: dict[str, list[int]]
) -> None:
    with pytest.raises(ValueError, match="expected the last row of a user as test"):
        sasrec.read_rows(saved(tmp_path / "a.npz", **changed))


def test_ndcg_is_that_of_the_definition(sasrec: ModuleType) -> None:
    never = -np.inf
    scores = np.array([[3, 2, 1], [3, 2, 2], [1, never, 0], [1, 1, 1]], dtype=np.float32)
    gains = [1 / np.log2(3), 1 / np.log2(4), 0, 1 / np.log2(4)]  # rank 2; 3 by ties; never; 3
    assert sasrec.ndcg(scores, np.array([1, 1, 1, 0])) == pytest.approx(np.mean(gains))
    tenth, eleventh = np.arange(12.0)[None], np.arange(12.0)[None]
    assert sasrec.ndcg(tenth, np.array([2])) == pytest.approx(1 / np.log2(11))
    assert sasrec.ndcg(eleventh, np.array([1])) == 0


def test_ndcg_is_that_of_sif(tmp_path: Path, sasrec: ModuleType) -> None:
    draws = np.random.default_rng(0)
    users, items = 40, 30
    user, place = (x.ravel() for x in np.indices((users, 5)))
    item = np.concatenate([draws.permutation(items)[:5] for _ in range(users)])
    part = np.maximum(place - 2, 0)
    path = saved(tmp_path / "a.npz", user=user, item=item, timestamp=place, part=part)
    rows, split = sasrec.read_rows(path), load_split_file(path)
    scores = draws.integers(12, size=(users, items)).astype(np.float32)  # ties in every row
    scores[draws.random(scores.shape) < 0.2] = -np.inf
    for part, history, truth in (
        (sasrec.VALID, (split.train,), split.valid),
        (sasrec.TEST, (split.train, split.valid), split.test),
    ):
        known = scores.copy()
        known[rows.before(part).user, rows.before(part).item] = -np.inf
        theirs = rank_all_items(Table(scores), history, truth).metrics["ndcg@10"]
        assert 0 < sasrec.ndcg(known, rows.held(part)[1]) == pytest.approx(theirs)


def test_the_first_of_the_best_epochs_is_chosen(sasrec: ModuleType) -> None:
    def chosen(limit: int, patience: int, seconds: float = 60.0) -> tuple[int, float, int, str]:
        curve, trained = iter([0.1, 0.3, 0.2, 0.3, 0.2, 0.4]), []
        found = sasrec.best_epoch(trained.append, lambda: next(curve), limit, patience, seconds)
        assert trained == [1] * found[2]
        return *found, sasrec.ended_by(found[0], found[2], limit, patience)

    assert chosen(6, 3) == (2, 0.3, 5, "patience")
    assert chosen(6, 5) == (6, 0.4, 6, "epochs")
    assert chosen(3, 5) == (2, 0.3, 3, "epochs")
    assert chosen(6, 5, 0.0) == (1, 0.1, 1, "minutes")


def test_a_row_is_appended(tmp_path: Path, sasrec: ModuleType) -> None:
    path = tmp_path / "new" / "rows.csv"
    for seed in (0, 1):
        sasrec.written({"data": "a", "seed": seed}, path)
    assert path.read_text() == "data,seed\na,0\na,1\n"
