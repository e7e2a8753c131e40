"""Commands on data of your own: a ladder for it, and what the cache holds."""

from __future__ import annotations

import os
from pathlib import Path

LADDER = '''
title   = "Own"
dataset = "{dataset}"
{split}
[contract]
accuracy    = ">= 50%"
last_epochs = 1

[recipe]
optimiser = "adam lr=0.01"
batch     = 16
epochs    = 2

[[rung]]
name    = "only"
target  = "Start."
network = """
after conv3: batchnorm relu
conv3-8 maxpool conv3-8 gap conv1-{outputs}
"""
'''


def cached() -> list[Path]:
    """Every file in the cache."""
    return [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]
