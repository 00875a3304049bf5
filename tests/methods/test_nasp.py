from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.core.exploration import round_robin_gates
from sif.core.gates import Gates
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import box, complexity_gradient, project
from sif.data.interactions.planted import planted
from sif.errors import ConfigError, ShapeError
from sif.methods.nasp import ADAM_BETAS, Nasp, NaspSettings
from sif.search.loop import SearchSettings, search
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.design import OPERATION_BLOCK, SPECS, FunctionSpec
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.gated import RIDGE
from sif.spaces.interaction.losses import Batch, LossSettings
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.registry import LOSSES
from sif.spaces.interaction.supernet import FunctionSpace
from sif.spaces.interaction.transforms import PRIMITIVES
from sif.testing import InteractionCase
from sif.tracking import NullTracker

USERS, ITEMS = 12, 9
LOSS = LossSettings(positive_weight=2.0, negatives=2)


def make_space(spec: str = "primitives", loss: str = "squared", own: bool = True) -> FunctionSpace:
    shape = TableShape((USERS, ITEMS), 3, biases=loss == "squared", intercept=loss == "squared",
                       init=0.8)  # fmt: skip
    strengths = tuple(torch.full((n,), 0.01, dtype=torch.float64) for n in shape.sizes)
    context = replace(
        InteractionCase(spec, loss, own_tables=own, loss_settings=LOSS).context(),
        shape=shape, strengths=strengths, draws=torch.Generator().manual_seed(2),
    )  # fmt: skip
    space = FunctionSpace(SPECS[spec], context).double()
    with torch.no_grad():
        for place, parameter in enumerate(space.weight_parameters()):
            steps = torch.arange(parameter.numel(), dtype=torch.float64).view_as(parameter)
            parameter.add_(0.5 * torch.sin(1.7 * steps + place))
    return space


def batch(seed: int, loss: str = "squared", n: int = 40) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(m, (n,), generator=generator) for m in (USERS, ITEMS)], dim=1)
    target = torch.randn(n, generator=generator, dtype=torch.float64)
    if loss != "squared":
        target = torch.ones_like(target)
    drawing = Drawing(2 if LOSSES[loss].negatives else 0, 2 if loss == "whole-data" else 0)
    part = PartTensors(ids, target, (USERS, ITEMS))
    return InteractionStream(part, n, drawing, generator).next()


def make_method(space: FunctionSpace, warmup: int = 0, **settings: object) -> Nasp:
    values = {"explore": 0.0, "score": "replacement_loss", "arch_optimizer": "plain",
              "arch_lr": 0.3, **settings}  # fmt: skip
    made = NaspSettings.model_validate(values)
    return Nasp(space, made, Plan(400, warmup), torch.Generator().manual_seed(7))


def fitted_scores(space: FunctionSpace, chosen: dict[str, int], train: Batch) -> np.ndarray:
    """(n_users, n_items) scores with the readout fitted by ridge regression, in numpy."""
    k = chosen[OPERATION_BLOCK]
    tables = space.tables[k if space.context.own_tables else 0]
    p, q = (
        PRIMITIVES[space.spec.transforms[chosen[field]]](table.detach()).numpy()
        for field, table in zip(("user", "item"), tables.embeddings, strict=True)
    )
    combined = (
        space.operations[k]
        .combine([torch.tensor(p)[:, None, :], torch.tensor(q)[None, :, :]])
        .numpy()
    )
    design = np.concatenate([combined, np.ones((USERS, ITEMS, 1))], axis=-1)
    offset = np.full((USERS, ITEMS), tables.intercept.item())
    if tables.biases:
        user, item = (b.detach().numpy() for b in tables.biases)
        offset = offset + user[:, None] + item[None, :]
    ids, target, weight = (x.numpy() for x in train.least_squares(LOSS.positive_weight))
    x, y = design[ids[:, 0], ids[:, 1]], target - offset[ids[:, 0], ids[:, 1]]
    ridge = RIDGE * np.mean((weight[:, None] * x**2).sum(0))
    # Ridge regression as ordinary least squares with one extra row per coefficient.
    root = np.sqrt(weight)
    rows = np.concatenate([x * root[:, None], np.sqrt(ridge) * np.eye(x.shape[1])])
    values = np.concatenate([y * root, np.zeros(x.shape[1])])
    return np.asarray(design @ np.linalg.lstsq(rows, values, rcond=None)[0] + offset)


