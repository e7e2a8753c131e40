"""The course notebooks' loop: one PIL image at a time, a DataLoader, eager PyTorch, counts read back every batch."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from smallprint.training.data import Dataset

BATCH = 128  # images
TURN = 7.0  # degrees, either way


class CourseImages(TorchDataset[tuple[Tensor, int]]):
    """Grey images as the notebooks read MNIST: one at a time, through PIL.

    Its transforms do, step by step, what torchvision's RandomRotation, ToTensor and Normalize do.
    """

    def __init__(self, images_NCHW: NDArray[Any], labels_N: NDArray[np.int64], turn: float) -> None:
        self.images = torch.from_numpy(images_NCHW[:, 0].copy())
        self.labels = torch.from_numpy(labels_N.copy())
        self.turn = turn  # degrees, either way; 0: as they are

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        if self.turn:
            angle = float(torch.empty(1).uniform_(-self.turn, self.turn).item())
            image = image.rotate(angle, Image.Resampling.NEAREST, fillcolor=1)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(*self.images.shape[1:], 1)
        tensor = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255).clone()
        mean, deviation = (torch.as_tensor((value,), dtype=torch.float32).view(-1, 1, 1) for value in (0.1307, 0.3081))
        return tensor.sub_(mean).div_(deviation), int(self.labels[index])


def course_network() -> nn.Sequential:
    """Source 003's network, as eager PyTorch modules."""

    def block(width_in: int, width_out: int, pad: int = 0) -> list[nn.Module]:
        convolution = nn.Conv2d(width_in, width_out, 3, padding=pad, bias=False)
        return [convolution, nn.ReLU(), nn.BatchNorm2d(width_out), nn.Dropout(0.01)]

    return nn.Sequential(
        *block(1, 8), *block(8, 16), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1, bias=False), nn.ReLU(),
        *block(8, 12), *block(12, 12), *block(12, 16), *block(16, 16, pad=1),
        nn.AvgPool2d(6), nn.Conv2d(16, 10, 1, bias=False), nn.Flatten(),
    )  # fmt: skip


def course_training(dataset: Dataset, model: nn.Module, *, batch: int = BATCH, workers: int = 0) -> Callable[[], float]:
    """The notebooks' training loop; each call trains an epoch and returns its seconds."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = CourseImages(dataset.train_images_NCHW, dataset.train_labels_N, TURN)
    loader = DataLoader(images, batch_size=batch, shuffle=True, num_workers=workers)

    def epoch() -> float:
        started = perf_counter()
        model.train()
        loss_sum, correct = 0.0, 0
        for images, labels in loader:
            optimiser.zero_grad()
            log_probabilities = F.log_softmax(model(images), dim=1)
            loss = F.nll_loss(log_probabilities, labels)
            loss_sum += loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            correct += int(log_probabilities.argmax(dim=1).eq(labels).sum().item())
        return perf_counter() - started

    return epoch


def course_testing(dataset: Dataset, model: nn.Module, *, batch: int = BATCH) -> Callable[[], float]:
    """The notebooks' test loop, which follows every epoch; each call returns its seconds."""
    images = CourseImages(dataset.test_images_NCHW, dataset.test_labels_N, turn=0)
    loader = DataLoader(images, batch_size=batch, shuffle=True)

    @torch.no_grad()
    def test() -> float:
        started = perf_counter()
        model.eval()
        loss_sum, correct = 0.0, 0
        for images, labels in loader:
            log_probabilities = F.log_softmax(model(images), dim=1)
            loss_sum += F.nll_loss(log_probabilities, labels, reduction="sum").item()
            correct += int(log_probabilities.argmax(dim=1, keepdim=True).eq(labels.view(-1, 1)).sum().item())
        return perf_counter() - started

    return test
