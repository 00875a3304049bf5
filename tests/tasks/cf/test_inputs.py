"""Data and split of a job, as its settings name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif import CFConfig
from sif.errors import ConfigError, DataError
from sif.tasks.cf.columns import columns
from sif.tasks.cf.inputs import load_data


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Five users with nine items each, in the order of their times backwards."""
    pairs = np.random.default_rng(0).permutation(45)
    return {"user": pairs % 5, "item": pairs // 5, "timestamp": np.arange(45)[::-1], **changes}


def parts(tmp_path: Path, made: dict[str, np.ndarray], **settings: Any) -> list[int]:
    np.savez(tmp_path / "rows.npz", **made)
    where = {} if "split_file" in settings.get("data", {}) else {"dataset": tmp_path / "rows.npz"}
    given = {key: str(path) for key, path in where.items()} | settings
    found: list[int] = load_data(CFConfig(**given))[1].part.tolist()
    return found


def test_an_npz_as_a_data_set_in_both_orders(tmp_path: Path) -> None:
    last = parts(tmp_path, arrays(), data={"protocol": "last-item"})
    rows = parts(tmp_path, arrays(), data={"protocol": "last-item", "order": "rows"})
    back = {name: values[::-1] for name, values in arrays().items()}
    assert rows != last
    assert last[::-1] == parts(tmp_path, back, data={"protocol": "last-item", "order": "rows"})
    bare = arrays()
    del bare["timestamp"]
    assert rows == parts(tmp_path, bare, data={"protocol": "last-item", "order": "rows"})
    with pytest.raises(DataError, match=r"rows: protocol time-cut .* data\.order=rows"):
        parts(tmp_path, bare, data={"protocol": "time-cut"})
    with pytest.raises(DataError, match=r"rows\.npz: data\.order: expected a timestamp column"):
        parts(tmp_path, bare, data={"order": "time"})


def test_a_split_file_uses_order_and_seed(tmp_path: Path) -> None:
    def of(made: dict[str, np.ndarray], seed: int = 0, **data: Any) -> list[int]:
        data["split_file"] = tmp_path / "rows.npz"
        return parts(tmp_path, made, data=data, seed=seed)

    test = np.array(parts(tmp_path, arrays(), data={"protocol": "last-item"})) == 2
    whole = arrays(part=2 * test)
    assert of(whole) == parts(tmp_path, arrays(), data={"protocol": "last-item"})
    assert of(whole, order="rows") != of(whole)
    del whole["timestamp"]
    assert of(whole, seed=1) == of(whole, seed=1) != of(whole, seed=2)
    with pytest.raises(DataError, match=r"found 0 \(train\) in all 45 rows; give the file as data"):
        of(arrays(part=np.zeros(45, int)))


def test_one_moment_of_rolling(tmp_path: Path) -> None:
    def of(**data: Any) -> list[int]:
        return parts(tmp_path, arrays(), data={"protocol": "rolling", "moments": 2, **data})

    assert of(moment=2) == parts(tmp_path, arrays(), data={"protocol": "time-cut"})
    first = of(moment=1)
    assert len(first) < 45 and first == of()


@pytest.mark.filterwarnings("default::sif.config.RenamedSetting")
def test_the_former_name_of_last_item(tmp_path: Path) -> None:
    new = parts(tmp_path, arrays(), data={"protocol": "last-item"})
    told = "data.protocol leave-one-out is now last-item"
    with pytest.warns(DeprecationWarning, match=told):
        assert parts(tmp_path, arrays(), data={"protocol": "leave-one-out"}) == new


def test_columns_of_the_table() -> None:
    for at, further in (([10], []), ([5, 50], ["ndcg@50", "recall@50"]), ([5], ["ndcg@5"])):
        shown = columns(CFConfig(metrics_at=at))
        assert shown[:2] == ("ndcg@10", "recall@10") and len(shown) == 5 + 2 * bool(further)
        assert set(further) <= set(shown)
    assert columns(CFConfig(objective="rating")) == ("rmse", "rmse_std", "mae")


def test_cutoffs() -> None:
    assert CFConfig().metrics_at == (10, 20)
    assert CFConfig(metrics_at=[50, 5, 5]).metrics_at == (5, 10, 50)
    assert CFConfig(metrics_at=20).metrics_at == (10, 20)
    for wrong in ([0], [1001], ["x"], True):
        with pytest.raises(ConfigError, match="metrics_at"):
            CFConfig(metrics_at=wrong)
