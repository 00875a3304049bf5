"""A searched function as a model of implicit: what serves implicit's models serves it.

    model = to_implicit(recommender)
    ids, scores = model.recommend(0, model.user_items[0])
    model.item_ids[ids]

implicit knows users and items by numbers, from 0; `user_ids` and `item_ids` are the original ids in
their order, and `user_items` is the matrix of what users have in the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import RecommenderBase
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sif.adapters.factors import Products, has_factors
from sif.data.interactions.frames import matrix_values
from sif.errors import ConfigError, DataError, ShapeError
from sif.recommender.arguments import mask_of, whole_number
from sif.recommender.fold_in import Rows
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.retrieval.engine import Top
from sif.utils.argument_types import shown

NOTHING = -np.finfo(np.float32).max
"""Score beside the number -1 where nothing is left, as implicit has it for its batches."""

Answer = tuple[NDArray[np.int32], NDArray[np.float32]]


def to_implicit(recommender: Recommender) -> SIFFactors | SIFImplicit:
    """A fitted recommender as a model of implicit.

    Returns:
        Where scores are a product, an `AlternatingLeastSquares` with the function's factors;
        otherwise a `RecommenderBase` that answers by the function itself.

    Raises:
        ConfigError: Not fitted, of other fields, or a function that ranks items alike for all.

    Examples:
        >>> from sif.adapters.implicit import to_implicit
        >>> served = to_implicit(model)
        >>> ids, scores = served.recommend(0, served.user_items[0], N=3)
        >>> len(served.item_ids[ids])
        3
    """
    served = recommender.fitted_model()
    IndexedRecommender(served).refuse_unpersonalized()
    return SIFFactors.of(served) if has_factors(served) else SIFImplicit(recommender)


def targets(model: ServedModel, pairs: Any, field: int = 0) -> sparse.csr_array:
    """Rows of implicit's matrix (b, n_other) as what the model was trained on.

    Raises:
        ShapeError: Another number of columns than the other field has ids.
        DataError: No matrix, or a value is not finite.
    """
    if not (sparse.issparse(pairs) or isinstance(pairs, np.ndarray)):
        raise DataError(f"matrix: expected a sparse one, found {shown(pairs)}")
    kind = np.float64 if model.reads_time else np.float32
    rows = sparse.csr_array(matrix_values(pairs, model.objective, kind))
    size = len(model.vocabularies[1 - field])
    if rows.shape[1] != size:
        turned = rows.shape[1] == len(model.vocabularies[field])
        told = "; since implicit 0.5 rows are users" if turned and not field else ""
        raise ShapeError(f"matrix: expected {size} columns, found {rows.shape[1]}{told}")
    if model.objective == "rating":
        rows.data = (rows.data - np.float32(model.scale.mean)) / np.float32(model.scale.deviation)
        return rows
    if (
        not model.reads_order
    ):  # else the larger the value, the later the item: its time, or any number
        rows.data[:] = 1
    return rows


class SIFFactors(AlternatingLeastSquares):  # type: ignore[misc]
    """A function whose scores are a product, as the factors of implicit's own model.

    Made by `to_implicit`. `recommend`, `similar_items`, `similar_users` and `save` are implicit's.
    `recalculate_user`, `recalculate_item` and what is built on them fold rows in as sif does, not
    by the least squares of ALS; they need the model and so are gone after `load`. Items that no
    training saw come last instead of never.

    Attributes:
        user_ids: (n_users,) original ids, in the order of the factors; of items likewise.
        user_items: Interactions of users, CSR (n_users, n_items); not saved. Stored zeros are what
            filters dropped: left out of answers, and nothing to fold in.

    Examples:
        >>> from implicit.cpu.als import AlternatingLeastSquares
        >>> from sif.adapters.implicit import SIFFactors
        >>> issubclass(SIFFactors, AlternatingLeastSquares)
        True
    """

    user_ids: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    user_items: sparse.csr_matrix
    _products: Products | None = None

    @classmethod
    def of(cls, model: ServedModel, num_threads: int = 0) -> SIFFactors:
        """The factors of a model; ConfigError where its function has none."""
        products = Products(model)
        items = products.items()
        factors = cls(factors=items.shape[1], num_threads=num_threads)
        factors.user_factors, factors.item_factors = products.users(), items
        factors.user_ids, factors.item_ids = (np.asarray(v.ids) for v in model.vocabularies)
        factors.user_items = sparse.csr_matrix(model.user_items)
        factors._products = products
        return factors._prepared()

    @classmethod
    def load(cls, fileobj_or_path: Any) -> SIFFactors:
        """Reads what `save` wrote, and other files of factors that implicit reads."""
        factors: SIFFactors = super().load(fileobj_or_path)
        return factors._prepared()

    def _prepared(self) -> SIFFactors:
        """Makes the norms, which implicit makes when first asked, in steps that threads see."""
        _ = self.user_norms, self.item_norms
        return self

    def fit(self, user_items: Any, show_progress: bool = True, callback: Any = None) -> None:
        """Refused: ALS would take the columns of the biases for factors."""
        raise ConfigError("fit: expected nothing to learn here; fit a Recommender, convert it")

    def explain(self, *_: Any, **__: Any) -> Any:
        """Refused: it would explain a score of ALS."""
        raise NotImplementedError("explain: of a Recommender, not of its factors")

    def recalculate_user(self, userid: Any, user_items: Any) -> NDArray[np.float32]:
        """Factors (r,) or (b, r) of users from what they have, CSR (b, n_items)."""
        products, pairs, rows = self._folded(0, userid, user_items)
        bare = None if products.rule is None else products.rule.without_known_pairs(pairs)
        factors = products.users_of(rows, bare)
        return factors[0] if np.isscalar(userid) else factors

    def recalculate_item(self, itemid: Any, item_users: Any) -> NDArray[np.float32]:
        """Factors (r,) or (b, r) of items from who has them, CSR (b, n_users)."""
        products, _, rows = self._folded(1, itemid, item_users)
        factors = products.items_of(rows)
        return factors[0] if np.isscalar(itemid) else factors

    def save(self, fileobj_or_path: Any) -> None:
        """Writes implicit's .npz, with the original ids; plain implicit can load it as well."""
        np.savez(
            fileobj_or_path, user_factors=self.user_factors, item_factors=self.item_factors,
            factors=self.factors, regularization=self.regularization, alpha=self.alpha,
            num_threads=self.num_threads, iterations=self.iterations, dtype=self.dtype.name,
            user_ids=self.user_ids, item_ids=self.item_ids,
        )  # fmt: skip

    def _folded(
        self, field: int, numbers: Any, matrix: Any
    ) -> tuple[Products, sparse.csr_array, Rows]:
        if self._products is None:
            raise NotImplementedError(
                "recalculate: a loaded file has the factors alone; convert the saved Recommender"
            )
        model = self._products.model
        pairs = targets(model, matrix, field)
        _check_rows(pairs, numbers)
        return self._products, pairs, model.fold(field).vectors(pairs)


