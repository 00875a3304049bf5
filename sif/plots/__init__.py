"""Every figure: plain data in, one PNG out, so that it can be drawn again from a run's files.

matplotlib is imported on the first call and only through its object-oriented interface: no backend
is chosen and no setting of the caller's is changed.
"""

from __future__ import annotations

from sif.plots.cells import cell_graphs
from sif.plots.front import Bounded, FrontPoint, objective_front
from sif.plots.function import history_decays, interaction_surface, transform_curves
from sif.plots.gates import Strips, gate_trajectories
from sif.plots.methods import anytime_curves, method_points
from sif.plots.ranks import RankRow, average_ranks
from sif.plots.results import test_comparison, validation_against_seconds
from sif.plots.search_front import search_front
from sif.plots.splits import group_comparison, last_gaps, split_timeline
from sif.plots.trajectories import alpha_trajectories

__all__ = [
    "Bounded",
    "FrontPoint",
    "RankRow",
    "Strips",
    "alpha_trajectories",
    "anytime_curves",
    "average_ranks",
    "cell_graphs",
    "gate_trajectories",
    "group_comparison",
    "history_decays",
    "interaction_surface",
    "last_gaps",
    "method_points",
    "objective_front",
    "search_front",
    "split_timeline",
    "test_comparison",
    "transform_curves",
    "validation_against_seconds",
]
