"""Images in memory, their split, digits, and names that are looked up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sif
from sif.data.download import Source, locate, unpack
from sif.data.images.dataset import Images, first_of_each, with_channels
from sif.data.images.load import load_images
from sif.data.images.split import ImageSplit, make_image_split
from sif.data.interactions.load import load_dataset
from sif.errors import ConfigError, DataError, ShapeError


def make(counts: list[int], tested: int = 0, seed: int = 0) -> Images:
    """Gray 2×2 images with so many per class, the last `tested` of which are the test part."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(labels)
    pixels = rng.integers(0, 256, (n, 2, 2, 1), dtype=np.uint8)
    test = np.arange(n) >= n - tested if tested else None
    return Images("made", pixels, labels, tuple(f"c{k}" for k in range(len(counts))), test)


def split(images: Images, valid: float = 0.5, seed: int = 0, test: float = 0.2) -> ImageSplit:
    return make_image_split(images, valid_share=valid, seed=seed, test_share=test)


@pytest.mark.parametrize("tested", [0, 17])
@pytest.mark.parametrize("valid", [0.5, 0.1, 0.23])
def test_parts_are_disjoint_complete_and_stratified(tested: int, valid: float) -> None:
    images = make([40, 25, 60], tested)
    parts = split(images, valid)
    assert sorted([*parts.train, *parts.valid, *parts.test]) == list(range(len(images)))
    if images.test is not None:
        assert parts.test.tolist() == np.flatnonzero(images.test).tolist()
    for label in range(3):
        n = int((images.labels == label).sum())
        n_test = int((images.labels[parts.test] == label).sum())
        assert images.test is not None or n_test == round(0.2 * n)
        assert int((images.labels[parts.valid] == label).sum()) == round(valid * (n - n_test))


def test_a_seed_is_a_split_and_validation_leaves_the_test_part_alone() -> None:
    images = make([40, 25, 60])
    parts = split(images, 0.5, seed=3)
    again, other = split(images, 0.5, seed=3), split(images, 0.5, seed=4)
    assert parts.part.tolist() == again.part.tolist() and parts.hash == again.hash
    assert parts.part.tolist() != other.part.tolist() and parts.hash != other.hash
    smaller = split(images, 0.2, seed=3)
    assert smaller.test.tolist() == parts.test.tolist() and smaller.hash != parts.hash
    assert set(smaller.valid) < set(parts.valid)
    assert parts.description() == {
        "name": "test 0.2, valid 0.5", "seed": 3, "split_hash": parts.hash, "classes": 3,
        "counts": {"train": 50, "valid": 50, "test": 25},
    }  # fmt: skip
    whole = split(make([40, 25], tested=9), 0.0)
    assert not len(whole.valid) and whole.protocol == "official test, valid 0"


def test_a_share_that_leaves_a_class_without_an_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"every class in valid .*found none of 'c1', which has 4"):
        split(make([60, 4]), 0.1)
    with pytest.raises(DataError, match=r"every class in train .*found none of 'c1'"):
        split(make([60, 4]), 0.9)
    with pytest.raises(DataError, match=r"every class in test .*found none of 'c1'"):
        split(make([60, 2]), 0.5)
    for share in (-0.1, 1.0):
        with pytest.raises(DataError, match="made: valid share: expected 0 to below 1, found"):
            split(make([9, 9]), share)
    with pytest.raises(DataError, match="made: test share: expected above 0 to below 1, found 0"):
        split(make([9, 9]), 0.5, test=0.0)


def test_the_hash_names_the_content() -> None:
    images = make([5, 6], tested=3)
    hashes = {images.content_hash}
    changes = {
        "pixels": images.pixels ^ np.eye(1, 11, 4, dtype=np.uint8).reshape(11, 1, 1, 1),
        "labels": images.labels[::-1].copy(),
        "classes": ("c0", "c2"),
        "test": None,
    }
    for name, value in changes.items():
        hashes.add(Images(**{**vars_of(images), name: value}).content_hash)
    assert len(hashes) == 5
    assert Images(**{**vars_of(images), "name": "other"}).content_hash == images.content_hash


def vars_of(images: Images) -> dict[str, object]:
    return {name: getattr(images, name) for name in ("name", "pixels", "labels", "classes", "test")}


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = vars_of(make([3, 3]))
    for name, value, told in [
        ("pixels", np.zeros((6, 2, 2, 2), np.uint8), r"expected uint8 \(n, h, w, 1 or 3\), found"),
        ("pixels", np.zeros((6, 2, 2, 1)), r"found float64 \(6, 2, 2, 1\)$"),
        ("labels", np.zeros(5, np.int64), r"labels: expected int64 \(6,\), found int64 \(5,\)$"),
        ("labels", np.full(6, 2), r"expected numbers in 0\.\.1, found 2\.\.2$"),
        ("test", np.zeros(6), r"test: expected bool \(6,\), found float64 \(6,\)$"),
    ]:
        with pytest.raises(ShapeError, match=told):
            Images(**{**good, name: value})


