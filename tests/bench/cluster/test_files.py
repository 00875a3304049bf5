"""Files that travel: what counts as there, what is put in place, and what is left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sif.bench.cluster.files import (
    Content,
    Files,
    NodeError,
    Sent,
    digest,
    in_place,
    packed,
    unpacked,
)


@pytest.fixture(params=["file", "folder"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "data" / "rows.csv"
    path.parent.mkdir()
    if request.param == "file":
        path.write_bytes(b"user,item\n1,2\n")
        return path
    (path / "below").mkdir(parents=True)
    (path / "a").write_bytes(b"1\x00\xff")
    (path / "below" / "b").write_bytes(b"")
    return path


def tree(path: Path) -> dict[str, tuple[bytes, int]]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(p.relative_to(path)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def fetch(data: Files) -> Files:
    return data


def test_content_arrives_as_it_was_sent_with_its_times(original: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "copy"
    unpacked(packed(original), target)
    assert tree(target) == tree(original)
    assert digest(target) == digest(original)
    assert [p.name for p in target.parent.iterdir()] == ["copy"]
    unpacked([("new", 0, b"x")], target.parent / "folder")
    unpacked([("other", 0, b"y")], target.parent / "folder")  # in place of the former files
    assert [p.name for p in (target.parent / "folder").iterdir()] == ["other"]


def test_a_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    seen = set()
    for number, files in enumerate(([("a", b"bc")], [("ab", b"c")], [("a", b"b"), ("b", b"c")])):
        for name, data in files:
            (tmp_path / str(number)).mkdir(exist_ok=True)
            (tmp_path / str(number) / name).write_bytes(data)
        seen.add(digest(tmp_path / str(number)))
    assert len(seen) == 3


def test_what_lies_there_needs_nothing(original: Path) -> None:
    content = Content.of(original)
    assert content.is_here
    assert in_place(content, None, fetch)


def test_what_is_missing_is_put_there_and_replaced_once_home_has_another(original: Path) -> None:
    content, first = Content.of(original), packed(original)
    sent = Sent(digest(original), first)
    expected = tree(original)
    shutil.rmtree(original) if original.is_dir() else original.unlink()
    assert not content.is_here
    assert not in_place(content, None, fetch)
    assert in_place(content, sent, fetch)
    assert original.is_symlink()
    assert tree(original.resolve()) == expected
    assert content.is_here  # the next trial needs nothing
    # Home has changed the file since.
    name = "" if original.is_file() else "a"
    later = [(name, 5, b"later")]
    changed = Content(original, ((name, 5, 5),))
    assert not in_place(changed, None, fetch)
    assert in_place(changed, Sent("f" * 32, later), fetch)
    assert (original / name).read_bytes() == b"later"


def test_a_copy_of_the_nodes_own_is_used_if_its_content_is_the_same(original: Path) -> None:
    content, sent = Content.of(original), Sent(digest(original), None)
    file = original if original.is_file() else original / "a"
    os.utime(file, ns=(1, 1))  # as a copy has other times
    assert not in_place(content, None, fetch)
    assert in_place(content, sent, fetch)
    assert not original.is_symlink()


def test_a_file_of_somebody_elses_is_never_replaced(original: Path) -> None:
    content, sent = Content.of(original), Sent(digest(original), packed(original))
    file = original if original.is_file() else original / "a"
    file.write_bytes(b"mine")
    with pytest.raises(NodeError, match=r"rows.csv: expected the content that it has at home"):
        in_place(content, sent, fetch)
    assert file.read_bytes() == b"mine"
