"""Dataset: found, checked and held whole as arrays."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from smallprint.results.runs import write_whole
from smallprint.spec.dataset import DATASETS, DatasetFacts
from smallprint.spec.errors import DataError, SmallprintError, listing, nearest

# Shapes: N images, C channels, H rows, W columns.
_TIMEOUT = 15  # seconds without an answer from a mirror
_UBYTE = 0x08  # the IDX type of unsigned bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A whole data set in memory, as bytes."""

    facts: DatasetFacts
    train_images_NCHW: NDArray[np.uint8] = field(repr=False)  # greys, 0 to 255
    train_labels_N: NDArray[np.int64] = field(repr=False)  # 0 to classes - 1
    test_images_NCHW: NDArray[np.uint8] = field(repr=False)  # greys, 0 to 255
    test_labels_N: NDArray[np.int64] = field(repr=False)  # 0 to classes - 1
    found: str = field(default="")  # where it was read from

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every image and label; the same data in another file format has the same."""
        digest = hashlib.sha256()
        for array in (self.train_images_NCHW, self.train_labels_N, self.test_images_NCHW, self.test_labels_N):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def mean_and_deviation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (C,) of the training images, greys from 0 to 1."""
        histograms = [np.bincount(channel.ravel(), minlength=256) for channel in self.train_images_NCHW.swapaxes(0, 1)]
        greys = np.arange(256) / 255
        mean = np.array([np.average(greys, weights=histogram) for histogram in histograms])
        square = np.array([np.average(greys**2, weights=histogram) for histogram in histograms])
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))


def load_dataset(name: str, folder: Path | None = None) -> Dataset:
    """Load a data set by name: from `folder`, `$SMALLPRINT_DATA/<name>`, the cache, or its mirrors.

    Raises:
        DataError: an unknown name, no way to get it, or files that are not what the name promises.
    """
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}; known: {listing(DATASETS)}" + nearest(name, DATASETS))
    facts = DATASETS[name]
    if not facts.files:
        return _digits(facts)
    for place in _stated_places(name, folder):
        if any(_file(place, file) for file in facts.files):
            return _read_idx_folder(facts, place)
    if folder is not None:
        raise DataError(
            f"{folder}: no {name} here; it needs {listing(facts.files)} (or .gz of them), in it or in {name}/"
        )
    try:
        return _read_idx_folder(facts, cache_folder() / name)
    except DataError:  # not there yet, or an interrupted download, or damaged since
        return _read_idx_folder(facts, _download(facts))


def find_dataset(name: str, folder: Path | None = None) -> Path | None:
    """The folder that a known data set would be read from without a download; None if there is none."""
    files = DATASETS[name].files
    places = [*_stated_places(name, folder), *([] if folder else [cache_folder() / name])]
    return next((place for place in places if all(_file(place, file) for file in files)), None)


def cache_folder() -> Path:
    """Where downloaded data sets are kept for this user."""
    return user_cache_path("smallprint") / "data"


def _stated_places(name: str, folder: Path | None) -> list[Path]:
    """Where the user says that a data set is."""
    if folder is not None:
        return [folder / name, folder]
    stated = os.environ.get("SMALLPRINT_DATA")
    return [Path(stated) / name] if stated else []


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx_folder(facts: DatasetFacts, folder: Path) -> Dataset:
    arrays = []
    for name, known in facts.files.items():
        path = _file(folder, name)
        if path is None:
            raise DataError(f"{folder}: {name} (or {name}.gz) is missing; {facts.name} needs {listing(facts.files)}")
        content = _unpacked(path)
        array = read_idx(content, str(path))
        found = hashlib.sha256(content).hexdigest()
        if found != known:
            raise DataError(
                f"{path}: this is not {facts.name}'s file: its SHA-256 is {found[:16]}..., expected {known[:16]}...; "
                "put the original file in its place"
            )
        arrays.append(array)
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        facts=facts,
        train_images_NCHW=train_images[:, None],
        train_labels_N=train_labels.astype(np.int64),
        test_images_NCHW=test_images[:, None],
        test_labels_N=test_labels.astype(np.int64),
        found=str(folder),
    )


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path}: damaged or cut off; put the original file in its place") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror}") from None


def read_idx(content: bytes, source: str) -> NDArray[np.uint8]:
    """Read an array of unsigned bytes in the IDX format (yann.lecun.com/exdb/mnist, "the IDX file format").

    Raises:
        DataError: another type, or fewer or more bytes than the header says.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UBYTE or not 1 <= content[3] <= 4:
        raise DataError(f"{source}: not an IDX file of unsigned bytes: it starts with {content[:4].hex(' ')}")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"{source}: cut off: {len(content)} bytes end within the header of {header}")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        size = " x ".join(f"{side:,}" for side in shape)
        wrong = "cut off" if len(content) < expected else "too long"
        raise DataError(
            f"{source}: {wrong}: its header says {size}, {expected:,} bytes in all; {len(content):,} are there"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


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


def _is_whole(path: Path, known: str) -> bool:
    """Whether a gzipped file is there and unpacks to the bytes of this SHA-256."""
    try:
        return hashlib.sha256(_unpacked(path)).hexdigest() == known
    except DataError:
        return False


def _download(facts: DatasetFacts) -> Path:
    """Fetch what the cache lacks, each file from the first mirror that has it whole; keep it once it is checked."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    folder = cache_folder() / facts.name
    for name, known in facts.files.items():
        if _is_whole(folder / f"{name}.gz", known):
            continue
        refusals = []
        for mirror in facts.mirrors:
            try:
                with tempfile.TemporaryDirectory() as temporary:
                    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
                    fetched = pooch.retrieve(
                        f"{mirror}{name}.gz", known_hash=None, path=temporary, fname=f"{name}.gz", downloader=downloader
                    )
                    if not _is_whole(Path(fetched), known):
                        raise DataError("sent something else (wrong SHA-256)")
                    write_whole(folder / f"{name}.gz", Path(fetched).read_bytes())
                break
            except SmallprintError as fault:
                refusals.append(f"{mirror}: {fault}")
            except (OSError, ValueError) as fault:  # requests' errors are OSErrors
                refusals.append(f"{mirror}: {type(fault).__name__}")
        else:
            raise DataError(
                f"{facts.name} is not on this machine and could not be downloaded ({'; '.join(refusals)}).\n"
                f"Put {listing(facts.files)} (.gz or not) into a folder {facts.name}/ "
                "and say --data <the folder that holds it>, or set SMALLPRINT_DATA to it"
            )
    return folder
