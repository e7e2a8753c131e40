"""C text to a loaded library, by the system's compiler, kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from smallprint.results.runs import write_whole

_TIMEOUT = 120  # seconds for one compilation, and for waiting on another process that compiles the same
_FLAGS = ("-std=gnu11", "-O2", "-fno-math-errno", "-ffp-contract=fast", "-fPIC", "-pthread")
_FIXED = ("runtime.c", "runtime.h", "vectors.h")


class NativeError(Exception):
    """The native step cannot be had here; the message says why, in words for a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """The system's C compiler, and what it makes of this processor."""

    path: str
    flags: tuple[str, ...]
    macros: str  # all that it defines for this processor: its version, and every instruction set

    @property
    def lanes(self) -> int:
        """Values in one vector, as in vectors.h."""
        return 16 if "__AVX512F__" in self.macros else 8 if "__AVX__" in self.macros else 4

    @property
    def registers(self) -> int:
        """Vector registers."""
        return 32 if "__AVX512F__" in self.macros or "__aarch64__" in self.macros else 16


@cache
def find_compiler() -> Compiler:
    """The compiler named by `$CC`, or the first of cc, gcc and clang.

    Raises:
        NativeError: there is none, or it does not work.
    """
    named = os.environ.get("CC")
    path = next((found for name in ([named] if named else ["cc", "gcc", "clang"]) if (found := shutil.which(name))), None)
    if path is None:
        raise NativeError(f"no C compiler called {named} was found" if named else "no C compiler was found")
    target = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    macros = _run([path, target, "-dM", "-E", "-x", "c", os.devnull])
    # GCC's partial redundancy elimination keeps more values than there are registers, at a third of the speed.
    extra = () if "__clang__" in macros else ("-fno-tree-pre",)
    return Compiler(path=path, flags=(target, *_FLAGS, *extra), macros=macros)


def load_library(source: str) -> ctypes.CDLL:
    """The library of runtime.c and one network.c; compiled at first use, a few seconds.

    Raises:
        NativeError: no compiler, or it fails, or the cache cannot be used.
    """
    compiler = find_compiler()
    fixed = {name: (resources.files(__package__) / name).read_text(encoding="utf-8") for name in _FIXED}
    try:
        folder = _private_folder()
        runtime = _built(folder, compiler, "o", ("-O3", "-c"), fixed, "runtime.c", ())
        library = _built(folder, compiler, "so", ("-shared",), {**fixed, "network.c": source}, "network.c", (runtime,))
        return ctypes.CDLL(str(library))
    except Timeout:
        raise NativeError("another process has been compiling the same for two minutes") from None
    except OSError as fault:
        raise NativeError(f"the compiled step cannot be kept or loaded: {fault.strerror or fault}") from None


def _built(
    folder: Path, compiler: Compiler, suffix: str, mode: tuple[str, ...], files: dict[str, str], main: str,
    linked: Sequence[Path],
) -> Path:  # fmt: skip
    """One compiled file from the cache, made if it is missing or not as it was written."""
    said = [*compiler.flags, *mode, compiler.path, compiler.macros, main, *(f"{k}\0{v}" for k, v in sorted(files.items()))]
    key = hashlib.sha256("\0".join(said).encode()).hexdigest()[:40]
    built, seal = folder / f"{key}.{suffix}", folder / f"{key}.sha256"
    with FileLock(folder / f"{key}.lock", timeout=_TIMEOUT):
        if not _sealed(built, seal):
            with tempfile.TemporaryDirectory(dir=folder) as made:
                for name, text in files.items():
                    (Path(made) / name).write_text(text, encoding="utf-8")
                out = Path(made) / built.name
                _run([compiler.path, *compiler.flags, *mode, "-I", made, str(Path(made) / main), *map(str, linked), "-o", str(out), "-lm"])
                write_whole(seal, hashlib.sha256(out.read_bytes()).hexdigest().encode())
                os.replace(out, built)
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


def _run(command: list[str]) -> str:
    """Run the compiler; what it prints."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NativeError(f"the C compiler {command[0]} did not end within two minutes") from None
    except OSError as fault:
        raise NativeError(f"the C compiler {command[0]} cannot be run: {fault.strerror}") from None
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "no message")
        raise NativeError(f"the C compiler {command[0]} failed: {first.strip()[:200]}")
    return done.stdout
