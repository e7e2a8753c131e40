"""One network's compiled step and predictor, called on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.results.runs import Precision
from smallprint.spec.recipe import Adam, AdamW, Distilled, Muon, Recipe, Sgd
from smallprint.spec.schedule import Rates
from smallprint.training.changes import Change
from smallprint.training.native.compiler import Compiler, NativeError, find_compiler, load_library
from smallprint.training.native.plan import Plan
from smallprint.training.native.source import write_source
from smallprint.training.native.state import Floats, State

_pointer = ctypes.c_void_p
_AMOUNTS = (
    "lr", "momentum", "beta2", "eps", "decay", "average", "smoothing", "temperature", "taught_share",
    "sgd_lr", "sgd_momentum", "sgd_decay",
)  # fmt: skip


class _Change(ctypes.Structure):
    _fields_ = [
        ("inverse", _pointer), ("offset", _pointer), ("brightness", _pointer), ("contrast", _pointer),
        ("order", _pointer), ("fill", ctypes.c_float), ("nearest", ctypes.c_int32),
    ]  # fmt: skip


class _Images(ctypes.Structure):
    _fields_ = [
        ("bytes", _pointer), ("floats", _pointer), ("chosen", _pointer), ("labels", _pointer),
        ("position", ctypes.c_int64), ("count", ctypes.c_int64),
        ("changes", _pointer), ("change_count", ctypes.c_int64), ("taught", _pointer),
    ]  # fmt: skip


class _Rule(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32), ("nesterov", ctypes.c_int32),
        *((name, ctypes.c_double) for name in _AMOUNTS),
    ]  # fmt: skip


class _State(ctypes.Structure):
    _fields_ = [(name, _pointer) for name in ("parameters", "running", "first", "second", "average")]


class Engine:
    """A network compiled for this machine, for batches of up to `batch` images, on some threads.

    With `precision="bfloat16"`, training takes products of bfloat16 where two at a time pay; all else, and every
    prediction, is float32. Without such an instruction they are as exact, and slow.

    Raises:
        NativeError: there is no compiler, it fails, or memory does not suffice.
    """

    def __init__(
        self,
        plan: Plan,
        recipe: Recipe,
        mean: NDArray[np.float64],
        deviation: NDArray[np.float64],
        *,
        batch: int,
        threads: int,
        precision: Precision = "float32",
        compiler: Compiler | None = None,
    ) -> None:
        self.plan, self.batch = plan, batch
        self._mean, self._deviation = (np.ascontiguousarray(value, np.float64) for value in (mean, deviation))
        compiler = compiler or find_compiler()
        self._library = load_library(compiler, write_source(plan, compiler.registers, paired=precision == "bfloat16"))
        self._library.engine_open.restype = _pointer
        self._library.engine_open.argtypes = [ctypes.c_int, ctypes.c_int, _pointer, _pointer]
        self._library.engine_close.argtypes = [_pointer]
        self._library.engine_train.argtypes = [_pointer] * 5 + [ctypes.c_int64, _pointer, _pointer]
        self._library.engine_predict.argtypes = [_pointer] * 4
        self._library.engine_sizes.argtypes = [_pointer]
        sizes = (ctypes.c_int32 * 7)()
        self._library.engine_sizes(sizes)
        expected = [plan.parameters, plan.running, plan.outputs, *map(ctypes.sizeof, (_Change, _Images, _Rule, _State))]
        assert list(sizes) == expected, "a library of another network or release"
        self._engine: int | None = None
        self.threads = 0
        self.use_threads(threads)
        self._rule, self._optimiser = _rule(recipe), recipe.optimiser
        self._pointed: tuple[State | None, _State] = None, _State()

    def use_threads(self, threads: int) -> None:
        """Train and predict on so many threads from now on; no result depends on it.

        Raises:
            NativeError: they cannot be had; as many stay as there are.
        """
        if threads == self.threads:
            return
        opened = self._library.engine_open(self.batch, threads, self._mean.ctypes.data, self._deviation.ctypes.data)
        if opened is None:
            raise NativeError("memory or threads for the compiled step cannot be had")
        self._close()
        self._engine, self.threads = opened, threads

    def train(
        self,
        state: State,
        images: EpochImages,
        first: int,
        count: int,
        rates: Rates,
        step: int,
        taught: Floats | None = None,
    ) -> tuple[float, int]:
        """One step on `count` images of an epoch from `first` on: their summed loss, and how many were correct.

        `taught` is what a teacher says of these images, logits (count, outputs).
        """
        assert 0 < count <= self.batch
        loss, correct = ctypes.c_double(0), ctypes.c_int64(0)
        self._rule.lr, self._rule.momentum = rates.lr, rates.momentum
        if isinstance(self._optimiser, Muon):
            sgd = self._optimiser.sgd_rates(rates)
            self._rule.sgd_lr, self._rule.sgd_momentum = sgd.lr, sgd.momentum
        batch = images.batch(first, count)
        if taught is not None:
            assert taught.flags.c_contiguous
            assert taught.shape == (count, self.plan.outputs)
            assert taught.dtype == np.float32
            batch.taught = taught.ctypes.data
        self._library.engine_train(
            self._engine, self._pointers(state), ctypes.byref(batch), ctypes.byref(self._rule), images.key, step,
            ctypes.byref(loss), ctypes.byref(correct),
        )  # fmt: skip
        return loss.value, correct.value

    def predict(self, state: State, images: NDArray[Any]) -> Floats:
        """Logits (N, outputs) of images (N, C, H, W): bytes, or floats from 0 to 1."""
        batch = _images(images)
        batch.count = len(images)
        return self._predicted(state, batch)

    def answer(self, state: State, images: EpochImages, first: int, count: int) -> Floats:
        """Logits (count, outputs) of an epoch's images from `first` on, changed as they are in training."""
        return self._predicted(state, images.batch(first, count))

    def _predicted(self, state: State, batch: _Images) -> Floats:
        logits = np.empty((batch.count, self.plan.outputs), np.float32)
        self._library.engine_predict(self._engine, self._pointers(state), ctypes.byref(batch), logits.ctypes.data)
        return logits

    def _pointers(self, state: State) -> Any:  # noqa: ANN401  # a ctypes reference
        """Where a state's vectors stand; made once for every step on the same ones."""
        if self._pointed[0] is not state:
            addresses = {name: vector.ctypes.data for name, vector in state.arrays().items()}
            self._pointed = state, _State(**addresses)
        return ctypes.byref(self._pointed[1])

    def _close(self) -> None:
        if getattr(self, "_engine", None) is not None:
            self._library.engine_close(self._engine)
            self._engine = None

    def __del__(self) -> None:
        self._close()


