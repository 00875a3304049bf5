"""Interaction data: read, filter, generate, split."""

from __future__ import annotations

from sif.data.interactions.clean import Filters, filter_interactions, merge_duplicates
from sif.data.interactions.frames import as_frame, read_arrow, read_frame, read_matrix
from sif.data.interactions.interactions import Interactions, concatenate
from sif.data.interactions.planted import planted
from sif.data.interactions.planted_order import PlantedScale, planted_order, shuffled
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.rolling import rolling_splits
from sif.data.interactions.split import Split, build_split, held_out, held_out_last, make_split
from sif.data.interactions.split_file import load_split_file
from sif.data.interactions.subsample import few_users, some_users
from sif.data.interactions.time_buckets import bucket_ids, with_time_buckets
from sif.data.interactions.vocabulary import Vocabulary

__all__ = [
    "Columns",
    "Filters",
    "Interactions",
    "PlantedScale",
    "Split",
    "Vocabulary",
    "as_frame",
    "bucket_ids",
    "build_split",
    "concatenate",
    "few_users",
    "filter_interactions",
    "held_out",
    "held_out_last",
    "load_split_file",
    "make_split",
    "merge_duplicates",
    "planted",
    "planted_order",
    "read_arrow",
    "read_frame",
    "read_interactions",
    "read_matrix",
    "rolling_splits",
    "shuffled",
    "some_users",
    "with_time_buckets",
]
