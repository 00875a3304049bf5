"""SASRec with the softmax loss, as RecTools has it, under the protocol of our models in order.

The last item of a user is the test part, the one before the validation part. The model is trained
on the train rows, epoch by epoch, and judged on validation after each; training ends after
`--epochs`, after `--patience` epochs without a better one, or where `--minutes` of the wall would
not suffice for what follows. A second model is trained on train
and validation rows with the best number of epochs and looks at the test part once, with the
validation item in the history. All items are ranked but those that the user has; a tie counts
against the model, and an item that it has never seen is a miss. NDCG@10 is the mean over all users
of the part.

Settings are the defaults that the docstring of `rectools.models.SASRecModel` 0.19.0 documents:
n_blocks 2, n_heads 4, n_factors 256, dropout_rate 0.2, session_max_len 100, batch_size 128,
lr 0.001, loss "softmax". The number of epochs alone is chosen, since the documented 3 are few for
any small data. `--set` changes a setting, and the row tells those that were used.

    python benchmarks/peers/sasrec.py --split-file FILE.npz --seed 0 --output FILE.csv

RecTools needs an environment of its own (README.md beside this file); sif is not imported.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VALID, TEST = 0, 1, 2
CUTOFF = 10
SETTINGS = (
    "loss", "n_blocks", "n_heads", "n_factors", "dropout_rate", "session_max_len", "batch_size",
    "lr",
)  # fmt: skip
"""Of RecTools' model, told in the row."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rows:
    """Interactions of users, each user's from the earliest to the latest.

    Attributes:
        user: Number of the user, (n,).
        item: Number of the item, (n,).
        part: 0 train, 1 valid, 2 test, (n,).
        sizes: Users and items of the whole data.
    """

    user: Ints
    item: Ints
    part: Ints
    sizes: tuple[int, int]

    def before(self, part: int) -> Rows:
        """The rows of the parts before one."""
        kept = self.part < part
        return Rows(self.user[kept], self.item[kept], self.part[kept], self.sizes)

    def held(self, part: int) -> tuple[Ints, Ints]:
        """Users of a part, ascending, and the item that each has there."""
        kept = self.part == part
        return self.user[kept], self.item[kept]


def read_rows(path: Path) -> Rows:
    """Reads a split file.

    Rows are ordered by their times, those of one time by their places in the file, as all are in a
    file without times.

    Raises:
        ValueError: A user has several valid or test rows, or one that is not the last.
    """
    with np.load(path, allow_pickle=False) as file:
        user, item, part = (file[name].astype(np.int64) for name in ("user", "item", "part"))
        moment = file["timestamp"] if "timestamp" in file else np.zeros(len(user))
        sizes = tuple(
            len(file[f"{name}_ids"]) if f"{name}_ids" in file else int(codes.max()) + 1
            for name, codes in (("user", user), ("item", item))
        )
    order = np.lexsort((moment, user))
    user, item, part = user[order], item[order], part[order]
    same, held = user[1:] == user[:-1], part[:-1] > TRAIN
    if (same & held & (part[1:] <= part[:-1])).any():
        expected = "expected the last row of a user as test, the one before as valid"
        raise ValueError(f"{path}: {expected}")
    return Rows(user, item, part, (sizes[0], sizes[1]))


def ndcg(scores: Floats, target: Ints) -> float:
    """NDCG@10 of scores (users, items), with one relevant item (users,) each.

    Minus infinity means "never recommended"; the relevant item loses every tie.
    """
    own = scores[np.arange(len(target)), target]
    rank = (scores >= own[:, None]).sum(axis=1)
    gain = np.where((rank <= CUTOFF) & np.isfinite(own), 1 / np.log2(rank + 1), 0)
    return float(gain.mean())


