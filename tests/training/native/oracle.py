"""What the native step is held against: the same step in PyTorch with 64 bits, and slow draws of dropout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from smallprint.results.runs import Arrays, Precision
from smallprint.spec.network import Layer, Network, Operation
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Rates
from smallprint.spec.trace import Shape, Trace, trace
from smallprint.training.layers import Dropout
from smallprint.training.model import Model, build
from smallprint.training.native.compiler import Compiler
from smallprint.training.native.engine import Engine, EpochImages
from smallprint.training.native.plan import Dropout as PlannedDropout
from smallprint.training.native.plan import Plan, plan
from smallprint.training.native.state import State, named

Noise = NDArray[np.uint8]
MEAN, DEVIATION = 0.5, 0.3  # that images are normalised with


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network, its start, and a batch of noise."""

    trace: Trace
    images: Noise  # (N + 5, C, H, W); the batch is `order[:N]`
    labels: NDArray[np.int64]
    order: NDArray[np.int64]
    count: int
    start: Arrays  # parameters and running statistics by name
    smoothing: float = 0.0
    KEY = 0x1234_5678_9ABC_DEF0

    @property
    def plan(self) -> Plan:
        return plan(self.trace)


def case(
    network: str | Network, shape: Shape = (1, 9, 9), count: int = 20, seed: int = 0, smoothing: float = 0.0
) -> Case:
    """Weights as PyTorch starts them, moved so that no two channels are alike and batch norms do something."""
    traced = trace(Network.parse(network) if isinstance(network, str) else network, shape)
    rng = np.random.default_rng(seed)
    total = count + 5
    start = {
        name: value.numpy() + rng.normal(0, 0.2, value.shape).astype(np.float32) * (not name.endswith("running_var"))
        for name, value in build(traced, seed).state_dict().items()
    }
    return Case(
        trace=traced,
        images=rng.integers(0, 256, (total, *shape)).astype(np.uint8),
        labels=rng.integers(0, traced.outputs, total),
        order=rng.permutation(total),
        count=count,
        start=start,
        smoothing=smoothing,
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one step, and of a look at all images before it."""

    loss: float  # mean over the batch
    correct: int
    gradients: Arrays
    running: Arrays
    logits: NDArray[Any]  # in a test


def native(
    case: Case, *, threads: int = 2, compiler: Compiler | None = None, precision: Precision = "float32"
) -> Outcome:
    """The step, natively: SGD's momentum is after one step the gradient itself."""
    planned = case.plan
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1 momentum=0.9", "loss": f"cross-entropy smoothing={case.smoothing}"})
    channels = case.trace.input_shape[0]
    engine = Engine(
        planned, recipe, np.full(channels, MEAN), np.full(channels, DEVIATION),
        batch=case.count, threads=threads, precision=precision, compiler=compiler,
    )  # fmt: skip
    state = State.of(planned)
    views = named(planned, state.parameters, state.running)
    for name, value in case.start.items():
        views[name][...] = value
    logits = engine.predict(state, case.images)
    epoch = EpochImages(case.images, case.labels, case.order, [], case.KEY)
    loss, correct = engine.train(state, epoch, 0, case.count, Rates(0.0, 0.9), 0)
    gradients = named(planned, state.first, state.running)
    return Outcome(
        loss=loss / case.count,
        correct=correct,
        gradients={entry.name: gradients[entry.name] for entry in planned.entries if entry.trainable},
        running={entry.name: views[entry.name] for entry in planned.entries if not entry.trainable},
        logits=logits,
    )


def pytorch(case: Case, dtype: torch.dtype = torch.float64) -> Outcome:
    """The same in PyTorch."""
    model = started(case, dtype)
    images, labels = inputs(case, dtype), torch.from_numpy(case.labels)
    with torch.no_grad():
        logits = model.eval()(images).numpy()
    chosen = torch.from_numpy(case.order[: case.count])
    said = model.train()(images[chosen])
    loss = F.cross_entropy(said, labels[chosen], label_smoothing=case.smoothing)
    if loss.requires_grad:
        loss.backward()
    return Outcome(
        loss=loss.item(),
        correct=int((said.argmax(1) == labels[chosen]).sum()),
        gradients={
            name: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for name, p in model.named_parameters()
        },
        running={name: value.numpy() for name, value in model.named_buffers()},
        logits=logits,
    )


def started(case: Case, dtype: torch.dtype = torch.float64) -> Model:
    """The module with the start's weights, and dropouts that draw as the native step does."""
    model = build(case.trace, 0).to(dtype)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in case.start.items()})
    draw_natively(model, case.plan, lambda: range(case.count), case.KEY)
    return model


def inputs(case: Case, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.from_numpy(case.images).to(dtype) / 255 - MEAN) / DEVIATION


