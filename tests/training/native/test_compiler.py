from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from smallprint.spec.errors import SmallprintError
from smallprint.training.native import compiler
from smallprint.training.native.compiler import Compiler, NativeError, find_compiler, load_library

SOURCE = '#include "runtime.h"\nconst struct network network = {.parameters = 7, .running = 3, .outputs = 2};\n'


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache."""
    monkeypatch.setattr(compiler, "user_cache_path", lambda name: tmp_path / "cache")
    return tmp_path / "cache" / "native"


@pytest.fixture
def anew() -> Iterator[None]:
    """The compiler is looked for again, before and after."""
    find_compiler.cache_clear()
    yield
    find_compiler.cache_clear()


def _script(path: Path, *lines: str) -> Path:
    """A program of a few lines of shell."""
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o755)
    return path


def _counting(folder: Path, *, before: str = "") -> tuple[Compiler, Path]:
    """The machine's compiler, which notes every call in a file. It does not optimise, which would take longer."""
    real = find_compiler()
    log = folder / "calls"
    script = _script(folder / "cc", before, f'echo "$@" >> "{log}"', f'exec {" ".join(real.command)} "$@" -O0')
    return Compiler(command=(str(script),), flags=real.flags, macros=real.macros), log


def _parameters(library: ctypes.CDLL) -> int:
    sizes = (ctypes.c_int32 * 7)()
    library.engine_sizes(sizes)
    return sizes[0]


def test_a_library_is_compiled_once_and_then_taken_from_the_cache(cache_folder: Path, tmp_path: Path) -> None:
    counting, log = _counting(tmp_path)
    assert _parameters(load_library(counting, SOURCE)) == 7
    assert len(log.read_text().splitlines()) == 2  # runtime.c and network.c
    assert _parameters(load_library(counting, SOURCE)) == 7
    assert len(log.read_text().splitlines()) == 2
    assert _parameters(load_library(counting, SOURCE.replace("7", "8"))) == 8
    assert len(log.read_text().splitlines()) == 3  # runtime.c is shared


def test_only_the_user_can_read_or_write_the_cache(cache_folder: Path) -> None:
    load_library(find_compiler(), SOURCE)
    assert stat.S_IMODE(cache_folder.stat().st_mode) == 0o700
    cache_folder.chmod(0o777)
    load_library(find_compiler(), SOURCE)
    assert stat.S_IMODE(cache_folder.stat().st_mode) == 0o700


def test_a_cache_of_another_user_is_not_used(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder.mkdir(parents=True)
    owner = cache_folder.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(NativeError, match="belongs to another user"):
        load_library(find_compiler(), SOURCE)
    assert not list(cache_folder.iterdir())


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty", "unsealed", "seal changed"])
def test_a_damaged_file_of_the_cache_is_made_again(cache_folder: Path, tmp_path: Path, damage: str) -> None:
    counting, log = _counting(tmp_path)
    load_library(counting, SOURCE)
    for built in [*cache_folder.glob("*.so"), *cache_folder.glob("*.o")]:
        whole, seal = built.read_bytes(), built.with_suffix(".sha256")
        built.unlink()  # what is loaded keeps its file
        match damage:
            case "cut off":
                built.write_bytes(whole[: len(whole) // 2])
            case "changed":
                built.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            case "empty":
                built.write_bytes(b"")
            case "unsealed":
                built.write_bytes(whole)
                seal.unlink()
            case "seal changed":
                built.write_bytes(whole)
                seal.write_bytes(b"\xff" * 64)
    assert _parameters(load_library(counting, SOURCE)) == 7
    assert len(log.read_text().splitlines()) == 4
    assert _parameters(load_library(counting, SOURCE)) == 7
    assert len(log.read_text().splitlines()) == 4


def test_two_processes_that_want_the_same_compile_it_once(cache_folder: Path, tmp_path: Path) -> None:
    counting, log = _counting(tmp_path, before="sleep 0.3")
    program = (
        "import sys; from pathlib import Path; from smallprint.training.native import compiler\n"
        f"compiler.user_cache_path = lambda name: Path({str(cache_folder.parent)!r})\n"
        f"found = compiler.Compiler(command={counting.command!r}, flags={counting.flags!r}, macros='')\n"
        f"compiler.load_library(found, {SOURCE!r})\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    assert len(log.read_text().splitlines()) == 2
    assert not [path for path in cache_folder.iterdir() if path.is_dir()]  # nothing half-made is left


def test_who_waits_too_long_for_another_process_says_so(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, _ = _counting(tmp_path)
    load_library(counting, SOURCE)
    monkeypatch.setattr(compiler, "_TIMEOUT", 0.2)
    held = [FileLock(path) for path in cache_folder.glob("*.lock")]
    for lock in held:
        lock.acquire()
    try:
        with pytest.raises(NativeError, match=r"another process has been compiling the same for 0\.2 seconds"):
            load_library(counting, SOURCE)
    finally:
        for lock in held:
            lock.release()


@pytest.mark.usefixtures("anew")
def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(NativeError, match="no C compiler called /nonexistent/cc was found") as caught:
        find_compiler()
    assert isinstance(caught.value, SmallprintError)
    find_compiler.cache_clear()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NativeError, match=r"^no C compiler was found$"):
        find_compiler()


@pytest.mark.usefixtures("anew")
def test_the_named_compiler_may_bring_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    command = find_compiler().command
    find_compiler.cache_clear()
    monkeypatch.setenv("CC", f"{command[0]} -DSAID=1")
    assert find_compiler().command == (command[0], "-DSAID=1")
    assert "#define SAID 1" in find_compiler().macros


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["echo 'cc: error: no space left' >&2", "exit 1"], "failed: cc: error: no space left"),
        (["echo 'In file x:' >&2; echo 'x.c:1: error: no' >&2", "exit 1"], "failed: x.c:1: error: no"),
        (["echo 'dropped dead' >&2", "exit 3"], "failed: dropped dead"),
        (["exit 1"], "failed: no message"),
        (["kill -9 $$"], "failed: no message"),
        (["sleep 20"], "did not end within 0.3 seconds"),
    ],
)
def test_a_compiler_that_fails_or_hangs_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], said: str
) -> None:
    monkeypatch.setattr(compiler, "_TIMEOUT", 0.3)
    monkeypatch.setenv("CC", str(_script(tmp_path / "broken", *lines)))
    with pytest.raises(NativeError) as caught:
        find_compiler()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("anew")
