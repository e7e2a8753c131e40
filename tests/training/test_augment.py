from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from smallprint.spec.recipe import Augment
from smallprint.training.augment import augment
from smallprint.training.changes import draw


def _images(n: int = 4, height: int = 12, width: int = 12, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def _generator() -> np.random.Generator:
    return np.random.default_rng(1)


def _draws(n: int, columns: int) -> np.ndarray:
    """The draws that one stage makes of a fresh generator, (columns, n)."""
    return _generator().uniform(-1, 1, (columns, n))


def _augment(images: Tensor, *stages: Augment) -> Tensor:
    return augment(images, draw(stages, len(images), _generator()))


def _slow_warp(image: np.ndarray, matrix: np.ndarray, shift: np.ndarray, stage: Augment) -> np.ndarray:
    """One image (H, W), pixel by pixel: every output pixel looks up where it comes from."""
    height, width = image.shape
    out = np.full_like(image, stage.fill)
    inverse = np.linalg.inv(matrix)
    for y in range(height):
        for x in range(width):
            place = np.array([x - (width - 1) / 2, y - (height - 1) / 2]) - shift
            column, row = inverse @ place + np.array([(width - 1) / 2, (height - 1) / 2])
            if stage.interpolation == "nearest":
                c, r = round(column), round(row)
                if 0 <= c < width and 0 <= r < height:
                    out[y, x] = image[r, c]
                continue
            left, top = math.floor(column), math.floor(row)
            value = 0.0
            for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                weight = (1 - abs(column - c)) * (1 - abs(row - r))
                value += weight * (image[r, c] if 0 <= c < width and 0 <= r < height else stage.fill)
            out[y, x] = value
    return out


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
@pytest.mark.parametrize(
    "stage",
    [
        Augment(rotate=20),
        Augment(shift=2.5),
        Augment(scale=30),
        Augment(shear=25),
        Augment(stretch=30),
        Augment(rotate=15, shift=1.5, scale=20, shear=10, fill=0.25),
        Augment(rotate=15, shift=1.5, scale=20, shear=10, stretch=15, fill=0.25),
        Augment(rotate=15, shift=1.5, scale=20, shear=10, fill=1 / 255, interpolation="nearest"),
    ],
    ids=str,
)
def test_a_warp_equals_a_slow_one_pixel_by_pixel(stage: Augment, size: tuple[int, int]) -> None:
    images = _images(5, *size)
    moved = _augment(images, stage)
    wrong = 0
    for index, (turn, shear, scale, right, down, stretch) in enumerate(_draws(5, 6).T.tolist()):
        angle, slant = math.radians(turn * stage.rotate), math.radians(shear * stage.shear)
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        wider = 1 + stretch * stage.stretch / 100
        slanted = np.array([[1, -math.tan(slant)], [0, 1]]) @ np.diag([wider, 1 / wider])
        matrix = (1 + scale * stage.scale / 100) * rotation @ slanted
        shift = np.array([right, down]) * stage.shift
        if stage.interpolation == "nearest":
            shift = shift.round()
        expected = _slow_warp(images[index, 0].double().numpy(), matrix, shift, stage)
        wrong += int((np.abs(moved[index, 0].numpy() - expected) > 1e-4).sum())
    # Between two pixels, float32 and float64 may take different ones.
    assert wrong <= (3 if stage.interpolation == "nearest" else 0)


def test_a_rotation_by_nearest_neighbour_is_that_of_pil() -> None:
    images = (_images(40, 28, 28) * 255).to(torch.uint8)
    stage = Augment(rotate=7, fill=1 / 255, interpolation="nearest")
    moved = (_augment(images.float() / 255, stage) * 255).round().to(torch.uint8)
    different = 0
    for index, turn in enumerate((_draws(40, 5)[0] * 7).tolist()):
        # PIL turns against the clock, and so does a negative angle on an axis that points down.
        picture = Image.fromarray(images[index, 0].numpy()).rotate(-turn, Image.Resampling.NEAREST, fillcolor=1)
        different += int((np.asarray(picture) != moved[index, 0].numpy()).sum())
    assert different < 0.002 * images.numel()  # ties between two pixels: PIL counts in 16-bit fractions


def test_what_comes_from_outside_has_the_grey_of_fill() -> None:
    moved = _augment(torch.zeros(20, 1, 8, 8), Augment(shift=3, interpolation="nearest", fill=0.5))
    assert set(moved.unique().tolist()) == {0.0, 0.5}


def test_brightness_and_contrast_stay_within_their_ranges_and_within_greys() -> None:
    grey = torch.full((500, 1, 4, 4), 0.5)
    brighter = _augment(grey, Augment(brightness=40))
    assert brighter.min().item() >= 0.3 - 1e-6
    assert brighter.max().item() <= 0.7 + 1e-6
    assert brighter.flatten(1).std(1).max().item() < 1e-6  # one factor per image
    assert brighter[:, 0, 0, 0].std().item() > 0.1
    torch.testing.assert_close(_augment(grey, Augment(contrast=40)), grey)  # contrast turns about the mean
    both = _augment(_images(50), Augment(brightness=100, contrast=100))
    assert both.min().item() >= 0
    assert both.max().item() <= 1


def test_contrast_stretches_about_each_images_own_mean() -> None:
    images = 0.4 + 0.2 * _images(30)
    changed = _augment(images, Augment(contrast=50))
    factors = torch.from_numpy(1 + 0.5 * _draws(30, 3)[1]).float().view(-1, 1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, mean + (images - mean) * factors)


def test_stages_follow_each_other_and_each_image_gets_its_own_change() -> None:
    images = _images(1).expand(30, 1, 12, 12)
    once = _augment(images, Augment(rotate=10))
    assert len({tuple(image.flatten().tolist()) for image in once}) == 30
    turn, shift = draw([Augment(rotate=10), Augment(shift=2)], 30, _generator())
    expected = augment(augment(images, [turn]), [shift])
    assert torch.equal(_augment(images, Augment(rotate=10), Augment(shift=2)), expected)


def test_a_batch_gets_the_changes_of_its_place_in_the_epoch() -> None:
    images = _images(10)
    changes = draw([Augment(rotate=10, brightness=20)], 10, _generator())
    whole = augment(images, changes)
    torch.testing.assert_close(torch.cat([augment(images[:4], changes), augment(images[4:], changes, 4)]), whole)


def test_no_stage_leaves_the_images_as_they_are() -> None:
    images = _images()
    assert _augment(images) is images
    assert torch.equal(_augment(images, Augment()), images)
