from __future__ import annotations

import pytest

from smallprint.training.data import load_dataset
from smallprint.training.step import Step, Way
from smallprint.training.trainer import train

RECIPE = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 64, "epochs": 1}


@pytest.mark.parametrize("way", ["native", "pytorch"])
def test_both_ways_are_a_step(way: Way) -> None:
    step: Step = train("conv3-4 relu gap conv1-10", RECIPE, load_dataset("digits"), threads=1, way=way).step
    members = [name for name in Step.__dict__ if not name.startswith("_")]
    assert sorted(members) == ["begin", "logits", "restore", "state", "threads", "totals", "train", "try_threads"]
    assert all(hasattr(step, name) for name in members)
    assert step.threads == 1
