"""What every test relies on: Ctrl-C heard, and one tiny ladder."""

import signal

import pytest

from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset, load_dataset

# A shell without job control starts background jobs with SIGINT ignored, and whatever they start inherits that; the
# tests that press Ctrl-C need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = '''
title   = "Tiny"
dataset = "digits"

[contract]
accuracy    = ">= 20%"
last_epochs = 2

[recipe]
optimiser = "sgd lr=0.05 momentum=0.9"
batch     = 64
epochs    = 2

[[rung]]
name    = "base"
target  = "Start."
network = """
every conv3: pad=1
after conv3: relu
conv3-8 maxpool conv3-8 gap conv1-10
"""

[[rung]]
name    = "batchnorm"
target  = "Normalise."
network = """
every conv3: pad=1
after conv3: batchnorm relu
conv3-8 maxpool conv3-8 gap conv1-10
"""
'''


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """A ladder of two rungs on the digits, trained in a second."""
    return TINY


@pytest.fixture(scope="session")
def tiny(tiny_text: str) -> Ladder:
    """The same, read."""
    return parse_ladder(tiny_text, name="tiny")


@pytest.fixture(scope="session")
def long(tiny_text: str) -> Ladder:
    """The same with so many epochs that a test can step in."""
    return parse_ladder(tiny_text.replace("epochs    = 2", "epochs    = 30"), name="tiny")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")
