"""Promises of every loss of interactions, on scores of 7 users and 6 items."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.losses import Batch, LossKind, LossSettings, Weighting
from sif.spaces.interaction.pair_products import PairGraph, pair_products
from sif.testing.interactions import ROWS, SIZES, toy_part
from sif.testing.promises import ContractError, promise, promise_close
from sif.testing.spaces import F64

USERS, ITEMS = SIZES[:2]
EVERY = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))
OBJECTIVES = ("ranking", "rating")


@dataclass
class ToyScores:
    """Scores A B^T, as a loss reads them (`Scored`).

    Attributes:
        a: (7, d) of users.
        b: (6, d) of items.
        own: (7, 6) what each pair, if it is of the train part, contributed to its own score.
        is_factorized: Whether the function gives factors.
    """

    a: Tensor
    b: Tensor
    own: Tensor = field(default_factory=lambda: torch.zeros(USERS, ITEMS, dtype=F64))
    is_factorized: bool = True

    @property
    def uses_history(self) -> bool:
        """True if pairs contributed to the scores."""
        return bool(self.own.any())

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, 2)."""
        scores = (self.a[ids[:, 0]] * self.b[ids[:, 1]]).sum(1)
        return scores - self.own[ids[:, 0], ids[:, 1]] if observed else scores

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """A and B, if they are told."""
        return (self.a, self.b) if self.is_factorized else None

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs."""
        return pair_products(self.a, self.b, graph)

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """The contributions of a graph's pairs to themselves."""
        return self.own[graph.rows, graph.columns] if self.uses_history else None


def toy_scores(history: bool = False, factorized: bool = True) -> ToyScores:
    """Random scores; with `history` each pair contributed something to its own."""
    draws = torch.Generator().manual_seed(2)
    a, b = (torch.randn(n, 3, generator=draws, dtype=F64).requires_grad_() for n in (USERS, ITEMS))
    own = torch.randn(USERS, ITEMS, generator=draws, dtype=F64) * history
    return ToyScores(a, b, own, factorized)


@dataclass(frozen=True)
class LossCase:
    """A loss with its numbers.

    Attributes:
        kind: The loss.
        numbers: With settings of its own as `LossSettings.own`.
        name: For messages.

    Examples:
        >>> from sif.spaces.interaction.registry import LOSSES
        >>> from sif.testing import LOSS_CHECKS, LossCase
        >>> LOSS_CHECKS[0](LossCase(LOSSES["bpr"]))
    """

    kind: LossKind
    numbers: LossSettings = field(default_factory=lambda: LossSettings(3.0, 2))
    name: str = "loss"

    @property
    def part(self) -> PartTensors:
        """18 of the 42 pairs."""
        return toy_part("train", self.kind)

    def batch(self, graph: bool = False, in_history: bool = True) -> Batch:
        """All pairs, with what the loss draws; its background is every combination."""
        negatives = self.numbers.negatives if self.kind.negatives else 0
        drawing = Drawing(negatives, 0, ITEMS if self.kind.shared else 0)
        draws = torch.Generator().manual_seed(1)
        made = InteractionStream(
            self.part, ROWS, drawing, draws, exact=graph, in_history=in_history
        ).next()
        if graph or not self.kind.background:
            return made
        share = torch.full((len(EVERY),), 1 / ROWS, dtype=F64)
        return replace(made, background=EVERY, background_weight=share)

    def weighting(self) -> Weighting:
        """Weights that differ between users and between items."""
        ids = self.part.ids
        counts = [torch.bincount(ids[:, f], minlength=n) for f, n in enumerate((USERS, ITEMS))]
        found = Weighting.of("both", [count.double() for count in counts])
        assert found is not None  # noqa: S101 (only even weights are None)
        return found

    def value(self, scores: ToyScores, batch: Batch, weighting: Weighting | None = None) -> Tensor:
        """The loss of a batch; ContractError where it fails."""
        try:
            return self.kind.function(scores, batch, replace(self.numbers, weighting=weighting))
        except Exception as error:
            own = "" if self.numbers.own else "; settings.own is None without `LossKind.settings`"
            found = " ".join(f"{type(error).__name__}: {error}{own}".split())
            raise ContractError(f"expected a loss, found {found}") from error


def check_loss(kind: LossKind, numbers: LossSettings | None = None, name: str = "loss") -> None:
    """Runs all `LOSS_CHECKS`; raises ContractError with the first promise that is not kept.

    Args:
        kind: The loss.
        numbers: Its numbers; None: the defaults, with the defaults of settings of its own.
        name: For messages.

    Examples:
        >>> from sif.spaces.interaction.registry import LOSSES
        >>> from sif.testing import check_loss
        >>> check_loss(LOSSES["bpr"])
    """
    own = None if kind.settings is None else kind.settings()
    case = LossCase(kind, LossSettings(3.0, 2, own=own) if numbers is None else numbers, name)
    for check in LOSS_CHECKS:
        check(case)


def it_serves_objectives(case: LossCase) -> None:
    """It serves ranking or rating."""
    served = set(case.kind.objectives)
    known = bool(served) and served <= set(OBJECTIVES)
    promise(known, f"objectives of {', '.join(OBJECTIVES)}", case.kind.objectives)


def it_declares_what_it_reads(case: LossCase) -> None:
    """Negatives, background and shared items change nothing, unless it declares them."""
    every = replace(case.kind, negatives=True, background=True, shared=True)
    drawn = replace(case, kind=every).batch()

    def value(batch: Batch) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            return case.value(toy_scores(), batch)

    for names in (("negatives",), ("background", "background_weight"), ("shared",)):
        if getattr(case.kind, names[0]):
            continue
        batch = case.batch()
        found = value(replace(batch, **{name: getattr(drawn, name) for name in names}))
        try:
            same = torch.equal(found, value(batch))
        except ContractError:
            same = False
        promise(same, f"a loss that reads no {names[0]}", f"one that does: declare {names[0]}=True")


