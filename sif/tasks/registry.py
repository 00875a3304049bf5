"""The tasks by name: a task is one row here, or an entry point of another package."""

from __future__ import annotations

from sif.config import CFConfig
from sif.config.cnn import CNNConfig
from sif.config.rnn import RNNConfig
from sif.tasks.cf import figures as cf_figures
from sif.tasks.cf import inputs as cf
from sif.tasks.cnn import figures as cnn_figures
from sif.tasks.cnn import inputs as cnn
from sif.tasks.rnn import figures as rnn_figures
from sif.tasks.rnn import inputs as rnn
from sif.tasks.study import Task

TASKS: dict[str, Task] = {
    "cf": Task(CFConfig, cf.prepare, cf_figures.draw),
    "cnn": Task(CNNConfig, cnn.prepare, cnn_figures.draw),
    "rnn": Task(RNNConfig, rnn.prepare, rnn_figures.draw),
}


def task_named(name: str) -> Task:
    """The task of a name."""
    return TASKS[name]