def test_channels_are_those_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    gray = with_channels(pixels, 1, "x")
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(pixels).convert("L")))
    assert (with_channels(gray, 3, "x") == gray).all()
    assert with_channels(pixels, None, "x") is pixels
    with pytest.raises(DataError, match=r"x: channels: expected 1 \(gray\) or 3 .*, found 2$"):
        with_channels(pixels, 2, "x")


def test_the_first_of_each_class_and_part() -> None:
    labels = np.array([0, 1, 0, 0, 1, 0])
    assert first_of_each(labels, None, 2).tolist() == [0, 1, 2, 4]
    test = np.array([False, False, False, True, True, True])
    assert first_of_each(labels, test, 1).tolist() == [0, 1, 3, 4]


def test_tensors_hold_the_pixels() -> None:
    images = make([4, 4])
    tensors = images.tensors(torch.device("cpu"))
    assert tensors.pixels.shape == (8, 2, 2, 1) and tensors.pixels.dtype == torch.uint8
    assert tensors.pixels.numpy().tolist() == images.pixels.tolist()
    assert tensors.labels.tolist() == images.labels.tolist()


def test_digits_are_there_without_a_download() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    images = load_images("digits")
    assert isinstance(images, Images) and images.test is None
    values = datasets.load_digits()
    np.testing.assert_allclose(images.pixels[..., 0], values.images * 255 / 16, atol=0.5)
    assert (images.pixels.min(), images.pixels.max()) == (0, 255)
    assert images.labels.tolist() == values.target.tolist()
    few = load_images("digits", channels=3, size=16, per_class=2)
    assert few.shape == (16, 16, 3) and len(few) == 20
    assert len(split(images, 0.5).test) == pytest.approx(0.2 * 1797, abs=5)


def test_without_a_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"^digits: .*pip install scikit-learn\), found none$"):
        load_images("digits")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        Image.new("L", (2, 2)).save(tmp_path / name / "x.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"^images: .*pip install pillow\), found none$"):
        load_images(tmp_path)


def test_importing_the_package_loads_neither_pillow_nor_scikit_learn() -> None:
    code = "import sys, sif.data.images; print([m for m in ('PIL', 'sklearn') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(sif.__file__).parents[1], capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_names_that_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"one of cifar-10, .*found 'cifar'; did you mean 'cifar-"):
        load_images("cifar")
    with pytest.raises(DataError, match=r"^ml-100k: expected images, found .*interactions$"):
        load_images("ml-100k")
    with pytest.raises(DataError, match=r"^cifar-10: expected interactions, found .* images$"):
        load_dataset("cifar-10")
    with pytest.raises(DataError, match=r"images per class: expected at least 1, found 0$"):
        load_images("digits", per_class=0)
    with pytest.raises(DataError, match=r"none\.tar: expected an archive, found no such file$"):
        load_images(tmp_path / "none.tar")
    monkeypatch.delenv("SIF_DATA_DIR", raising=False)
    monkeypatch.setattr("sif.data.download.raw_folder", lambda: tmp_path / "raw")
    with pytest.raises(DataError) as error:
        load_images("cifar10-jpeg", data_dir=tmp_path)
    said = str(error.value)
    assert said.startswith("cifar10-jpeg: ") and "cifar10-jpeg.tar.xz" in said
    assert f"{tmp_path}, {tmp_path / 'raw'}" in said


def test_a_tar_put_by_hand_is_verified_and_unpacked(tmp_path: Path) -> None:
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "x").write_text("content")
    packed = tmp_path / "here" / "d.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "D", "D")
    md5 = hashlib.md5(packed.read_bytes()).hexdigest()
    url = "http://127.0.0.1:9/d.tar.gz"
    source = Source(name="d", url=url, md5=md5, folder="D", files=("x",))
    wrong = replace(source, md5="0" * 32)
    with pytest.raises(DataError, match=r"d\.tar\.gz: expected MD5 0+, found [0-9a-f]{32}$"):
        locate(wrong, packed.parent)
    assert locate(source, packed.parent) == (packed.parent / "D", [])
    assert (packed.parent / "D" / "x").read_text() == "content"
    packed.write_bytes(packed.read_bytes()[:60])
    with pytest.raises(DataError, match=r"d\.tar\.gz: expected a tar file, found: "):
        unpack(packed, tmp_path / "out", "D")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE]
)
def test_a_tar_that_leads_outside_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("../evil" if kind == tarfile.REGTYPE else "D/evil")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(DataError, match=r"expected plain paths below it, found '.*evil'$"):
        unpack(tmp_path / "d.tar", tmp_path / "out", "D")
    assert not (tmp_path / "out").exists()
