"""Augmentation of batches against one image after the other."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.data.images.augment import (
    Augmentation,
    Preparation,
    Statistics,
    channel_statistics,
    cut_out,
    shifted,
)
from sif.data.images.color import jittered
from sif.data.images.dataset import Images
from sif.errors import DataError

N, H, W = 40, 7, 5
PLAIN = Statistics((0.0,), (1.0,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[1, 3])
def pixels(request: pytest.FixtureRequest) -> Tensor:
    return torch.randint(256, (N, H, W, request.param), generator=generator(5), dtype=torch.uint8)


def draw(high: int, seed: int) -> Tensor:
    return torch.randint(high, (N,), generator=generator(seed))


@pytest.mark.parametrize("pad", [0, 1, 3, 9])
def test_crops_and_flips_are_those_of_single_padded_images(pixels: Tensor, pad: int) -> None:
    top, left, flip = draw(2 * pad + 1, 1), draw(2 * pad + 1, 2), draw(2, 3).bool()
    found = shifted(pixels, top, left, flip, pad)
    assert found.dtype == torch.uint8 and found.shape == pixels.shape
    for i in range(N):
        padded = np.pad(pixels[i].numpy(), ((pad, pad), (pad, pad), (0, 0)))
        crop = padded[top[i] : top[i] + H, left[i] : left[i] + W]
        expected = crop[:, ::-1] if flip[i] else crop
        np.testing.assert_array_equal(found[i].numpy(), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 16])
def test_cut_out_is_a_square_clipped_at_the_border(side: int) -> None:
    images = torch.rand(N, 3, H, W, generator=generator()) + 0.1
    y, x = draw(H, 1), draw(W, 2)
    found = cut_out(images, y, x, side)
    for i in range(N):
        expected = images[i].clone()
        for row in range(int(y[i]) - side // 2, int(y[i]) - side // 2 + side):
            for column in range(int(x[i]) - side // 2, int(x[i]) - side // 2 + side):
                if 0 <= row < H and 0 <= column < W:
                    expected[:, row, column] = 0
        assert torch.equal(found[i], expected)
    if side % 2 == 0:  # the mask of the published code of DARTS (utils.py, Cutout)
        for i in range(N):
            mask = np.ones((H, W))
            rows = np.clip([int(y[i]) - side // 2, int(y[i]) + side // 2], 0, H)
            columns = np.clip([int(x[i]) - side // 2, int(x[i]) + side // 2], 0, W)
            mask[rows[0] : rows[1], columns[0] : columns[1]] = 0
            np.testing.assert_array_equal((found[i, 0] != 0).numpy(), mask == 1)


def slow_jitter(image: np.ndarray, b: float, c: float, s: float) -> np.ndarray:
    """One image (h, w, 3), one pixel after the other; gray is the Y of YIQ."""
    image = np.clip(image * b, 0, 1)
    gray = np.array([[luma(pixel) for pixel in row] for row in image])
    image = np.clip(c * image + (1 - c) * gray.mean(), 0, 1)
    gray = np.array([[luma(pixel) for pixel in row] for row in image])
    return np.clip(s * image + (1 - s) * gray[..., None], 0, 1)


def luma(pixel: np.ndarray) -> float:
    return colorsys.rgb_to_yiq(*pixel)[0]


def test_colors_are_those_of_single_images() -> None:
    images = torch.rand(N, 3, H, W, generator=generator(), dtype=torch.float64)
    factors = 0.2 + 1.6 * torch.rand(3, N, generator=generator(1), dtype=torch.float64)
    found = jittered(images, *factors)
    for i in range(N):
        b, c, s = factors[:, i].tolist()
        expected = slow_jitter(images[i].permute(1, 2, 0).numpy(), b, c, s)
        # colorsys rounds its first weight to 0.30, 0.59, 0.11.
        np.testing.assert_allclose(found[i].permute(1, 2, 0).numpy(), expected, atol=4e-3)
    ones = torch.ones(N, dtype=torch.float64)
    torch.testing.assert_close(jittered(images, ones, ones, ones), images)
    washed = jittered(images, ones, ones, 0 * ones)
    torch.testing.assert_close(washed[:, 0], washed[:, 2])


def test_gray_images_have_no_saturation() -> None:
    images = torch.rand(N, 1, H, W, generator=generator(), dtype=torch.float64)
    ones = torch.ones(N, dtype=torch.float64)
    torch.testing.assert_close(jittered(images, ones, ones, 5 * ones), images)
    flat = jittered(images, ones, 0 * ones, ones)
    torch.testing.assert_close(flat, images.mean(dim=(1, 2, 3), keepdim=True).expand_as(images))


def test_statistics_are_exact_and_those_of_the_rows(pixels: Tensor) -> None:
    labels = np.zeros(N, dtype=np.int64)
    images = Images("x", pixels.numpy(), labels, ("a",))
    rows = np.arange(3, N, 2)
    found = channel_statistics(images, rows)
    chosen = pixels.numpy()[rows].reshape(-1, pixels.shape[3]) / 255
    np.testing.assert_allclose(found.mean, chosen.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, chosen.std(axis=0), rtol=1e-12)
    prepared = Preparation(found, dtype=torch.float64)(pixels[rows], generator())
    torch.testing.assert_close(prepared.mean((0, 2, 3)), prepared.new_zeros(pixels.shape[3]))
    torch.testing.assert_close(prepared.std((0, 2, 3), correction=0), prepared.new_ones(1).expand(
        pixels.shape[3]))  # fmt: skip
    flat = Images("x", np.full((2, 2, 2, 1), 51, np.uint8), labels[:2], ("a",))
    assert channel_statistics(flat, np.arange(2)) == Statistics((pytest.approx(0.2),), (1.0,))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="x: expected images to take statistics of, found none"):
        channel_statistics(flat, np.arange(0))


def test_without_augmentation_nothing_is_drawn(pixels: Tensor) -> None:
    draws = generator()
    before = draws.get_state()
    prepared = Preparation(PLAIN)(pixels, draws)
    assert torch.equal(draws.get_state(), before)
    assert prepared.dtype == torch.float32
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared, pixels.permute(0, 3, 1, 2) / 255)
    half = Preparation(PLAIN, dtype=torch.bfloat16)(pixels, draws)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, prepared.to(torch.bfloat16))


FULL = Augmentation(pad=2, flip=True, cutout=3, brightness=0.4, contrast=0.3, saturation=0.2)


def test_a_seed_is_an_augmentation(pixels: Tensor) -> None:
    prepare = Preparation(Statistics((0.5,) * pixels.shape[3], (0.2,) * pixels.shape[3]), FULL)
    one, same, other = (prepare(pixels, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert one.shape == (N, pixels.shape[3], H, W)


def test_the_order_is_crop_flip_colors_normalize_cut() -> None:
    pixels = torch.randint(256, (N, H, W, 3), generator=generator(), dtype=torch.uint8)
    statistics = Statistics((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    found = Preparation(statistics, FULL, torch.float64)(pixels, generator(9))
    draws = generator(9)
    top, left = torch.randint(5, (2, N), generator=draws)
    flip = torch.rand(N, generator=draws) < 0.5
    strengths = torch.tensor([[0.4], [0.3], [0.2]])
    factors = 1 + strengths * (2 * torch.rand(3, N, generator=draws) - 1)
    y = torch.randint(H, (N,), generator=draws)
    x = torch.randint(W, (N,), generator=draws)
    images = shifted(pixels, top, left, flip, 2).permute(0, 3, 1, 2).double() / 255
    images = jittered(images, *factors)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None]
                 for v in (statistics.mean, statistics.std))  # fmt: skip
    expected = cut_out((images - mean) / std, y, x, 3)
    torch.testing.assert_close(found, expected)
    assert (found == 0).all(dim=1).any(dim=(1, 2)).all()  # the cut comes last: exact zeros


def test_offsets_and_flips_are_uniform() -> None:
    n = 20_000
    place = torch.arange(1, 26, dtype=torch.uint8).view(1, 5, 5, 1).expand(n, 5, 5, 1)
    prepared = Preparation(PLAIN, Augmentation(pad=1))(place, generator())
    center = (prepared[:, 0, 2, 2] * 255).round().long()  # which old pixel is in the middle now
    counts = torch.bincount(center, minlength=26)
    near = torch.tensor([7, 8, 9, 12, 13, 14, 17, 18, 19])
    assert counts[near].sum() == n
    assert (counts[near] / n - 1 / 9).abs().max() < 0.01
    flipped = Preparation(PLAIN, Augmentation(flip=True))(place, generator())[:, 0, 0, 0] * 255 > 4
    assert abs(float(flipped.float().mean()) - 0.5) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_devices_draw_the_same(pixels: Tensor) -> None:
    prepare = Preparation(Statistics((0.5,) * pixels.shape[3], (0.2,) * pixels.shape[3]), FULL)
    on_device = prepare(pixels.cuda(), generator(3))
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), prepare(pixels, generator(3)))
