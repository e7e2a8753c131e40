"""Scales, labels and SVG, each against what it promises."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallprint.views.canvas import AccuracyScale, canvas, log_ticks, pixels, short, side_labels, spread, svg

places = st.lists(st.floats(-100, 100), max_size=8)


@given(places)
def test_spread_labels_are_apart_and_keep_their_order(heights: list[float]) -> None:
    moved = spread(heights, 5.0)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    assert all(moved[b] - moved[a] >= 5 - 1e-6 for a, b in pairwise(order))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([30.0, 0.0, 10.0], 5.0) == [30.0, 0.0, 10.0]


def test_labels_that_overlap_part_evenly_about_their_mean() -> None:
    assert spread([10.0, 10.0], 4.0) == [8.0, 12.0]
    assert spread([1.0, 0.0, 20.0], 3.0) == pytest.approx([2.0, -1.0, 20.0])


def test_the_height_of_an_accuracy_is_the_logarithm_of_its_error() -> None:
    scale = AccuracyScale(10_000)
    assert scale(99.0) == pytest.approx(0.0)
    assert scale(99.9) == pytest.approx(1.0)
    assert scale(90.0) == pytest.approx(-1.0)


def test_no_error_is_drawn_as_half_an_image() -> None:
    assert AccuracyScale(100)(100.0) == pytest.approx(-math.log10(0.5))


def test_what_was_not_measured_has_no_height() -> None:
    assert np.isnan(AccuracyScale(100).of(np.array([np.nan]))).all()


def test_the_promise_has_its_own_tick_and_no_round_one_hides_it() -> None:
    with canvas(300, 200, left=40, bottom=30) as (_, axes):
        AccuracyScale(10_000).set_up(axes, [98.0, 99.6], 99.49)
        labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["98", "99", "99.49"]


@pytest.mark.parametrize(
    ("percents", "promise", "said"),
    [
        ((99.27, 99.45), 99.39, ["99.2", "99.3", "99.5", "99.39"]),
        ((98.84, 99.5), 99.4, ["98.8", "99", "99.2", "99.4"]),
        ((88.0, 95.0), 90.64, ["86", "88", "92", "94", "90.64"]),
    ],
)
def test_accuracies_that_lie_close_have_ticks_at_even_steps(
    percents: tuple[float, ...], promise: float, said: list[str]
) -> None:
    with canvas(400, 300, left=40, bottom=30) as (_, axes):
        AccuracyScale(10_000).set_up(axes, percents, promise)
        assert [label.get_text() for label in axes.get_yticklabels()] == said


@given(st.floats(1e-3, 1e9), st.floats(1.03, 1e4), st.integers(250, 900))
def test_ticks_of_a_logarithmic_axis_leave_room_between_their_labels(low: float, ratio: float, width: int) -> None:
    with canvas(width, 100, bottom=30) as (_, axes):
        axes.set_xscale("log")
        axes.set_xlim(low, low * ratio)
        log_ticks(axes, lambda amount: f"{amount:,g}")
        ticks = [float(tick) for tick in axes.get_xticks()]
        places = [float(axes.transData.transform((tick, 0))[0]) for tick in ticks]
        widths = [6 * len(label.get_text()) for label in axes.get_xticklabels()]
    assert all(low <= tick <= low * ratio for tick in ticks)
    for (left, right), (one, other) in zip(pairwise(places), pairwise(widths), strict=True):
        assert right - left >= (one + other) / 2


def test_a_logarithmic_axis_has_the_finest_ticks_for_which_there_is_room() -> None:
    def said(low: float, high: float, width: int) -> list[str]:
        with canvas(width, 100) as (_, axes):
            axes.set_xscale("log")
            axes.set_xlim(low, high)
            log_ticks(axes, lambda amount: f"{amount:,.0f}")
            return [label.get_text() for label in axes.get_xticklabels()]

    assert said(6_000, 200_000, 210) == ["10,000", "30,000", "100,000"]
    assert said(6_000, 200_000, 300) == ["10,000", "20,000", "50,000", "100,000", "200,000"]
    assert said(3_721, 4_192, 650) == ["3,800", "3,900", "4,000", "4,100"]


def test_a_text_is_text_and_nothing_in_it_is_mathematics_or_markup() -> None:
    with canvas(300, 200, left=40, right=100) as (figure, axes):
        side_labels(axes, [(0.5, "<b> & $x^2$ é お", "#000000")])
        drawn = svg(figure)
    assert "&lt;b&gt; &amp; $x^2$ é お" in drawn
    ET.fromstring(drawn)


def test_a_drawing_depends_on_its_numbers_only() -> None:
    def draw() -> str:
        with canvas(200, 100) as (figure, axes):
            axes.plot([0, 1], [0, 1], "o-")
            return svg(figure)

    import matplotlib as mpl

    first = draw()
    with mpl.rc_context({"lines.linewidth": 9.0, "svg.hashsalt": None, "font.size": 30}):
        assert draw() == first
    assert "<metadata" not in first
    assert "<!DOCTYPE" not in first


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with canvas(200, 100) as (figure, _):
        svg(figure)
    assert dict(mpl.rcParams) == before


def test_long_texts_are_cut_and_stay_on_one_line() -> None:
    assert short("ankle\n boot", 20) == "ankle boot"
    assert short("sandal", 4) == "san…"


def test_grey_and_coloured_images_have_the_shape_that_is_drawn() -> None:
    assert pixels(np.zeros((1, 4, 5), dtype=np.uint8)).shape == (4, 5)
    assert pixels(np.zeros((3, 4, 5), dtype=np.uint8)).shape == (4, 5, 3)