def assert_same(ours: Outcome, exact: Outcome, single: Outcome | None = None, *, gradient: float = 1e-4) -> None:
    """Hold a result against the one with 64 bits.

    An error is counted against the largest value of its tensor, a tenth of the largest of all tensors, or 0.01: some
    gradients, as that of a bias before a batch norm, are nothing but rounding. Where a network is ill-conditioned,
    `single`, PyTorch's own result with 32 bits, says what can be asked for.
    """
    slack = 0.0 if single is None else 10.0
    said = exact if single is None else single
    assert abs(ours.loss - exact.loss) <= 1e-6 * max(1, exact.loss) + slack * abs(said.loss - exact.loss)
    largest = max((np.abs(value).max() for value in exact.gradients.values()), default=0.0)
    for name, value in exact.gradients.items():
        scale = max(np.abs(value).max(), largest / 10, 0.01)
        error, allowed = (np.abs(one.gradients[name] - value).max() for one in (ours, said))
        assert error <= gradient * scale + slack * allowed, f"{name}: {error:.1e} of {scale:.1e}"
    for name, value in exact.running.items():
        np.testing.assert_allclose(ours.running[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    scale = max(np.abs(exact.logits).max(), 1e-3)
    assert np.abs(ours.logits - exact.logits).max() <= 1e-5 * scale + slack * np.abs(said.logits - exact.logits).max()


# --- ties: where 32 and 64 bits may fall on either side -------------------------------------------------------------


def distance_from_ties(case: Case) -> float:
    """How near any value comes to a kink of its activation, or to another value of its window that is as large."""
    nearest = [float("inf")]

    def kink(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        off = given[0].abs()
        nearest.append(((off - 3).abs() if isinstance(module, nn.Hardswish) else off).min().item())

    def window(module: nn.MaxPool2d, given: tuple[Tensor, ...], output: Tensor) -> None:
        pad, size, stride = (int(value) for value in (module.padding, module.kernel_size, module.stride))  # type: ignore[arg-type]
        padded = F.pad(given[0], (pad, pad, pad, pad), value=-1e9)
        places = F.unfold(padded.flatten(0, 1)[:, None], size, stride=stride)
        best = places.topk(min(2, size * size), 1).values
        gaps = best[:, 0] - best[:, -1]
        nearest.extend(gaps[gaps > 0].flatten().tolist())  # of equal values, both take the first

    model = started(case)
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.Hardswish):
            module.register_forward_hook(kink)
        elif isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(window)
    with torch.no_grad():
        model.train()(inputs(case)[torch.from_numpy(case.order[: case.count])])
    return min(nearest)


def case_without_ties(network: str, shape: Shape = (1, 9, 9), count: int = 20) -> Case:
    """The first of a few cases in which every value is far enough from a tie for 32 bits to see."""
    for seed in range(20):
        found = case(network, shape, count, seed)
        if distance_from_ties(found) > 2e-5:
            return found
    raise AssertionError(f"{network}: every case has a tie")


SMOOTH = {"relu": "silu", "leakyrelu": "tanh", "hardswish": "silu", "dropout": "gelu", "dropout2d": "tanh"}


def smoothed(network: Network) -> Network:
    """The same network without kinks, windows' largest values and chance."""

    def smooth(operation: Operation) -> Operation:
        return Operation(kind=SMOOTH[operation.kind]) if operation.kind in SMOOTH else operation

    def softened(layer: Layer) -> Layer:
        return replace(layer, kind="avgpool") if layer.kind == "maxpool" else layer

    return replace(
        network,
        after=tuple(replace(header, operations=tuple(map(smooth, header.operations))) for header in network.after),
        layers=tuple(smooth(layer) if isinstance(layer, Operation) else softened(layer) for layer in network.layers),
    )


# --- dropout: Philox in plain Python --------------------------------------------------------------------------------


def philox(counter: tuple[int, int, int, int], key: tuple[int, int], rounds: int) -> tuple[int, int, int, int]:
    """Philox 4x32 as its paper writes it (Salmon, Moraes, Dror and Shaw, SC 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    word = 0xFFFFFFFF
    for _ in range(rounds):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & word, (first >> 32) ^ c3 ^ k1, first & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return c0, c1, c2, c3


def kept(dropout: PlannedDropout, positions: range, key: int) -> NDArray[np.bool_]:
    """The native mask of images at some positions of their epoch: (N, C, H, W), or (N, C, 1, 1) for channels."""
    channels, height, width = dropout.shape
    dropped_below = min(round(dropout.rate * 65536), 65535)
    words = np.empty((len(positions), dropout.vectors), np.int64)
    for row, position in enumerate(positions):
        for block in range(-(-dropout.vectors // 8)):
            drawn = philox((block, position, dropout.index, 0), (key & 0xFFFFFFFF, key >> 32), 7)
            halves = [half for value in drawn for half in (value & 0xFFFF, value >> 16)]
            here = words[row, 8 * block : 8 * block + 8]
            here[:] = halves[: len(here)]
    if dropout.channels:
        return (words >= dropped_below)[:, :, None, None]
    return (words >= dropped_below).reshape(len(positions), height, channels, width).transpose(0, 2, 1, 3)


def dropouts(planned: Plan) -> list[PlannedDropout]:
    """In the order of the network."""
    passes = [part for stage in planned.stages for part in stage.passes]
    return [operation for part in passes for operation in part.operations if isinstance(operation, PlannedDropout)]


def draw_natively(model: Model, planned: Plan, positions: Callable[[], range], key: int) -> None:
    """Let a module's dropouts keep what the native step keeps of the images at those positions."""
    modules = [module for module in model.modules() if isinstance(module, Dropout) and module.rate]
    for module, dropout in zip(modules, dropouts(planned), strict=True):

        def native_mask(x: Tensor, dropout: PlannedDropout = dropout) -> Tensor:
            mask = torch.from_numpy(kept(dropout, positions(), key).copy())
            return mask.to(x.dtype).view(*mask.shape[: x.dim()])

        module.kept = native_mask  # type: ignore[method-assign]
