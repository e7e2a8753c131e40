"""Initial weights: PyTorch's defaults, to the bit, drawn without PyTorch."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from smallprint.training.native.plan import Entry, Plan
from smallprint.training.native.state import Floats, State, named

_DRAWN_BITS = 24  # of the 32 that a float is made of


def initial_state(plan: Plan, seed: int) -> State:
    """A training before its first step: the weights that `torch.manual_seed(seed)` and `build(trace, seed)` give.

    A weight and its bias are even draws from -1 / sqrt(fan-in) to 1 / sqrt(fan-in) (He et al., "Delving deep into
    rectifiers" (2015), arXiv 1502.01852, with PyTorch's slope of sqrt(5)); a batch norm starts as the identity. The
    generator is that of both PyTorch and NumPy, MT19937.
    """
    state = State.of(plan)
    generator = np.random.MT19937()
    generator._legacy_seeding(seed & 0xFFFFFFFF)  # what both start from
    views = named(plan, state.parameters, state.running)
    fan_in = 1
    for entry in plan.entries:
        _, owner, name = entry.name.rsplit(".", 2)
        if owner == "layer":
            fan_in = prod(entry.shape[1:]) if name == "weight" else fan_in
            views[entry.name][...] = _even(entry, 1 / sqrt(fan_in), generator)
        elif name in ("weight", "running_var"):
            views[entry.name][...] = 1
    return state


def _even(entry: Entry, bound: float, generator: np.random.MT19937) -> Floats:
    low, high = np.float32(-bound), np.float32(bound)
    drawn = generator.random_raw(entry.size) & (2**_DRAWN_BITS - 1)
    even: Floats = (drawn * 2.0**-_DRAWN_BITS * np.float64(high - low) + np.float64(low)).astype(np.float32)
    return even.reshape(entry.shape)
