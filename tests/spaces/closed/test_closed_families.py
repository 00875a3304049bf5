"""Closed forms against dense solutions in float64, and at the edges of their data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from sif.core.genotype import Genotype
from sif.errors import DivergedError, GenotypeError
from sif.spaces.closed import clicks as shared
from sif.spaces.closed import weights as weighing
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.design import FAMILIES, OPEN, closed_design, genotype_of
from sif.spaces.closed.family import AnyWeights, Family
from sif.spaces.closed.filters import ChebyshevFilter, GraphFilter, interpolated
from sif.spaces.closed.item_item import ItemItem, inverted
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.closed.spectrum import WHOLE, Spectrum
from sif.spaces.linear import features as features_of
from sif.spaces.linear.features import FeatureRows, combinations
from sif.spaces.linear.weights import ItemWeights

Floats = NDArray[np.float64]
TOLERANCE = {"rtol": 0, "atol": 1e-6}


def pairs(users: int = 40, items: int = 25, seed: int = 0) -> sp.csr_matrix:
    """Clicks; the first user has all items but one, the last two none; the last item no user."""
    draws = np.random.default_rng(seed)
    taken = draws.random((users, items)) < draws.random(items) * 0.5
    taken[0], taken[-2:], taken[:, -1] = True, False, False
    return sp.csr_matrix(taken.astype(np.float32))


def degrees(matrix: Floats) -> tuple[Floats, Floats]:
    return np.maximum(matrix.sum(axis=1), 1), np.maximum(matrix.sum(axis=0), 1)


def scaled(user: float, item: float) -> Floats:
    dense = pairs().toarray().astype(np.float64)
    rows, columns = degrees(dense)
    return rows[:, None] ** -user * dense * columns**-item


def filtered(design: GraphFilter | ChebyshevFilter) -> Floats:
    """The weights of a filter by powers of dense matrices, or by the spectrum of one."""
    x = scaled(design.user, design.item)
    p = x.T @ x
    top = np.linalg.eigvalsh(p)[-1]
    if isinstance(design, GraphFilter):
        p = p / top
        found = p + design.second * p @ p + design.third * p @ p @ p
    else:
        values, vectors = np.linalg.eigh(p)
        factors = interpolated(design.degree, design.flatness)
        found = vectors * chebyshev.chebval(2 * values / top - 1, factors) @ vectors.T
    _, columns = degrees(pairs().toarray().astype(np.float64))
    found = columns[:, None] ** -design.shift * found * columns**design.shift
    _, _, v = np.linalg.svd(scaled(0.5, 0.5))
    v = v[: int(design.rank)]
    return found + design.phi * columns[:, None] ** -0.5 * (v.T @ v) * columns**0.5


def spectral(design: Spectrum) -> Floats:
    u, s, v = np.linalg.svd(scaled(design.user, design.item), full_matrices=False)
    rank = int(min(design.rank, (s > 1e-3 * s[0]).sum()))
    u, s, v = u[:, :rank], s[:rank], v[:rank]
    found = v.T * (s / (s**2 + design.l2 * s[0] ** 2)) @ u.T @ scaled(design.target, 0.0)
    _, columns = degrees(pairs().toarray().astype(np.float64))
    enters, leaves = design.item + design.shift, design.shift - design.discount
    return columns[:, None] ** -enters * found * columns**leaves


def regressed(design: ItemItem) -> Floats:
    """Each item from all others by least squares, one after the other."""
    x = scaled(design.user, design.item)
    squares = (x**2).sum(axis=0)
    level = squares[squares > 0].mean()
    penalties = design.l2 * level + design.dropout / (1 - design.dropout) * squares
    found = np.zeros((x.shape[1], x.shape[1]))
    for item in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), item)
        a = x[:, others].T @ x[:, others] + np.diag(penalties[others])
        found[others, item] = np.linalg.solve(a, x[:, others].T @ x[:, item])
    _, columns = degrees(pairs().toarray().astype(np.float64))
    return columns[:, None] ** -design.item * found * columns ** (design.item - design.discount)


DESIGNS: list[tuple[Family, Floats]] = [
    (ItemItem(l2=5.0), regressed(ItemItem(l2=5.0))),
    *(
        (design, regressed(design))
        for design in (
            ItemItem(l2=0.5, dropout=0.3),
            ItemItem(l2=2.0, dropout=0.2, user=0.3, item=0.2, discount=0.1),
        )
    ),
    *(
        (design, filtered(design))
        for design in (
            GraphFilter(rank=4.0),
            GraphFilter(user=0.4, item=0.6, shift=0.2, phi=0.0),
            GraphFilter(user=0.3, second=-0.5, phi=0.3, rank=3.0),
            GraphFilter(second=0.3, third=0.3, phi=0.0),
            ChebyshevFilter(rank=4.0),
            ChebyshevFilter(user=0.4, item=0.3, degree=4.0, flatness=3.0, phi=0.0),
        )
    ),
    *((design, spectral(design)) for design in (
        Spectrum(user=0.1, target=0.1, rank=5.0),
        Spectrum(target=-0.15, shift=0.1, l2=0.3, rank=25.0),
    )),
]  # fmt: skip


def table(weights: AnyWeights) -> Floats:
    return weights.table().astype(np.float64)


@pytest.mark.parametrize(("design", "expected"), DESIGNS, ids=lambda one: str(one)[:40])
def test_weights_are_those_of_dense_matrices(design: Family, expected: Floats) -> None:
    clicks = Clicks(pairs(), 0)
    weights = design.weights(clicks)
    np.testing.assert_allclose(table(weights), expected, **TOLERANCE)
    histories = pairs(seed=1)
    np.testing.assert_allclose(
        weights.scores(histories), histories @ expected, rtol=1e-5, atol=3e-6
    )
    entries, items = np.array([3, 3, 0, 24, 7]), np.array([1, 2, 1, 0, 24])
    np.testing.assert_allclose(
        weights.between(entries, items), expected[entries, items], **TOLERANCE
    )
    if isinstance(design, ItemItem):
        np.testing.assert_array_equal(np.diag(table(weights)), 0)
    assert np.isfinite(weights.scores(sp.csr_matrix((2, 25), dtype=np.float32))).all()


def test_degrees_by_hand() -> None:
    rows = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], np.float32))
    clicks = Clicks(rows, 0)
    np.testing.assert_allclose(clicks.item_power(-0.5), [2**-0.5, 1, 1, 1])
    expected = [[0.5, 2**-0.5, 0, 0], [0.5, 0, 2**-0.5, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(clicks.scaled(0.5, 0.5).toarray(), expected, rtol=1e-6)
    assert clicks.largest(0.5, 0.5) == pytest.approx(1.0)
    gram = [[0.5, 0.25, 0.25, 0], [0.25, 0.25, 0, 0], [0.25, 0, 0.25, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(clicks.gram(1.0).numpy(), gram, rtol=1e-6)


@pytest.mark.parametrize("design", [one for one, _ in DESIGNS], ids=lambda one: str(one)[:40])
def test_blocks_are_the_whole(design: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = design.weights(Clicks(pairs(), 0))
    expected = whole.scores(pairs(seed=1)), table(whole)
    monkeypatch.setattr(weighing, "BLOCK", 100)
    monkeypatch.setattr(shared, "COLUMNS", 7)
    monkeypatch.setattr(shared, "KEPT_SIDE", 3)
    blocked = design.weights(Clicks(pairs(), 0))
    np.testing.assert_allclose(blocked.scores(pairs(seed=1)), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table(blocked), expected[1], rtol=1e-5, atol=1e-6)


def test_an_exact_spectrum_keeps_no_more_than_may_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Clicks(pairs(), 0)
    assert whole.whole and Spectrum.grids_on(whole)["rank"][-1] == WHOLE
    values, vectors = whole.spectrum(0.5, 0.3, 25)
    monkeypatch.setattr(shared, "KEPT_SIDE", 24)  # 25 vectors of 25 items are too many
    monkeypatch.setattr(shared, "MOST_RANK", 6)
    clicks = Clicks(pairs(), 0)
    assert clicks.exact and not clicks.whole and WHOLE not in Spectrum.grids_on(clicks)["rank"]
    few = clicks.spectrum(0.5, 0.3, 3)
    np.testing.assert_array_equal(few[0], values[:3])
    np.testing.assert_allclose(few[1], vectors[:, :3], rtol=1e-6, atol=1e-7)
    assert clicks._kept["spectrum", 0.5, 0.3, 6][1].shape == (25, 6)
    assert clicks.spectrum(0.5, 0.3, 25)[1].shape == (25, 25)  # of a model that was chosen before


def test_no_rank_is_larger_than_what_is_kept() -> None:
    ranks = [family.grids["rank"] for family in FAMILIES.values() if "rank" in family.grids]
    assert len(ranks) == 3 and all(max(grid) == shared.MOST_RANK for grid in ranks)


def test_a_randomized_spectrum_is_nearly_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pairs(300, 200)
    values, vectors = Clicks(rows, 0).spectrum(0.5, 0.5, 8)
    monkeypatch.setattr(shared, "EXACT_SIDE", 10)
    monkeypatch.setattr(shared, "LEAST_RANK", 8)
    again = [Clicks(rows, 0).spectrum(0.5, 0.5, 8) for _ in range(2)]
    np.testing.assert_array_equal(again[0][1], again[1][1])
    np.testing.assert_allclose(again[0][0], values, rtol=0.05)
    first = vectors[:, 0] @ again[0][1][:, 0]
    assert abs(first) == pytest.approx(1, abs=1e-3)


def test_what_is_kept_is_what_is_made_again() -> None:
    clicks = Clicks(pairs(), 0)
    clicks.gram(0.3).zero_()  # a copy
    assert float(clicks.gram(0.3).sum()) > 0
    small, large = clicks.spectrum(0.3, 0.3, 2), clicks.spectrum(0.3, 0.3, 5)
    np.testing.assert_allclose(small[1], large[1][:, :2], atol=1e-6)
    for exponent in np.linspace(0, 1, 20):
        clicks.largest(float(exponent), 0.5)
    assert len([key for key in clicks._kept if key[0] == "largest"]) <= shared.KEPT


def test_frequent_items_alone_are_solved_for_in_a_large_catalog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sif.spaces.linear.inputs.MAX_SIDE", 30)
    clicks = Clicks(pairs(), 0)
    design = ItemItem(l2=2.0, user=0.3, item=0.2, frequent=6.0)
    assert "frequent" in design.grids_on(clicks) and len(design.grids_on(clicks)["frequent"]) > 1
    weights = design.weights(clicks)
    assert isinstance(weights, ItemWeights) and weights.items is not None
    solved, rare = weights.items, np.setdiff1d(np.arange(25), weights.items)
    assert 2 < len(solved) < 25 and weights.rest is not None
    found, x = table(weights), scaled(0.3, 0.2)
    np.testing.assert_array_equal(np.diag(found), 0)
    squares = (x**2).sum(axis=0)
    penalties = np.full(25, 2.0 * squares[squares > 0].mean())
    columns = np.maximum(clicks.counts, 1.0)
    expected = np.zeros((25, 25))
    for item in range(25):
        inputs = np.setdiff1d(solved, [item])
        a = x[:, inputs].T @ x[:, inputs] + np.diag(penalties[inputs])
        expected[inputs, item] = np.linalg.solve(a, x[:, inputs].T @ x[:, item])
    alone = (x.T @ x) / (squares + penalties)[:, None]
    expected[rare] = alone[rare]
    np.fill_diagonal(expected, 0)
    expected = columns[:, None] ** -0.2 * expected * columns**0.2
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_float64_solves_what_float32_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.spaces.closed.item_item.TOLERANCE", 1e-8)
    rows = pairs()
    expected = regressed(ItemItem(l2=1e-6))
    found = table(ItemItem(l2=1e-6).weights(Clicks(rows, 0)))
    live = pairs().toarray().any(axis=0)
    np.testing.assert_allclose(
        found[np.ix_(live, live)], expected[np.ix_(live, live)], rtol=1e-5, atol=1e-6
    )
    with pytest.raises(DivergedError, match="l2 is too small"):
        inverted(lambda: torch.ones(3, 3))


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (5, 5)])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_degenerate_clicks_give_finite_scores(family: type[Family], shape: tuple[int, int]) -> None:
    for rows in (np.ones(shape), np.eye(*shape), np.zeros(shape)):
        clicks = Clicks(sp.csr_matrix(rows.astype(np.float32)), 0)
        weights = family().weights(clicks)
        assert np.isfinite(weights.scores(clicks.pairs)).all()


@pytest.mark.parametrize("design", [one for one, _ in DESIGNS], ids=lambda one: str(one)[:40])
def test_networks_keep_weights_and_genotypes_designs(design: Family) -> None:
    weights = design.weights(Clicks(pairs(), 0))
    expected = weights.scores(pairs(seed=1)).copy()
    genotype = Genotype.from_json(genotype_of(design).to_json())
    assert closed_design(genotype) == design and genotype.expression == design.expression
    network = ClosedNetwork(genotype, 25).take(weights)
    other = ClosedNetwork(genotype, 25)
    other.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(other.item_weights.scores(pairs(seed=1)), expected)
    assert other.item_weights.size == weights.size > 0 and other.expression == design.expression


def test_a_plateau_is_interpolated_at_the_nodes_of_chebyshev() -> None:
    for degree, flatness in ((2, 1.5), (8, 3.0)):
        expected = chebyshev.chebinterpolate(
            lambda t, f=flatness: (1 + np.sign(t) * np.abs(t) ** f) / 2, degree
        )
        np.testing.assert_allclose(interpolated(degree, flatness), expected, atol=1e-12)
    np.testing.assert_allclose(interpolated(4, 1.0), [0.5, 0.5, 0, 0, 0], atol=1e-12)


def test_constants_are_of_their_grids() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name and set(family.grids) == set(family().constants)
        for grid in family.grids.values():
            assert list(grid) == sorted(set(grid))
        for known in family.known:
            assert set(known) <= set(family.grids)


def test_foreign_genotypes_are_refused() -> None:
    genotype = genotype_of(Spectrum())
    for wrong in (
        replace(genotype, parameters={}),
        replace(genotype, parameters={**genotype.parameters, "more": ((1,), (0.0,))}),
        replace(genotype, parameters={**genotype.parameters, "l2": ((2,), (0.0, 1.0))}),
        replace(genotype, blocks={"family": ((0, "unknown"),)}),
        OPEN,
    ):
        with pytest.raises(GenotypeError):
            closed_design(wrong)


def test_expressions_name_what_is_not_neutral() -> None:
    assert ItemItem(l2=5.0).expression == "item-item(l2 5)"
    assert (
        ItemItem(l2=2.0, dropout=0.5, user=0.3, item=-0.1, discount=0.1).expression
        == "item-item(l2 2, dropout 0.5, n_u^-0.3, n_i^0.1) / popularity^0.1"
    )
    assert (
        GraphFilter(second=-0.5).expression
        == "filter(P - 0.5 P^2; n_u^-0.5, n_i^-0.5, n_i^-0.3) + 0.1 low pass(256)"
    )


def test_a_randomized_spectrum_does_not_depend_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "EXACT_SIDE", 10)
    monkeypatch.setattr(shared, "LEAST_RANK", 4)
    rows = sp.random(90, 80, 0.2, "csr", np.float32, np.random.default_rng(3))
    alone = Clicks(rows, 0).spectrum(0.5, 0.5, 4)
    clicks = Clicks(rows, 0)
    clicks.spectrum(0.5, 0.5, 32)
    for one, other in zip(alone, clicks.spectrum(0.5, 0.5, 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_are_users_who_have_the_items_that_have_them() -> None:
    """EASE on the clicks with such users below them, whose weight is c times the mean square."""
    rows = pairs()
    features = np.random.default_rng(3).random((rows.shape[1], 7)) < 0.3
    groups = ((0, 4), (4, 7))
    given = FeatureRows(sp.csr_matrix(features.astype(np.float32)), groups)
    clicks = Clicks(rows, 0, given)
    n, clicked = rows.shape[1], clicks.counts > 0
    documents = features[clicked].sum(axis=0)
    weighted = features * clicked[:, None] * np.log1p(clicked.sum() / documents)
    for start, stop in groups:
        length = np.sqrt((weighted[:, start:stop] ** 2).sum(axis=1, keepdims=True))
        weighted[:, start:stop] /= np.maximum(length, 1e-30)
    weighted /= np.maximum(np.sqrt((weighted**2).sum(axis=1, keepdims=True)), 1e-30)
    level = clicks.counts[clicked].mean()
    stacked = np.vstack([rows.toarray(), np.sqrt(0.5 * level) * weighted.T])
    inverse = np.linalg.inv(stacked.T @ stacked + 2.0 * level * np.eye(n))
    expected = np.eye(n) - inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    found = table(ItemItem(l2=2.0, features=0.5).weights(clicks))
    assert np.abs(found - expected).max() < 1e-4
    without = table(ItemItem(l2=2.0).weights(clicks))
    assert np.array_equal(without, table(ItemItem(l2=2.0).weights(Clicks(rows, 0))))
    assert np.abs(found - without).max() > 1e-3


@pytest.mark.parametrize(("n", "m"), [(40, 9), (40, 90)])
def test_combinations_solve_kernel_ridge_by_either_side_and_by_conjugate_gradients(
    n: int, m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(0)
    rows = sp.csr_matrix((draws.random((n + 5, m)) * (draws.random((n + 5, m)) < 0.3)), dtype="f4")
    known, others = sp.csr_matrix(rows[:n]), sp.csr_matrix(rows[n:])
    dense, asked = known.toarray().astype(float), others.toarray().astype(float)
    expected = np.linalg.solve(dense @ dense.T + 0.7 * np.eye(n), dense @ asked.T)
    assert np.abs(combinations(known, others, 0.7) - expected).max() < 1e-4
    monkeypatch.setattr(features_of, "DIRECT", 0)
    assert np.abs(combinations(known, others, 0.7) - expected).max() < 1e-3
