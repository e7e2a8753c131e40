"""What `import smallprint` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import smallprint

PUBLIC = (
    "__version__", "BatchNorm", "Certificate", "Clause", "Contract", "DataError", "Dataset", "Epoch", "Finding",
    "Ladder", "LadderError", "Network", "NotationError", "Recipe", "Run", "RunError", "Rung", "RungResult",
    "SmallNetClassifier", "SmallprintError", "Trainer", "Verdict", "assess", "assess_stored", "build", "certify",
    "climb", "deskew", "diagnose", "diff", "judge", "load_dataset", "parse_ladder", "read_ladder", "read_run",
    "read_runs", "search", "shipped", "trace", "train", "write_report",
)  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert tuple(smallprint.__all__) == PUBLIC
    assert dir(smallprint) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(smallprint, name)
    if name == "__version__":
        assert value.split(".")[:1] == ["0"]
    else:
        assert value.__name__ == name
        assert value.__doc__


def test_a_name_that_is_not_offered_says_what_is() -> None:
    with pytest.raises(AttributeError, match="smallprint has no 'clim'; it offers BatchNorm, "):
        smallprint.clim  # type: ignore[attr-defined]  # noqa: B018


def test_the_verb_stays_a_function_whatever_is_imported_first() -> None:
    module = import_module("smallprint.climb")
    assert smallprint.climb is module.climb
    program = """
import smallprint.climb, smallprint.cli, smallprint.watching.climb
import smallprint
from smallprint import climb
assert callable(smallprint.climb) and smallprint.climb is climb, smallprint.climb
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_smallprint_imports_nothing_of_weight() -> None:
    program = """
import sys
before = set(sys.modules)
import smallprint
heavy = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not heavy & {"torch", "numpy", "scipy", "matplotlib", "rich", "typer", "pooch"}, heavy
smallprint.read_ladder("digits"), smallprint.Network.parse("gap"), smallprint.Contract, smallprint.trace
assert not {"torch", "numpy"} & set(sys.modules)
smallprint.judge, smallprint.diagnose, smallprint.write_report, smallprint.load_dataset
assert "torch" not in sys.modules
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
