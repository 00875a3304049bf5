"""Jobs with one cut of successive halving, and with blocks of users."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sif.problems.l2_grid import GridTraining
from tests.tasks.cf.conftest import (
    OURS,
    Command,
    logged,
    metrics,
    same_bits,
    stage,
    weights_of,
    without_times,
)

HALVED = ("train.l2=[0.01,3,30]", "train.halving_keep=0.67", "train.halving_fraction=0.3",
          "train.patience=20", "train.extend_grid=0", "baselines=[popularity]")  # fmt: skip


def halved(sif: Command, tiny: list[str], run: str, *sets: str) -> Any:
    return sif("--task", "cf", "--output-dir", run, "--no-tracking", *tiny, *HALVED, *sets)


@pytest.mark.usefixtures("without_figures")
def test_the_better_strengths_are_trained_to_the_end(sif: Command, tiny: list[str]) -> None:
    assert halved(sif, tiny, "run").code == 0
    run = Path("run")
    for name in OURS:
        starts = [stage(run, f"{name}-{place}-start") for place in range(3)]
        assert [s["epochs"] for s in starts] == [3, 3, 3]
        early = [s["valid"]["ndcg@10"] for s in starts]
        kept = sorted(range(3), key=lambda place: -early[place])[:2]
        done = {p.stem for p in (run / "checkpoint").glob(f"{name}-?.safetensors")}
        assert done == {f"{name}-{place}" for place in kept}
        ends = [stage(run, f"{name}-{place}") for place in kept]
        assert [s["epochs"] for s in ends] == [10, 10]
        assert [s["numbers"]["l2"] for s in ends] == [[0.01, 3, 30][place] for place in kept]
        best = max(s["valid"]["ndcg@10"] for s in ends)
        found = metrics(run)
        if name == "searched":  # or fixed multiply, where validation prefers it
            fixed = found["baselines"]["fixed-multiply"]["valid"]["ndcg@10"]
            assert found["valid"]["ndcg@10"] == max(best, fixed)
        else:
            assert found["baselines"][name]["valid"]["ndcg@10"] == best
        assert best >= max(early)


@pytest.mark.usefixtures("without_figures")
def test_a_cut_changes_nothing_for_those_that_are_kept(sif: Command, tiny: list[str]) -> None:
    assert halved(sif, tiny, "run").code == 0
    assert halved(sif, tiny, "whole", "train.halving_keep=1", "train.halving_fraction=1").code == 0
    kept = list((Path("run") / "checkpoint").glob("*-?.safetensors"))
    assert len(kept) == 6
    for path in kept:
        ours, theirs = stage(Path("run"), path.stem), stage(Path("whole"), path.stem)
        assert same_bits(ours["network"], theirs["network"])
        assert ours["valid"] == theirs["valid"]
        assert ours["best_epoch"] == theirs["best_epoch"]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("moment", [1, 3])
def test_a_job_interrupted_after_the_cut_goes_on_from_there(
    moment: int, sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert halved(sif, tiny, "whole").code == 0
    train, after = GridTraining._train, []

    def interrupted(
        self: GridTraining, name: str, genotype: Any, fresh: Any, place: int, l2: float,
        start: Any, checkpointer: Any,
    ) -> Any:  # fmt: skip
        if start is not None:
            after.append(place)
            if len(after) == moment:
                raise KeyboardInterrupt
        return train(self, name, genotype, fresh, place, l2, start, checkpointer)

    with monkeypatch.context() as patch:
        patch.setattr(GridTraining, "_train", interrupted)
        assert halved(sif, tiny, "run").code == 130
    assert len(after) == moment
    assert sif("--resume", "run").code == 0
    assert without_times(metrics(Path("run"))) == without_times(metrics(Path("whole")))
    assert without_times(logged(Path("run"))) == without_times(logged(Path("whole")))
    assert same_bits(weights_of(Path("run")), weights_of(Path("whole")))


@pytest.mark.usefixtures("without_figures")
def test_a_large_part_is_searched_with_encoders_in_blocks(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", 200)
    done = sif(
        "--task", "cf", "--output-dir", "run", "--no-tracking", *tiny,
        "search.max_interactions=100", "baselines=[popularity]", "train.block_bytes=4096",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = metrics(Path("run"))
    assert found["protocol"]["counts"]["train"] > 200
    assert list(found["search"]["trained"]) == ["encoding", "operation", "weighting"]
    told = "".join(done.err)
    for name in ("search", "training"):
        assert re.search(
            rf"note: histories, {name}: [0-9,]+ interactions in [0-9]+ blocks of users, about "
            r"[0-9.]+ [kMG]B at most for a step over one \(train.block_bytes\)",
            told,
        ), told
    assert json.loads(sif("evaluate", "run").out) == found["test"]