class EpochImages:
    """One epoch's images in their order, with the changes drawn for them."""

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        changes: Sequence[Change],
        key: int,
    ) -> None:
        self._held = (images, labels, order, changes)  # the structures below only point there
        self._order, self._total = order.ctypes.data, len(order)
        self._batch = _images(images)
        self._batch.labels = labels.ctypes.data
        self._changes = (_Change * max(1, len(changes)))(*map(_change, changes))
        self._batch.changes, self._batch.change_count = ctypes.addressof(self._changes), len(changes)
        self.key = (ctypes.c_uint32 * 2)(key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF)

    def batch(self, first: int, count: int) -> _Images:
        assert 0 <= first <= first + count <= self._total
        self._batch.chosen = self._order + 8 * first
        self._batch.position, self._batch.count, self._batch.taught = first, count, None
        return self._batch


def _images(images: NDArray[Any]) -> _Images:
    assert images.flags.c_contiguous, "images lie in one piece"
    assert images.dtype in (np.uint8, np.float32), images.dtype
    where = {"bytes" if images.dtype == np.uint8 else "floats": images.ctypes.data}
    return _Images(**where)


def _change(change: Change) -> _Change:
    arrays = {
        name: array.ctypes.data
        for name in ("inverse", "offset", "brightness", "contrast", "order")
        if (array := getattr(change, name)) is not None
    }
    return _Change(**arrays, fill=change.fill, nearest=change.nearest)


def _rule(recipe: Recipe) -> _Rule:
    rule = _Rule(
        average=recipe.average.decay if recipe.average else 0.0,
        smoothing=recipe.loss.smoothing,
        temperature=recipe.loss.temperature if isinstance(recipe.loss, Distilled) else 1.0,
        taught_share=recipe.loss.share / 100 if isinstance(recipe.loss, Distilled) else 0.0,
        decay=recipe.optimiser.weight_decay,
    )
    match recipe.optimiser:
        case Sgd(nesterov=nesterov):
            rule.kind, rule.nesterov = 0, nesterov
        case Adam(beta2=beta2, eps=eps):
            rule.kind, rule.beta2, rule.eps = 1, beta2, eps
        case AdamW(beta2=beta2, eps=eps):
            rule.kind, rule.beta2, rule.eps = 2, beta2, eps
        case Muon(sgd_weight_decay=decay):
            rule.kind, rule.sgd_decay = 3, decay
    return rule