def it_is_a_number_above_zero(case: LossCase) -> None:
    """A finite scalar that is not negative, in the dtype of the scores, however large they are."""
    for scale in (1.0, 1e-3, 1e3):
        scores = toy_scores()
        scores.a = scores.a * scale
        found = case.value(scores, case.batch())
        promise(found.shape == (), "a scalar", f"shape {tuple(found.shape)}")
        promise(found.dtype == F64, "a loss in the dtype of the scores, float64", found.dtype)
        kept = bool(found.isfinite() and found >= 0)
        promise(kept, "a finite loss, at least 0", found.item())


def it_depends_on_scores_and_batch(case: LossCase) -> None:
    """Equal scores and batches have equal losses, whatever the global generator does."""
    random = torch.get_rng_state()
    first = case.value(toy_scores(), case.batch())
    same = torch.equal(torch.get_rng_state(), random)
    promise(same, "a loss to leave the global generator alone", "one that has moved")
    torch.rand(1)
    again = case.value(toy_scores(), case.batch())
    promise(torch.equal(first, again), f"the loss {first.item()} again", again.item())


def it_has_its_gradient(case: LossCase) -> None:
    """Its gradient by the scores is that of finite differences."""
    scores = toy_scores()

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return case.value(replace(scores, a=a, b=b), case.batch())

    try:
        torch.autograd.gradcheck(loss, (scores.a, scores.b))
    except RuntimeError as error:
        promise(False, "a gradient as by finite differences", " ".join(str(error).split()))


def better_scores_lose_less(case: LossCase) -> None:
    """From equal scores, a step toward the targets of the observed pairs lowers it."""
    part, losses = case.part, list[float]()
    for share in (0.0, 0.05, 0.1):
        table = torch.zeros(USERS, ITEMS, dtype=F64)
        table[part.ids[:, 0], part.ids[:, 1]] = share * part.target
        scores = ToyScores(table, torch.eye(ITEMS, dtype=F64))
        losses.append(float(case.value(scores, case.batch())))
    falls = losses == sorted(losses, reverse=True) and len(set(losses)) == len(losses)
    promise(falls, "losses that fall while scores move toward the targets", losses)


def rows_weigh_what_they_are_given(case: LossCase) -> None:
    """Without a background: the mean of the rows' losses by the weights of user and item.

    Over the catalog, where a user's pairs belong together: by the weight of the user.
    """
    if case.kind.background:
        return
    if case.kind.shared:
        _users_weigh_what_they_are_given(case)
        return
    batch, weighting, scores = case.batch(), case.weighting(), toy_scores(history=True)
    single = []
    for place, (user, item) in enumerate(batch.ids.tolist()):
        row = slice(place, place + 1)
        one = replace(
            batch, ids=batch.ids[row], target=batch.target[row], negatives=batch.negatives[row]
        )
        weight = weighting.user[user] * weighting.item_observed[item]
        single.append(weight * case.value(scores, one))
    found = case.value(scores, batch, weighting)
    expected = torch.stack(single).mean()
    promise_close(found, expected, "the mean of the weighted losses of all rows (`weighted_mean`)")


def _users_weigh_what_they_are_given(case: LossCase) -> None:
    """A loss over the catalog is the mean of its users' losses by the weights of users."""
    batch, scores = case.batch(), toy_scores(history=True)
    weighting = replace(case.weighting(), item_observed=torch.ones(ITEMS, dtype=F64))
    total = torch.zeros((), dtype=F64)
    for user in batch.ids[:, 0].unique():
        rows = batch.ids[:, 0] == user
        one = replace(
            batch, ids=batch.ids[rows], target=batch.target[rows], negatives=batch.negatives[rows]
        )
        total = total + rows.sum() * weighting.user[user] * case.value(scores, one)
    expected = total / len(batch.ids)
    found = case.value(scores, batch, weighting)
    promise_close(found, expected, "the mean of the weighted losses of all users' rows")


def pairs_do_not_predict_themselves(case: LossCase) -> None:
    """Pairs of the train part are scored without their own part, all others with all of it."""
    for history in (False, True):
        batch = case.batch(in_history=history)
        found = case.value(toy_scores(True, False), batch)
        whole = case.value(toy_scores(False, False), batch)
        same = bool(torch.isclose(found, whole, rtol=1e-9))
        told = "without their own part" if history else "as they are"
        promise(same != history, f"observed pairs to be scored {told}", f"the loss {found.item()}")


def graphs_change_nothing(case: LossCase) -> None:
    """Over a graph, by factors, it is what it is pair by pair."""
    if not case.kind.graph:
        return
    for weighting in (None, case.weighting()):
        found = case.value(toy_scores(True, True), case.batch(graph=True), weighting)
        expected = case.value(toy_scores(True, False), case.batch(), weighting)
        promise_close(found, expected, "the loss over a graph to be that of its pairs")


LOSS_CHECKS: tuple[Callable[[LossCase], None], ...] = (
    it_serves_objectives, it_declares_what_it_reads, it_is_a_number_above_zero,
    it_depends_on_scores_and_batch, it_has_its_gradient, better_scores_lose_less,
    rows_weigh_what_they_are_given, pairs_do_not_predict_themselves, graphs_change_nothing,
)  # fmt: skip
"""Every promise of a loss by itself, for a test of each."""
