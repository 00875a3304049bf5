"""Crops, rotations and hues of batches against one image or one pixel after the other."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sif.data.images.augment import Augmentation, Preparation, Statistics, jittered
from sif.data.images.color import hue_shifted
from sif.data.images.warp import RATIOS, drawn_boxes, randomly_warped, warped

N = 12
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(height: int = 7, width: int = 5, channels: int = 3, n: int = N) -> Tensor:
    return torch.rand(n, channels, height, width, generator=generator(5), dtype=torch.float64)


def turned(found: Tensor, degrees: float, box: Tensor = WHOLE) -> Tensor:
    n = len(found)
    return warped(found, box.expand(n, 4), torch.full((n,), degrees))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_image_unturned_is_the_image(channels: int, dtype: torch.dtype) -> None:
    before = images(channels=channels).to(dtype)
    after = turned(before, 0.0)
    assert after.dtype == dtype
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("quarters", [-1, 0, 1, 2])
def test_quarter_turns_of_squares_are_exact(quarters: int) -> None:
    square = images(6, 6)
    expected = torch.rot90(square, quarters, (2, 3))
    torch.testing.assert_close(turned(square, 90.0 * quarters), expected)


def test_a_turn_has_an_angle_of_pixels_and_leaves_black_corners() -> None:
    wide = images(6, 10)
    found = turned(wide, 90.0)
    # The middle 6 x 6 turns; what it has no pixels for is black.
    torch.testing.assert_close(found[..., 2:8], torch.rot90(wide[..., 2:8], 1, (2, 3)))
    assert (found[..., :2] == 0).all() and (found[..., 8:] == 0).all()
    white = torch.ones(1, 1, 64, 64)
    some = turned(white, 30.0)
    cosine, sine = math.cos(math.radians(30)), math.sin(math.radians(30))
    center = torch.arange(64) - 31.5
    x, y = cosine * center - sine * center[:, None], sine * center + cosine * center[:, None]
    inside = (x.abs() < 32) & (y.abs() < 32)
    torch.testing.assert_close(some[0, 0], inside.float())  # no rim between white and black


def test_a_crop_is_an_interpolated_slice() -> None:
    whole = images(16, 24)
    # A margin of one pixel is what pixels at the border of the crop are interpolated with.
    margin = F.interpolate(
        whole[..., 2:12, 5:19], scale_factor=2, mode="bilinear", align_corners=False
    )
    box = torch.tensor([[3 / 16, 6 / 24, 8 / 16, 12 / 24]], dtype=torch.float64)
    torch.testing.assert_close(turned(whole, 0.0, box), margin[..., 2:-2, 2:-2])
    corner = F.interpolate(
        whole[..., :9, :13], scale_factor=2, mode="bilinear", align_corners=False
    )
    box = torch.tensor([[0, 0, 8 / 16, 12 / 24]], dtype=torch.float64)
    torch.testing.assert_close(turned(whole, 0.0, box), corner[..., :-2, :-2])


def test_a_small_crop_at_the_border_has_no_black_rim() -> None:
    white = torch.ones(1, 3, 32, 32)
    box = torch.tensor([[0.0, 0.0, 0.25, 0.25]], dtype=torch.float64)
    assert (turned(white, 0.0, box) == 1).all()


def test_every_image_has_its_own_box_and_angle() -> None:
    some = images(8, 8)
    boxes = drawn_boxes(N, 8, 8, 0.2, generator(3))
    degrees = 40 * torch.rand(N, generator=generator(4))
    found = warped(some, boxes, degrees)
    for i in range(N):
        alone = warped(some[i : i + 1], boxes[i : i + 1], degrees[i : i + 1])
        torch.testing.assert_close(found[i], alone[0])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 40), (10, 50), (50, 10)])
@pytest.mark.parametrize("scale", [0.08, 0.5, 1.0])
def test_boxes_are_within_their_bounds(height: int, width: int, scale: float) -> None:
    top, left, tall, wide = drawn_boxes(4000, height, width, scale, generator()).unbind(1)
    slack = 1e-12
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + tall <= 1 + slack).all() and (left + wide <= 1 + slack).all()
    ratio = wide * width / (tall * height)
    assert (ratio >= RATIOS[0] - slack).all() and (ratio <= RATIOS[1] + slack).all()
    fitting = tall * wide >= scale - slack
    # 10 x 50: no box of a ratio up to 4/3 has more than 4/15 of the area; the largest is central.
    assert fitting.all() or (scale > 4 / 15 and width in (10, 50))
    central = torch.isclose(top, (1 - tall) / 2) & torch.isclose(left, (1 - wide) / 2)
    assert central[~fitting].all()


def test_areas_ratios_and_places_are_uniform_where_every_draw_fits() -> None:
    # Below half the area every ratio fits a square, but draws above it are left out unevenly.
    top, left, tall, wide = drawn_boxes(40_000, 32, 32, 0.08, generator()).unbind(1)
    low = tall * wide < 0.5
    for values, start, stop in (
        ((tall * wide)[low], 0.08, 0.5),
        ((wide / tall)[low].log(), math.log(RATIOS[0]), math.log(RATIOS[1])),
        ((top / (1 - tall))[low], 0, 1),
        ((left / (1 - wide))[low], 0, 1),
    ):
        share = torch.histc((values - start) / (stop - start), 5, 0, 1) / len(values)
        assert (share - 0.2).abs().max() < 0.02


def test_hues_are_those_of_single_pixels() -> None:
    some = images()
    some[0, :, 0, 0] = 0.3  # gray, then two channels that are both highest or both lowest
    some[0, :, 0, 1] = torch.tensor([0.7, 0.7, 0.1])
    some[0, :, 0, 2] = torch.tensor([0.1, 0.7, 0.1])
    some[0, :, 0, 3] = 0.0
    shift = 4 * torch.rand(N, generator=generator(1), dtype=torch.float64) - 2
    found = hue_shifted(some, shift).permute(0, 2, 3, 1)
    for i, image in enumerate(some.permute(0, 2, 3, 1)):
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                hue, saturation, value = colorsys.rgb_to_hsv(*image[y, x].tolist())
                expected = colorsys.hsv_to_rgb((hue + float(shift[i])) % 1, saturation, value)
                assert found[i, y, x].tolist() == pytest.approx(expected, abs=1e-12)
    assert found.min() >= 0 and found.max() <= 1


def test_hues_go_round_and_leave_gray_alone() -> None:
    some = images()
    for whole in (0.0, 1.0, -1.0):
        torch.testing.assert_close(hue_shifted(some, torch.full((N,), whole)), some)
    red, green, blue = (torch.eye(3)[i][None, :, None, None] for i in range(3))
    third = torch.tensor([1 / 3])
    torch.testing.assert_close(hue_shifted(red, third), green)
    torch.testing.assert_close(hue_shifted(green, third), blue)
    torch.testing.assert_close(hue_shifted(blue, third), red)
    gray = images(channels=1).expand(N, 3, 7, 5)
    assert torch.equal(hue_shifted(gray, torch.rand(N, generator=generator())), gray)
    one = images(channels=1)
    assert torch.equal(hue_shifted(one, torch.ones(N) / 3), one)


FULL = Augmentation(2, True, 3, 0.4, 0.3, 0.2, scale=0.08, rotate=20, hue=0.2)


def pixels(channels: int = 3) -> Tensor:
    shape = (N, 7, 5, channels)
    return torch.randint(256, shape, generator=generator(5), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_seed_is_a_batch(channels: int) -> None:
    prepare = Preparation(Statistics((0.5,) * channels, (0.2,) * channels), FULL)
    one, same, other = (prepare(pixels(channels), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.is_contiguous(memory_format=torch.channels_last) and one.dtype == torch.float32


def test_the_order_is_warp_colors_hue() -> None:
    chosen = Augmentation(0, False, 0, 0.4, 0.3, 0.2, scale=0.08, rotate=20, hue=0.2)
    plain = Statistics((0.0,) * 3, (1.0,) * 3)
    found = Preparation(plain, chosen, torch.float64)(pixels(), generator(9))
    draws = generator(9)
    boxes = drawn_boxes(N, 7, 5, 0.08, draws)
    degrees = 20 * (2 * torch.rand(N, generator=draws) - 1)
    strengths = torch.tensor([[0.4], [0.3], [0.2]])
    factors = 1 + strengths * (2 * torch.rand(3, N, generator=draws) - 1)
    shift = 0.2 * (2 * torch.rand(N, generator=draws) - 1)
    expected = warped(pixels().permute(0, 3, 1, 2).double() / 255, boxes, degrees)
    torch.testing.assert_close(found, hue_shifted(jittered(expected, *factors), shift))


def test_what_is_not_asked_for_is_neither_done_nor_drawn() -> None:
    some, draws = images(), generator()
    before = draws.get_state()
    assert randomly_warped(some, 1.0, 0.0, draws) is some
    assert torch.equal(draws.get_state(), before)
    turns = 20 * (2 * torch.rand(N, generator=generator(1)) - 1)
    expected = warped(some, WHOLE.expand(N, 4), turns)
    assert torch.equal(randomly_warped(some, 1.0, 20, generator(1)), expected)
    crops = drawn_boxes(N, 7, 5, 0.5, generator(1))
    expected = warped(some, crops, torch.zeros(N))
    assert torch.equal(randomly_warped(some, 0.5, 0.0, generator(1)), expected)


def test_batches_without_them_are_what_they_were() -> None:
    """Numbers of the code before there were crops, rotations and hues."""
    some = torch.arange(144).mul(37).remainder(256).to(torch.uint8).view(4, 4, 3, 3)
    statistics = Statistics((0.5,) * 3, (0.25,) * 3)
    draws = generator(9)
    moved = Preparation(statistics, Augmentation(1, True), torch.float64)(some, draws)
    assert ((moved * 0.25 + 0.5) * 255).round().long()[:, :, 0].tolist() == [
        [[0, 222, 111], [0, 3, 148], [0, 40, 185]],
        [[0, 18, 163], [0, 55, 200], [0, 92, 237]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[233, 88, 199], [14, 125, 236], [51, 162, 17]],
    ]
    assert int(torch.randint(1_000_000, (1,), generator=draws)) == 478971
    draws = generator(9)
    chosen = Augmentation(1, True, 2, 0.4, 0.3, 0.2)
    changed = Preparation(statistics, chosen, torch.float64)(some, draws)
    sums = [
        -28.76142397350629665,
        -29.46192786852788004,
        -4.61132602308671569,
        -18.44315016399567497,
    ]
    assert changed.sum((1, 2, 3)).tolist() == pytest.approx(sums, rel=1e-13)
    one = [-0.23455242432208778, 0.0, -0.81331628871714545, -1.83672253168555555]
    assert changed[:, 1, 2, 1].tolist() == pytest.approx(one, rel=1e-13)
    assert int(torch.randint(1_000_000, (1,), generator=draws)) == 911228


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_devices_draw_the_same() -> None:
    prepare = Preparation(Statistics((0.5,) * 3, (0.2,) * 3), FULL, torch.float64)
    on_device = prepare(pixels().cuda(), generator(3))
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), prepare(pixels(), generator(3)))
