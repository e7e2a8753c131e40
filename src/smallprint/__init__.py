"""The smallest network that keeps its promise.

Everything a command does can be called from Python::

    import smallprint

    ladder = smallprint.read_ladder("digits")
    for event in smallprint.climb(ladder, seeds=2):
        print(event)

    network = smallprint.Network.parse("conv3-8 conv3-16 maxpool gap conv1-10")
    print(smallprint.trace(network, (1, 28, 28)).parameters)

    for epoch in smallprint.train(network, smallprint.Recipe.parse({"optimiser": "adam lr=0.01"}), "digits"):
        print(epoch.test_accuracy)

Importing smallprint imports nothing else; a name's module is imported when it is first used, and torch only
by what trains.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "BatchNorm": "training.layers",
    "Certificate": "results.sequential",
    "Clause": "results.verdict",
    "Contract": "spec.contract",
    "DataError": "spec.errors",
    "Dataset": "training.data",
    "Epoch": "results.runs",
    "Finding": "results.diagnosis",
    "Ladder": "spec.ladder",
    "LadderError": "spec.errors",
    "Network": "spec.network",
    "NotationError": "spec.errors",
    "Recipe": "spec.recipe",
    "Run": "results.runs",
    "RunError": "spec.errors",
    "Rung": "spec.ladder",
    "RungResult": "results.assessment",
    "SmallNetClassifier": "classifier",
    "SmallprintError": "spec.errors",
    "Trainer": "training.trainer",
    "Verdict": "results.verdict",
    "assess": "results.assessment",
    "assess_stored": "results.assessment",
    "build": "training.model",
    "certify": "certify",
    "climb": "climb",
    "deskew": "training.data.deskew",
    "diagnose": "results.diagnosis",
    "diff": "spec.ladder",
    "judge": "results.verdict",
    "load_dataset": "training.data",
    "parse_ladder": "training.facts",
    "read_ladder": "training.facts",
    "read_run": "results.runs",
    "read_runs": "results.runs",
    "search": "search",
    "shipped": "spec.ladder_file",
    "trace": "spec.trace",
    "train": "training.trainer",
    "write_report": "views.report",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # a table's keys are names too

if TYPE_CHECKING:
    from smallprint.certify import certify as certify
    from smallprint.classifier import SmallNetClassifier as SmallNetClassifier
    from smallprint.climb import climb as climb
    from smallprint.results.assessment import RungResult as RungResult
    from smallprint.results.assessment import assess as assess
    from smallprint.results.assessment import assess_stored as assess_stored
    from smallprint.results.diagnosis import Finding as Finding
    from smallprint.results.diagnosis import diagnose as diagnose
    from smallprint.results.runs import Epoch as Epoch
    from smallprint.results.runs import Run as Run
    from smallprint.results.runs import read_run as read_run
    from smallprint.results.runs import read_runs as read_runs
    from smallprint.results.sequential import Certificate as Certificate
    from smallprint.results.verdict import Clause as Clause
    from smallprint.results.verdict import Verdict as Verdict
    from smallprint.results.verdict import judge as judge
    from smallprint.search import search as search
    from smallprint.spec.contract import Contract as Contract
    from smallprint.spec.errors import (
        DataError as DataError,
    )
    from smallprint.spec.errors import (
        LadderError as LadderError,
    )
    from smallprint.spec.errors import (
        NotationError as NotationError,
    )
    from smallprint.spec.errors import (
        RunError as RunError,
    )
    from smallprint.spec.errors import (
        SmallprintError as SmallprintError,
    )
    from smallprint.spec.ladder import Ladder as Ladder
    from smallprint.spec.ladder import Rung as Rung
    from smallprint.spec.ladder import diff as diff
    from smallprint.spec.ladder_file import shipped as shipped
    from smallprint.spec.network import Network as Network
    from smallprint.spec.recipe import Recipe as Recipe
    from smallprint.spec.trace import trace as trace
    from smallprint.training.data import Dataset as Dataset
    from smallprint.training.data import load_dataset as load_dataset
    from smallprint.training.data.deskew import deskew as deskew
    from smallprint.training.facts import parse_ladder as parse_ladder
    from smallprint.training.facts import read_ladder as read_ladder
    from smallprint.training.layers import BatchNorm as BatchNorm
    from smallprint.training.model import build as build
    from smallprint.training.trainer import Trainer as Trainer
    from smallprint.training.trainer import train as train
    from smallprint.views.report import write_report as write_report


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"smallprint has no {name!r}; it offers {', '.join(_HOMES)}")
    return getattr(import_module(f"smallprint.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Door(ModuleType):
    """Keeps `smallprint.climb` the verb: importing the module of that name must not put itself in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
