"""The files under examples/cluster: what Ray and the command line say about them."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sif.cli import main as cli

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "cluster"
LAUNCHER = FOLDER / "cluster.yaml"
PINS = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
PINNED = re.findall(r"^ray\[data\]==(\S+)", PINS, re.MULTILINE)


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text()))


def test_every_file_has_the_tested_version_of_ray(documents: list[dict[str, Any]]) -> None:
    (version,) = PINNED
    found = {path.name: set(re.findall(r"\d+\.\d+\.\d+", path.read_text())) for path in (
        LAUNCHER, FOLDER / "Dockerfile", FOLDER / "rayjob.yaml")}  # fmt: skip
    assert all(version in versions for versions in found.values())
    assert documents[0]["spec"]["rayClusterSpec"]["rayVersion"] == version


@pytest.mark.slow
def test_the_launcher_takes_its_file() -> None:
    """Slow: importing Ray's launcher takes a second or two."""
    util = pytest.importorskip("ray.autoscaler._private.util", reason="needs Ray: sif[ray]")
    whole = util.prepare_config(yaml.safe_load(LAUNCHER.read_text()))
    util.validate_config(whole)
    assert whole["max_workers"] == len(whole["provider"]["worker_ips"]) == 2


def test_the_launcher_starts_ray_of_the_environment_that_it_makes() -> None:
    config = yaml.safe_load(LAUNCHER.read_text())
    venv = "~/sif-venv"
    assert any(f"-m venv {venv}" in command for command in config["setup_commands"])
    started = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(f"{venv}/bin/ray " in command for command in started)
    assert config["file_mounts"]["~/sif"] == "."
    for name in re.findall(r"~/sif/(\S+\.txt)", " ".join(config["setup_commands"])):
        assert (ROOT / name).is_file()


def test_the_manifest_runs_a_command_of_ours(
    documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    program, *words = shlex.split(documents[0]["spec"]["entrypoint"])
    assert program == "sif"
    parsed: list[Any] = []
    monkeypatch.setitem(cli.VERBS, "bench", replace(cli.VERBS["bench"], call=parsed.append))
    assert cli.main(words) == 0, capsys.readouterr().err
    assert (parsed[0].executor, parsed[0].ray_address) == ("ray", "auto")


def test_all_pods_share_the_volume_that_the_command_writes_to(
    documents: list[dict[str, Any]],
) -> None:
    job, claim = documents
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (
        cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]  # fmt: skip
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods:
        (container,), (volume,) = pod["containers"], pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mount["name"] == volume["name"]
        assert f"--output-dir {mount['mountPath']}/" in job["spec"]["entrypoint"]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
