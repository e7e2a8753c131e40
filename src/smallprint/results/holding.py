"""Hold: the one process that may change a thing on the disk."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from filelock import FileLock, Timeout

from smallprint.results.runs import changing
from smallprint.spec.errors import RunError

_PATIENCE = 3.0  # seconds for the workers of a process that is gone to go too


class HeldError(RunError):
    """A thing that another process holds."""

    def __init__(self, path: Path, holder: int | None) -> None:
        self.holder = holder  # process to wait for; None: it has not said
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"{path}: held by {who}; start again when it has ended, or choose another --runs")


class Hold(AbstractContextManager["Hold"]):
    """A file or folder that is held as long as this is entered; who holds it stands in `.<its name>.lock` beside it.

    The lock is the system's: it ends with the process that holds it, however that ends. `holder` is the process
    that others are told to wait for, by default this one. The folder that it stands in is made where it is missing.

    Raises:
        HeldError: another process holds it.
        RunError: the lock cannot be written; a `DiskError` where no other could be.
    """

    def __init__(self, path: Path, holder: int | None = None) -> None:
        self.path = path
        self._holder = holder or os.getpid()
        self._place = path.with_name(f".{path.name}.lock")  # outside, so that a folder can be moved as a whole
        self._lock = FileLock(self._place, timeout=0)
        self._signature: BinaryIO
        self._held: ExitStack  # the lock and the signature

    def __enter__(self) -> Hold:
        with changing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take()
            with ExitStack() as held:
                held.callback(self._lock.release)  # its file stays: removing it could let two processes in at once
                self._signature = held.enter_context(self._place.open("r+b", buffering=0))
                self._held = held.pop_all()
        self._sign(str(self._holder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sign("")
        self._held.close()

    @property
    def ours(self) -> bool:
        """Whether the lock is still in its place, so that nobody else can have one.

        Raises:
            OSError: it cannot be looked at.
        """
        try:
            return os.path.samestat(os.fstat(self._signature.fileno()), self._place.stat())
        except FileNotFoundError:
            return False

    def _take(self) -> None:
        """Get the lock; from a process that is gone as soon as its workers are."""
        try:
            self._lock.acquire()
            return
        except Timeout:
            holder = self._signed()
        if holder and not _lives(holder):
            with suppress(Timeout):
                self._lock.acquire(timeout=_PATIENCE)
                return
        raise HeldError(self.path, self._signed())

    def _sign(self, text: str) -> None:
        """Say in the lock file who holds it; a system that lets nobody write there keeps it to itself."""
        with suppress(OSError):
            self._signature.seek(0)
            self._signature.truncate()
            self._signature.write(text.encode())

    def _signed(self) -> int | None:
        with suppress(OSError, ValueError):
            return int(self._place.read_text(encoding="ascii"))
        return None


def _lives(process: int) -> bool:
    """Whether a process of this machine is there; taken for granted where asking could end it."""
    if os.name != "posix":
        return True
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
