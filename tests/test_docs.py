"""What the documents say holds: commands parse, links lead somewhere, named things exist."""

from __future__ import annotations

import ast
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from sif.cli import main as cli
from sif.config import TASKS, load_config
from sif.config.files import presets
from sif.methods.registry import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PROGRAMS = (["python", "run.py"], ["python3", "run.py"], ["sif"])


def shell_lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def commands() -> Iterator[str]:
    """Arguments of every sif command in README's shell blocks."""
    for line in shell_lines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            for program in PROGRAMS:
                if words[: len(program)] == program:
                    yield shlex.join(words[len(program) :])


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_is_understood(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed: list[Namespace] = []
    for name, verb in cli.VERBS.items():
        monkeypatch.setitem(cli.VERBS, name, replace(verb, call=parsed.append))
    assert cli.main(shlex.split(command)) == 0, capsys.readouterr().err
    (values,) = parsed
    if "set" in values and values.resume is None:
        preset = values.config if values.config in presets() else None
        assert preset is not None or values.config is None or values.config.endswith(".yaml")
        load_config(values.task, file=preset, sets=values.set)


def test_there_are_commands_to_check() -> None:
    assert len(set(commands())) > 8
    assert any("--resume" in command for command in commands())


def test_the_second_set_up_command_is_what_ci_runs() -> None:
    (command,) = [line for line in shell_lines() if line.endswith("pytest")]
    steps = [step.strip() for step in command.split("&&")]
    assert steps[:2] == ["python3 -m venv .venv", ". .venv/bin/activate"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    *installed, tests = script.splitlines()[-len(steps[2:]) :]
    program, *options = tests.split()
    assert [*installed, program] == steps[2:]
    # The whole suite, and a floor under its coverage.
    assert all(option.startswith("--cov") for option in options)
    assert any(option.startswith("--cov-fail-under=") for option in options)


def test_python_snippets_compile_and_import_what_exists() -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        imports = [n for n in ast.parse(snippet).body if isinstance(n, ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name}: {link}"
        assert target.is_relative_to(ROOT), f"{path.name}: {link} leaves the project"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        yield prefix + name
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from known_keys(kind, f"{prefix}{name}.")


def every_key() -> set[str]:
    """Settings of all tasks, and of all methods of this package."""
    found = {key for model in TASKS.values() for key in known_keys(model)}
    for name, kind in METHODS.items():
        found |= set(known_keys(kind.settings, f"methods.{name}."))
    return found


def test_every_key_that_readme_names_exists() -> None:
    known = every_key()
    rows = re.search(r"^\| key \| meaning \|\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    assert rows
    first = [row.split("|")[1] for row in rows[1].splitlines()[1:]]
    named = [key for cell in first for key in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 20
    assert set(named) <= known
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_tests_and_files_named_in_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = every_key()
    sections = {key.split(".")[0] for key in known if "." in key}
    for key in re.findall(r"`(\w+\.[\w.]+)(?:=[^`]*)?`", text):
        section, name = key.split(".")[:2]
        if section == "methods" and name not in METHODS:
            continue  # an example, or any method's
        if section in sections and not key.endswith((".py", ".yaml", ".md", ".txt")):
            assert key in known or (ROOT / "sif" / key).exists(), f"{path.name}: {key}"
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
    for file in re.findall(r"`((?:sif|tests|configs|docs|benchmarks)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / file).exists(), f"{path.name}: {file}"
