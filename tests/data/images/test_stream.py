"""Streams of images, from memory and from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sif.core.stream import Permutation
from sif.data.images.augment import Augmentation, Preparation, Statistics
from sif.data.images.dataset import Images
from sif.data.images.folder_stream import FolderStream, folder_batches
from sif.data.images.lazy import FolderImages
from sif.data.images.load import load_images
from sif.data.images.stream import ImageStream, image_batches
from sif.errors import DataError

CPU = torch.device("cpu")
PLAIN = Preparation(Statistics((0.0,), (1 / 255,)))  # pixels as they are
AUGMENTED = Preparation(Statistics((0.5,), (0.25,)), Augmentation(pad=1, flip=True, cutout=2))
ROWS = np.array([20, 3, 5, 8, 9, 12, 13, 14, 15, 19, 2])


@dataclass(frozen=True, eq=False)
class Batch:
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 gray 4×4 images of 3 classes, each filled with its row times 10, but for one pixel."""
    root = tmp_path_factory.mktemp("images")
    for row in range(24):
        path = root / f"c{row // 8}" / f"{row:02}.png"
        path.parent.mkdir(exist_ok=True)
        content = np.full((4, 4), 10 * row, dtype=np.uint8)
        content[0, 0] = 255
        Image.fromarray(content).save(path)
    return root


@pytest.fixture(scope="module")
def images(folder: Path) -> Images:
    found = load_images(folder, channels=1)
    assert isinstance(found, Images)
    return found


@pytest.fixture(scope="module")
def lazy(folder: Path) -> FolderImages:
    found = load_images(folder, channels=1, memory=0)
    assert isinstance(found, FolderImages)
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(
    images: Images, size: int = 4, prepare: Preparation = PLAIN, seed: int = 0
) -> ImageStream:
    return ImageStream(images.tensors(CPU), ROWS, size, prepare, generator(seed), Batch)


def from_disk(
    lazy: FolderImages, size: int = 4, prepare: Preparation = PLAIN, seed: int = 0, workers: int = 0
) -> FolderStream:
    return FolderStream(lazy, ROWS, size, prepare, generator(seed), Batch, CPU, workers)


def rows_of(batch: Batch) -> list[int]:
    return (batch.images[:, 0, 1, 1] / 10).round().int().tolist()


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_batches_hold_the_rows_of_the_part_in_random_order(images: Images) -> None:
    source, order = stream(images), Permutation(len(ROWS), 4, generator())
    assert source.steps_per_pass == 3
    drawn: list[int] = []
    for _ in range(11):
        batch = source.next()
        assert batch.images.shape == (4, 1, 4, 4) and batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels.dtype == torch.int64
        assert rows_of(batch) == ROWS[order.next().numpy()].tolist()
        assert batch.labels.tolist() == [row // 8 for row in rows_of(batch)]
        drawn += rows_of(batch)
    for start in range(0, 44, 11):
        assert sorted(drawn[start : start + 11]) == sorted(ROWS)


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 7])
def test_a_resumed_stream_continues_as_if_nothing_had_been(images: Images, taken: int) -> None:
    source = stream(images, prepare=AUGMENTED)
    for _ in range(taken):
        source.next()
    state = source.state_dict()
    expected = [source.next() for _ in range(8)]
    other = stream(images, prepare=AUGMENTED, seed=9)
    other.next()
    other.load_state_dict(state)
    assert all(same(batch, other.next()) for batch in expected)
    assert not same(expected[0], stream(images, prepare=AUGMENTED, seed=8).next())


def test_augmentation_leaves_the_order_alone(images: Images) -> None:
    plain, augmented = stream(images), stream(images, prepare=AUGMENTED)
    for _ in range(5):
        assert plain.next().labels.tolist() == augmented.next().labels.tolist()


def test_one_pass_in_order(images: Images, lazy: FolderImages) -> None:
    batches = list(image_batches(images.tensors(CPU), ROWS, 4, PLAIN, Batch))
    assert [len(batch.labels) for batch in batches] == [4, 4, 3]
    assert [row for batch in batches for row in rows_of(batch)] == ROWS.tolist()
    disk = list(folder_batches(lazy, ROWS, 4, PLAIN, Batch, CPU, workers=0))
    assert all(same(one, other) for one, other in zip(batches, disk, strict=True))


