"""How much memory a stack takes, by arithmetic alone."""

from __future__ import annotations

from math import prod

from smallprint.spec.trace import Step, Trace

_DRAWN = 8 + 9 * 4  # bytes of an image's place in the order and of one stage of augmentation
_MASK = 10  # bytes of a value while its dropout is drawn: an eighth of eight words of 64 bits, and two booleans
_PASSING = 3  # tensors of the largest size that come and go beside those that are kept


def bytes_needed(trace: Trace, batch: int, networks: int, *, images: int = 60_000, value: int = 4) -> int:
    """Bytes that so many trainings at once take on their device.

    The data set, teachers, and what PyTorch itself reserves come on top.

    Args:
        trace: of the networks.
        batch: images of a step.
        networks: how many are trained at once.
        images: of an epoch.
        value: bytes of one stored value, 4 or in bfloat16 2.
    """
    sizes = [size for step in trace.steps for size in (prod(step.input_shape), prod(step.output_shape))]
    drops = any(operation.kind == "dropout" for step in trace.steps for operation in step.operations)
    passing = max(sizes) * (_PASSING * 4 + (_MASK if drops else 0))
    kept = sum(_kept(step, value) for step in trace.steps)
    own = 5 * 4 * trace.parameters + _DRAWN * images
    return networks * (batch * (kept + passing) + own)


def traffic(trace: Trace, value: int = 4) -> int:
    """Bytes that training on one image must move at least where no layer is joined with the next.

    A layer reads its input and writes its output; on the way back it reads its input again and its output's gradient,
    and writes its input's gradient, the first layer excepted. Operations count nothing: they can be done on the way.
    """
    layers = [step for step in trace.steps if step.kind not in ("operation", "flatten")]
    moved = sum(step.times * (3 * prod(step.input_shape) + 2 * prod(step.output_shape)) for step in layers)
    return value * (moved - (prod(layers[0].input_shape) if layers else 0))


def _kept(step: Step, value: int) -> int:
    """Bytes of one image that forward keeps for the way back."""
    out = prod(step.output_shape)
    columns = 0
    if step.kind in ("conv", "depthwise") and step.kernel > 1:
        columns = step.kernel**2 * step.input_shape[0] * prod(step.output_shape[1:])
    indices = 8 * out if step.kind == "maxpool" else 0
    masks = sum(operation.kind == "dropout" for operation in step.operations) * out
    return step.times * (value * (columns + out * (1 + len(step.operations) + step.skip)) + masks) + indices
