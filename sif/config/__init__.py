"""Configuration: typed models, YAML files and presets, overrides, and the resolved dump.

`load_config` turns a preset, a file, set items and flags into one validated, frozen object per
task; `dump_config` writes it so that loading the text again repeats the run.
"""

from __future__ import annotations

from sif.config.cf import CFConfig, TrainConfig
from sif.config.files import dump_config, shipped
from sif.config.loading import (
    TASKS,
    config_model,
    differences,
    load_config,
    new_run_folder,
    task_names,
)
from sif.config.renamed import RenamedSetting
from sif.config.sections import CommonConfig, SearchSection, TrackingConfig
from sif.utils.registry import did_you_mean

__all__ = [
    "TASKS",
    "CFConfig",
    "CommonConfig",
    "RenamedSetting",
    "SearchSection",
    "TrackingConfig",
    "TrainConfig",
    "config_model",
    "did_you_mean",
    "differences",
    "dump_config",
    "load_config",
    "new_run_folder",
    "shipped",
    "task_names",
]
