"""Reads and writes YAML, and finds the shipped presets and recipes.

The dialect is plain data in YAML 1.1, with two repairs: `1e-3` is a number, and a key given twice
is an error. Tags and keys that are not plain words are refused, as is what is larger, deeper, or by
its aliases longer than any settings are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import yaml

from sif.config.sections import CommonConfig
from sif.errors import ConfigError
from sif.utils.paths import exists
from sif.utils.registry import did_you_mean

_FLOAT = re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


LONGEST = 100_000
"""Characters of a document; PyYAML reads about 100,000 in a second."""
DEEPEST = 20
"""Levels of collections within each other."""
MOST = 20_000
"""Values of a document, those that an alias repeats included."""
_LISTS = "panel/"
"""The folder among the presets whose files are lists of data sets."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Refuses what is no plain data, before it is expanded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        alias = isinstance(event, yaml.AliasEvent)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"no tags, found {event.tag!r}", event)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(f"at most {DEEPEST} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise _refused(f"an alias of something else, found *{event.anchor} in itself", event)
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if self._sizes[id(node)] > MOST:
            raise _refused(f"at most {MOST} values, those of aliases included", event)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("plain words as keys", key_node)
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refused(expected: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"plain data: {expected}", problem_mark=place.start_mark)


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    pass


for _dialect in (_Loader, _Dumper):
    _dialect.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str, source: str) -> Any:
    """Parses one YAML document.

    Raises:
        ConfigError: Not YAML; names the source and the line.
    """
    if len(text) > LONGEST:
        raise ConfigError(
            f"{source}: expected at most {LONGEST} characters of YAML, found {len(text)}"
        )
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a subclass of SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: expected YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source}: expected YAML: {reason}") from error


def read_yaml(path: Path, source: str) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: expected UTF-8 text, found byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    value = parse_yaml(text, source)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: expected keys and values, found a {type(value).__name__}")
    return value


def dump_config(config: CommonConfig) -> str:
    """The resolved configuration as YAML; loading it as a file repeats the run in a new folder."""
    values = config.model_dump(mode="json", exclude={"output_dir"})
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def shipped(kind: Literal["configs", "datasets"]) -> Path:
    """Folder of the YAML files that come with sif.

    In a checkout it lies beside the package; an installed copy keeps it in <prefix>/share/sif,
    which is above or beside the package in every installation scheme.

    Raises:
        ConfigError: Neither is there: a broken installation.
    """
    root = Path(__file__).parents[2]
    if (root / "run.py").is_file() and (root / "pyproject.toml").is_file():
        return root / kind
    for folder in (root, *root.parents):
        if (folder / "share" / "sif" / kind).is_dir():
            return folder / "share" / "sif" / kind
    raise ConfigError(f"{kind}: not found in or above {root}; install sif again")


def presets() -> list[str]:
    """Names of the shipped presets, e.g. 'cf/default'."""
    return [name for name in _shipped_names() if not name.startswith(_LISTS)]


def _shipped_names() -> list[str]:
    folder = shipped("configs")
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))


def find_list(name: str) -> Path | None:
    """File of a list of data sets: any YAML file, or a shipped list's, such as 'panel/public'.

    Args:
        name: Of a file or of a list.

    Raises:
        ConfigError: It begins as the shipped ones do, and is none.
    """
    if exists(name) and Path(name).is_file() and Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    if not name.startswith(_LISTS) or Path(name).suffix:
        return None
    known = [one for one in _shipped_names() if one.startswith(_LISTS)]
    if name not in known:
        raise ConfigError(
            f"{name}: no such file, and no list ({', '.join(known)}){did_you_mean(name, known)}"
        )
    return shipped("configs") / f"{name}.yaml"


def find_config(name: str | Path) -> Path:
    """File of a configuration given by path or as a preset's name.

    Raises:
        ConfigError: Neither a file nor a preset.
    """
    if exists(name) and Path(name).is_file():
        return Path(name)
    preset = shipped("configs") / f"{name}.yaml"
    if str(name) in presets():
        return preset
    known = presets()
    hint = did_you_mean(str(name), known)
    raise ConfigError(f"{name}: no such file, and no preset ({', '.join(known)}){hint}")
