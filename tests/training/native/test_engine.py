from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Rates
from smallprint.spec.trace import Shape, trace
from smallprint.training.augment import augment
from smallprint.training.changes import draw
from smallprint.training.native import engine
from smallprint.training.native.engine import Engine, EpochImages
from smallprint.training.native.plan import Plan, plan
from smallprint.training.native.source import write_source
from smallprint.training.native.state import State, named

TASKS = Path("/proc/self/task")  # one entry per thread
SHAPES = [(1, 12, 12), (3, 9, 14)]
OUTPUTS = 40  # of a linear network that is its own looking glass


def _plan(text: str, shape: Shape) -> Plan:
    return plan(trace(Network.parse(text), shape))


def _engine(planned: Plan, said: dict[str, object] | None = None, *, batch: int = 64, threads: int = 2) -> Engine:
    channels = planned.input_shape[0]
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1 momentum=0.9", **(said or {})})
    return Engine(planned, recipe, np.zeros(channels), np.ones(channels), batch=batch, threads=threads)


def _seen(
    images: NDArray[np.generic], said: str, *, count: int = 35, seed: int = 3, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What a linear network sees of `count` images of an epoch, and what `augment` makes of them.

    With weights of zero and an output for every image, the gradient of output k's weights is the mean image over
    the number of outputs, less image k over the number of images; that of an output without an image is the former.
    """
    shape = images.shape[1:]
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1 momentum=0.9", "augment": said})
    planned = _plan(f"flatten linear-{OUTPUTS}", shape)
    order = np.random.default_rng(seed).permutation(len(images))
    changes = draw(recipe.augment, len(images), np.random.default_rng(seed))
    labels = np.zeros(len(images), np.int64)
    labels[order[first : first + count]] = np.arange(count)
    state = State.of(planned)
    _engine(planned).train(state, EpochImages(images, labels, order, changes, 0), first, count, Rates(0.0, 0.9), 0)
    gradients = named(planned, state.first, state.running)["1.layer.weight"]
    found = (gradients[-1] - gradients[:count]) * count
    chosen = torch.from_numpy(np.ascontiguousarray(images[order[first : first + count]]))
    greys = chosen.float() / 255 if images.dtype == np.uint8 else chosen
    return found.reshape(count, *shape), augment(greys, changes, first).numpy()


STAGES = [
    "none",
    "rotate=20deg shift=2px scale=20% shear=10deg",
    "rotate=180deg fill=0.5",
    "shift=30px fill=1/255",
    "rotate=20deg shift=2px scale=20% shear=10deg interpolation=nearest",
    "shift=3px interpolation=nearest fill=0.25",
    "brightness=40%",
    "contrast=100%",
    "brightness=100% contrast=100%",
    "rotate=10deg; brightness=30% contrast=30%; shift=2px fill=0.5; scale=10% interpolation=nearest",
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("said", STAGES)
def test_images_are_changed_as_augment_changes_them(said: str, shape: Shape) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, *shape)).astype(np.uint8)
    found, expected = _seen(images, said)
    wrong = np.abs(found - expected) > 2e-5
    # Halfway between two pixels, or at a window's very edge, either may be the nearest.
    assert wrong.mean() < (1e-3 if "nearest" in said else 1e-9), said


@pytest.mark.parametrize("said", [STAGES[1], STAGES[-1]])
def test_floats_from_0_to_1_are_changed_like_bytes(said: str) -> None:
    floats = np.random.default_rng(1).random((50, 2, 10, 9), np.float32)
    found, expected = _seen(floats, said)
    assert (np.abs(found - expected) > 2e-5).mean() < 1e-3


def test_an_images_change_belongs_to_its_place_in_the_epoch() -> None:
    images = np.random.default_rng(2).integers(0, 256, (50, 1, 12, 12)).astype(np.uint8)
    for first, count in ((0, 20), (20, 30), (47, 3)):
        found, expected = _seen(images, STAGES[1], first=first, count=count)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_channels_are_normalised_each_by_its_own_mean_and_deviation() -> None:
    planned = _plan("flatten linear-3", (2, 5, 5))
    mean, deviation = np.array([0.2, 0.7]), np.array([0.5, 0.1])
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1"})
    engine = Engine(planned, recipe, mean, deviation, batch=8, threads=1)
    state, rng = State.of(planned), np.random.default_rng(0)
    state.parameters[:] = rng.normal(size=planned.parameters)
    images = rng.integers(0, 256, (7, 2, 5, 5)).astype(np.uint8)
    normalised = (images / 255 - mean[:, None, None]) / deviation[:, None, None]
    expected = normalised.reshape(7, -1) @ state.parameters.reshape(3, -1).T
    np.testing.assert_allclose(engine.predict(state, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 16, 33, 200])
def test_any_number_of_images_is_predicted_on_any_number_of_threads(threads: int, count: int) -> None:
    planned = _plan("conv3-3 relu gap conv1-4", (1, 6, 6))
    state, rng = State.of(planned), np.random.default_rng(0)
    state.parameters[:] = rng.normal(size=planned.parameters)
    images = rng.integers(0, 256, (200, 1, 6, 6)).astype(np.uint8)
    whole = _engine(planned, threads=1).predict(state, images)
    found = _engine(planned, batch=8, threads=threads).predict(state, images[:count])
    np.testing.assert_array_equal(found, whole[:count])
    assert found.shape == (count, 4)


def test_a_step_reads_its_place_of_the_epoch_and_nothing_else() -> None:
    planned = _plan("conv3-3 tanh gap conv1-4", (1, 6, 6))
    rng = np.random.default_rng(0)
    images, labels, order = rng.integers(0, 256, (20, 1, 6, 6)).astype(np.uint8), np.arange(20) % 4, rng.permutation(20)
    whole = EpochImages(images, labels, order, [], 1)
    alone = EpochImages(images[order[8:16]], labels[order[8:16]], np.arange(8), [], 1)
    said, states = [], [State.of(planned), State.of(planned)]
    for epoch, first, state in ((whole, 8, states[0]), (alone, 0, states[1])):
        state.parameters[:] = np.linspace(-1, 1, planned.parameters)
        said.append(_engine(planned).train(state, epoch, first, 8, Rates(0.1, 0.0), 0))
    assert said[0] == said[1]
    np.testing.assert_array_equal(states[0].parameters, states[1].parameters)


def test_the_number_of_threads_can_be_changed_between_steps() -> None:
    planned = _plan("conv3-3 batchnorm relu gap conv1-4", (1, 6, 6))
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 1, 6, 6)).astype(np.uint8), rng.integers(0, 4, 64)
    epoch = EpochImages(images, labels, np.arange(64), [], 1)
    states = []
    for threads in ((1, 1, 1), (3, 1, 2)):
        engine, state = _engine(planned, threads=threads[0]), State.of(planned)
        state.parameters[:] = np.linspace(-1, 1, planned.parameters)
        for step, number in enumerate(threads):
            engine.use_threads(number)
            assert engine.threads == number
            engine.train(state, epoch, 0, 50, Rates(0.1, 0.9), step)
        states.append(state.parameters)
    np.testing.assert_array_equal(states[0], states[1])


def test_a_step_belongs_to_its_epochs_images_and_to_no_more_than_the_batch() -> None:
    planned = _plan("flatten linear-4", (1, 4, 4))
    images = EpochImages(np.zeros((40, 1, 4, 4), np.uint8), np.zeros(40, np.int64), np.arange(40), [], 0)
    engine = _engine(planned, batch=16)
    for first, count in ((0, 17), (0, 0), (30, 11), (-1, 5)):
        with pytest.raises(AssertionError):
            engine.train(State.of(planned), images, first, count, Rates(0.1, 0.9), 0)


@pytest.mark.parametrize(
    "images", [np.zeros((40, 1, 4, 4)), np.zeros((40, 1, 4, 4), np.int32), np.zeros((40, 1, 4, 8), np.uint8)[..., ::2]]
)
def test_images_are_bytes_or_floats_in_one_piece(images: NDArray[np.generic]) -> None:
    with pytest.raises(AssertionError):
        EpochImages(images, np.zeros(40, np.int64), np.arange(40), [], 0)
    with pytest.raises(AssertionError):
        _engine(_plan("flatten linear-4", (1, 4, 4))).predict(State.of(_plan("flatten linear-4", (1, 4, 4))), images)


def test_a_library_of_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = _plan("flatten linear-5", (1, 4, 4))
    monkeypatch.setattr(engine, "write_source", lambda planned, registers, paired: write_source(other, registers))
    with pytest.raises(AssertionError, match="another network"):
        _engine(_plan("flatten linear-4", (1, 4, 4)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory that holds")
def test_memory_that_cannot_be_had_is_an_error() -> None:
    program = """
import resource
import numpy as np
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace
from smallprint.training.native.compiler import NativeError
from smallprint.training.native.engine import Engine
from smallprint.training.native.plan import plan
planned = plan(trace(Network.parse("conv3-3 relu gap conv1-4"), (1, 6, 6)))
recipe = Recipe.parse({"optimiser": "sgd lr=0.1"})
Engine(planned, recipe, np.zeros(1), np.ones(1), batch=16, threads=2)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    Engine(planned, recipe, np.zeros(1), np.ones(1), batch=50_000_000, threads=2)
except NativeError as fault:
    print(fault)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "memory or threads for the compiled step cannot be had", done.stderr


@pytest.mark.skipif(not TASKS.exists(), reason="needs a system that shows a process's threads")
def test_an_engine_gives_its_threads_back() -> None:
    planned = _plan("flatten linear-4", (1, 4, 4))
    before = len(list(TASKS.iterdir()))
    engine = _engine(planned, threads=4)
    assert len(list(TASKS.iterdir())) == before + 3
    del engine
    assert len(list(TASKS.iterdir())) == before