def numpy_loss(scores: np.ndarray, valid: Batch, loss: str) -> float:
    def at(ids: Tensor) -> np.ndarray:
        return scores[tuple(ids.numpy().T)]

    observed = at(valid.ids)
    if loss == "squared":
        return float(np.mean((observed - valid.target.numpy()) ** 2))
    if loss == "bpr":
        drawn = at(valid.with_negatives()).reshape(valid.negatives.shape)
        return float(np.log1p(np.exp(drawn - observed[:, None])).mean())
    positive = 3.0 * (observed - 1) ** 2 - observed**2
    return float(
        positive.mean() + (valid.background_weight.numpy() * at(valid.background) ** 2).sum()
    )


@pytest.mark.parametrize("loss", ["squared", "whole-data"])
@pytest.mark.parametrize("own", [True, False])
def test_replacement_scores_are_log_ratios_of_refitted_validation_losses(
    loss: str, own: bool
) -> None:
    space = make_space(loss=loss, own=own)
    train, valid = batch(1, loss), batch(2, loss)
    alpha = {b.name: torch.rand(b.shape, generator=torch.Generator().manual_seed(3))
             for b in space.blocks}  # fmt: skip
    gates = project(alpha, space.blocks)
    found = space.replacement_scores(train, valid, gates)
    active = {name: chosen[0] for name, chosen in gates.choices().items()}
    current = numpy_loss(fitted_scores(space, active, train), valid, loss)
    for block in space.blocks:
        assert float(found[block.name][0, active[block.name]]) == 0.0
        for k in range(block.shape[1]):
            other = numpy_loss(fitted_scores(space, {**active, block.name: k}, train), valid, loss)
            expected = math.log(other / current)
            assert float(found[block.name][0, k]) == pytest.approx(expected, rel=1e-6, abs=1e-7)
    # Signs of transforms may be one function to a refitted readout; operations never are.
    assert len(found[OPERATION_BLOCK].unique()) == len(OPERATIONS)


