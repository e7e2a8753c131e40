"""Run, Epoch: what one seed measured, and the folder that keeps it."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from smallprint.spec.errors import RunError, shown

STATUSES = ("training", "finished", "diverged", "failed")
Arrays = dict[str, NDArray[Any]]
_T = TypeVar("_T", "Environment", "Run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch measured. Train numbers are those of the epoch as it ran, in training mode."""

    epoch: int  # counted from 1
    learning_rate: float  # of the epoch's last step
    train_loss: float  # mean per image
    train_correct: int  # images
    train_total: int  # images
    test_loss: float  # mean per image
    test_correct: int  # images
    test_total: int  # images
    seconds: float  # training and test, wall clock

    @property
    def train_accuracy(self) -> float:
        """0 to 1."""
        return self.train_correct / self.train_total

    @property
    def test_accuracy(self) -> float:
        """0 to 1; not a number where there are no test images."""
        return self.test_correct / self.test_total if self.test_total else math.nan

    @property
    def gap(self) -> float:
        """Points by which the train accuracy exceeds the test accuracy."""
        return 100 * (self.train_accuracy - self.test_accuracy)

    @property
    def diverged(self) -> bool:
        """Whether the loss was no longer a number."""
        return not math.isfinite(self.train_loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a run was trained."""

    smallprint: str  # version
    python: str  # version
    torch: str  # version
    numpy: str  # version
    platform: str  # operating system and processor
    device: str  # cpu, or the GPU's name
    threads: int  # of the training process
    way: str = field(default="")  # how steps were computed: native or pytorch; empty in older runs
    commit: str = field(default="")  # of the working folder, if it is a git checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One rung trained with one seed."""

    ladder: str
    rung: str
    seed: int
    status: str = field(default="training")  # one of STATUSES
    reason: str = field(default="")  # why it ended, where that is not plain
    identity: str  # SHA-256 of network and recipe
    data: str  # SHA-256 of the data set
    parameters: int  # trainable values
    macs: int  # multiply-adds of one image
    planned: int  # epochs
    environment: Environment
    epochs: tuple[Epoch, ...] = field(default=())
    folder: Path | None = field(default=None, compare=False)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides this run's numbers: network, recipe, data, seed."""
        return run_hash(self.identity, self.data, self.seed)

    @property
    def ended(self) -> bool:
        """Whether it is a result: trained to its end, or diverged."""
        return self.status in ("finished", "diverged")

    @property
    def best_test(self) -> float:
        """The best test accuracy of any epoch, in percent; for comparison with published numbers only."""
        return max((100 * epoch.test_accuracy for epoch in self.epochs), default=math.nan)

    def answers(self) -> Arrays | None:
        """What the judged weights answered on the test set, if the folder keeps it.

        `predicted` (N,) class; `confidence` (N,) its probability; `loss` (N,) cross-entropy per image.
        """
        path = self.folder / "answers.safetensors" if self.folder else None
        if path is None or not path.exists():
            return None
        answers = read_tensors(path)
        if not {"predicted", "confidence", "loss"} <= answers.keys():
            raise RunError(f"{path}: damaged; {_ADVICE}")
        return answers


def run_hash(identity: str, data: str, seed: int) -> str:
    """SHA-256 of all that decides a run's numbers: those of network and recipe, and of the data; and the seed."""
    return hashlib.sha256(f"{identity} {data} {seed}".encode()).hexdigest()


def run_folder(root: Path, ladder: str, rung: str, seed: int) -> Path:
    """Where the run of a seed is kept."""
    return root / ladder / rung / f"seed-{seed}"


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: a file that is missing, cut off or not what it should be, with what to do.
    """
    try:
        said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        environment = _typed(Environment(**said.pop("environment")))
        found = said.pop("hash")
        run = _typed(Run(**said, environment=environment, folder=folder))
        if run.hash != found:
            raise ValueError
    except OSError as fault:
        raise RunError(f"{folder / 'run.json'}: cannot be read: {fault.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RunError(f"{folder / 'run.json'}: damaged; {_ADVICE}") from None
    path = folder / "epochs.csv"
    epochs = _read_epochs(path) if path.exists() else ()
    if run.status not in STATUSES or (run.status == "finished" and len(epochs) != run.planned):
        raise RunError(f"{path}: {len(epochs)} of {run.planned} epochs, but the run says {run.status!r}; {_ADVICE}")
    return replace(run, epochs=epochs)


def read_runs(root: Path, ladder: str, rung: str, identity: str | None = None) -> tuple[Run, ...]:
    """All runs of a rung, by seed; with `identity`, only those of exactly this network and recipe.

    Raises:
        RunError: a run folder that cannot be read.
    """
    folders = [path for path in (root / ladder / rung).glob("seed-*") if (path / "run.json").exists()]
    runs = (read_run(folder) for folder in folders if folder.name.removeprefix("seed-").isdecimal())
    return tuple(sorted((run for run in runs if identity in (None, run.identity)), key=lambda run: run.seed))


class HeldError(RunError):
    """A run folder that another process holds."""

    def __init__(self, folder: Path, holder: int | None) -> None:
        self.holder = holder  # process to wait for; None: it has not said
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"{folder}: held by {who}; start again when it has ended, or choose another --runs")


class RunWriter(AbstractContextManager["RunWriter"]):
    """The one process that may write a run folder; every file changes whole or not at all.

    The lock is the system's: it ends with the process that holds it, however that ends. `holder` is the process
    that others are told to wait for, by default this one.

    Raises:
        HeldError: another process holds the folder.
        RunError: it cannot be written.
    """

    def __init__(self, folder: Path, holder: int | None = None) -> None:
        self.folder = folder
        self._holder = holder or os.getpid()
        self._lock = FileLock(folder / "lock", timeout=0)

    def __enter__(self) -> RunWriter:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise HeldError(self.folder, self._signed()) from None
        except OSError as fault:
            raise _unwritable(self.folder, fault) from None
        self._sign(str(self._holder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sign("")
        self._lock.release()  # the lock file stays: removing it could hand the folder to two processes at once

    def _sign(self, text: str) -> None:
        """Say in the lock file who holds it; a system that lets nobody write there keeps it to itself."""
        with suppress(OSError):
            (self.folder / "lock").write_text(text, encoding="ascii")

    def _signed(self) -> int | None:
        with suppress(OSError, ValueError):
            return int((self.folder / "lock").read_text(encoding="ascii"))
        return None

    def stored(self) -> Run | None:
        """The run that is here already."""
        return read_run(self.folder) if (self.folder / "run.json").exists() else None

    def set_aside(self, run: Run) -> Path:
        """Move an earlier, different run out of the way, to `seed-<n>.<hash>`; nothing is lost.

        Raises:
            RunError: it cannot be moved.
        """
        name = f"{self.folder.name}.{run.hash[:8]}"
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        kept = next(folder for name in names if not (folder := self.folder.with_name(name)).exists())
        try:
            kept.mkdir()
            for file in self.folder.iterdir():
                if file.name != "lock":
                    file.replace(kept / file.name)
        except OSError as fault:
            raise _unwritable(kept, fault) from None
        return kept

    def begin(self, run: Run, rung_text: str) -> None:
        """Start a run's folder."""
        for file in self.folder.glob(".*.*.*"):  # what a killed process was about to write
            file.unlink(missing_ok=True)
        if not run.epochs:
            (self.folder / "resume.pt").unlink(missing_ok=True)  # of a run that is gone
        self._write("rung.toml", rung_text.encode())
        self.keep(run)

    def keep(self, run: Run) -> None:
        """Write the run's epochs and status as they are now."""
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows([getattr(epoch, name) for name in _COLUMNS] for epoch in run.epochs)
        self._write("epochs.csv", rows.getvalue().encode())
        said = {key: value for key, value in asdict(run).items() if key not in ("epochs", "folder")}
        self._write("run.json", (json.dumps({"hash": run.hash, **said}, indent=1) + "\n").encode())

    def checkpoint(self, state: bytes) -> None:
        """Keep what training needs to go on after the last whole epoch."""
        self._write("resume.pt", state)

    def stored_checkpoint(self) -> bytes | None:
        """What `checkpoint` kept."""
        path = self.folder / "resume.pt"
        return path.read_bytes() if path.exists() else None

    def finish(self, run: Run, weights: Mapping[str, NDArray[Any]], answers: Mapping[str, NDArray[Any]]) -> None:
        """Write the judged weights and their answers, then the final status; drop the checkpoint."""
        self._write(
            "weights.safetensors", save_tensors({name: np.ascontiguousarray(array) for name, array in weights.items()})
        )
        self._write("answers.safetensors", save_tensors(dict(answers)))
        self.keep(run)
        (self.folder / "resume.pt").unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        write_whole(self.folder / name, content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: it is there whole or not at all.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as fault:
        if temporary:
            with suppress(OSError):
                temporary.unlink()
        raise _unwritable(path, fault) from None


def read_tensors(path: Path) -> Arrays:
    """Read a safetensors file.

    Raises:
        RunError: it cannot be read, or is damaged.
    """
    try:
        return dict(load_tensors(path.read_bytes()))
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    except Exception:  # safetensors raises its own type, which is not public
        raise RunError(f"{path}: damaged; {_ADVICE}") from None


_COLUMNS = tuple(column.name for column in fields(Epoch))
_TYPES: Mapping[object, type] = {"int": int, "float": float, "str": str}  # by their names in annotations
_READERS = tuple(_TYPES[column.type] for column in fields(Epoch))
_ADVICE = "remove that run's folder and climb again: it is trained anew, the others are kept"


def _typed(value: _T) -> _T:
    """The same value, if its plain fields hold what they say."""
    for column in fields(value):
        if not isinstance(getattr(value, column.name), _TYPES.get(column.type, object)):
            raise TypeError
    return value


def _unwritable(path: Path, fault: OSError) -> RunError:
    return RunError(
        f"{path}: cannot be written: {fault.strerror}; what is stored stays as it is; put that right and start again"
    )


def _read_epochs(path: Path) -> tuple[Epoch, ...]:
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text)))
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise RunError(f"{path}: damaged; {_ADVICE}") from None
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise RunError(f"{path}: its first line is not the names of the columns; {_ADVICE}")
    epochs = []
    for number, row in enumerate(rows[1:], start=1):
        whole = number < len(rows) - 1 or text.endswith("\n")
        try:
            if len(row) != len(_COLUMNS) or not whole:
                raise ValueError
            epoch = Epoch(**{name: read(cell) for name, read, cell in zip(_COLUMNS, _READERS, row, strict=True)})
            train, test = (epoch.train_correct, epoch.train_total), (epoch.test_correct, epoch.test_total)
            if epoch.epoch != number or not all(0 <= correct <= total > 0 for correct, total in (train, test)):
                raise ValueError
        except ValueError:
            found = shown(",".join(row))
            raise RunError(f"{path}: row {number} is cut off or damaged: {found}; {_ADVICE}") from None
        epochs.append(epoch)
    return tuple(epochs)
