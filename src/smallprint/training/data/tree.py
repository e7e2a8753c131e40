"""Tree: the files of your own data, and how a change of them shows."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from smallprint.spec.errors import DataError
from smallprint.training.data.in_memory import Dataset

_DEEPEST = 3  # folders: train/cat/1.png
_UNTIDY = ("Thumbs.db", "desktop.ini", "__MACOSX")  # what systems leave behind; so is all that starts with a dot
_SETTLED = 2_000_000_000  # nanoseconds; the clocks of some file systems are no finer


class File(NamedTuple):
    """One file, as its folder lists it."""

    name: str  # from the root, with '/' between
    size: int  # bytes
    times: tuple[int, int]  # nanoseconds: its content was changed, anything of it was changed


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What lies under a path, without a look into the files."""

    root: Path  # the folder, as it was named
    files: tuple[File, ...]  # in the order of their names
    folders: tuple[str, ...]  # from the root, in the order of their names
    taken: float = field(compare=False)  # seconds, when this was looked up

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every name, size and time: the quick look whether anything has changed."""
        lines = [f"{file.name}\0{file.size}\0{file.times}" for file in self.files]
        return hashlib.sha256("\n".join([*lines, *self.folders]).encode()).hexdigest()

    @property
    def settled(self) -> bool:
        """Whether a change after this look would show in the times of the files."""
        taken = int(self.taken * 1e9)
        past = (time for file in self.files for time in file.times if time <= taken)
        return max(past, default=0) < taken - _SETTLED

    @cached_property
    def inside(self) -> dict[str, list[File]]:
        """The files that lie directly in each folder; the root is ''."""
        found: dict[str, list[File]] = {folder: [] for folder in ("", *self.folders)}
        for file in self.files:
            found[file.name.rpartition("/")[0]].append(file)
        return found

    def folders_in(self, folder: str) -> list[str]:
        """The names of the folders that lie directly in a folder."""
        start = f"{folder}/" if folder else ""
        inside = (name[len(start) :] for name in self.folders if name.startswith(start))
        return [name for name in inside if name and "/" not in name]


class Contents:
    """The bytes of a tree's files, and the sum of all that were asked for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._sums: dict[str, str] = {}

    def read(self, file: File) -> bytes:
        """One file.

        Raises:
            DataError: it cannot be read.
        """
        path = self.tree.root / file.name
        try:
            content = path.read_bytes()
        except OSError as fault:
            raise DataError(f"{path}: cannot be read: {fault.strerror}") from None
        self._sums[file.name] = hashlib.sha256(content).hexdigest()
        return content

    def digest(self, files: Sequence[File]) -> str:
        """SHA-256 of the names and bytes of these files; what was not read yet is read."""
        for file in files:
            if file.name not in self._sums:
                self.read(file)
        return hashlib.sha256("\n".join(f"{self._sums[file.name]} {file.name}" for file in files).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form in which data lies: the files that matter, and how they are read."""

    files: tuple[File, ...]
    read: Callable[[Contents], Dataset]  # raises DataError


def look(path: Path) -> Tree:
    """What lies under a folder, or a file alone.

    Raises:
        DataError: it cannot be read, or holds what must not be there: a link that leads out or nowhere, a thing that
            is neither file nor folder, a name that is not UTF-8.
    """
    taken = time.time()
    files: list[File] = []
    folders: list[str] = []
    try:
        if path.is_file():
            status = path.stat()
            one = File(name=path.name, size=status.st_size, times=(status.st_mtime_ns, status.st_ctime_ns))
            return Tree(root=path.parent, files=(one,), folders=(), taken=taken)
        _list(str(path), path.resolve(), "", files, folders)
    except OSError as fault:
        raise DataError(f"{fault.filename}: cannot be read: {fault.strerror}") from None
    files.sort()
    return Tree(root=path, files=tuple(files), folders=tuple(sorted(folders)), taken=taken)


def _list(folder: str, home: Path, inside: str, files: list[File], folders: list[str]) -> None:
    # Tens of thousands of files pass through here at every start.
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _UNTIDY:
            continue
        name = f"{inside}{entry.name}"
        if not name.isascii():
            _check_name(entry)
        if entry.is_symlink():
            _check_link(entry, home)
        if entry.is_file():
            status = entry.stat()
            files.append(File(name, status.st_size, (status.st_mtime_ns, status.st_ctime_ns)))
        elif entry.is_dir():
            folders.append(name)
            if name.count("/") < _DEEPEST - 1:
                _list(entry.path, home, f"{name}/", files, folders)
        else:
            raise DataError(f"{entry.path}: neither a file nor a folder; take it away")


def _check_name(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{Path(entry.path).parent}: a name that is not UTF-8: {os.fsencode(entry.name)!r}") from None


def _check_link(entry: os.DirEntry[str], home: Path) -> None:
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        raise DataError(f"{entry.path}: a link that leads nowhere; take it away") from None
    if not target.is_relative_to(home):
        raise DataError(f"{entry.path}: a link that leads out of the folder; put the file itself in its place")
