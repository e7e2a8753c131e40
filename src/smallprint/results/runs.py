"""Run, Epoch: what one seed measured, and how a folder says it."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors

from smallprint.spec.errors import RunError, shown

STATUSES = ("training", "finished", "diverged", "failed")
Arrays = dict[str, NDArray[Any]]
Precision = Literal["float32", "bfloat16"]  # of products
PrecisionAsked = Precision | Literal["auto"]  # whichever is faster
_T = TypeVar("_T", "Environment", "Stretch", "Run")


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

    @property
    def sound(self) -> bool:
        """Whether no more images are right than there are, and there are some."""
        train, test = (self.train_correct, self.train_total), (self.test_correct, self.test_total)
        return all(0 <= correct <= total > 0 for correct, total in (train, test))


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
    way: str = field(default="")  # how steps were computed: native, pytorch or stack; empty in older runs
    precision: str = field(default="float32")  # of products
    commit: str = field(default="")  # of the working folder, if it is a git checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Epochs in a row that were trained in one environment."""

    until: int  # the last of them, counted from 1
    environment: Environment


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
    environment: Environment  # of the latest epochs
    earlier: tuple[Stretch, ...] = field(default=())  # of the epochs before those, where theirs was another
    epochs: tuple[Epoch, ...] = field(default=())
    folder: Path | None = field(default=None, compare=False)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides this run's numbers: network, recipe, data, seed."""
        return run_hash(self.identity, self.data, self.seed)

    @property
    def environments(self) -> tuple[Environment, ...]:
        """Where its epochs were trained, each place once."""
        return tuple(dict.fromkeys([*(stretch.environment for stretch in self.earlier), self.environment]))

    @property
    def ended(self) -> bool:
        """Whether it is a result: trained to its end, or diverged."""
        return self.status in ("finished", "diverged")

    @property
    def best_test(self) -> float:
        """The best test accuracy of any epoch, in percent; for comparison with published numbers only."""
        return max((100 * epoch.test_accuracy for epoch in self.epochs), default=math.nan)

    def going_on(self, epochs: tuple[Epoch, ...], environment: Environment) -> Run:
        """The run in training again, behind `epochs`; it stays known where those were trained."""
        earlier: list[Stretch] = []
        for stretch in (*self.earlier, Stretch(until=len(epochs), environment=self.environment)):
            until = min(stretch.until, len(epochs))
            if until > (earlier[-1].until if earlier else 0):
                earlier.append(replace(stretch, until=until))
        if earlier and earlier[-1].environment == environment:
            earlier.pop()
        return replace(
            self, status="training", reason="", epochs=epochs, earlier=tuple(earlier), environment=environment
        )

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


def written(run: Run) -> dict[str, bytes]:
    """What a folder's files say of a run; `read_run` reads it."""
    rows = io.StringIO()
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows([getattr(epoch, name) for name in _COLUMNS] for epoch in run.epochs)
    left_out = {"epochs", "folder"} if run.earlier else {"epochs", "folder", "earlier"}
    said = {key: value for key, value in asdict(run).items() if key not in left_out}
    text = json.dumps({"hash": run.hash, **said}, indent=1) + "\n"
    return {"epochs.csv": rows.getvalue().encode(), "run.json": text.encode()}


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: a file that is missing, cut off or not what it should be, with what to do.
    """
    try:
        said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        environment = _typed(Environment(**said.pop("environment")))
        earlier = tuple(read_stretch(stretch) for stretch in said.pop("earlier", ()))
        found = said.pop("hash")
        run = _typed(Run(**said, environment=environment, earlier=earlier, folder=folder))
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


def stored_run(folder: Path) -> Run | None:
    """The run of a folder; None where none was begun.

    Raises:
        RunError: there is one, and it cannot be read.
    """
    try:
        (folder / "run.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise RunError(f"{folder / 'run.json'}: cannot be read: {fault.strerror}") from None
    return read_run(folder)


def read_runs(root: Path, ladder: str, rung: str, identity: str | None = None) -> tuple[Run, ...]:
    """All runs of a rung, by seed; with `identity`, only those of exactly this network and recipe.

    Raises:
        RunError: a run folder that cannot be read.
    """
    folders = (root / ladder / rung).glob("seed-*")
    runs = (stored_run(folder) for folder in folders if folder.name.removeprefix("seed-").isdecimal())
    return tuple(sorted((run for run in runs if run and identity in (None, run.identity)), key=lambda run: run.seed))


def read_stretch(said: Mapping[str, Any]) -> Stretch:
    """Read a stretch as JSON keeps it.

    Raises:
        TypeError, KeyError: it is none.
    """
    return _typed(Stretch(until=said["until"], environment=_typed(Environment(**said["environment"]))))


class DiskError(RunError):
    """Nothing can be kept, of any run: the disk is full, broken or write-protected."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: it is there whole or not at all.

    Raises:
        RunError: it cannot be written; a `DiskError` where no other could.
    """
    with changing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, content)


def prepare_to_write(path: Path) -> None:
    """Make the folder of a file that long work will end with, and see that a file can be written there.

    Raises:
        RunError: it cannot; a `DiskError` where no other could.
    """
    with changing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def replace_whole(path: Path, content: bytes) -> None:
    """The same in a folder that is there, with the system's own errors."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let what the system says against a change of `path` be an error that teaches.

    Raises:
        RunError: the change was refused; a `DiskError` where any other would be.
    """
    try:
        yield
    except OSError as fault:
        kind = RunError if fault.errno in _OF_ONE_PATH else DiskError
        raise kind(
            f"{path}: cannot be written: {fault.strerror}; what is stored stays as it is; "
            "put that right and start again"
        ) from None


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
# What is wrong with a path alone: it, or a folder above it, is gone, something else, or closed to us.
_OF_ONE_PATH = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EACCES, errno.EPERM, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE, errno.EBUSY,
)  # fmt: skip
_ADVICE = "remove that run's folder and climb again: it is trained anew, the others are kept"


def _typed(value: _T) -> _T:
    """The same value, if its plain fields hold what they say."""
    for column in fields(value):
        if not isinstance(getattr(value, column.name), _TYPES.get(column.type, object)):
            raise TypeError
    return value


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
            if epoch.epoch != number or not epoch.sound:
                raise ValueError
        except ValueError:
            found = shown(",".join(row))
            raise RunError(f"{path}: row {number} is cut off or damaged: {found}; {_ADVICE}") from None
        epochs.append(epoch)
    return tuple(epochs)
