"""What every test relies on: Ctrl-C heard, one tiny ladder, and compiled steps kept."""

import shutil
import signal
from pathlib import Path

import pytest

import smallprint
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset, load_dataset
from tests.typed import Say, speaker

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


@pytest.fixture(scope="session")
def compiled(pytestconfig: pytest.Config) -> Path:
    """The folder of what tests compile; kept among the caches of pytest, from one run to the next."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("compiled") / "native"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture
def empty_cache(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Path:
    """What `XDG_CACHE_HOME` can name: nothing in it but what is compiled."""
    home = tmp_path_factory.mktemp("cache")
    (home / "smallprint").mkdir()
    (home / "smallprint" / "native").symlink_to(compiled, target_is_directory=True)
    return home


@pytest.fixture
def say(
    tmp_path: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_text: str,
) -> Say:
    """Run a command line in an empty folder that holds nothing but tiny.toml; no network, no data set, no colours."""
    (tmp_path / "tiny.toml").write_text(tiny_text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_cache))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("SMALLPRINT_DATA", "FORCE_COLOR", "NO_PROXY", "no_proxy", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    return speaker(monkeypatch, capsys)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, tiny: Ladder) -> Path:
    """Runs of both rungs, two seeds each."""
    root = tmp_path_factory.mktemp("climbed")
    for _ in smallprint.climb(tiny, seeds=2, runs=root, threads=1):
        pass
    return root


@pytest.fixture
def runs(climbed: Path, tmp_path: Path) -> Path:
    """A copy of them, to damage."""
    shutil.copytree(climbed, tmp_path / "runs")
    return tmp_path / "runs"
