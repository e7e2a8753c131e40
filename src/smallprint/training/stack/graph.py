"""A step recorded once and then started as a whole, where the device can do that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_UP = 3  # steps, as PyTorch's notes have it


class Recorder:
    """Turns steps into CUDA graphs, which share their memory; on other devices, leaves them as they are.

    A tiny network's step is some hundred small kernels. Started one by one, most of its time passes between them; a
    graph starts all with one call. It does what was recorded on the tensors that were there, so what a step reads and
    changes must stay in the same tensors, and nothing in it may wait for the device.

    Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Steps run one after the other and leave nothing behind but in tensors of their own: one pool serves all.
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def recorded(self, step: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], None]:
        """A function that does the same as `step`.

        Recording takes a few steps to warm up; the tensors `changed`, all that a step changes, are set back behind
        each of them. While it records, a step changes nothing.
        """
        if self.device.type != "cuda":
            return step
        before = [tensor.detach().clone() for tensor in changed]
        main = torch.cuda.current_stream(self.device)
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(main)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                step()
                _set(changed, before)
        main.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            step()
        return graph.replay


@torch.no_grad()
def _set(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
