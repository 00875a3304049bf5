"""The tasks by name: a row here, or an entry point of the group `sif.problems` elsewhere."""

from __future__ import annotations

from sif.config import CFConfig
from sif.config.cnn import CNNConfig
from sif.config.loading import OTHER_TASKS
from sif.config.rnn import RNNConfig
from sif.errors import ConfigError
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
    """The task of a name that its configuration has checked.

    Raises:
        ConfigError: What is registered cannot be loaded, or is no task.
    """
    if name in TASKS:
        return TASKS[name]
    task = OTHER_TASKS.named(name)
    if not isinstance(task, Task):
        raise ConfigError(f"task: {name}: expected a Task, found {type(task).__name__}")
    return task
