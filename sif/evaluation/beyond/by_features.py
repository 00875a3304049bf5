"""Diversity and calibration of lists where the data have features of items."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import sparse

from sif.data.features import Features
from sif.data.interactions.vocabulary import Vocabulary
from sif.evaluation.beyond.calibration import calibration, category_shares
from sif.evaluation.beyond.diversity import diversity
from sif.evaluation.beyond.lists import Floats, Items
from sif.evaluation.beyond.similarity import ItemSimilarity, cosine_similarity, jaccard_similarity

BY_FEATURES = ("diversity", "calibration")
"""Names of the metrics, which stand before their cut-off."""
LABELED = ("tags", "category")
"""Kinds of columns whose values are labels, those that describe an item best first."""


def labels_of(features: Features, items: Vocabulary) -> sparse.csr_array | None:
    """Labels of items by the first column of tags, or else of categories; None: there is none.

    Args:
        features: By item id.
        items: Whose numbers the rows have.
    """
    for kind in LABELED:
        for column in features.columns:
            if column.kind == kind:
                labels = features.aligned(items)[:, column.start : column.stop]
                return sparse.csr_array(labels)
    return None


def similarity_by(features: Features, items: Vocabulary) -> ItemSimilarity:
    """Jaccard's similarity of the labels of `labels_of`; without these cosines of all features."""
    labels = labels_of(features, items)
    if labels is None:
        return cosine_similarity(features.aligned(items))
    return jaccard_similarity(labels)


def beyond_by_features(
    lists: Items, histories: sparse.csr_array, features: Features, items: Vocabulary,
    cutoffs: Sequence[int],
) -> dict[str, Floats]:  # fmt: skip
    """The metrics of `BY_FEATURES` that the features allow.

    Args:
        lists: (n_users, K) numbers of items, -1 where a list is shorter.
        histories: (n_users, n_items), what each user has.
        features: Of items.
        items: Of the catalog.
        cutoffs: Lengths of the lists, at most K.

    Returns:
        Name, such as "diversity@10", to values (n_users,); calibration only where items have
        labels.
    """
    labels, similarity = labels_of(features, items), similarity_by(features, items)
    shares = None if labels is None else category_shares(labels)
    found = dict[str, Floats]()
    for k in cutoffs:
        found[f"diversity@{k}"] = diversity(lists[:, :k], similarity)
        if shares is not None:
            found[f"calibration@{k}"] = calibration(lists[:, :k], histories, shares)
    return found
