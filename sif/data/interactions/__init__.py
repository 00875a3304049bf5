"""Interaction data: read, filter, generate, split.

Other packages use only the names exported here.
"""

from __future__ import annotations

from sif.data.interactions.clean import filter_interactions, merge_duplicates
from sif.data.interactions.frames import matrix_values, read_frame, read_matrix
from sif.data.interactions.interactions import Interactions, concatenate
from sif.data.interactions.movielens import read_movielens
from sif.data.interactions.planted import OPERATIONS, TRANSFORMS, planted
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.split import PROTOCOLS, Split, build_split, held_out, make_split
from sif.data.interactions.split_file import load_split_file
from sif.data.interactions.subsample import few_users, some_users
from sif.data.interactions.time_buckets import bucket_ids, with_time_buckets
from sif.data.interactions.vocabulary import Vocabulary

__all__ = [
    "OPERATIONS",
    "PROTOCOLS",
    "TRANSFORMS",
    "Columns",
    "Interactions",
    "Split",
    "Vocabulary",
    "bucket_ids",
    "build_split",
    "concatenate",
    "few_users",
    "filter_interactions",
    "held_out",
    "load_split_file",
    "make_split",
    "matrix_values",
    "merge_duplicates",
    "planted",
    "read_frame",
    "read_interactions",
    "read_matrix",
    "read_movielens",
    "some_users",
    "with_time_buckets",
]