@pytest.mark.parametrize("size", [12, 0])
def test_a_batch_larger_than_the_part_is_refused(
    images: Images, lazy: FolderImages, size: int
) -> None:
    told = f"batch size: expected 1 to 11, the images of the part, found {size}$"
    with pytest.raises(DataError, match=told):
        stream(images, size)
    with pytest.raises(DataError, match=told):
        from_disk(lazy, size)
    whole = stream(images, 11)
    first, second = rows_of(whole.next()), rows_of(whole.next())
    assert sorted(first) == sorted(second) == sorted(ROWS.tolist())
    assert first != second  # the first rows of a batch are others every time


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_gives_the_batches_that_memory_gives(
    images: Images, lazy: FolderImages, workers: int
) -> None:
    """Two processes decode ahead, and their batches still come in order."""
    before = torch.random.get_rng_state()
    memory, disk = stream(images, prepare=AUGMENTED), from_disk(lazy, 4, AUGMENTED, 0, workers)
    assert disk.steps_per_pass == memory.steps_per_pass
    assert all(same(memory.next(), disk.next()) for _ in range(9))
    assert disk.notes == ()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_folder_repeats_what_was_decoded_ahead(lazy: FolderImages, workers: int) -> None:
    source = from_disk(lazy, 4, AUGMENTED, 0, workers)
    start = source.state_dict()
    first = [source.next() for _ in range(4)]
    state = source.state_dict()
    expected = [source.next() for _ in range(5)]
    other = from_disk(lazy, 4, AUGMENTED, 7, workers)
    other.next()
    other.load_state_dict(state)
    assert all(same(batch, other.next()) for batch in expected)
    other.load_state_dict(start)
    assert all(same(batch, other.next()) for batch in first)


@pytest.fixture
def spoilt(folder: Path, lazy: FolderImages) -> Iterator[FolderImages]:
    """Two rows of the part are not what they were when the folder was listed."""
    paths = [folder / lazy.files[row] for row in (3, 20)]
    contents = [path.read_bytes() for path in paths]
    paths[0].write_bytes(b"")
    yield lazy
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)


def test_a_corrupt_file_is_left_out_of_its_batch(spoilt: FolderImages) -> None:
    source = from_disk(spoilt)
    drawn = [row for _ in range(11) for row in rows_of(source.next())]
    assert 3 not in drawn and len(drawn) == 40 and set(drawn) == set(ROWS) - {3}
    (note,) = source.notes
    assert note == "1 corrupt of 24 images left out: c0/03.png (no image in it)"
    single = from_disk(spoilt, 1)
    assert all(len(single.next().labels) == 1 for _ in range(22))  # never an empty batch
    rest = list(folder_batches(spoilt, ROWS, 1, PLAIN, Batch, CPU, workers=0))
    assert [rows_of(batch)[0] for batch in rest] == [row for row in ROWS if row != 3]
    (spoilt.root / spoilt.files[20]).write_bytes(b"")
    with pytest.raises(DataError, match=r"at most 1 corrupt of 24 images, found 2: "):
        for _ in range(4):
            source.next()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_odd_size_is_one_line_also_from_a_worker(spoilt: FolderImages, workers: int) -> None:
    path = spoilt.root / spoilt.files[20]
    Image.new("L", (4, 6)).save(path)
    source = from_disk(spoilt, 11, workers=workers)
    with pytest.raises(DataError) as error:
        source.next()
    said = str(error.value)
    assert said.startswith(f"{spoilt.root}: c2/20.png: ")
    assert "4x4" in said and "found 4x6" in said and "give a size" in said


def test_streams_are_what_loops_expect(images: Images, lazy: FolderImages) -> None:
    from sif.core.stream import Stream

    sources: list[Stream] = [stream(images), from_disk(lazy)]
    for source in sources:
        state: dict[str, Any] = source.state_dict()
        assert set(state) == {"rows", "draws"} and isinstance(state["draws"], Tensor)
