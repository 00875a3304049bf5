"""Configurations of jobs with everything checked that registered things take.

`sif.config` knows no method, space or loss. What it loads holds their settings as they were given;
here the models of whoever registered them take these, and messages say where they were given.
"""

from __future__ import annotations

from functools import partial

from sif.config import CFConfig, load_config
from sif.config.messages import NO_ORIGINS, Origins
from sif.methods import configuration as methods
from sif.problems.registered import check_own_settings


def resolved(config: methods.Config, origins: Origins = NO_ORIGINS) -> methods.Config:
    """The configuration with the settings of methods filled in, those of spaces and losses checked.

    Args:
        config: Of a job.
        origins: Where its values came from, for messages.

    Raises:
        ConfigError: A name that nobody has, or a setting that its owner does not have or take.
    """
    if isinstance(config, CFConfig):
        check_own_settings(config, origins)
    return methods.resolved(config, origins)


load_job_config = partial(load_config, complete=resolved)
"""`sif.config.load_config`, with the settings of registered things checked and filled in."""
