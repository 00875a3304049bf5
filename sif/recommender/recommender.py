"""The recommender: searches a function of interactions and answers with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sif.baselines import named_baselines
from sif.config import CFConfig
from sif.errors import NotFittedError
from sif.recommender import answers
from sif.recommender.answers import Answer
from sif.recommender.arguments import (
    KEYS,
    allowed_ids,
    answer_length,
    configured,
    exclusion,
    history_of,
    listed,
    public_method,
    refuses_unknown,
    rows_of,
    with_refit,
)
from sif.recommender.feature_reasons import feature_reasons
from sif.recommender.fit import Reporter, learn, started
from sif.recommender.live import LiveModel
from sif.recommender.new_users import features_row
from sif.recommender.precision import check_precision, with_precision
from sif.recommender.renamed import former
from sif.recommender.report import Report
from sif.recommender.reranking import reranked, reranked_new
from sif.recommender.versions import KEPT, load_version, publish, refuse_versions
from sif.recommender.warm_start import WarmStart
from sif.spaces.interaction.registry import SPACES
from sif.utils.argument_types import check_type, checks_types


class Recommender(LiveModel):
    """Searches an interaction function, trains it, compares it, and recommends with it.

    Ids are texts of 1 to 512 characters, as they are written in the data. In the examples of the
    methods `orders` and `model` are those of the example here.

    Threads may share one. An answer is that of one model: the model before a change or that after
    it. `fold_in` and `partial_fit` wait for one another, and answers wait for nobody.

    Args:
        objective: "ranking" (the best items for a user) or "rating" (numbers of stars).
        space: Search space: "staged", "sif" or "primitives".
        method: Search method: "nasp", "random", "tpe", "nsga2" or "exhaustive" in any space; in
            "sif" and "primitives", whose functions share weights, also others, such as "darts-1".
        budget: Wall-clock of a whole fit, once libraries are loaded: seconds, a text such as "90s"
            or "2min", or a timedelta; None: whatever the settings take.
        dimension: Entries of an embedding; None: the setting `train.dimension`.
        min_rating: Ratings below are left out; None: none are.
        baselines: Baselines of the report: names, "all", or [] for none; None: those that take
            seconds (popularity and EASE; the global mean and biases for ratings).
        seed: Root of all randomness.
        device: "auto", "cpu", "cuda" or "cuda:N"; of the search and the training.
        threads: CPU threads of the search and the training; None: torch's default.
        settings: Any other settings, nested or by dotted names, such as {"train.epochs": 50}.
        unknown: Answer of `recommend` to an unknown user: "error", or "popular" items.
        verbose: True to have `fit` report on standard error; the logger "sif" always does.

    Attributes:
        model_: The served model, once there is one.
        validation_metrics_: Validation metrics of its function, after `fit`.
        searched_function_: Function of the search, on one line, after `fit`; validation may prefer
            fixed multiply to it. Empty: the budget left no time for a search.

    Examples:
        >>> import pandas as pd, sif
        >>> orders = pd.DataFrame(
        ...     [(f"c{c}", f"{'tea' if c % 2 else 'mug'}{i}") for c in range(40) for i in range(8)
        ...      if (c // 2 + i) % 4],
        ...     columns=["user", "item"],
        ... )
        >>> model = sif.Recommender(budget="5s", dimension=8, threads=1).fit(orders)
        >>> model
        Recommender(budget='5s', dimension=8, threads=1)
        >>> model.recommend("c1", n=2).columns.tolist()
        ['item', 'score', 'rank']
    """

    validation_metrics_: Mapping[str, float]
    searched_function_: str

    def __init__(
        self,
        objective: str = "ranking",
        *,
        space: str = "staged",
        method: str = "nasp",
        budget: float | str | timedelta | None = None,
        dimension: int | None = None,
        min_rating: float | None = None,
        baselines: str | Sequence[str] | None = None,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        settings: Mapping[str, Any] | None = None,
        unknown: str = "error",
        verbose: bool = False,
    ) -> None:
        self.objective, self.space, self.method, self.budget = objective, space, method, budget
        self.dimension, self.min_rating, self.baselines = dimension, min_rating, baselines
        self.seed, self.device, self.threads = seed, device, threads
        self.settings, self.unknown, self.verbose = settings, unknown, verbose

    # Learning

    @public_method
    def fit(
        self, data: Any, valid: Any = None, *, refit: str = "all", item_features: Any = None,
        user_features: Any = None, warm_start: Any = None,
    ) -> Self:  # fmt: skip
        """Searches a function, trains it and fixed multiply, and serves what validation prefers.

        The report is of models that have not seen the validation part. What is served is then
        fitted again on all rows, in as many steps as validation found best, scaled with the rows.

        Args:
            data: A pandas data frame with the usual names of columns (user, item, and perhaps
                rating, timestamp, title). Or the path of a file, a known data set's name, a sparse
                user by item matrix, or `Interactions`. Of a matrix all rows and columns are ids,
                the empty ones too: users and items without training. In rankings its values above
                zero are the positives. Of the others every row is one, whatever its rating, unless
                `min_rating` is set.
            valid: Interactions that make the choices, in any such form; None: a tenth of every
                user's interactions, the last ones of rankings with times.
            refit: "all" or "valid" fits again on the rows of both; "none" serves the first fit. As
                long as it is "all", a setting `refit` rules.
            item_features: A table keyed by item id, a data frame or a file: categories, tags,
                numbers, texts and vectors (`sif.data.features`); None: the setting
                `data.item_features`.
            user_features: The same of users.
            warm_start: An earlier recommender, or its folder, of most of these interactions: its
                function and constants are fitted again, without a search, in a fraction of the
                time. Only rows that it has not seen are validated on.

        Returns:
            The same object.

        Raises:
            DataError: Data that cannot be used.
            ConfigError: A wrong argument or setting.

        Examples:
            >>> quick = sif.Recommender(budget="1s", threads=1).fit(orders)
            >>> quick.searched_function_
            '...'
        """
        self._check()
        config = with_refit(self._configuration(), refit)
        warm = None if warm_start is None else WarmStart.of(warm_start, config)
        budget, baselines = started(self.budget), None
        if "baselines" in config.model_fields_set:
            baselines = named_baselines(config.baselines, config.objective)
        reporter = Reporter(self.verbose)
        features = {"item": item_features, "user": user_features}
        model, valid_metrics, report = learn(
            data, valid, config, baselines, budget, reporter, warm, features
        )
        self._serve(model, validation_metrics_=valid_metrics, searched_function_=report.found)
        return self

    def report(self) -> Report:
        """Returns what `fit` found, and how it compares with baselines on the validation part.

        Returns:
            Prints as a table with a verdict; `to_frame()` is the table, `verdict` the sentence.

        Raises:
            NotFittedError: There was no `fit`. `save` keeps the report; a run has none, but figures
                in its metrics.json.

        Examples:
            >>> model.report().to_frame().columns.tolist()[:4]
            ['model', 'parameters', 'served', 'ndcg@10']
            >>> "on validation" in model.report().verdict
            True
        """
        report = self.fitted_model().report
        if report is None:
            raise NotFittedError(
                "report: expected a model that fit made, found one of a run, whose figures are in "
                "its metrics.json, or of an earlier version"
            )
        return report

    @classmethod
    @checks_types
    def load(
        cls, folder: str | Path, unknown: str = "error", version: str | None = None
    ) -> Self:  # fmt: skip
        """Reads what `save` or a run left in a folder; needs no interactions.

        Args:
            folder: The folder of a saved model, of versions of one, or of a run.
            unknown: Answer to an unknown user: "error", or "popular" items.
            version: Name of a version; None: the one that is served.

        Returns:
            A recommender that answers as the one that was saved.

        Raises:
            CheckpointError: The model is missing, damaged or foreign.
            ConfigError: There is no such version.

        Examples:
            >>> file = model.save("shop")
            >>> sif.Recommender.load("shop").recommend("c1", n=3).equals(model.recommend("c1", n=3))
            True
        """
        model = load_version(folder, version)
        searched = not model.baseline and model.genotype.space in SPACES.names()
        space = model.genotype.space if searched else "staged"  # of another `fit`
        recommender = cls(objective=model.objective, space=space, unknown=unknown)
        recommender._serve(model)
        return recommender

    @checks_types
    def save(
        self, folder: str | Path, version: str | None = None, keep: int = KEPT,
        precision: str | None = None,
    ) -> Path:  # fmt: skip
        """Writes the model into a folder: a safetensors file with JSON in its header.

        Args:
            folder: Is made where it is missing.
            version: Name of a new version of the folder, which `load` reads from then on; None: the
                folder holds one model, which is replaced.
            keep: Versions that the folder keeps, the latest ones.
            precision: "float16" or "int8" rounds the vectors of the items, or their weights, in the
                file; its `model_.item_precision` says what that loses. None: they stay.

        Returns:
            The file.

        Raises:
            NotFittedError: There is no model yet.
            ConfigError: A version that the folder has already, a name that is none, or a precision
                that the model cannot have.
            CheckpointError: A failed write; what was there before is there.

        Examples:
            >>> model.save("shop").name
            'recommender.safetensors'
            >>> file = model.save("shop-live", version="monday")
            >>> file = model.save("shop-live", version="tuesday")
            >>> yesterday = sif.Recommender.load("shop-live", version="monday")
            >>> file = model.save("shop-small", precision="int8")
            >>> print(sif.Recommender.load("shop-small").model_.item_precision)
            int8 items: ...
        """
        model = self.fitted_model()
        if precision is not None:
            model = with_precision(model, check_precision(precision))
        if version is not None:
            return publish(model, Path(folder), version, keep)
        refuse_versions(Path(folder))
        return model.save(Path(folder))

    # Answers

    @public_method
    def recommend(
        self, users: Any, n: int = 10, exclude_seen: bool | str = True,
        exclude_items: Iterable[Any] | None = None, items: Iterable[Any] | None = None,
        *, where: Mapping[str, Any] | None = None, rerank: Any = None, pool: int | None = None,
        as_arrays: bool = False,
    ) -> Answer:  # fmt: skip
        """The best n items.

        Args:
            users: One user id, or b of them.
            n: Items per user.
            exclude_seen: Leave out what a user has: "all", also what filters dropped; "trained",
                what they kept; "none" or False. True: as the setting `exclude_seen`, usually "all".
            exclude_items: Ids that are left out for everybody.
            items: Ids to choose among; None: all.
            where: Features of items, each with the value or the values to choose among, such as
                {"kind": ["tea", "mug"]}; of several features an item needs one value each. They are
                categories or tags of `item_features`. None: all items.
            rerank: Steps of `sif.recommender.reranking`, such as [Mmr(0.3)], in their order; None:
                none.
            pool: Candidates of each user that the steps choose among; None: 10 n, at least 100.
            as_arrays: Answer with arrays.

        Returns:
            A data frame with the columns "item", "score", "rank" from 1, and "title" where the data
            have titles, best first; with "user" before them where b users were asked about. As
            arrays: ids and scores, (m,) with m at most n for one user; (b, n) for several, "" and
            minus infinity where nothing is left.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown user (unless `unknown` is "popular") or item.
            ConfigError: n is less than 1 or beyond 10,000 and the catalogue, another word for
                `exclude_seen`, the function ranks items alike for all users, or the model is of
                other fields. Or a step does not fit the model, or `where` is given for a model
                without features of items.
            DataError: Scores that are not numbers, or a feature or value in `where` that the
                model's features do not have.

        Examples:
            >>> model.recommend(["c1", "c2"], n=2)[["user", "rank"]].values.tolist()
            [['c1', 1], ['c1', 2], ['c2', 1], ['c2', 2]]
            >>> items, scores = model.recommend("c1", n=2, as_arrays=True)
            >>> items.shape, scores.shape
            ((2,), (2,))
        """
        server = self.server()
        server.refuse_unpersonalized()
        allowed = allowed_ids(server.model, 1, exclude_items, items)
        allowed = server.filter.allowed(where, allowed)
        names, one = listed(users, "users")
        how = exclusion(exclude_seen, server.model)
        k = answer_length(n, server.model)
        refuses = refuses_unknown(self.unknown)
        asked = server, names, k, how, allowed, refuses
        best = answers.best_items(*asked) if rerank is None else reranked(*asked, rerank, pool)
        return answers.answer(server.model, best, None if one else names, as_arrays)

    @public_method
    def recommend_new(
        self, history: Any = (), n: int = 10, ratings: ArrayLike | None = None,
        exclude_seen: bool | str = True, exclude_items: Iterable[Any] | None = None,
        items: Iterable[Any] | None = None, *, features: Mapping[str, Any] | None = None,
        where: Mapping[str, Any] | None = None, rerank: Any = None, pool: int | None = None,
        as_arrays: bool = False,
    ) -> Answer:  # fmt: skip
        """The best n items of somebody who is in no table, from what they have or are.

        Args:
            history: Item ids; may be empty, then the features count, or the popular items are
                meant.
            n: Items that are wanted.
            ratings: One per item, for models of ratings; empty: none. Items rated below the
                `min_rating` of `fit` make no part of the vector.
            exclude_seen: Leave out the history, see `recommend`.
            exclude_items: Ids that are left out.
            items: Ids to choose among; None: all.
            features: Columns of `user_features` to values; they count where nothing of the history
                was trained, and the model answers new users by features.
            where: See `recommend`.
            rerank: See `recommend`.
            pool: See `recommend`.
            as_arrays: Answer with arrays.

        Returns:
            See `recommend`, for one user.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown item.
            ConfigError: For the reasons of `recommend`, ratings that do not fit, or features for a
                model that was fitted without.
            DataError: For the reasons of `recommend`, ratings too large to fold in, or features
                that do not fit.

        Examples:
            >>> model.recommend_new(["tea1", "tea2", "tea3"], n=2)["rank"].tolist()
            [1, 2]
        """
        server = self.server()
        server.refuse_unpersonalized()
        had = history_of(server.model, history, ratings)
        allowed = allowed_ids(server.model, 1, exclude_items, items)
        allowed = server.filter.allowed(where, allowed)
        k = answer_length(n, server.model)
        excluded = had.excluded(exclusion(exclude_seen, server.model))
        told = None if features is None else features_row(server.model, features)
        asked = server, had.pairs, k, excluded, allowed, told
        best = server.top_of(*asked[1:]) if rerank is None else reranked_new(*asked, rerank, pool)
        return answers.answer(server.model, best, None, as_arrays)

    @public_method
    def rank(self, users: Any, items: Iterable[Any], *, as_arrays: bool = False) -> Answer:
        """The given items in each user's order.

        Args:
            users: One user id, or b of them.
            items: Ids; of a repeated one the first counts. None give an empty answer.
            as_arrays: Answer with arrays.

        Returns:
            See `recommend`. In rankings items that are never recommended come last, in the order
            that they were given in, with minus infinity.

        Raises:
            NotFittedError, UnknownIdError, ConfigError, DataError: For the reasons of `recommend`.

        Examples:
            >>> sorted(model.rank("c1", ["mug2", "tea2"])["item"])
            ['mug2', 'tea2']
        """
        server = self.server()
        server.refuse_unpersonalized()
        asked, one = listed(users, "users")
        best = answers.in_order(server, asked, items, refuses_unknown(self.unknown))
        return answers.answer(server.model, best, None if one else asked, as_arrays)

    @public_method
    def predict(self, users: Any, items: Any, *context: Any) -> NDArray[np.float32]:
        """Scores of pairs, in rating units for models of ratings.

        In rankings they are those of `recommend`: of a user without training minus the item's place
        among the popular, and minus infinity of an item that is never recommended.

        Args:
            users: One id for all pairs, or b of them.
            items: Item ids, in any such form.
            context: Ids of each further field of the model, in any such form.

        Returns:
            Scores (b,), or a number for single ids.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown id.
            ConfigError: Ids of another number of fields, or sequences of unequal lengths.
            DataError: A score that is not a number.

        Examples:
            >>> model.predict("c1", ["tea2", "mug2"]).shape
            (2,)
        """
        return answers.predicted(self.fitted_model(), users, items, *context)

    @public_method
    def similar_items(
        self, items: Any, n: int = 10, exclude_items: Iterable[Any] | None = None,
        *, as_arrays: bool = False,
    ) -> Answer:  # fmt: skip
        """The n items whose vectors point most alike, with cosines.

        Items that no training saw are not among them, and have none themselves.

        Args:
            items: One item id, or b of them.
            n: Neighbors of each.
            exclude_items: Ids that are nobody's neighbors here.
            as_arrays: Answer with arrays.

        Returns:
            See `recommend`; where b items were asked about, "similar_to" has them.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown id.
            ConfigError: n is less than 1 or beyond 10,000 and the catalogue.
            DataError: Cosines that are not numbers.

        Examples:
            >>> model.similar_items("mug1", n=3).columns.tolist()
            ['item', 'score', 'rank']
        """
        return answers.neighbors(self.server(), 1, items, n, exclude_items, as_arrays)

    @public_method
    def similar_users(
        self, users: Any, n: int = 10, exclude_users: Iterable[Any] | None = None,
        *, as_arrays: bool = False,
    ) -> Answer:  # fmt: skip
        """The n users whose vectors point most alike, with cosines.

        Args:
            users: One user id, or b of them.
            n: Neighbors of each.
            exclude_users: Ids that are nobody's neighbors here.
            as_arrays: Answer with arrays.

        Returns:
            See `similar_items`, with "user" in place of "item".

        Raises:
            NotFittedError, UnknownIdError, ConfigError, DataError: As `similar_items` does.

        Examples:
            >>> model.similar_users(["c1", "c2"], n=1)["similar_to"].tolist()
            ['c1', 'c2']
        """
        return answers.neighbors(self.server(), 0, users, n, exclude_users, as_arrays)

    @public_method
    def explain(self, user: Any, item: Any, n: int = 10, *, as_arrays: bool = False) -> Answer:
        """Explains the score of an item by the items of a user that carry it.

        Args:
            user: One id.
            item: One id.
            n: Number of items.
            as_arrays: Answer with arrays.

        Returns:
            See `recommend`, for one user; most first, against it last, none that carries nothing.
            The score of an item is what it carries: the asked item's score less that of the user
            without it, everything else as it is. Where the model reads order, "age" tells how many
            items ago each was, 1 for the latest; where it reads time, "seconds" how long each was
            before the latest.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown id.
            ConfigError: n is less than 1, or the model cannot fold users in.

        Examples:
            >>> reasons = model.explain("c1", "tea2", n=2)
            >>> bool(reasons["item"].isin(orders.item[orders.user == "c1"]).all())
            True
        """
        return answers.reasons(self.server(), user, item, n, as_arrays)

    @public_method
    def explain_features(self, user: Any, item: Any, n: int = 10) -> pd.DataFrame:
        """Explains a score by features, where these answer for the item or for the user.

        Args:
            user: One id; of a user without interactions the features count, too.
            item: One id, of `add_items` or of the data; of one that no training saw the features
                count.
            n: Number of features.

        Returns:
            A data frame with the columns "feature", "value" (the label of a category or tag),
            "score": the score less that without the feature, most first; and "of": "item" or
            "user", whose feature it is.

        Raises:
            NotFittedError: There is no model yet.
            UnknownIdError: An unknown id.
            ConfigError: The model was fitted without features, or interactions answer for both.

        Examples:
            >>> kinds = pd.DataFrame({"item": orders.item.unique()})
            >>> kinds["kind"] = kinds.item.str[:3]
            >>> shop = sif.Recommender(budget="1s", threads=1).fit(orders, item_features=kinds)
            >>> more = shop.add_items(pd.DataFrame({"item": ["tea-new"], "kind": ["tea"]}))
            >>> more.explain_features("c1", "tea-new")[["feature", "value"]].values.tolist()
            [['kind', 'tea']]
        """
        model = self.fitted_model()
        user_row, item_row = (
            int(rows_of(model, field, [one], model.fields[field])[0][0])
            for field, one in enumerate((user, item))
        )
        reasons = feature_reasons(model, user_row, item_row)[: answer_length(n, model)]
        return pd.DataFrame(map(vars, reasons), columns=["feature", "value", "score", "of"])

    def _configuration(self) -> CFConfig:
        """Everything that a fit or a search is set to."""
        usual = {name: p.default for name, p in signature(Recommender).parameters.items()}
        return configured({name: getattr(self, name) for name in KEYS}, self._settings(), usual)

    def _settings(self) -> Any:
        return self.settings

    def _check(self) -> None:
        check_type("verbose", self.verbose, bool)
        refuses_unknown(self.unknown)

    valid_, found_ = former("valid_"), former("found_")
