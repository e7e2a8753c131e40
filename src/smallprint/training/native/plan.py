"""A network as stages: what is stored, what is computed on the way, what waits for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from smallprint.spec.network import Operation
from smallprint.spec.trace import Shape, Step, Trace

# A stage reads one stored tensor, sends it through pointwise operations and poolings, applies one kernel, and stores
# the kernel's plain output. Batch norm needs sums over the whole batch, so it can only follow a stored tensor: the
# kernel that stores it also sums it up. Where a network asks for more than that, a stage that only copies is put in.

_LARGEST = 9  # places of a maxpool's window that are written out one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """relu, leakyrelu, silu, hardswish, gelu, tanh."""

    kind: str
    slope: float = field(default=0.0)  # of leakyrelu below zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Batch norm."""

    scale: int | None  # offset in the parameters, if it has scales
    shift: int  # and of its shifts
    first: int  # its first channel among those of all norms, wherever norms keep values per channel
    channels: int
    pixels: int  # values of one image per channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Dropout of elements, or of whole channels."""

    rate: float  # 0 to 1
    channels: bool
    mask: int  # offset in a group's masks: one word of lanes per vector, or per channel
    index: int  # which dropout of the network
    shape: Shape

    @property
    def vectors(self) -> int:
        """Words in its mask."""
        return self.shape[0] if self.channels else prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """A skip: an earlier stored tensor is added."""

    tensor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The largest or the mean value of a window."""

    kind: str  # maxpool, avgpool
    height: int  # pixels of the window
    width: int
    stride: int
    pad: int
    input_shape: Shape
    output_shape: Shape

    @property
    def share(self) -> float:
        """Of a mean's gradient, what each place of its window gets."""
        return 1 / (self.height * self.width)

    @property
    def plain(self) -> bool:
        """Whether every place is in exactly one window, of a size whose every place can be written out."""
        if self.kind == "maxpool" and self.height * self.width > _LARGEST:
            return False
        sides = zip(self.output_shape[1:], (self.height, self.width), self.input_shape[1:], strict=True)
        return not self.pad and all(
            out * size == side and (out == 1 or self.stride == size) for out, size, side in sides
        )


