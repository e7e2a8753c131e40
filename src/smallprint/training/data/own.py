"""Data of your own: which form it has, read once and then from the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts
from smallprint.spec.errors import DataError, listing, nearest, shown
from smallprint.training.data.arrays import npz_file
from smallprint.training.data.cache import About, Cache
from smallprint.training.data.idx import idx_files, role_of
from smallprint.training.data.images import class_folders, is_halved
from smallprint.training.data.in_memory import Dataset
from smallprint.training.data.tree import Contents, Form, Tree, look

_NPZ, _IDX, _FOLDERS = "data.npz", "IDX files", "folders"


def load_own(place: DataPlace, folder: Path | None = None) -> Dataset:
    """Read data of your own, from its path or from `folder`; what was read before comes from the cache.

    Raises:
        DataError: there is nothing, or something is wrong with it.
    """
    return _Reading(place, find_own(place, folder)).dataset()


def own_facts(place: DataPlace, folder: Path | None = None) -> DatasetFacts:
    """Shape and classes of data of your own; what was read before is not read again.

    Raises:
        DataError: there is nothing, or something is wrong with it.
    """
    return _Reading(place, find_own(place, folder)).facts()


def own_fingerprint(place: DataPlace, folder: Path | None = None) -> str:
    """SHA-256 of the images and labels of data of your own; what was read before is not read again.

    Raises:
        DataError: there is nothing, or something is wrong with it.
    """
    return _Reading(place, find_own(place, folder)).fingerprint()


def needs_split(place: DataPlace, folder: Path | None = None) -> bool:
    """Whether data of your own does not say which of its images are for the test.

    Raises:
        DataError: there is nothing, or it cannot be looked at.
    """
    tree = look(find_own(place, folder))
    forms = _forms(tree)
    return forms == [_FOLDERS] and not is_halved(tree)


def find_own(place: DataPlace, folder: Path | None = None) -> Path:
    """Where data of your own lies: at its path, or in `folder`, by its name or as that folder.

    Raises:
        DataError: there is neither a folder nor a file.
    """
    said = place.said
    if not said:
        raise DataError("the path of the data is empty")
    if not said.isprintable():
        raise DataError(f"no data set and no path of your own is called {shown(said)}")
    try:
        paths = [folder / PurePath(said).name, folder] if folder else [place.path]
        for path in paths:
            if path.exists():
                return path
    except ValueError:  # a name that no file can have
        raise DataError(f"no file can have the name {shown(said)}") from None
    except OSError as fault:
        raise DataError(f"{shown(str(place.path))}: cannot be read: {fault.strerror}") from None
    if folder or PurePath(said).name != said or said.endswith(".npz"):
        raise DataError(f"{paths[-1]}: no such folder or file")
    raise DataError(
        f"no data set is called {shown(said)}, and {str(place.path)!r} is no folder or file; "
        f"known: {listing(DATASETS)}" + nearest(said, DATASETS)
    )


class _Reading:
    """One look at a path, and what the cache has of it."""

    def __init__(self, place: DataPlace, path: Path) -> None:
        self.place = place
        self.path = path
        self.tree = look(path)
        self.cache = Cache(path, place.split)
        self.about = self.cache.about()

    def facts(self) -> DatasetFacts:
        facts = self.cache.facts(self.about, self.place.name) if self.about and self._unchanged(self.about) else None
        return facts or self.dataset().facts

    def fingerprint(self) -> str:
        about = self.about
        return about.fingerprint if about and self._unchanged(about) else self.dataset().fingerprint

    def dataset(self) -> Dataset:
        """From the cache where names, sizes and times are as they were, or all bytes are; otherwise anew."""
        about = self.about
        if about and self._unchanged(about) and (kept := self._kept(about)):
            return kept
        contents, form = Contents(self.tree), self._form()
        same = about and about.content == contents.digest(form.files)
        dataset = self._kept(about) if about and same else None
        if dataset is None:
            dataset = replace(form.read(contents), found=str(self.path))
        if look(self.path).digest != self.tree.digest:
            raise DataError(f"{self.path}: changed while it was read; start again when it is complete")
        content = contents.digest(form.files)
        self.cache.keep(dataset, tree=self.tree.digest, settled=self.tree.settled, content=content)
        return dataset

    def _unchanged(self, about: About) -> bool:
        return about.settled and about.tree == self.tree.digest

    def _kept(self, about: About) -> Dataset | None:
        return self.cache.load(about, self.place.name, str(self.path))

    def _form(self) -> Form:
        """The one form in which the data lies."""
        tree = self.tree
        if self.path.is_file():
            if self.path.suffix != ".npz":
                raise DataError(f"{self.path}: a file of your own data is .npz; otherwise name a folder")
            return npz_file(tree, tree.files[0], self.place)
        forms = _forms(tree)
        if len(forms) > 1:
            raise DataError(f"{self.path} holds {' and '.join(forms)}; keep one of them, or name a folder of its own")
        if not forms:
            raise DataError(
                f"{self.path} holds no data: neither class folders of images, nor {_NPZ}, nor four IDX files"
            )
        if forms == [_NPZ]:
            return npz_file(tree, next(file for file in tree.files if file.name == _NPZ), self.place)
        return idx_files(tree, self.place) if forms == [_IDX] else class_folders(tree, self.place)


def _forms(tree: Tree) -> list[str]:
    """The forms of data that lie in a folder."""
    here = {
        _NPZ: any(file.name == _NPZ for file in tree.files),
        _IDX: any(role_of(file) for file in tree.files),
        _FOLDERS: bool(tree.folders),
    }
    return [form for form, is_here in here.items() if is_here]
