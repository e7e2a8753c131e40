"""Batch norm and dropout, forward and backward: PyTorch's modules against ours.

    python -m benchmarks.layers [--rounds 40] [--threads N] [--json]

Both sides take turns in one process, channels_last float32, at the shapes of source 003's network and batch 128.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from smallprint.training import machine
from smallprint.training.layers import BatchNorm, Dropout

BATCH = 128  # images
SHAPES = ((8, 26), (16, 24), (12, 10), (12, 8), (16, 6))  # channels, side


def seconds(module: nn.Module, x: Tensor, dy: Tensor) -> float:
    """One forward and backward pass."""
    started = perf_counter()
    module(x).backward(dy)
    return perf_counter() - started


def compare(theirs: nn.Module, ours: nn.Module, x: Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds of either side and the median ratio of pairs; five rounds of warm-up."""
    dy = torch.ones_like(x)
    x.requires_grad_()
    pairs = [(seconds(theirs, x, dy), seconds(ours, x, dy)) for _ in range(rounds + 5)][5:]
    return {
        "pytorch_ms": 1000 * median(theirs for theirs, _ in pairs),
        "ours_ms": 1000 * median(ours for _, ours in pairs),
        "ratio": median(theirs / ours for theirs, ours in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="passes of each side, in turn (default 40)")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="default: all cores")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    machine.prepare(asked.threads)
    rows: list[dict[str, Any]] = []
    for channels, side in SHAPES:
        x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=torch.channels_last)
        dropout = Dropout(0.01)
        dropout.generator = torch.Generator().manual_seed(0)
        for name, theirs, ours in (
            ("batchnorm", nn.BatchNorm2d(channels), BatchNorm(channels)),
            ("dropout 1%", nn.Dropout(0.01), dropout),
        ):
            rows.append(
                {"layer": name, "shape": f"{channels} x {side} x {side}", **compare(theirs, ours, x, asked.rounds)}
            )
    if asked.json:
        print(
            json.dumps(
                {"benchmark": "layers", "threads": asked.threads, "torch": torch.__version__, "rows": rows}, indent=1
            )
        )
        return
    for row in rows:
        print(
            "{layer:>10} {shape:>12}: {pytorch_ms:6.2f} ms PyTorch, {ours_ms:6.2f} ms ours, ratio {ratio:.2f}".format(
                **row
            )
        )


if __name__ == "__main__":
    main()