class SIFImplicit(RecommenderBase):  # type: ignore[misc]
    """Any function of user and item behind implicit's interface.

    Args:
        recommender: Fitted, or about to be by `fit`; None: one with its default settings.

    Examples:
        >>> from sif.adapters.implicit import SIFImplicit
        >>> served = SIFImplicit(model)
        >>> ids, scores = served.recommend(0, served.user_items[0], N=3)
        >>> served.item_ids[ids].shape
        (3,)
    """

    def __init__(self, recommender: Recommender | None = None) -> None:
        self.recommender = Recommender() if recommender is None else recommender

    @property
    def user_ids(self) -> NDArray[np.str_]:
        """(n_users,) original ids in the order of the numbers."""
        return np.asarray(self.recommender.fitted_model().vocabularies[0].ids)

    @property
    def item_ids(self) -> NDArray[np.str_]:
        """(n_items,) original ids in the order of the numbers."""
        return np.asarray(self.recommender.fitted_model().vocabularies[1].ids)

    @property
    def user_items(self) -> sparse.csr_matrix:
        """Pairs of users and items, CSR (n_users, n_items); zeros are what filters dropped."""
        return sparse.csr_matrix(self.recommender.fitted_model().user_items)

    def fit(
        self, user_items: Any = None, show_progress: bool = True, callback: Any = None, *,
        item_users: Any = None,
    ) -> None:  # fmt: skip
        """Searches and trains on a matrix; the callback is not called.

        Its rows and columns are the numbers from then on, those without a value too: such a user
        gets the popular items, such an item is not recommended in rankings.

        Args:
            user_items: (n_users, n_items), as implicit has it since 0.5.
            show_progress: Not asked; the recommender has `verbose`.
            callback: Not called.
            item_users: The same as (n_items, n_users), as implicit had it before, in its place.

        Raises:
            ConfigError: Both matrices, or none.
            DataError: No matrix, or one that cannot be used.
        """
        if (user_items is None) == (item_users is None):
            found = "none" if user_items is None else "both"
            raise ConfigError(f"fit: expected user_items or item_users, found {found}")
        if item_users is not None:
            if not hasattr(item_users, "tocsr"):
                raise DataError(f"item_users: expected a sparse matrix, found {shown(item_users)}")
            user_items = item_users.T.tocsr()
        self.recommender.fit(user_items)

    def recommend(
        self, userid: Any, user_items: Any, N: int = 10, filter_already_liked_items: bool = True,
        filter_items: Iterable[int] | None = None, recalculate_user: bool = False,
        items: ArrayLike | None = None,
    ) -> Answer:  # fmt: skip
        """The best N items; arguments as in implicit.

        `recalculate_user` folds users in from `user_items`: ratings where the model is of ratings,
        numbers that grow from earlier to later items where it reads order.

        Returns:
            Numbers and scores, best first: (n,) with n at most N for one user; (b, N) for several,
            -1 and the lowest float where nothing is left.

        Raises:
            ConfigError: N below 1, or both `items` and `filter_items`.
            ShapeError: A matrix of another shape than (b, n_items), or an unknown number.
        """
        server = self.recommender.server()
        model = server.model
        server.refuse_unpersonalized()
        k, excluded, pairs = whole_number(N, "N"), None, None
        if filter_already_liked_items or recalculate_user:
            pairs = targets(model, user_items)
            _check_rows(pairs, userid)
            excluded = sparse.csr_array(user_items) if filter_already_liked_items else None
        allowed = _allowed(len(model.vocabularies[1]), filter_items, items)
        if recalculate_user and pairs is not None:
            best = server.top_of(pairs, k, excluded, allowed)
        else:
            rows = _checked(userid, len(model.vocabularies[0]))
            best = server.top(rows, k, excluded, allowed)
        return _answer(best, userid)

    def similar_items(
        self, itemid: Any, N: int = 10, recalculate_item: bool = False, item_users: Any = None,
        filter_items: Iterable[int] | None = None, items: ArrayLike | None = None,
    ) -> Answer:  # fmt: skip
        """Nearest items by the cosine of weighted vectors, the item itself first, as in implicit.

        An item that no training saw is near to none, not even to itself.

        Raises:
            NotImplementedError: `recalculate_item` was asked for.
            ConfigError, ShapeError: See `recommend`.
        """
        if recalculate_item:
            raise NotImplementedError("recalculate_item is not supported with this model")
        return self._similar(1, itemid, N, filter_items, items)

    def similar_users(
        self, userid: Any, N: int = 10, filter_users: Iterable[int] | None = None,
        users: ArrayLike | None = None,
    ) -> Answer:  # fmt: skip
        """Nearest users by the cosine of weighted vectors, the user first, as in implicit.

        Raises:
            ConfigError, ShapeError: See `recommend`.
        """
        return self._similar(0, userid, N, filter_users, users)

    def save(self, file: str | Path) -> None:
        """Writes the model into a folder of that name, as `Recommender.save`."""
        self.recommender.save(file)

    @classmethod
    def load(cls, fileobj_or_path: str | Path) -> SIFImplicit:
        """Reads what `save`, `Recommender.save` or a run left in a folder."""
        return cls(Recommender.load(fileobj_or_path))

    def _similar(
        self, field: int, numbers: Any, count: int, without: Iterable[int] | None,
        among: ArrayLike | None,
    ) -> Answer:  # fmt: skip
        server = self.recommender.server()
        size = len(server.model.vocabularies[field])
        allowed, rows = _allowed(size, without, among), _checked(numbers, size)
        k = whole_number(count, "N")
        return _answer(server.similar(field, rows, k, True, allowed), numbers)


