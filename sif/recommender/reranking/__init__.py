"""Steps between the scores of a model and its answers: `Recommender.recommend(rerank=[...])`.

Steps are applied in their order to the best `pool` candidates of each user. `Boost` comes first,
since it sorts by scores; then what chooses (`Mmr`, `Calibrated`, `TailShare`, `MeanPopularity`);
then rules (`AtMost`, `Bury`, `Pin`).
"""

from sif.recommender.reranking.bounded import MeanPopularity, TailShare
from sif.recommender.reranking.calibrated import Calibrated
from sif.recommender.reranking.mmr import Mmr
from sif.recommender.reranking.rerank import reranked, reranked_new
from sif.recommender.reranking.rules import AtMost, Boost, Bury, Never, Pin
from sif.recommender.reranking.step import Step

__all__ = [
    "AtMost",
    "Boost",
    "Bury",
    "Calibrated",
    "MeanPopularity",
    "Mmr",
    "Never",
    "Pin",
    "Step",
    "TailShare",
    "reranked",
    "reranked_new",
]
