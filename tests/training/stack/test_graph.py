from __future__ import annotations

import pytest
import torch

from smallprint.training.stack.graph import Recorder


def _counter(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(3, device=device), torch.zeros(1, dtype=torch.int64, device=device)


def test_on_the_processor_a_step_is_left_as_it_is() -> None:
    def step() -> None:
        raise AssertionError("recording runs nothing here")

    assert Recorder(torch.device("cpu")).recorded(step, []) is step


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_recording_changes_nothing_and_every_start_does_one_step() -> None:
    values, count = _counter("cuda")

    def step() -> None:
        count.add_(1)
        values.add_(count * 0.5)

    start = Recorder(torch.device("cuda")).recorded(step, [values, count])
    assert (count.item(), values.sum().item()) == (0, 0)
    for _ in range(4):
        start()
    assert (count.item(), values[0].item()) == (4, 5)