def test_replacement_scores_of_pairwise_losses_keep_the_trained_readouts() -> None:
    space = make_space(loss="bpr", own=True)
    train, valid = batch(1, "bpr"), batch(2, "bpr")
    alpha = {b.name: torch.rand(b.shape, generator=torch.Generator().manual_seed(3))
             for b in space.blocks}  # fmt: skip
    gates = project(alpha, space.blocks)
    found = space.replacement_scores(train, valid, gates)
    current = float(space.loss(valid, gates))
    for block in space.blocks:
        for k in range(block.shape[1]):
            row = torch.zeros(block.shape)
            row[0, k] = 1.0
            other = project({**gates.weights, block.name: row}, space.blocks)
            expected = math.log(float(space.loss(valid, other)) / current)
            assert float(found[block.name][0, k]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_replacement_scores_do_not_depend_on_the_readout_at_hand() -> None:
    space, train, valid = make_space(), batch(1), batch(2)
    gates = make_method(space).best_gates()
    before = space.replacement_scores(train, valid, gates)
    with torch.no_grad():
        for readout in space.readouts:
            readout.mul_(-3.0).add_(1.0)
    after = space.replacement_scores(train, valid, gates)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("score", ["replacement_loss", "gradient"])
@pytest.mark.parametrize("eta", [0.0, 0.4])
def test_a_plain_step_is_project_score_descend_box(score: str, eta: float) -> None:
    space, train, valid = make_space(), batch(1), batch(2)
    method = make_method(space, score=score, complexity_penalty=eta, arch_lr=0.3)
    alpha, gates = method.alpha(), method.best_gates()
    scores = {
        "replacement_loss": space.replacement_scores(train, valid, gates),
        "gradient": gate_gradient(space, valid, gates).gates,
    }
    report = method.arch_step(space, train, valid)
    for kind, tables in scores.items():
        assert all(torch.equal(report.scores[kind][name], t) for name, t in tables.items())
    assert report.loss == pytest.approx(space.loss(valid, gates).item(), rel=1e-12)
    penalty = complexity_gradient(gates, space.blocks, eta)
    moved = {n: a - 0.3 * (scores[score][n] + penalty[n]) for n, a in alpha.items()}
    for name, table in box(moved, space.blocks).items():
        torch.testing.assert_close(method.alpha()[name], table, rtol=1e-12, atol=1e-12)
    assert method.best_gates().active == project(moved, space.blocks).active


def test_adam_steps_follow_its_formula() -> None:
    space, train, valid = make_space(), batch(1), batch(2)
    method = make_method(space, score="gradient", arch_optimizer="adam", arch_lr=0.01)
    alpha = method.alpha()
    m = {n: torch.zeros_like(a) for n, a in alpha.items()}
    v = copy.deepcopy(m)
    for t in range(1, 4):
        found = gate_gradient(space, valid, method.best_gates()).gates
        method.arch_step(space, train, valid)
        for n, g in found.items():
            m[n] = ADAM_BETAS[0] * m[n] + (1 - ADAM_BETAS[0]) * g
            v[n] = ADAM_BETAS[1] * v[n] + (1 - ADAM_BETAS[1]) * g**2
            step = m[n] / (1 - ADAM_BETAS[0] ** t)
            step = step / ((v[n] / (1 - ADAM_BETAS[1] ** t)).sqrt() + 1e-8)
            alpha[n] = alpha[n] - 0.01 * step
        alpha = box(alpha, space.blocks)
        for n in alpha:
            torch.testing.assert_close(method.alpha()[n], alpha[n], rtol=1e-9, atol=1e-9)


def test_learned_transforms_take_an_adam_step_on_validation() -> None:
    space, train, valid = make_space("sif"), batch(1), batch(2)
    draws = torch.Generator().manual_seed(7)
    method = Nasp(space, NaspSettings(), Plan(9, continuous_lr=0.01), draws)
    found = gate_gradient(space, valid, method.best_gates())
    before = [p.detach().clone() for p in space.arch_parameters()]
    method.arch_step(space, train, valid)
    for old, new, g in zip(before, space.arch_parameters(), found.arch, strict=True):
        expected = old - 0.01 * g / (g.abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(new.detach(), expected, rtol=1e-6, atol=1e-8)


class Scripted(FunctionSpace):
    """Switch scores as given, one table per step."""

    def __init__(self, tables: list[list[float]]) -> None:
        context = replace(
            InteractionCase("sif", loss_settings=LOSS).context(),
            shape=TableShape((USERS, ITEMS), 2), strengths=(),
        )  # fmt: skip
        super().__init__(FunctionSpec("s", operations=("multiply", "plus", "min")), context)
        self.double()
        self.script = iter(tables)

    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        return {OPERATION_BLOCK: torch.tensor([next(self.script)], dtype=torch.float64)}


def test_the_selection_is_read_before_boxing() -> None:
    space = Scripted([[-2.0, -3.0, 0.0]])
    method = make_method(space, alpha_constraint="clip", arch_lr=1.0)
    method.arch_step(space, batch(1), batch(2))
    assert method.alpha()[OPERATION_BLOCK][0, :2].tolist() == [1.0, 1.0]  # a tie after clipping
    assert method.best_gates().choices() == {OPERATION_BLOCK: (1,)}
    again = make_method(space, alpha_constraint="clip", arch_lr=1.0)
    again.load_state_dict(copy.deepcopy(method.state_dict()))
    assert again.best_gates().choices() == {OPERATION_BLOCK: (1,)}


def test_late_evidence_outweighs_early_evidence() -> None:
    space = Scripted([[0.0, 9.0, 9.0]] + [[0.0, -0.3, 0.2]] * 4)
    method = make_method(space, arch_lr=1.0)
    selected = []
    for _ in range(5):
        method.arch_step(space, batch(1), batch(2))
        selected.append(method.best_gates().choices()[OPERATION_BLOCK][0])
    # The box forgets how badly the second operation once lost: 9 alone would outlast this script.
    assert selected[0] == 0
    assert selected[-1] == 1


def test_a_score_that_is_no_number_stops_the_search() -> None:
    space = Scripted([[0.0, float("nan"), 0.0]])
    with pytest.raises(ShapeError, match=r"alpha: .*found NaN"):
        make_method(space).arch_step(space, batch(1), batch(2))


def test_weight_gates_are_round_robin_gates_and_then_the_selection() -> None:
    space = make_space()
    method = make_method(space, warmup=10)
    generator = torch.Generator().manual_seed(7)
    selected = method.best_gates().weights
    expected = [
        round_robin_gates(selected, space.blocks, step, generator).active for step in range(10)
    ]
    assert [method.weight_gates(step).active for step in range(10)] == expected
    assert all(method.weight_gates(10 + s).active == method.best_gates().active for s in range(20))


def test_exploration_happens_after_warm_up() -> None:
    space = make_space()
    method = make_method(space, explore=0.5)
    chosen = [method.weight_gates(s).choices()[OPERATION_BLOCK][0] for s in range(600)]
    best = method.best_gates().choices()[OPERATION_BLOCK][0]
    share = chosen.count(best) / 600
    assert abs(share - 0.6) < 4.5 * (0.6 * 0.4 / 600) ** 0.5
    assert set(chosen) == set(range(5))


def test_alpha_is_handed_out_as_a_copy() -> None:
    method = make_method(make_space())
    method.alpha()[OPERATION_BLOCK].zero_()
    assert method.alpha()[OPERATION_BLOCK].abs().min() > 0


@pytest.mark.parametrize("optimizer", ["plain", "adam"])
@pytest.mark.parametrize("spec", ["sif", "primitives"])
def test_a_restored_method_takes_the_same_steps(spec: str, optimizer: str) -> None:
    def step(method: Nasp, space: FunctionSpace, t: int) -> None:
        method.weight_gates(t)
        method.arch_step(space, batch(10 + t), batch(20 + t))

    space = make_space(spec)
    method = make_method(space, arch_optimizer=optimizer, arch_lr=0.05, explore=0.3, warmup=2)
    for t in range(3):
        step(method, space, t)
    other_space = copy.deepcopy(space)
    other = make_method(other_space, arch_optimizer=optimizer, arch_lr=0.05, explore=0.3, warmup=2)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    for t in range(3, 7):
        step(method, space, t)
        step(other, other_space, t)
        assert method.best_gates().active == other.best_gates().active
        assert method.weight_gates(t).active == other.weight_gates(t).active
    assert all(torch.equal(a, other.alpha()[n]) for n, a in method.alpha().items())
    for one, two in zip(space.parameters(), other_space.parameters(), strict=True):
        assert torch.equal(one, two)


class _NoSwitch:
    """A space that offers gradients only."""

    name = "plain"

    def __init__(self) -> None:
        inner = make_space()
        self.blocks = inner.blocks
        for name in ("loss", "arch_parameters", "reference_tensor"):
            setattr(self, name, getattr(inner, name))


def test_a_space_without_replacement_scores_says_so() -> None:
    space = _NoSwitch()
    with pytest.raises(ConfigError, match="'plain' offers no 'replacement_loss'"):
        make_method(space).arch_step(space, batch(1), batch(2))  # type: ignore[arg-type]
    report = make_method(space, score="gradient").arch_step(space, batch(1), batch(2))  # type: ignore[arg-type]
    assert set(report.scores) == {"gradient"}


class _Nothing:
    """Keeps no checkpoint."""

    def restore(self) -> None:
        return None

    def offer(self, state: object) -> None:
        return None


def test_a_planted_product_is_recovered() -> None:
    interactions, _ = planted(
        60, 50, operation="multiply", transforms=("identity", "identity"), dimension=2,
        density=0.5, noise=0.1, seed=0,
    )  # fmt: skip
    assert interactions.rating is not None
    order = np.random.default_rng(0).permutation(len(interactions))
    train, valid = (
        PartTensors(
            torch.tensor(interactions.ids[rows]), torch.tensor(interactions.rating[rows]), (60, 50)
        )
        for rows in (order[: len(order) // 2], order[len(order) // 2 :])
    )
    shape = TableShape((60, 50), 4, biases=True, intercept=True)
    strengths = tuple(torch.full((n,), 1e-3) for n in (60, 50))
    space = FunctionSpace(
        SPECS["sif"],
        replace(
            InteractionCase("sif", loss_settings=LOSS).context(), shape=shape, strengths=strengths
        ),
    )
    settings = NaspSettings(
        explore=0.3, score="replacement_loss", arch_optimizer="plain", arch_lr=0.3
    )
    method = Nasp(space, settings, Plan(140, 60), torch.Generator().manual_seed(0))
    streams = [
        InteractionStream(p, len(p.ids), Drawing(), torch.Generator().manual_seed(0))
        for p in (train, valid)
    ]
    loop = SearchSettings(epochs=140, lr=0.05, arch_every=2, arch_start=40)
    found = search(space, method, *streams, loop, NullTracker(), _Nothing())
    assert found.genotype.operation(OPERATION_BLOCK) == "multiply"
    assert found.valid_loss < 0.3  # of a target of variance 1
    assert found.diagnostics["margin"] > 0.1


def settling(warmup: int = 0, **settings: object) -> tuple[Scripted, Nasp]:
    space = Scripted([[0.0, -3.0, 0.0], [0.0, 0.0, 0.0], [-9.0, 0.0, 0.0]])
    method = make_method(space, warmup, arch_lr=1.0, settle_steps=4, **settings)
    method.load_state_dict({**method.state_dict(), "selection": {OPERATION_BLOCK: [0]}})
    return space, method


def drawn(method: Nasp, steps: range) -> list[int]:
    return [method.weight_gates(s).choices()[OPERATION_BLOCK][0] for s in steps]


def test_every_new_selection_is_first_trained_alone() -> None:
    space, method = settling(warmup=100)
    assert drawn(method, range(4)) == [0, 0, 0, 0]
    assert set(drawn(method, range(4, 10))) == {0, 1, 2}
    method.arch_step(space, batch(1), batch(2))
    assert drawn(method, range(10, 14)) == [1, 1, 1, 1]
    assert set(drawn(method, range(15, 21))) == {0, 1, 2}
    method.arch_step(space, batch(1), batch(2))  # nothing changes, nothing settles
    assert set(drawn(method, range(21, 24))) == {0, 1, 2}
    method.arch_step(space, batch(1), batch(2))
    assert drawn(method, range(24, 28)) == [0, 0, 0, 0]


def test_settling_does_not_begin_again_after_a_restart() -> None:
    space, method = settling(warmup=100)
    drawn(method, range(8))
    method.arch_step(space, batch(1), batch(2))
    assert drawn(method, range(8, 10)) == [1, 1]
    _, other = settling(warmup=100)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.best_gates().active == {OPERATION_BLOCK: (1,)}
    after = drawn(method, range(10, 30))
    assert drawn(other, range(10, 30)) == after
    assert after[:2] == [1, 1]
    assert set(after[2:5]) == {0, 1, 2}


def test_without_settling_the_first_steps_are_in_turn() -> None:
    _, method = settling(warmup=100)
    method.settings = NaspSettings()
    assert set(drawn(method, range(3))) == {0, 1, 2}
