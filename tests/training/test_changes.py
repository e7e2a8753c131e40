from __future__ import annotations

import math

import numpy as np
import pytest

from smallprint.spec.recipe import Augment, Recipe
from smallprint.training.changes import draw, inverse_map


def _stages(text: str) -> tuple[Augment, ...]:
    return Recipe.parse({"optimiser": "adam lr=0.1", "augment": text}).augment


@pytest.mark.parametrize("stretch", [(1.0, 1.0), (1.2, 0.8)])
def test_the_inverse_map_undoes_stretch_shear_turn_and_scale(stretch: tuple[float, float]) -> None:
    turn, shear, scale = np.array([0.3, -1.0]), np.array([0.2, 0.5]), np.array([1.3, 0.7])
    for index, inverse in enumerate(inverse_map(turn, shear, scale, np.array(stretch))):
        t, s, k, wider = turn[index], shear[index], scale[index], stretch[index]
        rotation = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
        forward = k * rotation @ np.array([[1.0, -math.tan(s)], [0.0, 1.0]]) @ np.diag([wider, 1 / wider])
        np.testing.assert_allclose(inverse, np.linalg.inv(forward))
        np.testing.assert_allclose(np.linalg.det(inverse), k**-2)  # neither stretch nor shear changes the area


def test_a_stretch_leaves_the_other_draws_of_its_stage_as_they_are() -> None:
    plain, stretched = (
        draw(_stages(text), 5, np.random.default_rng(0))[0]
        for text in ("rotate=7deg shift=2px", "rotate=7deg shift=2px stretch=0.001%")
    )
    for name in ("inverse", "offset"):
        np.testing.assert_allclose(plain.drawn[name], stretched.drawn[name], atol=1e-4)


def test_only_what_a_stage_asks_for_is_drawn() -> None:
    turned, recoloured = draw(_stages("rotate=7deg; brightness=10% contrast=20%"), 5, np.random.default_rng(0))
    assert set(turned.drawn) == {"inverse", "offset"}
    assert set(recoloured.drawn) == {"brightness", "contrast", "order"}
    assert turned.drawn["inverse"].shape == (5, 2, 2)
    assert {array.dtype for array in (turned.drawn | recoloured.drawn).values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("text", "name", "middle", "most"),
    [("rotate=9deg", "inverse", 0.0, math.sin(math.radians(9))), ("shift=2px", "offset", 0.0, 2.0),
     ("brightness=40%", "brightness", 1.0, 0.4), ("contrast=30%", "contrast", 1.0, 0.3)],
)  # fmt: skip
def test_draws_fill_their_range_and_stay_within(text: str, name: str, middle: float, most: float) -> None:
    (change,) = draw(_stages(text), 4000, np.random.default_rng(0))
    drawn = change.drawn[name][:, 0, 1] if name == "inverse" else change.drawn[name]
    assert 0.99 * most < np.abs(drawn - middle).max() <= most * (1 + 1e-6)
    assert drawn.mean() == pytest.approx(middle, abs=0.05 * most)


def test_the_nearest_pixel_is_reached_by_shifts_of_whole_pixels() -> None:
    (change,) = draw(_stages("shift=2px interpolation=nearest"), 100, np.random.default_rng(0))
    assert set(np.unique(change.drawn["offset"])) == {-2, -1, 0, 1, 2}
