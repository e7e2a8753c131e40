from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smallprint.spec.errors import DataError
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.data.idx import read_idx


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file: not an IDX file: it starts with nothing"),
        (b"\0\0\x0a\x01\0\0\0\x01\0", "file: not an IDX file: it starts with 00 00 0a 01"),
        (b"\0\0\x08\x00", "file: not an IDX file: it starts with 00 00 08 00"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "file: not an IDX file: it starts with 00 00 08 ff"),
        (b"\0\0\x08\x03\0\0", "file: cut off: 6 bytes end within the header of 16"),
        (
            b"\0\0\x08\x01" + struct.pack(">I", 3) + b"12",
            "file: cut off: its header says 3, 11 bytes in all; 10 are there",
        ),
        (
            b"\0\0\x08\x01" + struct.pack(">I", 3) + b"1234",
            "file: too long: its header says 3, 11 bytes in all; 12 are there",
        ),
        (
            b"\0\0\x0e\x04" + struct.pack(">4I", *[2**32 - 1] * 4),
            "file: cut off: its header says 4,294,967,295 x 4,294,967,295 x 4,294,967,295 x 4,294,967,295, "
            f"{20 + 8 * (2**32 - 1) ** 4:,} bytes in all; 20 are there",
        ),
    ],
)
def test_what_is_no_idx_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_idx(content, "file")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "letter"), [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
def test_an_idx_file_of_any_type_reads_in_its_shape_and_in_this_machines_order(kind: int, letter: str) -> None:
    values = np.arange(6).reshape(2, 3)
    content = bytes([0, 0, kind, 2]) + struct.pack(">2I", 2, 3) + values.astype(f">{letter}").tobytes()
    array = read_idx(content, "file")
    assert (array.tolist(), array.dtype) == (values.tolist(), np.dtype(letter))


def write_idx(path: Path, array: NDArray[Any], *, packed: bool = False) -> None:
    kind = {"u1": 0x08, "i4": 0x0C, "f4": 0x0D}[array.dtype.str[1:]]
    content = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content += array.astype(array.dtype.newbyteorder(">")).tobytes()
    (path.with_name(f"{path.name}.gz") if packed else path).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("my-train-images-idx3-ubyte", "my-train-labels-idx1-ubyte", "my-test-images-idx3-ubyte",
         "my-test-labels-idx1-ubyte"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files_is_the_same_data_whatever_mnists_names_are_written_like(
    tmp_path: Path, digits: Dataset, names: tuple[str, ...], packed: bool
) -> None:
    arrays: tuple[NDArray[Any], ...] = (
        digits.train_images_NCHW[:, 0], digits.train_labels_N.astype(np.uint8),
        digits.test_images_NCHW[:, 0], digits.test_labels_N.astype(np.int32),
    )  # fmt: skip
    for name, array in zip(names, arrays, strict=True):
        write_idx(tmp_path / name, array, packed=packed)
    (tmp_path / "README").write_text("no part of it")
    read = load_dataset(tmp_path)
    assert read.fingerprint == digits.fingerprint
    assert read.facts.classes == digits.facts.classes
    assert read.facts.input_shape == (1, 8, 8)
    assert read.facts.title.endswith("data of your own, IDX files")


def test_a_damaged_idx_file_of_your_own_is_named(tmp_path: Path, digits: Dataset) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", digits.train_images_NCHW[:, 0], packed=True)
    write_idx(tmp_path / "train-labels-idx1-ubyte", digits.train_labels_N.astype(np.uint8))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", digits.test_images_NCHW[:, 0])
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", digits.test_labels_N.astype(np.uint8))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: damaged or cut off; put a whole file in its"):
        load_dataset(tmp_path)
