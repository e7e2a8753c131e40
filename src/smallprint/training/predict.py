"""predict(trace, weights, images): logits of a network that was trained before."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smallprint.results.runs import Arrays
from smallprint.spec.trace import Trace
from smallprint.training.augment import greys
from smallprint.training.model import build

_BATCH = 500  # images


@torch.inference_mode()
def predict(
    trace: Trace,
    weights: Arrays,
    images_NCHW: NDArray[Any],
    mean_and_deviation: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Logits (N, outputs) of images: bytes, or floats from 0 to 1.

    `weights` are those that `Trainer.weights` gave; mean and deviation (C,) those of the training images.
    """
    model = build(trace, seed=0)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    model.eval()
    mean, deviation = (torch.tensor(value).float().view(1, -1, 1, 1) for value in mean_and_deviation)
    found = [np.empty((0, trace.outputs), np.float32)]
    for first in range(0, len(images_NCHW), _BATCH):
        batch = torch.tensor(images_NCHW[first : first + _BATCH])
        found.append(model((greys(batch) - mean) / deviation).numpy())
    return np.concatenate(found)
