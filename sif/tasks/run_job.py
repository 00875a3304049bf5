"""A whole job from Python."""

from __future__ import annotations

from datetime import datetime

from sif.config import CommonConfig, new_run_folder
from sif.methods.configuration import load_job_config
from sif.tasks import RunResult, run


def run_job(config: CommonConfig, *, resume: bool = False, quiet: bool = True) -> RunResult:
    """Runs a job: search, training, baselines, one test, verdict, figures, all in a run folder.

    Settings that were not given are those of the presets, as on the command line.

    Args:
        config: `CFConfig`, `CNNConfig` or `RNNConfig`. Without `output_dir` the folder is a new one
            below runs/, named after task, data, time and settings.
        resume: Go on in `output_dir`, where the same job was interrupted.
        quiet: Only results on the terminal.

    Returns:
        `folder`, `metrics` (the content of metrics.json) and `verdict`.

    Raises:
        SifError: Anything that is wrong with the input, before the run folder is made.

    Examples:
        >>> orders.to_csv("orders.csv", index=False)
        >>> config = sif.CFConfig(
        ...     dataset="orders.csv", search={"epochs": 5}, train={"epochs": 5, "l2": [1.0]},
        ...     baselines=["popularity"], tracking={"enabled": False}, threads=1,
        ... )
        >>> result = sif.run_job(config)
        model ...
        >>> sorted(result.metrics["test"])[:2]
        ['coverage@10', 'hit@10']
        >>> sif.Recommender.load(result.folder).recommend("c1", n=2)["rank"].tolist()
        [1, 2]
    """
    given = config.model_dump(exclude_unset=True)
    config = load_job_config(config.task, layers=[("config", given)])
    if not resume:
        config = config.model_copy(update={"output_dir": new_run_folder(config, datetime.now())})
    return run(config, resume=resume, quiet=quiet)