Pointwise = Activation | Norm | Dropout | Add


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Pointwise operations, then at most one pooling."""

    operations: tuple[Pointwise, ...] = field(default=())
    pool: Pool | None = field(default=None)
    input_shape: Shape

    @property
    def output_shape(self) -> Shape:
        return self.pool.output_shape if self.pool else self.input_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution, or a linear layer as one of 1 x 1 on 1 x 1."""

    kernel: int
    stride: int
    pad: int
    groups: int
    weight: int  # offset in the parameters, in PyTorch's order (out, in / groups, row, column)
    bias: int | None  # offset in the parameters
    first: bool  # whether no later stage has these weights: its gradient is written, not added to

    def reads_all(self, rows: int) -> bool:
        """Whether it reads every one of so many rows; a stride may leave out the last of them, or some between."""
        return self.kernel >= self.stride and (rows + 2 * self.pad - self.kernel) % self.stride <= self.pad


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The staged values as they are; `flat` in PyTorch's order of a flattened image."""

    flat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stored tensor to the next; the last one, without a kernel, ends in the logits."""

    source: int  # stored tensor: 0 is the input, n the output of stage n - 1
    passes: tuple[Pass, ...]
    kernel: Convolution | Copy | None
    input_shape: Shape  # of the source
    output_shape: Shape
    norm: Norm | None = field(default=None)  # summed up over what is stored here
    before_norm: tuple[Activation, ...] = field(default=())  # that stand between what is stored and the norm

    @property
    def recorded(self) -> bool:
        """Whether forward notes which place of each window won: backward then needs the winners alone."""
        first = self.passes[0] if self.passes else None
        if not (first and first.pool and first.pool.kind == "maxpool" and first.pool.plain):
            return False
        return not any(isinstance(operation, Add) for operation in first.operations)

    @property
    def kept(self) -> bool:
        """Whether forward keeps what the kernel reads: means of windows, each of which backward would make of many."""
        pool = self.passes[0].pool if len(self.passes) == 1 else None
        return isinstance(self.kernel, Convolution) and pool is not None and pool.kind == "avgpool" and pool.plain

    def plain(self, number: int) -> bool:
        """Whether every value that a pass reads has one place to take its gradient from, known without a search."""
        pool = self.passes[number].pool
        return pool is None or (pool.plain and (pool.kind == "avgpool" or (number == 0 and self.recorded)))

    @property
    def added(self) -> frozenset[int]:
        """Earlier stored tensors that skips add."""
        return frozenset(o.tensor for part in self.passes for o in part.operations if isinstance(o, Add))

    @property
    def staged_shape(self) -> Shape:
        """What the kernel reads."""
        return self.passes[-1].output_shape if self.passes else self.input_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One named tensor of PyTorch's state, and its place in a flat vector."""

    name: str
    trainable: bool  # a parameter, or a running statistic
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A layer's weights as a matrix of (outputs, inputs of one output)."""

    name: str
    offset: int  # in the parameters
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All stages, and how large the flat vectors are."""

    stages: tuple[Stage, ...]
    input_shape: Shape
    outputs: int
    parameters: int
    running: int  # running means and variances
    masks: int  # words of one group of images
    entries: tuple[Entry, ...]  # in the order of PyTorch's state

    @property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(stage.norm for stage in self.stages if stage.norm)

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The weights of all layers but the first and the last, where every output reads every input."""
        kernels = [stage.kernel for stage in self.stages if isinstance(stage.kernel, Convolution)]
        whole = {kernel.weight for kernel in kernels if kernel.groups == 1}
        weights = [entry for entry in self.entries if entry.name.endswith(".layer.weight")]
        return tuple(
            Matrix(name=entry.name, offset=entry.offset, rows=entry.shape[0], columns=entry.size // entry.shape[0])
            for entry in weights[1:-1]
            if entry.offset in whole
        )

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the stored tensors."""
        return (self.input_shape, *(stage.output_shape for stage in self.stages))


def plan(trace: Trace) -> Plan:
    """The stages of a network."""
    return _Planner(trace).plan()


class _Planner:
    """Walks a trace; holds what is still to be done to the tensor stored last."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.stages: list[Stage] = []
        self.source = 0  # the tensor stored last
        self.stored_shape: Shape = trace.input_shape
        self.shape: Shape = trace.input_shape  # after what is pending
        self.pending: list[Pointwise | Pool] = []
        self.parameters = self.running = self.masks = self.dropped = 0
        self.entries: list[Entry] = []

    def plan(self) -> Plan:
        """The stages of all steps, the last of which stores what the network says."""
        for index, step in enumerate(self.trace.steps):
            self._step(index, step)
        self._flatten()
        self._store(None, self.shape)
        return Plan(
            stages=tuple(self.stages),
            input_shape=self.trace.input_shape,
            outputs=self.trace.outputs,
            parameters=self.parameters,
            running=self.running,
            masks=self.masks,
            entries=tuple(self.entries),
        )

    def _step(self, index: int, step: Step) -> None:
        match step.kind:
            case "conv" | "depthwise" | "linear":
                self._convolution(index, step)
            case "maxpool" | "avgpool" | "gap":
                self._pool(step)
            case "flatten":
                self._flatten()
            case "operation":
                self._operations(f"{index}.after.0", step.operations)

    def _convolution(self, index: int, step: Step) -> None:
        self.shape = _image(step.input_shape)
        weight, bias = self._weights(index, step)
        kernel = Convolution(
            kernel=step.kernel,
            stride=step.stride,
            pad=step.pad,
            groups=step.groups,
            weight=weight,
            bias=bias,
            first=False,
        )
        for application in range(step.times):
            if step.skip and self.pending:
                self._store(Copy(flat=False), self.shape)
            source = self.source
            # Backward goes from last to first, so the last application writes the gradient.
            self._store(replace(kernel, first=application == step.times - 1), _image(step.output_shape))
            self._operations(f"{index}.after.{application}", step.operations)
            if step.skip:
                self.pending.append(Add(tensor=source))

    def _weights(self, index: int, step: Step) -> tuple[int, int | None]:
        outputs, inputs = step.output_shape[0], step.input_shape[0] // step.groups
        linear = step.kind == "linear"
        shape = (outputs, inputs) if linear else (outputs, inputs, step.kernel, step.kernel)
        weight = self._parameter(f"{index}.layer.weight", shape)
        return weight, self._parameter(f"{index}.layer.bias", (outputs,)) if step.bias else None

    def _parameter(self, name: str, shape: tuple[int, ...]) -> int:
        offset = self.parameters
        self.entries.append(Entry(name=name, trainable=True, offset=offset, shape=shape))
        self.parameters += prod(shape)
        return offset

    def _pool(self, step: Step) -> None:
        _, height, width = self.shape
        whole = step.kind == "gap"
        self.pending.append(
            Pool(
                kind="maxpool" if step.kind == "maxpool" else "avgpool",
                height=height if whole else step.kernel,
                width=width if whole else step.kernel,
                stride=max(height, width) if whole else step.stride,
                pad=step.pad,
                input_shape=self.shape,
                output_shape=_image(step.output_shape),
            )
        )
        self.shape = _image(step.output_shape)

    def _flatten(self) -> None:
        if prod(self.shape[1:]) > 1:
            self._store(Copy(flat=True), (prod(self.shape), 1, 1))

    def _operations(self, prefix: str, operations: tuple[Operation, ...]) -> None:
        for index, operation in enumerate(operations):
            amount = operation.amount or 0.0
            match operation.kind:
                case "batchnorm":
                    self._norm(f"{prefix}.{index}", scaled=operation.scaled)
                case "dropout" | "dropout2d":
                    if amount:
                        self._dropout(amount / 100, channels=operation.kind == "dropout2d")
                case kind:
                    self.pending.append(Activation(kind=kind, slope=amount))

    def _dropout(self, rate: float, *, channels: bool) -> None:
        dropout = Dropout(rate=rate, channels=channels, mask=self.masks, index=self.dropped, shape=self.shape)
        self.masks += dropout.vectors
        self.dropped += 1
        self.pending.append(dropout)

    def _norm(self, name: str, *, scaled: bool) -> None:
        before = tuple(operation for operation in self.pending if isinstance(operation, Activation))
        if self.source == 0 or len(before) < len(self.pending):
            self._store(Copy(flat=False), self.shape)
            before = ()
        channels = self.shape[0]
        norm = Norm(
            scale=self._parameter(f"{name}.weight", (channels,)) if scaled else None,
            shift=self._parameter(f"{name}.bias", (channels,)),
            first=self.running // 2,  # a mean and a variance of every channel before
            channels=channels,
            pixels=prod(self.shape[1:]),
        )
        for statistic in ("running_mean", "running_var"):
            self.entries.append(
                Entry(name=f"{name}.{statistic}", trainable=False, offset=self.running, shape=(channels,))
            )
            self.running += channels
        self.stages[-1] = replace(self.stages[-1], norm=norm, before_norm=before)
        self.pending.append(norm)

    def _store(self, kernel: Convolution | Copy | None, output_shape: Shape) -> None:
        """End a stage: all that is pending, then the kernel."""
        passes: list[Pass] = []
        operations: list[Pointwise] = []
        shape = self.stored_shape
        for pending in self.pending:
            if isinstance(pending, Pool):
                passes.append(Pass(operations=tuple(operations), pool=pending, input_shape=shape))
                operations, shape = [], pending.output_shape
            else:
                operations.append(pending)
        if operations:
            passes.append(Pass(operations=tuple(operations), input_shape=shape))
        self.stages.append(
            Stage(
                source=self.source,
                passes=tuple(passes),
                kernel=kernel,
                input_shape=self.stored_shape,
                output_shape=output_shape,
            )
        )
        self.pending = []
        self.source += 1
        self.stored_shape = self.shape = output_shape


def _image(shape: Shape) -> Shape:
    """A flat shape as an image of one pixel."""
    return shape if len(shape) == 3 else (shape[0], 1, 1)
