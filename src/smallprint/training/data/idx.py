"""IDX, the format of MNIST's files: read_idx, and a folder of four."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.dataset import DataPlace
from smallprint.spec.errors import DataError, listing
from smallprint.training.data.arrays import Halves, dataset_of
from smallprint.training.data.in_memory import Dataset
from smallprint.training.data.tree import Contents, File, Form, Tree

# The format: two zero bytes, a byte for the type, one for the number of axes; each axis as four bytes, highest first;
# then the values, highest byte first (yann.lecun.com/exdb/mnist, "the IDX file format").
_TYPES: Mapping[int, str] = MappingProxyType(
    {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
)
_MOST_AXES = 8
_ROLE = re.compile(
    r"(?:.*[-_.])?(train|t10k|test)[-_.](images|labels)[-_.]idx[0-9][-_.](?:ubyte|byte|short|int|float|double)(?:\.gz)?",
    re.IGNORECASE,
)
_ROLES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def read_idx(content: bytes, source: str) -> NDArray[Any]:
    """Read an array in the IDX format.

    Raises:
        DataError: another format, or fewer or more bytes than the header says.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not 1 <= content[3] <= _MOST_AXES:
        raise DataError(f"{source}: not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"{source}: cut off: {len(content)} bytes end within the header of {header}")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    kind = np.dtype(_TYPES[content[2]])
    expected = header + kind.itemsize * int(np.prod(shape, dtype=object))
    if len(content) != expected:
        size = " x ".join(f"{side:,}" for side in shape)
        wrong = "cut off" if len(content) < expected else "too long"
        raise DataError(
            f"{source}: {wrong}: its header says {size}, {expected:,} bytes in all; {len(content):,} are there"
        )
    array = np.frombuffer(content, dtype=kind, offset=header).reshape(shape)
    return array.astype(kind.newbyteorder("="), copy=False)


def unpacked(content: bytes, source: str, advice: str) -> bytes:
    """What is inside a gzipped file; `source` is its name.

    Raises:
        DataError: damaged or cut off, with the advice.
    """
    if not source.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{source}: damaged or cut off; {advice}") from None


def role_of(file: File) -> tuple[str, str] | None:
    """What a file's name says that it holds, as in ('train', 'images'); None if it is no IDX file's name."""
    found = _ROLE.fullmatch(file.name) if "/" not in file.name else None
    return (found[1].lower().replace("t10k", "test"), found[2].lower()) if found else None


def idx_files(tree: Tree, place: DataPlace) -> Form:
    """The four IDX files that lie in a folder, named as MNIST's are.

    Raises:
        DataError: fewer than four, two for the same role, or a split where they say what the test is.
    """
    roles: dict[tuple[str, str], File] = {}
    for file in tree.files:
        role = role_of(file)
        if role in roles:
            both = listing((roles[role].name, file.name))
            raise DataError(f"{tree.root}: two files hold the {' '.join(role)}: {both}; keep one")
        if role:
            roles[role] = file
    missing = [name for role, name in _ROLES.items() if role not in roles]
    if missing:
        raise DataError(f"{tree.root}: {listing(missing)} (or .gz) is missing: IDX files come as four")
    if place.split:
        raise DataError(f"{tree.root} has test images of its own: leave the split out")
    files = tuple(roles[role] for role in _ROLES)

    def read(contents: Contents) -> Dataset:
        """The four files as one data set."""
        names = [str(tree.root / file.name) for file in files]
        arrays = [
            read_idx(unpacked(contents.read(file), name, "put a whole file in its place"), name)
            for file, name in zip(files, names, strict=True)
        ]
        return dataset_of(Halves(tuple(names), tuple(arrays)), place.name, "IDX files")

    return Form(files=files, read=read)
