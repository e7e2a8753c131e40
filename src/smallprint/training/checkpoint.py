"""A training after its last whole epoch, as the bytes that it goes on from."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from smallprint.results.runs import Epoch
from smallprint.spec.errors import RunError
from smallprint.training.native.plan import Plan
from smallprint.training.native.state import State


def pack(epochs: Sequence[Epoch], state: State) -> bytes:
    """The epochs so far and the numbers that training changes; the same for every way of training.

    The form is NumPy's `.npz`: every array has a check sum, and nothing is unpickled.
    """
    told = np.frombuffer(json.dumps([asdict(epoch) for epoch in epochs]).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, epochs=told, **state.arrays())
    return buffer.getvalue()


def unpack(checkpoint: bytes, plan: Plan) -> tuple[list[Epoch], State]:
    """What was packed.

    Raises:
        RunError: the checkpoint is damaged or of another network.
    """
    try:
        with np.load(io.BytesIO(checkpoint), allow_pickle=False) as stored:
            state = State.like(stored, plan)
            return [Epoch(**epoch) for epoch in json.loads(stored["epochs"].tobytes())], state
    except Exception:  # a damaged archive can make its reader raise nearly anything
        raise RunError("the checkpoint is damaged or belongs to another network") from None
