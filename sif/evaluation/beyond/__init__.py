"""More than accuracy: coverage, novelty, diversity, serendipity, popularity, calibration, groups.

All metrics take lists (n_users, k) of numbers of items, best first, -1 where a list is shorter, as
`IndexedRecommender.top` answers. At another cut-off, give `lists[:, :k]`.
"""

from sif.evaluation.beyond.by_features import BY_FEATURES, beyond_by_features
from sif.evaluation.beyond.calibration import calibration, category_shares
from sif.evaluation.beyond.diversity import diversity
from sif.evaluation.beyond.exposure import coverage, gini
from sif.evaluation.beyond.fairness import Gap, group_gap
from sif.evaluation.beyond.popularity import Popularity, average_popularity, long_tail, novelty
from sif.evaluation.beyond.report import BEYOND, beyond_accuracy
from sif.evaluation.beyond.serendipity import serendipity
from sif.evaluation.beyond.similarity import ItemSimilarity, cosine_similarity, jaccard_similarity

__all__ = [
    "BEYOND",
    "BY_FEATURES",
    "Gap",
    "ItemSimilarity",
    "Popularity",
    "average_popularity",
    "beyond_accuracy",
    "beyond_by_features",
    "calibration",
    "category_shares",
    "cosine_similarity",
    "coverage",
    "diversity",
    "gini",
    "group_gap",
    "jaccard_similarity",
    "long_tail",
    "novelty",
    "serendipity",
]
