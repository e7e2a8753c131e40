"""The data sets known by name: found, fetched, checked."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from smallprint.results.runs import write_whole
from smallprint.spec.dataset import DATASETS, Archive, DatasetFacts, Origin
from smallprint.spec.errors import DataError, SmallprintError, listing
from smallprint.training.data.cache import cache_folder
from smallprint.training.data.deskew import deskew
from smallprint.training.data.idx import read_idx, unpacked
from smallprint.training.data.in_memory import Dataset

_TIMEOUT = 15  # seconds without an answer from a mirror
_ADVICE = "put the original file in its place"


def load_known(name: str, folder: Path | None = None) -> Dataset:
    """Load a data set by its name: from `folder`, `$SMALLPRINT_DATA/<name>`, the cache, or its mirrors.

    Raises:
        DataError: no way to get it, or files that are not what the name promises.
    """
    facts = DATASETS[name]
    if not (origin := facts.origin):
        return _digits(facts)
    for place in _stated_places(facts.home, folder):
        if _holds(place, origin, any):
            return _read(facts, origin, place)
    if folder is not None:
        raise DataError(f"{folder}: no {name} here; it needs {_needs(origin)}, in it or in {facts.home}/")
    try:
        return _read(facts, origin, cache_folder() / facts.home)
    except DataError:  # not there yet, or an interrupted download, or damaged since
        return _read(facts, origin, _download(facts, origin))


def find_dataset(name: str, folder: Path | None = None) -> Path | None:
    """The folder that a known data set would be read from without a download; None if there is none."""
    origin, home = DATASETS[name].origin, DATASETS[name].home
    places = [*_stated_places(home, folder), *([] if folder else [cache_folder() / home])]
    return next((place for place in places if origin and _holds(place, origin, all)), None)


def _stated_places(home: str, folder: Path | None) -> list[Path]:
    """Where the user says that a data set is."""
    if folder is not None:
        return [folder / home, folder]
    stated = os.environ.get("SMALLPRINT_DATA")
    return [Path(stated) / home] if stated else []


def _holds(place: Path, origin: Origin, some: Callable[[Iterable[object]], bool]) -> bool:
    """Whether any or all of a data set's files are in a folder, or the archive that holds them."""
    return some(_file(place, name) for name in origin.files) or _archive(place, origin) is not None


def _file(place: Path, name: str) -> Path | None:
    """A file as it is published, or gzipped where the sum of what is inside is known."""
    names = (name,) if name.endswith(".gz") else (name, f"{name}.gz")
    return next((path for path in (place / known for known in names) if path.is_file()), None)


def _archive(place: Path, origin: Origin) -> Path | None:
    archive = origin.archive
    paths = (place / archive.name, place.parent / archive.home / archive.name) if archive else ()
    return next((path for path in paths if path.is_file()), None)


def _needs(origin: Origin) -> str:
    """The files that a data set is made of, as a message names them."""
    if all(name.endswith(".gz") for name in origin.files):
        archive = f", or {origin.archive.name} that holds them" if origin.archive else ""
        return f"{listing(origin.files)}{archive}"
    return f"{listing(origin.files)} (or .gz of them)"


def _read(facts: DatasetFacts, origin: Origin, place: Path) -> Dataset:
    arrays = []
    for name, known in origin.files.items():
        content, source = _content(facts, origin, place, name)
        inside = unpacked(content, source, _ADVICE)
        array = read_idx(inside, source)
        found = hashlib.sha256(content if name.endswith(".gz") else inside).hexdigest()
        if found != known:
            raise DataError(
                f"{source}: this is not {facts.name}'s file: its SHA-256 is {found[:16]}..., expected {known[:16]}...; "
                f"{_ADVICE}"
            )
        arrays.append(array)
    images = [array.swapaxes(1, 2) if origin.transposed else array for array in arrays[::2]]
    train_NCHW, test_NCHW = (np.ascontiguousarray(array)[:, None] for array in images)
    # The labels of QMNIST are rows: the class first, then where in NIST's collection the image comes from.
    labels = [(array[:, 0] if array.ndim == 2 else array).astype(np.int64) for array in arrays[1::2]]
    return Dataset(
        facts=facts,
        train_images_NCHW=deskew(train_NCHW) if origin.deskewed else train_NCHW,
        train_labels_N=labels[0] - origin.first_label,
        test_images_NCHW=deskew(test_NCHW) if origin.deskewed else test_NCHW,
        test_labels_N=labels[1] - origin.first_label,
        found=str(place),
    )


