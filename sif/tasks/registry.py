"""The tasks by name: a row here, or an entry point of the group `sif.problems` elsewhere."""

from __future__ import annotations

from sif.config import CFConfig
from sif.config.cnn import CNNConfig
from sif.config.loading import OTHER_TASKS
from sif.config.rnn import RNNConfig
from sif.tasks import cnn, rnn
from sif.tasks.cf import figures, inputs, rolling
from sif.tasks.study import Task

TASKS: dict[str, Task] = {
    "cf": Task(CFConfig, inputs.prepare, figures.draw, rolling.in_turn),
    "cnn": Task(CNNConfig, cnn.prepare, cnn.draw),
    "rnn": Task(RNNConfig, rnn.prepare, rnn.draw),
}


def task_named(name: str) -> Task:
    """The task of a name that its configuration has checked.

    Raises:
        ConfigError: The registered object cannot be loaded, or is no task.
    """
    if name in TASKS:
        return TASKS[name]
    task = OTHER_TASKS.named(name)
    if not isinstance(task, Task):
        raise OTHER_TASKS.refused(name, "a Task of sif.tasks.study", type(task).__name__)
    return task
