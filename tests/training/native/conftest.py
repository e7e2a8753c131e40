"""What these tests compile lies beside the other caches of pytest, not among the user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smallprint.training.native import compiler


@pytest.fixture(scope="package", autouse=True)
def compiled_apart(compiled: Path) -> Iterator[None]:
    """What is compiled stays out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiler, "user_cache_path", lambda name: compiled.parent)
        yield


@pytest.fixture(scope="package")
def fleeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what no later run will compile again."""
    return tmp_path_factory.mktemp("compiled")
