"""A served model that changes while it answers: users and items come in without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import RLock
from typing import Any, Self

from sif.data.interactions import Interactions
from sif.errors import NotFittedError
from sif.recommender.alike import with_items
from sif.recommender.arguments import public_method
from sif.recommender.drift import Drift, counted, drift_of
from sif.recommender.drift_fit import against_fresh
from sif.recommender.estimator import Estimator
from sif.recommender.extend import grown_by_all, grown_by_users
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.inputs import further_interactions
from sif.recommender.model import ServedModel, packed, unpacked
from sif.recommender.new_users import with_users
from sif.recommender.renamed import FORMER


class LiveModel(Estimator):
    """The model that `Recommender` serves, and how it changes.

    Attributes:
        model_: The served model, once there is one.
    """

    model_: ServedModel
    _serving: IndexedRecommender | None = None

    @public_method
    def fold_in(self, data: Any) -> Self:
        """Takes in users with what they have, new ones and known ones with more; items stay.

        Args:
            data: Interactions as of `fit`, whose arguments and settings `data.*` hold: columns have
                the same names, and ratings below `min_rating` make no vector; users who have no
                other are as those without training.

        Returns:
            The same object.

        Raises:
            UnknownIdError: An unknown item; `partial_fit` takes in items as well.
            DataError: Data that cannot be used, or no ratings for a model of ratings.
            ConfigError: The model cannot fold rows in.

        Examples:
            >>> new = pd.DataFrame({"user": ["guest"] * 2, "item": ["tea1", "tea2"]})
            >>> len(copy.copy(model).fold_in(new).recommend("guest", n=3))
            3
        """
        return self._grow(data, grown_by_users)

    @public_method
    def partial_fit(self, data: Any) -> Self:
        """Takes in new items, then users, by folding; `fit` again once there are many.

        Args:
            data: Interactions, in any form that `fold_in` takes.

        Returns:
            The same object.

        Raises:
            DataError, ConfigError: For the reasons of `fold_in`.

        Examples:
            >>> new = pd.DataFrame({"user": ["c1", "c3", "c5"], "item": "tea-new"})
            >>> len(copy.copy(model).partial_fit(new).similar_items("tea-new", n=3))
            3
        """
        return self._grow(data, grown_by_all)

    @public_method
    def add_items(self, item_features: Any) -> Self:
        """Takes in items that nobody has touched, by their features, without training.

        Each stands for a combination of trained items that are like it; items without a feature in
        common with those stay unanswered, as all items without interactions do.

        Args:
            item_features: A table as of `fit`, with the same columns.

        Returns:
            The same object.

        Raises:
            DataError: A table that cannot be used.
            ConfigError: The model was fitted without features of items.

        Examples:
            >>> kinds = pd.DataFrame({"item": orders.item.unique()})
            >>> kinds["kind"] = kinds.item.str[:3]
            >>> shop = sif.Recommender(budget="1s", threads=1).fit(orders, item_features=kinds)
            >>> shop.add_items(pd.DataFrame({"item": ["tea-new"], "kind": ["tea"]}))
            Recommender(budget='1s', threads=1)
            >>> shop.recommend("c1", n=1, items=["tea-new"])["item"].tolist()
            ['tea-new']
        """
        with self._writing():
            self._serve(with_items(self.fitted_model(), item_features))
        return self

    @public_method
    def add_users(self, user_features: Any) -> Self:
        """Takes in users without interactions, by their features, without training.

        Known users who are like them stand for them, if the fit found features to be worth more
        than the popular items. Otherwise, and without a feature in common with known users, they
        get the popular items. Users with interactions are answered by these as before.

        Args:
            user_features: A table as of `fit`, with the same columns.

        Returns:
            The same object.

        Raises:
            DataError: A table that cannot be used.
            ConfigError: The model was fitted without features of users, or is of ratings.

        Examples:
            >>> people = pd.DataFrame({"user": orders.user.unique()})
            >>> people["likes"] = ["tea" if int(user[1:]) % 2 else "mugs" for user in people.user]
            >>> shop = sif.Recommender(budget="1s", threads=1).fit(orders, user_features=people)
            >>> shop = shop.add_users(pd.DataFrame({"user": ["guest"], "likes": ["tea"]}))
            >>> len(shop.recommend("guest", n=3))
            3
        """
        with self._writing():
            self._serve(with_users(self.fitted_model(), user_features))
        return self

    @public_method
    def drift(self, fit: bool = False, budget: float | str | timedelta | None = None) -> Drift:
        """Tells how far the model is from a fit, after `fold_in` and `partial_fit`.

        Every change predicts some of its rows before it learns them; the model keeps these figures.

        Args:
            fit: Fit another model, afresh, and compare both on recent rows that neither has.
            budget: Wall-clock of that fit; None: that of this recommender.

        Returns:
            Prints as a sentence, whether to fit again and why, and a table.

        Raises:
            NotFittedError: There is no model yet.
            ConfigError: `fit` of a model of ratings.
            DataError: `fit`, and nothing was folded in.

        Examples:
            >>> bool(model.drift().fit_again)
            False
        """
        model = self.fitted_model()
        if not fit:
            return drift_of(model)
        changed = {} if budget is None else {"budget": budget}
        other = type(self)(**{**self.get_params(), **changed})
        return drift_of(model, against_fresh(model, other))

    @property
    def titles(self) -> Mapping[str, str]:
        """Item id to title, where the data have titles."""
        return self.fitted_model().titles

    def fitted_model(self) -> ServedModel:
        """Returns the served model: function, vectors, vocabularies, and what users have.

        Returns:
            `model_`.

        Raises:
            NotFittedError: There is none yet.

        Examples:
            >>> model.fitted_model().fields
            ('user', 'item')
        """
        if not hasattr(self, "model_"):
            raise NotFittedError(
                f"{type(self).__name__}: expected a fitted one, found one before fit"
            )
        return self.model_

    def server(self) -> IndexedRecommender:
        """Returns what answers in numbers of rows, for adapters of other libraries.

        Returns:
            The engine around the served model.

        Raises:
            NotFittedError: There is no model yet.
            ConfigError: A model of further fields.

        Examples:
            >>> model.server().engine.n_items
            16
        """
        model, serving = self.fitted_model(), self._serving
        if serving is None or serving.model is not model:
            serving = self._serving = IndexedRecommender(model)
        return serving

    def _check(self) -> None:
        """Raises ConfigError where a parameter is wrong."""

    def _grow(self, data: Any, change: Callable[[ServedModel, Interactions], ServedModel]) -> Self:
        """Serves what a change makes of the model and of further interactions of any form."""
        with self._writing():  # the next change is of the model that this one leaves
            model = self.fitted_model()
            further = further_interactions(data, model.reading, model.objective)
            server = self.server() if len(model.fields) == 2 else None
            after = change(model, further)
            self._serve(after if server is None else counted(server, after, further))
        return self

    def _serve(self, model: ServedModel, **learned: Any) -> None:
        """Puts a model in the place of the last, with what `fit` has learned about it."""
        self._check()
        with self._writing():
            # One step of the interpreter: no thread, copy or pickle sees a half of it.
            vars(self).update(learned, model_=model, _serving=None)

    def _writing(self) -> RLock:
        """The lock of all who change the model. The constructor may set nothing but parameters."""
        lock: RLock = vars(self).setdefault("_lock", RLock())
        return lock

    def __getstate__(self) -> dict[str, Any]:
        """The model as the bytes of its file, so that unpickling reads it as `load` does."""
        state = dict(vars(self))
        for name in ("_serving", "_lock"):
            state.pop(name, None)
        if "model_" in state:
            state["model_"] = packed(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError: The bytes are damaged or foreign."""
        if "model_" in state:
            state = {**state, "model_": unpacked(state["model_"])}
        vars(self).update({FORMER.get(name, name): value for name, value in state.items()})
