from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native import compiler
from smallprint.training.native.compiler import NativeError, find_compiler, load_library
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source

SOURCE = write_source(plan(trace(Network.parse("gap conv1-3"), (1, 4, 4))), 32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of compiled files."""
    monkeypatch.setattr(compiler, "user_cache_path", lambda name: tmp_path)
    return tmp_path / "native"


@pytest.fixture
def asked() -> Iterator[None]:
    """The compiler is looked for anew, before and after."""
    find_compiler.cache_clear()
    yield
    find_compiler.cache_clear()


def _script(folder: Path, text: str) -> str:
    script = folder / "mycc"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


def test_what_is_compiled_is_private_and_not_compiled_twice(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_compiler()
    load_library(found, SOURCE)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert sorted(file.suffix for file in cache.iterdir() if file.suffix in (".o", ".so")) == [".o", ".so"]
    monkeypatch.setattr(compiler, "_run", lambda *_: pytest.fail("compiled again"))
    load_library(found, SOURCE)


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: content[:-1] + b"x", lambda _: b""])
def test_a_file_that_is_cut_off_or_changed_is_made_again(cache: Path, damage: object) -> None:
    load_library(find_compiler(), SOURCE)
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    library.unlink()  # what is loaded stays as it is
    library.write_bytes(damage(whole))  # type: ignore[operator]
    load_library(find_compiler(), SOURCE)
    assert len(library.read_bytes()) == len(whole)


def test_a_cache_that_others_could_write_is_closed_to_them(cache: Path) -> None:
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    load_library(find_compiler(), SOURCE)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compiler, "user_cache_path", lambda name: tmp_path / "file")
    with pytest.raises(NativeError, match="the compiled step cannot be kept or loaded: "):
        load_library(find_compiler(), SOURCE)


def test_a_missing_compiler_is_a_reason(asked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(NativeError, match="no C compiler called no-such-compiler was found"):
        find_compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NativeError, match="no C compiler was found"):
        find_compiler()


def test_a_compiler_that_fails_is_a_reason_with_its_first_error(
    asked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", _script(tmp_path, "echo 'In file x:' >&2; echo 'x.c:1: error: no space' >&2; exit 1"))
    with pytest.raises(NativeError, match=r"mycc failed: x\.c:1: error: no space"):
        find_compiler()


def test_a_compiler_that_hangs_is_a_reason(asked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", _script(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(compiler, "_TIMEOUT", 0.3)
    with pytest.raises(NativeError, match=r"mycc did not end within 0\.3 seconds"):
        find_compiler()


def test_two_processes_may_compile_the_same_at_once(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; import sys\n"
        "from smallprint.training.native import compiler\n"
        "compiler.user_cache_path = lambda name: Path(sys.argv[1])\n"
        "compiler.load_library(compiler.find_compiler(), sys.stdin.read())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ) for _ in range(2)]
    for process in both:
        assert process.stdin
        process.stdin.write(SOURCE.encode())
        process.stdin.close()
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(list((tmp_path / "native").glob("*.so"))) == 1
    assert not list((tmp_path / "native").glob("tmp*"))
