"""What a job on text works on: everything that can be refused is found out here."""

from __future__ import annotations

from sif.config.rnn import RNNConfig
from sif.data.text import load_corpus
from sif.problems.text import LSTM, TextDesign, TextProblem
from sif.spaces.rnn.cells import PUBLISHED, RecurrentCell
from sif.spaces.rnn.supernet import recurrent_cell
from sif.tasks.entrants import entrants
from sif.tasks.rnn.study import TextStudy
from sif.utils.device import Runtime


def prepare(config: RNNConfig, runtime: Runtime) -> TextStudy:
    """Reads and checks what the configuration names.

    Raises:
        DataError, ConfigError, GenotypeError: One line each.
    """
    known: dict[str, TextDesign] = {**PUBLISHED, LSTM: LSTM}
    taking_part = entrants(config.method, config.baselines, config.cells, known, recurrent_cell)
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    ours = taking_part.given.get(taking_part.ours)
    nodes = len(ours.nodes) if isinstance(ours, RecurrentCell) else None
    problem = TextProblem(config, corpus, runtime, nodes)
    problem.check()
    for method in taking_part.methods.values():
        problem.check_method(method)
    return TextStudy(config, corpus, problem, taking_part)
