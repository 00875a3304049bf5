"""Does the search over losses find the one that suits generated data?

Kinds of data, each with its own truth per seed. A user's items are drawn in order, without
replacement, by the chances below; the last third is the validation part.

- softmax: chances are e^(cosine / 0.1) of vectors with 8 numbers, over their sum: each factor
  multiplies them, as the softmax losses have it (`softmax`, `bsl` and `softmax-at-k`, one family
  here).
- whole-data: half of a chance is even among the items of 3 of 30 groups, which the user likes, the
  other half is popularity, rank^-1, alike for all: parts are added, as squares have it.

Each search starts at the loss of the other kind, so that staying is never right. The oracle trains
every loss at L2 strengths of 1 to 4; four fresh draws of what each user takes next choose the
strength, four others judge. Found, missed and tied are as in `planted_families`, a standard error
is that of the mean difference over the users in one draw. All was laid down before the first
measurement, on seeds from 100 on: so were temperatures of 2, at which the losses of products want
the same L2, and steps of .05 for 250 epochs; those of the preset are for four times as many rows.
There `bpr` and `cosine-contrastive`, at strengths of their own (.02 to 3), were behind on both.

    python benchmarks/planted_losses.py --output benchmarks/results/planted-losses.csv
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from planted_families import Flags, Floats, Users, ndcg, rows, tabulate, verdict

from sif.config import CFConfig, load_config
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.design import LOSS_BLOCK
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

Counts = NDArray[np.int64]

SOFTMAX, SQUARED = ("softmax", "bsl", "softmax-at-k"), ("whole-data",)
L2 = (1.0, 2.0, 3.0, 4.0)
DRAWS = 4
"""Of what users take next, by which the oracle chooses, and as many by which it judges."""
SHARE = 0.35
SETTINGS = (
    "threads=1", "search.stages=[loss]", "search.dimension=32", "train.dimension=32",
    "search.l2=3.0", "search.lr=0.05", "search.epochs=250",
    "losses.softmax.temperature=2.0", "losses.bsl.temperature=2.0",
    "losses.bsl.positive_temperature=2.5", "losses.softmax-at-k.temperature=2.0",
    "losses.softmax-at-k.weight_temperature=10.0",
)  # fmt: skip


def multiplied(
    rng: np.random.Generator, users: int = 1000, items: int = 300, factors: int = 8,
    temperature: float = 0.1,
) -> Floats:  # fmt: skip
    """Chances (n_users, n_items) that are exponentials of cosines."""
    sides = (rng.normal(size=(n, factors)) for n in (users, items))
    of_users, of_items = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    chances = np.exp(of_users @ of_items.T / temperature)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def added(
    rng: np.random.Generator, users: int = 1500, items: int = 300, groups: int = 30, liked: int = 3,
    popular: float = 0.5,
) -> Floats:  # fmt: skip
    """Chances (n_users, n_items) that are a mean of liked groups and popularity."""
    popularity = rng.permutation(1 / np.arange(1, items + 1))
    group = rng.integers(0, groups, items)
    likes = rng.random((users, groups)).argsort(axis=1) < liked
    own = likes[:, group] / np.maximum(likes[:, group].sum(axis=1, keepdims=True), 1)
    return np.asarray((1 - popular) * own + popular * popularity / popularity.sum())


@dataclass(frozen=True)
class Kind:
    """Data for which a loss is right.

    Attributes:
        chances: Of each user's next item.
        length: Items of a user on average, from half of it to half as many again.
        right: The losses that are the planted one.
        start: The loss with which the search starts.
    """

    chances: Callable[[np.random.Generator], Floats]
    length: int
    right: tuple[str, ...]
    start: str


KINDS: Mapping[str, Kind] = {
    "softmax": Kind(multiplied, 20, SOFTMAX, "whole-data"),
    "whole-data": Kind(added, 30, SQUARED, "softmax"),
}


def data(kind: str, seed: int) -> tuple[Users, list[Users]]:
    """Users of train and validation, and fresh draws of what they take next."""
    one, rng = KINDS[kind], np.random.default_rng([seed, *kind.encode()])
    chances = one.chances(rng)
    counts = rng.integers(one.length // 2, one.length + one.length // 2 + 1, len(chances))
    later = np.maximum(1, (SHARE * counts).astype(np.int64))
    nothing = np.zeros(chances.shape, dtype=np.bool_)
    histories = drawn(chances, nothing, counts - later, rng)
    several = [
        Users(histories, drawn(chances, histories, later, rng)) for _ in range(1 + 2 * DRAWS)
    ]
    return several[0], several[1:]


def drawn(chances: Floats, taken: Flags, counts: Counts, rng: np.random.Generator) -> Flags:
    """Items (n_users, n_items) that users draw by their chances, none twice."""
    # Gumbel top-k draws without replacement.
    keys = np.log(np.maximum(chances, 1e-30)) + rng.gumbel(size=chances.shape)
    places = (-np.where(taken, -np.inf, keys)).argsort(axis=1).argsort(axis=1)
    return np.asarray(places < counts[:, None])


def problem_of(kind: str, users: Users, seed: int) -> InteractionProblem:
    """The search for a loss of products of embeddings."""
    sets = [f"seed={seed}", f"loss.name={KINDS[kind].start}", *SETTINGS]
    config = load_config("cf", sets=["objective=ranking", *sets])
    assert isinstance(config, CFConfig)
    parts = rows(users.histories), rows(users.wanted)
    return InteractionProblem(*parts, config, make_runtime("cpu", seed, 1))


def searched(problem: InteractionProblem) -> str:
    """The loss that the search finds."""
    genotype = problem.search(NullTracker(), NoCheckpoint()).genotype
    return genotype.operation(LOSS_BLOCK) if LOSS_BLOCK in genotype.blocks else problem.loss_name


def merit(problem: InteractionProblem, loss: str, fresh: list[Users]) -> tuple[float, Floats]:
    """NDCG@10 of a loss at its best L2 strength: that which chose it, and (DRAWS, n_users)."""
    plain, best, merits = problem.kind.multiply(problem.fields), -1.0, np.zeros(0)
    block = {} if loss == problem.loss_name else {LOSS_BLOCK: ((0, loss),)}
    design = replace(plain, blocks={**plain.blocks, **block})
    for l2 in L2:
        network = problem.train(design, NullTracker(), NoCheckpoint(), l2=l2).network
        factors = network.interaction().factors()
        assert factors is not None
        scores = (factors[0] @ factors[1].T).detach().numpy()
        chosen = float(np.mean([ndcg(scores, users) for users in fresh[:DRAWS]]))
        if chosen > best:
            best, merits = chosen, np.stack([ndcg(scores, users) for users in fresh[DRAWS:]])
    return best, merits


def measured(kind: str, seed: int) -> dict[str, object]:
    """A row of the table."""
    (users, fresh), right = data(kind, seed), KINDS[kind].right
    problem, begin = problem_of(kind, users, seed), time.process_time()
    found = searched(problem)
    seconds = time.process_time() - begin
    both = {loss: merit(problem, loss, fresh) for loss in (*SQUARED, *SOFTMAX)}
    merits = {loss: one for loss, (_, one) in both.items()}
    best = max(right, key=lambda loss: both[loss][0])
    gaps = (merits[best] - merits[loss] for loss in merits if loss not in right)
    ahead = min(float(gap.mean() / gap[0].std() * math.sqrt(gap.shape[1])) for gap in gaps)
    return {
        "kind": kind, "seed": seed, "found": found, "verdict": verdict(found, right, ahead),
        "ahead_se": f"{ahead:.1f}", **{loss: f"{one.mean():.4f}" for loss, one in merits.items()},
        "seconds": f"{seconds:.1f}",
    }  # fmt: skip


def main() -> None:
    """Measures both kinds of data."""
    tabulate(measured, tuple(KINDS), str(__doc__).splitlines()[0])


if __name__ == "__main__":
    main()
