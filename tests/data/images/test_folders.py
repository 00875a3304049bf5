"""Class folders and archives of images: layouts, sizes, corrupt files."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sif.data.images.dataset import Images
from sif.data.images.decode import ALL_GRAY, Form, decode
from sif.data.images.lazy import FolderImages
from sif.data.images.load import load_images
from sif.data.images.split import make_image_split
from sif.errors import DataError


def encoded(
    seed: int, size: tuple[int, int] = (4, 4), mode: str = "RGB", kind: str = "PNG"
) -> bytes:
    """A random picture (width, height); PNG is lossless."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    picture = Image.fromarray(array[..., 0] if channels == 1 else array, mode)
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def pixels_of(content: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def pack(path: Path, files: Mapping[str, bytes], prefix: str = "") -> Path:
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


OFFICIAL = {
    f"{part}/{kind}/{n}.png": encoded(100 * i + 10 * j + n)
    for i, part in enumerate(("train", "test"))
    for j, kind in enumerate(("dog", "cat"))
    for n in range(3)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "pets", {**OFFICIAL, "train/cat/read.me": b"x", "train/.git/x": b""})


def in_memory(path: Path, **options: int) -> Images:
    images = load_images(path, **options)
    assert isinstance(images, Images)
    return images


def test_class_folders_with_an_official_test_part(folder: Path) -> None:
    images = in_memory(folder)
    assert images.name == "pets" and images.classes == ("cat", "dog") and images.notes == ()
    assert images.test is not None and images.test.tolist() == [True] * 6 + [False] * 6
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    np.testing.assert_array_equal(images.pixels[4], pixels_of(OFFICIAL["test/dog/1.png"]))
    np.testing.assert_array_equal(images.pixels[8], pixels_of(OFFICIAL["train/cat/2.png"]))
    parts = make_image_split(images, valid_share=0.34, seed=0)
    assert (len(parts.train), len(parts.valid), parts.test.tolist()) == (4, 2, [*range(6)])


@pytest.mark.parametrize("name", ["pets.tar", "pets.tar.xz"])
@pytest.mark.parametrize("prefix", ["", "./", "deep/pets/"])
def test_an_archive_is_the_folder_it_would_unpack_to(
    tmp_path: Path, folder: Path, name: str, prefix: str
) -> None:
    before = set(tmp_path.rglob("*"))
    path = pack(tmp_path / name, {**OFFICIAL, "train/cat/read.me": b"x"}, prefix)
    images = in_memory(path)
    assert images.name == "pets" and images.content_hash == in_memory(folder).content_hash
    assert set(tmp_path.rglob("*")) == before | {path}


def test_folders_of_classes_alone_get_a_test_part_by_the_split(tmp_path: Path) -> None:
    files = {f"{kind}/{n}.JPG": encoded(n, kind="JPEG") for kind in "abc" for n in range(10)}
    images = in_memory(write(tmp_path / "flat", files))
    assert images.test is None and len(images) == 30
    parts = make_image_split(images, valid_share=0.25, seed=1, test_share=0.2)
    assert [len(rows) for rows in (parts.train, parts.valid, parts.test)] == [18, 6, 6]
    packed = in_memory(pack(tmp_path / "flat.tar", files, "flat/"))
    assert packed.content_hash == images.content_hash


def test_val_is_the_test_part_unless_there_is_one(tmp_path: Path) -> None:
    files = {name.replace("test/", "val/"): content for name, content in OFFICIAL.items()}
    images = in_memory(write(tmp_path / "two", files))
    assert images.test is not None and images.test.sum() == 6 and images.notes == ()
    images = in_memory(write(tmp_path / "three", {**files, **OFFICIAL}))
    assert images.test is not None and images.test.sum() == 6 and len(images) == 18
    assert images.notes == ("test/ is the test part; the images of val/ join those of train/",)
    assert in_memory(pack(tmp_path / "three.tar", {**files, **OFFICIAL})).notes == images.notes


def test_the_layout_of_tiny_imagenet(tmp_path: Path) -> None:
    names = [f"n0{k}/images/n0{k}_{n}.JPEG" for k in (1, 2) for n in (0, 1)]
    files = {
        **{f"train/{name}": encoded(n, kind="JPEG") for n, name in enumerate(names)},
        "train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t0\t1\t1",
        "val/images/val_0.JPEG": encoded(7, kind="JPEG"),
        "val/images/val_1.JPEG": encoded(8, kind="JPEG"),
        "val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\n",
        "test/images/test_0.JPEG": b"without a label",
    }  # fmt: skip
    images = in_memory(write(tmp_path / "tiny", files))
    assert images.classes == ("n01", "n02") and images.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert images.test is not None and images.test.tolist() == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(images.pixels[5], pixels_of(files["val/images/val_0.JPEG"]))
    annotations = tmp_path / "tiny" / "val" / "val_annotations.txt"
    for text, told in [
        ("val_9.JPEG\tn01", r"txt line 1: expected val/images/val_9\.JPEG, found no such file$"),
        ("val_0.JPEG", r"txt line 1: expected file and class, found 'val_0\.JPEG'$"),
        (
            "val_0.JPEG\tn09",
            r"val/images/val_0\.JPEG: expected a class of the train part, found 'n",
        ),
    ]:
        annotations.write_text(text)
        with pytest.raises(DataError, match=told):
            load_images(tmp_path / "tiny")


def test_gray_and_color_become_what_is_asked_for(tmp_path: Path) -> None:
    files = {
        f"{k}/{mode}.png": encoded(1, mode=mode) for k in "ab" for mode in ("L", "RGB", "RGBA")
    }
    root = write(tmp_path / "x", files)
    color, gray = in_memory(root), in_memory(root, channels=1)
    assert color.shape == (4, 4, 3) and gray.shape == (4, 4, 1)
    for row, name in enumerate(("a/L.png", "a/RGB.png", "a/RGBA.png")):
        np.testing.assert_array_equal(color.pixels[row], pixels_of(files[name]))
        np.testing.assert_array_equal(gray.pixels[row, ..., 0], pixels_of(files[name], "L"))
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(stream, "PNG")
    with pytest.raises(DataError, match=r"deep\.png: expected 8 bits per channel, found mode I"):
        decode(stream.getvalue(), Form(), "deep.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gray_images_alone_have_one_channel(tmp_path: Path, kind: str) -> None:
    ending = {"PNG": "png", "JPEG": "jpg"}[kind]
    files = {f"{k}/{n}.{ending}": encoded(n, mode="L", kind=kind) for k in "ab" for n in range(3)}
    read = in_memory(write(tmp_path / "x", files))
    packed = load_images(pack(tmp_path / "x.tar", files))
    assert isinstance(packed, Images)
    for images in (read, packed):
        assert images.shape == (4, 4, 1) and ALL_GRAY in images.notes
        np.testing.assert_array_equal(
            images.pixels[0, ..., 0], pixels_of(files[f"a/0.{ending}"], "L")
        )
    assert in_memory(tmp_path / "x", channels=3).shape == (4, 4, 3)
    mixed = files | {f"b/3.{ending}": encoded(3, kind=kind)}
    write(tmp_path / "x", mixed)
    packed = load_images(pack(tmp_path / "mixed.tar", mixed))
    for images in (in_memory(tmp_path / "x"), packed):
        assert images.shape == (4, 4, 3) and ALL_GRAY not in images.notes


def test_odd_sizes_are_refused_or_resized_and_cut(tmp_path: Path, folder: Path) -> None:
    wide = encoded(5, size=(8, 4))
    write(folder, {"train/dog/1.png": wide})
    told = r"train/dog/1\.png: expected 4x4 pixels as in test/cat/0\.png, found 8x4; give a size"
    with pytest.raises(DataError, match=told):
        load_images(folder)
    with pytest.raises(DataError, match=r"expected 8x4 pixels as in a/w\.png, found 4x4; give"):
        load_images(pack(tmp_path / "x.tar", {"a/w.png": wide, "b/0.png": encoded(1)}))
    cut = in_memory(folder, size=4)  # the shorter side has the size: only the center is cut out
    np.testing.assert_array_equal(cut.pixels[10], pixels_of(wide)[:, 2:6])
    half = Image.open(io.BytesIO(wide)).resize((4, 2), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(in_memory(folder, size=2).pixels[10], np.asarray(half)[:, 1:3])
    with pytest.raises(DataError, match="size: expected at least 1 pixel, found 0"):
        load_images(folder, size=0)


def many(n: int, corrupt: Mapping[str, bytes]) -> dict[str, bytes]:
    good = {f"{k}/{i:03}.jpg": encoded(i, kind="JPEG") for k in "ab" for i in range(n // 2)}
    return {**good, **corrupt}


def test_a_few_corrupt_images_are_named_and_left_out(tmp_path: Path) -> None:
    whole = encoded(1, kind="JPEG")
    files = many(40, {"b/007.jpg": whole[: len(whole) // 2]})
    images = in_memory(write(tmp_path / "x", files))
    assert len(images) == 39 and (images.labels == 1).sum() == 19
    (note,) = images.notes
    assert note.startswith("1 corrupt of 40 images left out: b/007.jpg (") and "\n" not in note
    packed = in_memory(pack(tmp_path / "x.tar", files))
    assert packed.content_hash == images.content_hash and packed.notes == images.notes
    files |= {"a/003.jpg": b"", "a/004.jpg": b"no image"}
    told = (
        r"x: expected at most 1 corrupt of 40 images, found 3: a/003\.jpg \(no image in it\),"
        r" a/004\.jpg \(no image in it\), b/007\.jpg \([^)]*\)*$"
    )
    with pytest.raises(DataError, match=told):
        load_images(write(tmp_path / "x", files))
    with pytest.raises(DataError, match=r"expected at most 1 corrupt of 40 images, found 3: "):
        load_images(pack(tmp_path / "x.tar", files))


def test_the_limit_of_corrupt_images_is_one_in_a_hundred(tmp_path: Path) -> None:
    files = many(300, {f"a/{i:03}.jpg": b"" for i in range(3)})
    assert in_memory(write(tmp_path / "x", files)).notes[0].startswith("3 corrupt of 300 images")
    files["a/003.jpg"] = b""
    with pytest.raises(DataError, match=r"at most 3 corrupt of 300 images, found 4: .*, \.\.\.$"):
        load_images(write(tmp_path / "x", files))


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    png = encoded(0)
    with pytest.raises(DataError, match=r"x: expected a folder for each class, found none$"):
        load_images(write(tmp_path / "x", {"0.png": png}))
    with pytest.raises(DataError, match=r"b: expected images \(.*\) of class 'b', found none$"):
        load_images(write(tmp_path / "y", {"a/0.png": png, "b/note.txt": b""}))
    with pytest.raises(DataError, match=r"z: expected at least 2 classes to learn, found 1$"):
        load_images(write(tmp_path / "z", {"a/0.png": png}))
    with pytest.raises(DataError, match=r"v: expected a folder train/ beside test/, found none$"):
        load_images(write(tmp_path / "v", {"test/a/0.png": png}))
    files = {"train/a/0.png": png, "train/b/0.png": png, "test/c/0.png": png}
    with pytest.raises(DataError, match=r"test/c/0\.png: expected a class of the train part"):
        load_images(write(tmp_path / "w", files))


@pytest.mark.parametrize("name", ["../a/0.png", "/a/0.png", "a/../../0.png"])
def test_archives_with_paths_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="expected plain files and folders below it, found '"):
        load_images(pack(tmp_path / "x.tar", {"a/1.png": encoded(0), name: encoded(1)}))


def test_archives_that_cannot_be_used(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.xz", OFFICIAL)
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"x\.tar\.xz: expected a whole tar archive, found: "):
            load_images(path)
    plain = pack(tmp_path / "x.tar", {"a/0.png": encoded(0), "b/0.png": encoded(1)})
    for cut in range(512, 2048, 512):  # 2048 is where the mark begins
        assert len(encoded(0)) <= 512
        (tmp_path / "cut.tar").write_bytes(plain.read_bytes()[:cut])
        with pytest.raises(DataError, match=r"cut\.tar: expected a whole tar archive, found: "):
            load_images(tmp_path / "cut.tar")
    path.write_bytes(b"no archive at all")
    with pytest.raises(DataError, match=r"x\.tar\.xz: expected a whole tar archive, found: "):
        load_images(path)
    with pytest.raises(DataError, match=r"expected images in folders of classes, found none$"):
        load_images(pack(tmp_path / "y.tar", {"read.me": b"x"}))
    with pytest.raises(DataError, match=r"in train/, val/ or test/, found extra/a/0\.png$"):
        load_images(pack(tmp_path / "y.tar", {**OFFICIAL, "extra/a/0.png": encoded(1)}))
    with pytest.raises(DataError, match="at most 100 bytes of pixels, found more; unpack it and"):
        load_images(pack(tmp_path / "y.tar", OFFICIAL), memory=100)
    link = tarfile.TarInfo("a/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "z.tar", "w") as archive:
        archive.addfile(link)
    with pytest.raises(DataError, match=r"plain files and folders below it, found 'a/link\.png'"):
        load_images(tmp_path / "z.tar")


def test_a_folder_beyond_the_limit_stays_on_disk(folder: Path) -> None:
    images = load_images(folder, memory=12 * 48 - 1)
    assert isinstance(images, FolderImages) and isinstance(load_images(folder, memory=576), Images)
    whole = in_memory(folder)
    assert (images.shape, images.classes, images.name) == (whole.shape, whole.classes, whole.name)
    assert images.labels.tolist() == whole.labels.tolist() and len(images) == 12
    some = images.read(np.array([7, 2]))
    np.testing.assert_array_equal(some.pixels, whole.pixels[[7, 2]])
    assert some.labels.tolist() == [0, 0]
    parts = make_image_split(images, valid_share=0.34, seed=0)
    assert parts.part.tolist() == make_image_split(whole, valid_share=0.34, seed=0).part.tolist()
    before = images.content_hash
    write(folder, {"train/cat/1.png": encoded(77, mode="L")})
    assert load_images(folder, memory=0).content_hash != before
    assert load_images(folder, memory=0, per_class=1).labels.tolist() == [0, 1, 0, 1]


@pytest.fixture
def jpeg_archive() -> Path:
    path = Path(os.environ.get("SIF_DATA_DIR", "")) / "cifar10-jpeg.tar.xz"
    if not path.is_file():
        pytest.skip("needs cifar10-jpeg.tar.xz in SIF_DATA_DIR")
    return path


@pytest.mark.slow
def test_the_jpeg_archive_of_cifar_10(jpeg_archive: Path) -> None:
    """Slow: nearly all of its time is to decompress what is passed over."""
    images = in_memory("cifar10-jpeg", data_dir=jpeg_archive.parent, per_class=20)
    assert images.shape == (32, 32, 3) and len(images) == 400
    assert images.classes[:3] == ("airplane", "automobile", "bird") and len(images.classes) == 10
    assert images.test is not None and images.test.sum() == 200
    assert np.bincount(images.labels).tolist() == [40] * 10
    assert images.notes == ("only 20 images of each class and part are read",)
    assert 100 < images.pixels.mean() < 140
    with tarfile.open(jpeg_archive) as archive:
        name = "train/airplane/0003.jpg"
        member = next(m for m in archive if m.name == name)
        stream = archive.extractfile(member)
        assert stream is not None
        row = int(np.flatnonzero(~images.test)[3])
        np.testing.assert_array_equal(images.pixels[row], pixels_of(stream.read()))
