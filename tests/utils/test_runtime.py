from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sif.errors import ConfigError, DivergedError
from sif.utils.device import (
    Runtime,
    check_seed,
    deterministic,
    enough_memory,
    fits_into_memory,
    make_runtime,
)
from sif.utils.environment import environment, git_commit
from sif.utils.random import derive_seed, generator, numpy_generator


@pytest.fixture
def same_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_set_and_recorded(same_threads: int) -> None:
    assert make_runtime("cpu", threads=1).threads == 1
    assert torch.get_num_threads() == 1
    assert make_runtime("cpu").threads == 1


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps", "meta", ""])
def test_an_absent_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device: "):
        make_runtime(device)


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert make_runtime("auto").device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert make_runtime("auto").device.type == "cpu"
    with pytest.raises(ConfigError, match="torch sees 0"):
        make_runtime("cuda")


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "1"])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed: expected an integer from 0"):
        check_seed(seed)


def test_derived_seeds_are_fixed_for_ever() -> None:
    # By sha256sum of "0", "0\x1fstr:search" and so on; other numbers would change recorded runs.
    assert derive_seed(0) == 804681139
    assert derive_seed(0, "search") == 2119291724
    assert derive_seed(1, "search", 3) == 1808708910


def test_derived_seeds_differ_by_every_part() -> None:
    names = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), ("b", "a"), ("a", 11)]
    seeds = {derive_seed(seed, *name) for seed in (0, 1, 10) for name in names}
    assert len(seeds) == 3 * len(names)
    many = np.array([derive_seed(7, "stream", i) for i in range(4000)])
    assert many.min() >= 0
    assert many.max() < 2**31
    assert abs(many.mean() / 2**30 - 1) < 0.04  # about four standard errors


def test_streams_are_independent_of_each_other() -> None:
    runtime = make_runtime("cpu", seed=5)
    first = torch.rand(4, generator=generator(runtime, "x"))
    torch.rand(100, generator=generator(runtime, "other"))
    assert torch.equal(first, torch.rand(4, generator=generator(runtime, "x")))
    assert not torch.equal(first, torch.rand(4, generator=generator(runtime, "y")))
    drawn = numpy_generator(runtime, "x").random(4)
    assert np.array_equal(drawn, numpy_generator(runtime, "x").random(4))


def test_drawing_leaves_the_global_generators_alone() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    runtime = make_runtime("cpu", seed=5)
    torch.rand(4, generator=generator(runtime, "x"))
    numpy_generator(runtime, "x").random(4)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_deterministic_settings_end_with_the_block() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ZeroDivisionError), deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.empty(2**10).isnan().all()  # fresh memory is not filled, which costs time
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_environment_is_json_and_true() -> None:
    runtime = Runtime(torch.device("cpu"), torch.float64, 2, 9)
    found = json.loads(json.dumps(environment(runtime)))
    assert (found["device"], found["dtype"], found["threads"], found["seed"]) == (
        "cpu",
        "float64",
        2,
        9,
    )
    assert found["versions"]["numpy"] == np.__version__
    assert found["device_name"]


def test_the_commit_says_whether_the_tree_was_edited(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    assert git_commit(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}+changes"


def test_memory_that_is_not_there_becomes_advice_and_other_errors_stay() -> None:
    cpu = torch.device("cpu")
    told = pytest.raises(ConfigError, match=r"cpu: out of memory for another \d+ bytes; lower it")
    with told, enough_memory(cpu, "lower it"):
        torch.empty(2**46)
    other = pytest.raises(RuntimeError, match="cannot be multiplied")
    with other, enough_memory(cpu, "lower it"):
        torch.mm(torch.zeros(1, 2), torch.zeros(1, 2))


def test_memory_that_is_not_there_leaves_a_model_out_and_other_errors_stay() -> None:
    @fits_into_memory("ease", "lower it")
    def fit(size: int) -> None:
        torch.zeros(1, 2) @ torch.empty(size, 1)

    for _ in range(2):
        with pytest.raises(DivergedError, match=r"^ease: out of memory; lower it$"):
            fit(2**46)
    with pytest.raises(DivergedError), fits_into_memory("ease", "lower it"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fit(1)


@pytest.mark.parametrize("threads", [0, 10**6, 10**30])
def test_threads_that_would_end_the_process_are_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"^threads: expected 1 to 1024, found {threads}$"):
        make_runtime("cpu", threads=threads)
