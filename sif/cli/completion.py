"""`sif completion`: a script by which a shell completes commands, options and names."""

from __future__ import annotations

import argparse
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sif.cli.commands import Verb
from sif.config import TASKS, config_model
from sif.config.files import presets
from sif.config.sections import fields_of
from sif.data.recipe import list_datasets
from sif.methods.registry import METHODS
from sif.utils.optional import library

_PREAMBLE = {
    "bash": string.Template("""
_sif_words() { compgen -W "$$1" -- "$$2"; }
_sif_dataset() { _sif_words "$datasets" "$$1"; compgen -f -- "$$1"; }
_sif_config() { _sif_words "$presets" "$$1"; compgen -f -- "$$1"; }
_sif_set() { compopt -o nospace 2>/dev/null; _sif_words "$settings" "$$1"; }
"""),
    "zsh": string.Template("""
_sif_dataset() { compadd -- $datasets; _files; }
_sif_config() { compadd -- $presets; _files; }
_sif_set() { compadd -S '' -- $settings; }
"""),
}
_COMPLETED = {"dataset": "_sif_dataset", "data": "_sif_dataset", "config": "_sif_config",
              "set": "_sif_set"}  # fmt: skip
"""Names of arguments, and the functions of the scripts that complete them."""


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """A script of completion.

    Args:
        shell: "bash", "zsh" or "fish".
        parser: Of all commands.

    Raises:
        ConfigError: shtab is missing.
    """
    shtab = library("shtab", where="completion")
    words = {
        "datasets": sorted(list_datasets()),
        "presets": sorted(presets()),
        "settings": [f"{name}=" for name in settings()],
    }
    for action in _actions(parser):
        _complete(action, shell, shtab, words)
    template = _PREAMBLE.get(shell, string.Template(""))
    preamble = {shell: template.substitute({k: " ".join(v) for k, v in words.items()})}
    made: str = shtab.complete(parser, shell=shell, preamble=preamble)
    return made


def _complete(
    action: Any, shell: str, shtab: Any, words: Mapping[str, Iterable[str]]
) -> None:  # fmt: skip
    """Says how an argument is completed."""
    if action.dest in _COMPLETED and shell in _PREAMBLE:
        action.complete = {shell: _COMPLETED[action.dest]}
    elif action.dest in _COMPLETED:
        named = {"set": "settings", "config": "presets"}.get(action.dest, "datasets")
        action.choices = list(words[named])
    elif action.dest == "task":
        action.choices = list(TASKS)
    elif action.dest in ("method", "methods"):
        action.choices = list(METHODS.names())
    elif action.metavar is not None and "DIR" in action.metavar.split("|"):
        action.complete = shtab.DIRECTORY
    elif action.metavar is not None and {"FILE", "RUN", "MODEL"} & set(action.metavar.split("|")):
        action.complete = shtab.FILE


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """All arguments, those of commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
        else:
            yield action


def settings() -> list[str]:
    """The names of the settings of all tasks, such as "train.epochs"."""
    names = {name: None for task in TASKS for name, _ in fields_of(config_model(task))}
    return list(names)


def whole(top: argparse.ArgumentParser, verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """A parser of all commands: that of jobs, with the others below it.

    Args:
        top: Of jobs.
        verbs: The commands by name.
    """
    top.prog = "sif"
    below = top.add_subparsers()
    for name, verb in verbs.items():
        verb.add_to(below.add_parser(name, help=verb.help, description=verb.help))
    return top
