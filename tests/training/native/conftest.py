"""What these tests compile lies beside the other caches of pytest, not among the user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smallprint.training.native import compiler


@pytest.fixture(scope="package", autouse=True)
def compiled(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The folder of compiled files; kept from one run of the tests to the next."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("compiled")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiler, "user_cache_path", lambda name: folder)
        yield folder


@pytest.fixture(scope="package")
def fleeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what no later run will compile again."""
    return tmp_path_factory.mktemp("compiled")
