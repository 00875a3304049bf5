"""CIFAR batches, hand-made in both official forms, and what a pickle may not do."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.data.images.cifar import LAYOUTS, read_cifar
from sif.data.images.dataset import Images
from sif.data.images.load import load_images
from sif.data.images.unpickle import unpickle_batch
from sif.errors import DataError

TEN = [f"class{number}" for number in range(10)]
HUNDRED = [f"fine{number}" for number in range(100)]


def python2(value: Any) -> bytes:
    """The opcodes with which Python 2 wrote the official batches (protocol 2)."""
    if isinstance(value, str):
        return b"T" + struct.pack("<i", len(value)) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, dict):
        pairs = (python2(key) + python2(entry) for key, entry in value.items())
        return b"}(" + b"".join(pairs) + b"u"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    kind = (
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\x00tb"
    )
    raw = value.tobytes()
    return (
        made + b"(K\x01" + shape + kind + b"\x89" + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )


def batch(seed: int, n: int, classes: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, classes, n).tolist()


def dump(path: Path, value: Any) -> None:
    path.write_bytes(b"\x80\x02" + python2(value) + b".")


def write_python_10(folder: Path, n: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, 7):
        data, labels = batch(number, n, 10)
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        dump(folder / name, {"batch_label": "b", "labels": labels, "data": data, "filenames": []})
    dump(folder / "batches.meta", {"num_cases_per_batch": n, "label_names": TEN, "num_vis": 3072})
    return folder


def write_binary_10(folder: Path, n: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, 7):
        data, labels = batch(number, n, 10)
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        records = np.column_stack([np.array(labels, dtype=np.uint8), data])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return folder


def write_100(folder: Path, binary: bool) -> Path:
    folder.mkdir()
    for name, seed, n in (("train", 1, 9), ("test", 2, 4)):
        data, fine = batch(seed, n, 100)
        coarse = [label // 5 for label in fine]
        if binary:
            labels = np.array([coarse, fine], dtype=np.uint8).T
            (folder / f"{name}.bin").write_bytes(np.column_stack([labels, data]).tobytes())
        else:
            dump(folder / name, {"data": data, "fine_labels": fine, "coarse_labels": coarse})
    if binary:
        (folder / "fine_label_names.txt").write_text("\n".join(HUNDRED))
    else:
        dump(folder / "meta", {"fine_label_names": HUNDRED, "coarse_label_names": []})
    return folder


def assert_same(one: Images, other: Images) -> None:
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.content_hash == other.content_hash and one.classes == other.classes


def test_both_forms_of_cifar_10_are_the_same_images(tmp_path: Path) -> None:
    images = read_cifar(write_python_10(tmp_path / "py"))
    assert_same(images, read_cifar(write_binary_10(tmp_path / "bin")))
    assert images.name == "cifar-10" and images.classes == tuple(TEN)
    assert images.test is not None and images.test.tolist() == [False] * 15 + [True] * 3
    data, labels = batch(2, 3, 10)  # the second file holds rows 3 to 5
    assert images.labels[3:6].tolist() == labels
    for channel in range(3):  # row y, column x of a channel is value 1024 channel + 32 y + x
        assert images.pixels[4, 5, 7, channel] == data[1, 1024 * channel + 32 * 5 + 7]


def test_both_forms_of_cifar_100_have_the_fine_labels(tmp_path: Path) -> None:
    images = read_cifar(write_100(tmp_path / "py", binary=False))
    assert_same(images, read_cifar(write_100(tmp_path / "bin", binary=True)))
    assert images.labels[:9].tolist() == batch(1, 9, 100)[1] and images.classes[99] == "fine99"
    assert images.test is not None and images.test.sum() == 4


def test_batches_written_by_python_3_are_read_too(tmp_path: Path) -> None:
    data, labels = batch(1, 3, 10)
    for order in ("C", "F"):
        for key in (str, str.encode):
            entries = {key("data"): np.asarray(data, order=order), key("labels"): labels}
            (tmp_path / "x").write_bytes(pickle.dumps(entries, protocol=2))
            found = unpickle_batch(tmp_path / "x")
            np.testing.assert_array_equal(found["data"], data)
            assert found["labels"] == labels


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, eval, np.load, np.frombuffer, getattr])
def test_a_pickle_cannot_call_anything(tmp_path: Path, function: Any, protocol: int) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({"data": Call(function, f"{tmp_path}/made")}, protocol=protocol))
    name = {"system": "posix.system"}.get(function.__name__, function.__name__)
    with pytest.raises(
        DataError, match=rf"data_batch_1: expected .*{name}.*; not loaded$"
    ) as error:
        unpickle_batch(path)
    assert "\n" not in str(error.value)


def test_a_pickle_runs_no_command(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bomb = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    (tmp_path / "x").write_bytes(bomb)
    with pytest.raises(DataError, match=r"found os\.system; not loaded$"):
        unpickle_batch(tmp_path / "x")
    assert not mark.exists()
    pickle.loads(bomb)  # what it would have done
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x80\x04\x8c\x05numpy\x8c\x13dtype.__init_subcls\x93.", r"numpy\.dtype\.__init_subcls"),
        (b"Pstolen\n.", "persistent id"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", r"an array of 'O'"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "_codecs.encode with"),
        (b"c_codecs\nencode\n(N}S'__defaults__'\n(NtstbR.", "a function with a state"),
    ],
)
def test_what_is_allowed_cannot_be_turned(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=rf"uint8 arrays, found {found}.*; not loaded$"):
        unpickle_batch(tmp_path / "x")


def test_damaged_files_are_told(tmp_path: Path) -> None:
    folder = write_python_10(tmp_path / "py")
    whole = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(whole[:5000])
    with pytest.raises(DataError, match=r"data_batch_3: expected a whole pickle, found: .*trunc"):
        read_cifar(folder)
    dump(folder / "data_batch_3", {"labels": [1], "data": [1]})
    with pytest.raises(DataError, match=r"shape \(n, 3072\), found list$"):
        read_cifar(folder)
    dump(folder / "data_batch_3", {"labels": [1, 2], "data": np.zeros((3, 3072), np.uint8)})
    with pytest.raises(DataError, match=r"data_batch_3: labels: expected 3 whole numbers"):
        read_cifar(folder)
    dump(folder / "data_batch_3", {"labels": [1, 10], "data": np.zeros((2, 3072), np.uint8)})
    with pytest.raises(DataError, match=r"batch_3 image 2: label: expected 0\.\.9, found 10$"):
        read_cifar(folder)
    dump(folder / "data_batch_3", [1])
    with pytest.raises(DataError, match=r"expected a dictionary, found a list$"):
        read_cifar(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"py: expected the files .*, found no data_batch_3$"):
        read_cifar(folder)
    with pytest.raises(DataError, match=r"expected CIFAR batches .*, found none$"):
        read_cifar(tmp_path)


def test_damaged_records_are_told(tmp_path: Path) -> None:
    folder = write_binary_10(tmp_path / "bin")
    (folder / "test_batch.bin").write_bytes(b"\x00" * 3073 + b"\x0a" + b"\x00" * 3072)
    with pytest.raises(DataError, match=r"test_batch\.bin image 2: label: expected 0\.\.9"):
        read_cifar(folder)
    (folder / "test_batch.bin").write_bytes(b"\x00" * 4000)
    with pytest.raises(DataError, match=r"records of 3,073 bytes, found 4,000 bytes, 927 more"):
        read_cifar(folder)
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_batch\.bin: expected images, found 0$"):
        read_cifar(folder)
    (folder / "batches.meta.txt").write_text("cat")
    with pytest.raises(DataError, match=r"meta\.txt: expected the names of 10 classes, found 1$"):
        read_cifar(folder)


def test_a_known_name_is_found_in_either_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layout in LAYOUTS:
        for counts in (layout.train, layout.test):
            for file in counts:
                monkeypatch.setitem(counts, file, 3)
    write_python_10(tmp_path / "a" / "cifar-10-batches-py")
    write_binary_10(tmp_path / "b" / "cifar-10-batches-bin")
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path / "b"))
    monkeypatch.setattr("sif.data.download.raw_folder", lambda: tmp_path / "raw")
    found = [load_images("cifar-10", data_dir=base) for base in (tmp_path / "a", None)]
    assert isinstance(found[0], Images) and isinstance(found[1], Images)
    assert_same(*found)
    direct = load_images("cifar-10", data_dir=tmp_path / "a" / "cifar-10-batches-py")
    assert direct.content_hash == found[0].content_hash
    with pytest.raises(DataError, match=r"at most 9,999 bytes of pixels, found 903,168 at size"):
        load_images("cifar-10", size=224, channels=1, memory=9_999)
    monkeypatch.delenv("SIF_DATA_DIR")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cifar-10-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"tar\.gz: expected MD5 c58f30108f718f92721af3b95e74349a,"):
        load_images("cifar-10", data_dir=tmp_path / "c")


def test_a_known_name_expects_the_official_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_python_10(tmp_path / "cifar-10-batches-py")
    write_100(tmp_path / "cifar-100-binary", binary=True)
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"data_batch_1: expected 10000 images, found 3$"):
        load_images("cifar-10")
    with pytest.raises(DataError, match=r"train\.bin: expected 50000 images, found 9$"):
        load_images("cifar-100")
    by_path = load_images(tmp_path / "cifar-10-batches-py", channels=1, per_class=1)
    assert by_path.shape == (32, 32, 1) and by_path.notes == (
        "only 1 images of each class and part are read",
    )