def _content(facts: DatasetFacts, origin: Origin, place: Path, name: str) -> tuple[bytes, str]:
    """The bytes of one of a data set's files, and where they come from."""
    path = _file(place, name)
    try:
        if path:
            return path.read_bytes(), str(path)
        if archive := _archive(place, origin):
            return _member(archive, origin, name), f"{archive}: {name}"
    except OSError as fault:
        raise DataError(f"{path or place}: cannot be read: {fault.strerror}") from None
    either = name if name.endswith(".gz") else f"{name} (or {name}.gz)"
    raise DataError(f"{place}: {either} is missing; {facts.name} needs {listing(origin.files)}")


def _member(path: Path, origin: Origin, name: str) -> bytes:
    assert origin.archive
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{origin.archive.folder}/{name}")
    except KeyError:
        raise DataError(f"{path}: {origin.archive.folder}/{name} is not in it; {_ADVICE}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        raise DataError(f"{path}: damaged or cut off; {_ADVICE}") from None


def _digits(facts: DatasetFacts) -> Dataset:
    """scikit-learn's embedded digits; every fifth image is a test image, so that both halves see all writers."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    return Dataset(
        facts=facts,
        train_images_NCHW=images[~test],
        train_labels_N=labels[~test],
        test_images_NCHW=images[test],
        test_labels_N=labels[test],
        found="scikit-learn",
    )


def _download(facts: DatasetFacts, origin: Origin) -> Path:
    """Fetch what the cache lacks, from the first mirror that has it whole; keep it once it is checked."""
    folder = cache_folder() / facts.home
    if origin.archive:
        _download_archive(facts, origin, origin.archive)
        return folder
    for name, known in origin.files.items():
        packed = name if name.endswith(".gz") else f"{name}.gz"
        if _is_whole(folder / packed, name, known):
            continue

        def keep(fetched: Path, name: str = name, packed: str = packed, known: str = known) -> None:
            """Keep what is in an archive, once it is the right one."""
            if not _is_whole(fetched, name, known):
                raise DataError("sent something else (wrong SHA-256)")
            write_whole(folder / packed, fetched.read_bytes())

        _fetch(facts, origin, packed, keep)
    return folder


def _download_archive(facts: DatasetFacts, origin: Origin, archive: Archive) -> None:
    """Fetch an archive and keep the files of every data set that is in it; the archive itself is not kept."""

    def keep(fetched: Path) -> None:
        """Take the files out of what came, if it is the archive that was asked for."""
        with fetched.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != archive.sha256:
                raise DataError("sent something else (wrong SHA-256)")
        for other in DATASETS.values():
            if other.origin and other.origin.archive == archive:
                for name in other.origin.files:
                    write_whole(cache_folder() / other.home / name, _member(fetched, other.origin, name))

    _fetch(facts, origin, archive.name, keep)


def _is_whole(path: Path, name: str, known: str) -> bool:
    """Whether a gzipped file is there and is what is known of `name`: itself, or what is inside."""
    try:
        content = path.read_bytes()
        content = content if name.endswith(".gz") else unpacked(content, path.name, _ADVICE)
    except (OSError, DataError):
        return False
    return hashlib.sha256(content).hexdigest() == known


def _fetch(facts: DatasetFacts, origin: Origin, name: str, keep: Callable[[Path], None]) -> None:
    """Fetch one file from the first mirror whose answer `keep` does not refuse."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    refusals = []
    for mirror in origin.mirrors:
        try:
            with tempfile.TemporaryDirectory() as temporary:
                downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
                url = f"{mirror}{name}"
                keep(Path(pooch.retrieve(url, known_hash=None, path=temporary, fname=name, downloader=downloader)))
            return
        except SmallprintError as fault:
            refusals.append(f"{mirror}: {fault}")
        except (OSError, ValueError) as fault:  # requests' errors are OSErrors
            refusals.append(f"{mirror}: {type(fault).__name__}")
    raise DataError(
        f"{facts.name} is not on this machine and could not be downloaded ({'; '.join(refusals)}).\n"
        f"Put {_needs(origin).replace('(or .gz of them)', '(.gz or not)')} into a folder {facts.home}/ "
        "and say --data <the folder that holds it>, or set SMALLPRINT_DATA to it"
    )
