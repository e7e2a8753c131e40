"""The numbers of each figure against a slow count, and drawings that are SVG whatever they are given."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest

from smallprint.results.runs import Run
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder, Published, Rung
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.views import plots
from smallprint.views.canvas import canvas

Fabricate = Callable[..., Run]


@pytest.fixture
def rung(ladder: Ladder) -> Rung:
    return ladder.rungs[1]


@pytest.fixture
def runs(ladder: Ladder, rung: Rung, fabricate: Fabricate) -> list[Run]:
    return [
        fabricate(ladder, rung, 0, level=99.2),
        fabricate(ladder, rung, 1, level=99.4),
        fabricate(ladder, rung, 2, status="diverged", epochs=4),
    ]


def texts(drawn: str) -> set[str]:
    return {text.strip() for text in ET.fromstring(drawn).itertext() if text.strip()}


def test_the_worst_accuracy_of_each_finished_seed_is_that_of_its_last_epochs(runs: list[Run]) -> None:
    expected = [min(100 * epoch.test_correct / epoch.test_total for epoch in run.epochs[-5:]) for run in runs[:2]]
    assert plots.worst_accuracies(runs, 5) == pytest.approx(expected)


def test_a_published_curve_shorter_than_the_window_has_no_worst_epoch() -> None:
    published = Published(test=(99.0, 98.0, 99.5))
    assert plots.published_worst(published, 2) == 98.0
    assert plots.published_worst(published, 3) == 98.0
    assert plots.published_worst(published, 4) is None
    assert plots.published_worst(None, 1) is None


def test_the_ladders_picture_holds_every_rung_with_its_own_numbers(ladder: Ladder, rung: Rung, runs: list[Run]) -> None:
    picture = plots.ladder_picture(ladder.contract, [(ladder.rungs[0], 7704, []), (rung, 7864, runs)])
    empty, measured = picture.points
    assert (empty.number, empty.name, empty.parameters, empty.worst, empty.mean) == (1, "base", 7704, (), None)
    assert empty.published == 98.28
    assert measured.number == 2
    assert measured.mean == pytest.approx(fmean(plots.worst_accuracies(runs, 5)))
    assert (picture.promise, picture.limit, picture.last, picture.images) == (99.4, 7999, 5, 10_000)


def test_curves_are_what_the_epochs_measured_and_nothing_where_there_is_none(
    ladder: Ladder, rung: Rung, runs: list[Run]
) -> None:
    found = plots.curves(runs, ladder.contract, rung.published)
    assert found.seeds == (0, 1, 2)
    assert found.finished == (True, True, False)
    assert rung.published
    assert (found.published, found.published_train) == (rung.published.test, rung.published.train)
    for row, run in enumerate(runs):
        for column in range(15):
            epoch = run.epochs[column] if column < len(run.epochs) else None
            for name, value in (
                ("test_SE", epoch and 100 * epoch.test_correct / epoch.test_total),
                ("train_SE", epoch and 100 * epoch.train_correct / epoch.train_total),
                ("test_loss_SE", epoch and epoch.test_loss),
                ("train_loss_SE", epoch and epoch.train_loss),
            ):
                expected = math.nan if value is None else value
                assert getattr(found, name)[row, column] == pytest.approx(expected, nan_ok=True)


def test_the_band_is_that_of_the_seeds_that_finished() -> None:
    values = np.array([[1.0, 5.0], [3.0, 9.0], [100.0, np.nan]])
    found = plots.band(values, (True, True, False))
    assert found
    assert found.mean_E.tolist() == [2.0, 7.0]
    assert found.low_E.tolist() == [1.0, 5.0]
    assert found.high_E.tolist() == [3.0, 9.0]
    assert plots.band(values, (False, False, False)) is None


def test_the_ladders_drawing_names_every_rung_and_the_promise(ladder: Ladder, rung: Rung, runs: list[Run]) -> None:
    picture = plots.ladder_picture(ladder.contract, [(ladder.rungs[0], 7704, []), (rung, 7864, runs)])
    for width in (360, 720):
        assert {"1", "2", "1  base", "2  batchnorm", "99.4", "parameters"} <= texts(
            plots.draw_ladder(picture, width=width)
        )


def test_a_ladder_from_hundreds_to_millions_of_parameters_has_a_logarithmic_axis(
    ladder: Ladder, rung: Rung, runs: list[Run]
) -> None:
    picture = plots.ladder_picture(ladder.contract, [(rung, 900, runs), (rung, 6_000_000, runs[:1])])
    assert {"1,000", "1,000,000"} <= texts(plots.draw_ladder(picture))


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("width", [360, 820])
def test_rungs_of_nearly_the_same_size_stand_apart_in_order_and_on_their_side_of_the_limit(
    name: str, width: int
) -> None:
    ladder = read_ladder(name)
    sizes = [ladder.trace(rung).parameters for rung in ladder.rungs]
    assert ladder.contract.parameters
    limit = ladder.contract.parameters.nearest_whole()
    with canvas(width, 300, left=46, right=100) as (_, axes):
        places = plots._places(axes, sizes, limit, 13)
        edge = float(axes.transData.transform((limit, 0))[0])
        left, right = axes.bbox.x0, axes.bbox.x1
    order = sorted(range(len(sizes)), key=lambda rung: places[rung])
    assert [sizes[rung] for rung in order] == sorted(sizes)
    apart = min(13, (axes.bbox.width - 66) / len(sizes))  # less where that many do not fit; 66 is room at the ends
    assert all(places[after] - places[before] > apart - 1e-6 for before, after in pairwise(order))
    assert all((place < edge) == (size <= limit) for place, size in zip(places, sizes, strict=True))
    assert left < places[order[0]]
    assert places[order[-1]] < right


def test_a_ladder_without_limit_without_runs_or_with_no_error_is_drawn(
    ladder: Ladder, rung: Rung, fabricate: Fabricate
) -> None:
    open_ended = Contract.parse({"accuracy": ">= 99%", "last_epochs": 1})
    assert "parameters" in texts(plots.draw_ladder(plots.ladder_picture(open_ended, [])))
    perfect = fabricate(ladder, rung, 0)
    perfect = replace(perfect, epochs=tuple(replace(e, test_correct=e.test_total) for e in perfect.epochs))
    drawn = texts(plots.draw_ladder(plots.ladder_picture(open_ended, [(rung, 10, [perfect])])))
    assert any(rung.name in text for text in drawn)


def test_curves_are_drawn_with_their_last_means(ladder: Ladder, rung: Rung, runs: list[Run]) -> None:
    found = plots.curves(runs, ladder.contract, rung.published)
    mean = fmean(100 * run.epochs[-1].test_accuracy for run in runs[:2])
    assert {"published", "promised", f"test {mean:.2f}", "epoch"} <= texts(plots.draw_accuracy(found))
    loss = fmean(run.epochs[-1].test_loss for run in runs[:2])
    assert f"test {loss:.3g}" in texts(plots.draw_loss(found))


@pytest.mark.parametrize("epochs", [1, 3])
def test_runs_that_all_diverged_are_drawn(ladder: Ladder, rung: Rung, epochs: int, fabricate: Fabricate) -> None:
    found = plots.curves(
        [fabricate(ladder, rung, seed, status="diverged", epochs=epochs) for seed in (0, 1)], ladder.contract
    )
    assert "epoch" in texts(plots.draw_accuracy(found))
    assert "epoch" in texts(plots.draw_loss(found))


def test_a_run_of_one_epoch_is_drawn(ladder: Ladder, rung: Rung, fabricate: Fabricate) -> None:
    contract = Contract.parse({"accuracy": ">= 90%", "last_epochs": 1})
    run = replace(fabricate(ladder, rung, 0, epochs=1), planned=1)
    found = plots.curves([run], contract)
    assert "epoch" in texts(plots.draw_accuracy(found))
    assert "epoch" in texts(plots.draw_loss(found))


def test_an_early_accuracy_far_below_the_promise_does_not_flatten_the_rest(
    ladder: Ladder, fabricate: Fabricate
) -> None:
    base = ladder.rungs[0]
    found = plots.curves([fabricate(ladder, base, 0)], ladder.contract, base.published)
    assert min(found.published) == 9.74
    assert not {"0", "50", "80"} & texts(plots.draw_accuracy(found))


def test_the_same_numbers_are_the_same_bytes(ladder: Ladder, rung: Rung, runs: list[Run]) -> None:
    def draw() -> tuple[object, ...]:
        curves = plots.curves(runs, ladder.contract, rung.published)
        return (
            plots.draw_ladder(plots.ladder_picture(ladder.contract, [(rung, 7864, runs)])),
            plots.draw_accuracy(curves),
            plots.draw_loss(curves),
        )

    assert draw() == draw()
