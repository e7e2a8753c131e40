"""RunWriter: the one process that may write a run folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from smallprint.results.holding import Hold
from smallprint.results.runs import Run, changing, replace_whole, stored_run, written
from smallprint.spec.errors import RunError


class RunWriter(AbstractContextManager["RunWriter"]):
    """The one process that may write a run folder; every file changes whole or not at all.

    `holder` is the process that others are told to wait for, by default this one. A folder that is taken away while
    it is held is not made again, and one that another process has made in its place is not touched.

    Raises:
        HeldError: another process holds the folder.
        RunError: it cannot be written, or is gone; a `DiskError` where no other could be written.
    """

    def __init__(self, folder: Path, holder: int | None = None) -> None:
        self.folder = folder
        self._hold = Hold(folder, holder)

    def __enter__(self) -> RunWriter:
        with ExitStack() as held:
            held.enter_context(self._hold)
            with changing(self.folder):
                self.folder.mkdir(exist_ok=True)
            held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hold.__exit__(kind, fault, trace)

    def stored(self) -> Run | None:
        """The run that is here already."""
        return stored_run(self.folder)

    def set_aside(self, run: Run) -> Path:
        """Move an earlier, different run out of the way, to `seed-<n>.<hash>`; nothing is lost.

        The folder is renamed: whenever this process is killed, all of it is in one place.
        """
        name = f"{self.folder.name}.{run.hash[:8]}"
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        kept = next(folder for name in names if not (folder := self.folder.with_name(name)).exists())
        self._check()
        with changing(kept):
            self.folder.rename(kept)
            self.folder.mkdir()
        return kept

    def begin(self, run: Run, rung_text: str) -> None:
        """Start a run's folder, or go on in it."""
        self._check()
        with changing(self.folder):
            for file in self.folder.glob(".*.*.*"):  # what a killed process was about to write
                file.unlink(missing_ok=True)
            if not self.stored():
                (self.folder / "resume.npz").unlink(missing_ok=True)  # of a run that is gone
        self._write("rung.toml", rung_text.encode())
        self.keep(run)

    def keep(self, run: Run) -> None:
        """Write the run's epochs and status as they are now."""
        for name, content in written(run).items():
            self._write(name, content)

    def checkpoint(self, state: bytes) -> None:
        """Keep what training needs to go on after the last whole epoch."""
        self._write("resume.npz", state)

    def stored_checkpoint(self) -> bytes | None:
        """What `checkpoint` kept."""
        path = self.folder / "resume.npz"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise RunError(f"{path}: cannot be read: {fault.strerror}") from None

    def finish(self, run: Run, weights: Mapping[str, NDArray[Any]], answers: Mapping[str, NDArray[Any]]) -> None:
        """Write the judged weights and their answers, then the final status; drop the checkpoint."""
        self._write(
            "weights.safetensors", save_tensors({name: np.ascontiguousarray(array) for name, array in weights.items()})
        )
        self._write("answers.safetensors", save_tensors(dict(answers)))
        self.keep(run)
        with changing(self.folder):
            (self.folder / "resume.npz").unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        self._check()
        with changing(self.folder / name):
            try:
                replace_whole(self.folder / name, content)
            except FileNotFoundError:
                self._check()  # it may have gone since we looked
                raise

    def _check(self) -> None:
        """Make sure that the folder is there, and still ours."""
        with changing(self.folder):
            ours = self._hold.ours and self.folder.is_dir()
        if not ours:
            raise RunError(f"{self.folder}: was taken away while it was written; start again to train that run")
