"""C text to a loaded library, by the system's compiler, kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from smallprint.results.runs import write_whole
from smallprint.spec.errors import RunError, SmallprintError

_TIMEOUT = 120  # seconds for one compilation, and for waiting on another process that compiles the same
_FLAGS = ("-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-fPIC", "-pthread")
# Read once: a release installed while this process runs must not mix with what it has loaded.
_FIXED: Mapping[str, str] = {
    file.name: file.read_text(encoding="utf-8")
    for file in resources.files(__package__).iterdir()
    if file.name.endswith((".c", ".h"))
}


class NativeError(SmallprintError):
    """The native step cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C compiler, and what it makes of this processor."""

    command: tuple[str, ...]
    flags: tuple[str, ...]
    macros: str  # all that it defines for this processor: its version, and every instruction set

    @staticmethod
    def of(command: tuple[str, ...], *extra: str) -> Compiler:
        """The compiler behind a command, with extra flags.

        Raises:
            NativeError: it does not work.
        """
        target = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
        flags = (target, *_FLAGS, *extra)
        macros = _run([*command, *flags, "-dM", "-E", "-x", "c", os.devnull])
        # GCC's partial redundancy elimination keeps more values than there are registers, at a third of the speed.
        return Compiler(
            command=command, flags=flags if "__clang__" in macros else (*flags, "-fno-tree-pre"), macros=macros
        )

    def __str__(self) -> str:
        """As in: /usr/bin/cc 12.2.0."""
        found = re.search(r'#define __VERSION__ "([^"]*)"', self.macros)
        return " ".join([*self.command, *([found[1]] if found else [])])

    @property
    def registers(self) -> int:
        """Vector registers."""
        return 32 if "__AVX512F__" in self.macros or "__aarch64__" in self.macros else 16

    @property
    def pairs(self) -> bool:
        """Whether it has an instruction for two products of bfloat16; see `dot` in vectors.h."""
        return "__AVX512BF16__" in self.macros or "__ARM_FEATURE_BF16_VECTOR_ARITHMETIC" in self.macros


@cache
def find_compiler() -> Compiler:
    """The compiler that `$CC` names, or the first of cc, gcc and clang.

    Raises:
        NativeError: there is none, or it does not work.
    """
    named = os.environ.get("CC", "").strip()
    commands = [shlex.split(named)] if named else [["cc"], ["gcc"], ["clang"]]
    for command in commands:
        if path := shutil.which(command[0]):
            return Compiler.of((path, *command[1:]))
    raise NativeError(f"no C compiler called {commands[0][0]} was found" if named else "no C compiler was found")


def pairs_here() -> bool:
    """Whether the compiler of this machine has an instruction for pairs; without a compiler there is none."""
    try:
        return find_compiler().pairs
    except NativeError:
        return False


def load_library(compiler: Compiler, source: str) -> ctypes.CDLL:
    """The library of runtime.c and one network.c; compiled at first use, a few seconds.

    Raises:
        NativeError: the compiler fails, or the cache cannot be used.
    """
    network = {"network.c": source, **{name: text for name, text in _FIXED.items() if name.endswith(".h")}}
    try:
        folder = _private_folder()
        runtime = _built(folder, compiler, ("-O3", "-c"), _FIXED, ("runtime.c",), "o")
        library = _built(folder, compiler, ("-O2", "-shared"), network, ("network.c", str(runtime), "-lm"), "so")
        return ctypes.CDLL(str(library))
    except Timeout:
        raise NativeError(f"another process has been compiling the same for {_TIMEOUT} seconds") from None
    except OSError as fault:
        raise NativeError(f"the compiled step cannot be kept or loaded: {fault.strerror or fault}") from None
    except RunError as fault:  # from writing the seal
        raise NativeError(f"the compiled step cannot be kept: {fault}") from None


def _built(
    folder: Path,
    compiler: Compiler,
    mode: tuple[str, ...],
    files: Mapping[str, str],
    inputs: tuple[str, ...],
    kind: str,
) -> Path:
    """One compiled file from the cache, made if it is missing or not as it was written."""
    texts = (f"{name}\0{text}" for name, text in sorted(files.items()))
    said = (*compiler.command, *compiler.flags, compiler.macros, *mode, *inputs, *texts)
    key = hashlib.sha256("\0".join(said).encode()).hexdigest()[:40]
    built, seal = folder / f"{key}.{kind}", folder / f"{key}.sha256"
    with FileLock(folder / f"{key}.lock", timeout=_TIMEOUT):
        if not _sealed(built, seal):
            made = folder / f"{key}.made"
            shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
            made.mkdir()
            try:
                for name, text in files.items():
                    (made / name).write_text(text, encoding="utf-8")
                _run([*compiler.command, *compiler.flags, *mode, *inputs, "-o", built.name], made)
                out = made / built.name
                write_whole(seal, hashlib.sha256(out.read_bytes()).hexdigest().encode())
                out.replace(built)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return built


def _sealed(built: Path, seal: Path) -> bool:
    """Whether a compiled file is the one that was written; half a file, or a changed one, is not."""
    try:
        return hashlib.sha256(built.read_bytes()).hexdigest() == seal.read_text(encoding="ascii")
    except (OSError, ValueError):
        return False


def _private_folder() -> Path:
    """The cache of compiled files, which only this user can read or write."""
    folder = user_cache_path("smallprint") / "native"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise NativeError(f"{folder} belongs to another user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def _run(command: list[str], folder: Path | None = None) -> str:
    """Run the compiler in a folder; what it prints."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NativeError(f"the C compiler {command[0]} did not end within {_TIMEOUT} seconds") from None
    except OSError as fault:
        raise NativeError(f"the C compiler {command[0]} cannot be run: {fault.strerror}") from None
    if done.returncode:
        said = done.stderr.splitlines()
        first = next((line for line in said if "error" in line.lower()), said[0] if said else "no message")
        raise NativeError(f"the C compiler {command[0]} failed: {first.strip()[:200]}")
    return done.stdout