class Peer:
    """RecTools' model on rows.

    Attributes:
        model: `rectools.models.SASRecModel`.
        dataset: Its rows, as RecTools has them.
    """

    def __init__(self, rows: Rows, seed: int, changed: dict[str, Any]) -> None:
        import pandas as pd
        from pytorch_lightning import seed_everything
        from rectools.dataset import Dataset
        from rectools.models import SASRecModel

        seed_everything(seed)
        self.rows = rows
        # RecTools orders by time: here the place, which leaves no ties.
        frame = pd.DataFrame({"user_id": rows.user, "item_id": rows.item, "weight": 1.0})
        frame["datetime"] = pd.to_datetime(np.arange(len(frame)), unit="s")
        self.dataset = Dataset.construct(frame)
        settings = {"loss": "softmax", "deterministic": True} | changed
        self.model = SASRecModel(recommend_torch_device="cpu", **settings)

    def train(self, epochs: int) -> None:
        """Trains for some more epochs."""
        self.model.fit_partial(self.dataset, min_epochs=epochs, max_epochs=epochs)

    def scores(self, users: Ints) -> Floats:
        """Scores (users, items) of all items that the model knows and the user does not have."""
        table = np.full((len(users), self.rows.sizes[1]), -np.inf, dtype=np.float32)
        found = self.model.recommend(
            users, self.dataset, k=self.rows.sizes[1], filter_viewed=True,
            add_rank_col=False, on_unsupported_targets="ignore",
        )  # fmt: skip
        places = np.searchsorted(users, found["user_id"].to_numpy())
        table[places, found["item_id"].to_numpy()] = found["score"].to_numpy()
        return table

    def judged(self, rows: Rows, part: int) -> float:
        """NDCG@10 on a part of rows whose earlier parts are the rows of this model."""
        users, items = rows.held(part)
        return ndcg(self.scores(users), items)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the row tells."""
        return {name: getattr(self.model, name) for name in SETTINGS}


def best_epoch(
    train: Callable[[int], None],
    judge: Callable[[], float],
    limit: int,
    patience: int,
    seconds: float = math.inf,
) -> tuple[int, float, int]:
    """Trains one epoch after the other.

    Args:
        train: Trains for some epochs.
        judge: Tells the validation.
        limit: Epochs at most.
        patience: Epochs without a better one.
        seconds: Of the wall, for another epoch and as many again as the best one needs.

    Returns:
        The best epoch by validation, the first of equals; what it reached; the epochs trained.
    """
    best, reached, done, begin = 0, -1.0, 0, time.perf_counter()
    while done < limit and done - best < patience:
        spent = time.perf_counter() - begin
        if done and spent * (1 + (1 + best) / done) > seconds:
            break
        train(1)
        done, value = done + 1, judge()
        if value > reached:
            best, reached = done, value
        print(f"epoch {done}: valid {value:.5f}, best {reached:.5f} at {best}", flush=True)
    return best, reached, done


def ended_by(epochs: int, trained: int, limit: int, patience: int) -> str:
    """The end of the choice among so many epochs; "minutes" says that more might be better."""
    if trained - epochs >= patience:
        return "patience"
    return "epochs" if trained >= limit else "minutes"


def machine() -> str:
    """The processor, and the versions of the libraries."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("rectools", "torch"))
    return f"{processor}, {libraries}"


def measured(rows: Rows, values: argparse.Namespace) -> dict[str, object]:
    """The row of a run."""
    changed = {name: json.loads(text) for name, _, text in (s.partition("=") for s in values.set)}
    begin, cpu = time.perf_counter(), time.process_time()
    first = Peer(rows.before(VALID), values.seed, changed)
    epochs, valid, trained = best_epoch(
        first.train,
        lambda: first.judged(rows, VALID),
        values.epochs,
        values.patience,
        60 * values.minutes,
    )
    chosen, cpu_chosen = time.perf_counter(), time.process_time()
    again = Peer(rows.before(TEST), values.seed, changed)
    again.train(epochs)
    end, cpu_end = time.perf_counter(), time.process_time()
    return {
        "data": values.split_file.stem,
        "seed": values.seed,
        "settings": " ".join(f"{name}={value}" for name, value in again.settings.items()),
        "epochs_limit": values.epochs,
        "patience": values.patience,
        "epochs_trained": trained,
        "ended_by": ended_by(epochs, trained, values.epochs, values.patience),
        "epochs": epochs,
        "valid": f"{valid:.5f}",
        "test": f"{again.judged(rows, TEST):.5f}",
        "choice_seconds": f"{chosen - begin:.1f}",
        "choice_cpu_seconds": f"{cpu_chosen - cpu:.1f}",
        "second_fit_seconds": f"{end - chosen:.1f}",
        "second_fit_cpu_seconds": f"{cpu_end - cpu_chosen:.1f}",
        "threads": values.threads,
        "machine": machine(),
    }


def written(row: dict[str, object], path: Path) -> None:
    """Appends a row to a CSV, which gets a head if it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    """Measures one seed and appends its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split-file", type=Path, required=True, help="npz of last-item")
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--patience", type=int, default=20, help="epochs without a better one")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of the wall, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="NAME=JSON, such as n_factors=128")
    parser.add_argument("--output", type=Path, help="CSV to which the row is appended")
    values = parser.parse_args()
    import torch

    torch.set_num_threads(values.threads)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    row = measured(read_rows(values.split_file), values)
    print("  ".join(map(str, row.values())), flush=True)
    if values.output:
        written(row, values.output)


if __name__ == "__main__":
    main()