def test_a_compiler_that_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nothing"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    with pytest.raises(NativeError, match="cannot be run"):
        find_compiler()


def test_a_compiler_that_fails_later_leaves_nothing_behind(cache_folder: Path, tmp_path: Path) -> None:
    real = find_compiler()
    script = _script(tmp_path / "cc", f'case "$*" in *network.c*) exit 1;; esac; exec {" ".join(real.command)} "$@"')
    with pytest.raises(NativeError, match="failed"):
        load_library(Compiler(command=(str(script),), flags=real.flags, macros=real.macros), SOURCE)
    assert not list(cache_folder.glob("*.so"))
    assert not [path for path in cache_folder.iterdir() if path.is_dir()]


def test_what_cannot_be_loaded_is_an_error(cache_folder: Path, tmp_path: Path) -> None:
    real = find_compiler()
    script = _script(
        tmp_path / "cc",
        'case "$*" in *network.c*) while [ "$1" != -o ]; do shift; done; echo text > "$2"; exit 0;; esac',
        f'exec {" ".join(real.command)} "$@"',
    )
    with pytest.raises(NativeError, match="cannot be kept or loaded"):
        load_library(Compiler(command=(str(script),), flags=real.flags, macros=real.macros), SOURCE)


def test_a_cache_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compiler, "user_cache_path", lambda name: tmp_path / "file")
    with pytest.raises(NativeError, match="cannot be kept or loaded"):
        load_library(find_compiler(), SOURCE)


def test_two_libraries_of_one_process_keep_to_their_own_networks() -> None:
    first, second = load_library(find_compiler(), SOURCE), load_library(find_compiler(), SOURCE.replace("7", "9"))
    assert (_parameters(first), _parameters(second)) == (7, 9)
    assert not hasattr(first, "network")


def test_the_registers_are_those_of_the_instruction_set() -> None:
    for macros, registers in (("#define __AVX512F__ 1", 32), ("#define __AVX2__ 1", 16), ("", 16), ("__aarch64__", 32)):
        assert Compiler(command=("cc",), flags=(), macros=macros).registers == registers


def test_a_processor_that_has_an_instruction_for_pairs_is_given_it(tmp_path: Path) -> None:
    found = find_compiler()
    try:
        with_pairs = Compiler.of(found.command, "-mavx512f", "-mavx512bf16")
    except NativeError:
        pytest.skip("the compiler of this machine does not know AVX512 BF16")
    without = Compiler.of(found.command, "-mno-avx512f")
    assert (with_pairs.pairs, without.pairs) == (True, False)
    (tmp_path / "pairs.c").write_text('#include "vectors.h"\nvoid f(V *s, P *a, P *b) { *s = dot(*s, *a, *b); }\n')
    (tmp_path / "vectors.h").write_text(compiler._FIXED["vectors.h"])
    for one, there in ((with_pairs, True), (without, False)):
        command = [*one.command, *one.flags, "-O2", "-S", "pairs.c", "-o", "pairs.s"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        assert ("vdpbf16ps" in (tmp_path / "pairs.s").read_text()) == there