def _check_rows(pairs: sparse.csr_array, numbers: Any) -> None:
    expected = np.atleast_1d(numbers).shape[0]
    if pairs.shape[0] != expected:
        raise ShapeError(
            f"matrix: expected {expected} rows, one for each id, such as user_items[userid], found "
            f"{pairs.shape[0]}"
        )


def _allowed(
    count: int, without: Iterable[int] | None, among: ArrayLike | None
) -> NDArray[np.bool_] | None:
    if without is not None and among is not None:
        raise ConfigError("expected items to choose among or to leave out, found both")
    without = None if without is None else list(without)
    return mask_of(count, partial(_checked, count=count), without, among)


def _checked(numbers: Any, count: int) -> NDArray[np.int64]:
    """Numbers (n,) of rows; ShapeError unless each is a whole one from 0 to count - 1."""
    given = np.atleast_1d(numbers)
    whole = given.dtype.kind in "iu" or not given.size
    wrong = given[(given < 0) | (given >= count)] if whole else given
    if len(wrong):
        raise ShapeError(f"expected numbers from 0 to {count - 1}, found {wrong[0]!s}")
    return given.astype(np.int64)


def _answer(best: Top, numbers: Any) -> Answer:
    ids = best.items.astype(np.int32)
    scores = np.where(ids < 0, NOTHING, best.scores).astype(np.float32)
    if not np.isscalar(numbers):
        return ids, scores
    left = ids[0] >= 0
    return ids[0][left], scores[0][left]
