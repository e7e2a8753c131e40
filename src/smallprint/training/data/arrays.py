"""Arrays of images and labels, checked and made a Dataset; .npz files."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from smallprint.spec.dataset import DataPlace, DatasetFacts
from smallprint.spec.errors import DataError, listing, nearest, shown
from smallprint.training.data.in_memory import Dataset, Images, in_parts
from smallprint.training.data.tree import Contents, File, Form, Tree

# Shapes: N images, C channels, H rows, W columns.
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_MOST_CHANNELS = 4  # an axis of at most this many is taken for the channels
_NAMED = 5  # classes that a message names


class Halves(NamedTuple):
    """Training and test, images and labels, as they were found."""

    names: tuple[str, ...]  # what messages call: train images, train labels, test images, test labels
    arrays: tuple[NDArray[Any], ...]  # in the same order
    classes: tuple[str, ...] = ()  # names by label; empty: the labels say
    layout: str = ""  # NHWC or NCHW; empty: the shape says


def npz_file(tree: Tree, file: File, place: DataPlace) -> Form:
    """A file of NumPy arrays: x_train, y_train, x_test, y_test.

    Raises:
        DataError: a split, where the arrays say what the test is.
    """
    path = tree.root / file.name
    if place.split:
        raise DataError(f"{path} has test images of its own: leave the split out")

    def read(contents: Contents) -> Dataset:
        """The file's arrays as one data set."""
        return dataset_of(_read_npz(contents.read(file), str(path)), place.name, "arrays")

    return Form(files=(file,), read=read)


def _read_npz(content: bytes, source: str) -> Halves:
    optional = ("classes", "layout")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            if not isinstance(held, NpzFile):
                raise ValueError
            missing = [name for name in ARRAYS if name not in held]
            if missing:
                near = nearest(missing[0], [name for name in held if name not in ARRAYS])
                raise DataError(
                    f"{source}: {listing(missing)} is missing; it holds {listing(held) or 'nothing'}, "
                    f"a data set is {listing(ARRAYS)}{near}"
                )
            arrays = {name: _array(held, name, source) for name in (*ARRAYS, *optional) if name in held}
    except DataError:
        raise
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error):
        raise DataError(f"{source}: not a whole .npz file; write it again with numpy.savez_compressed") from None
    names = tuple(f"{source}: {name}" for name in ARRAYS)
    return Halves(
        names=names,
        arrays=tuple(arrays[name] for name in ARRAYS),
        classes=_class_names(arrays["classes"], source) if "classes" in arrays else (),
        layout=_layout(arrays["layout"], source) if "layout" in arrays else "",
    )


def _array(held: NpzFile, name: str, source: str) -> NDArray[Any]:
    try:
        return np.asarray(held[name])
    except ValueError as fault:
        if "pickle" in str(fault).lower() or "object" in str(fault).lower():
            raise DataError(
                f"{source}: {name} holds Python objects, which could run code when they are read; "
                "save it as numbers or strings"
            ) from None
        raise
    except MemoryError:
        raise DataError(f"{source}: {name} does not fit into this machine's memory") from None


def _class_names(array: NDArray[Any], source: str) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(f"{source}: classes is a row of strings, one per label from 0")
    return tuple(str(name) for name in array)


def _layout(array: NDArray[Any], source: str) -> str:
    if array.ndim or str(array) not in ("NHWC", "NCHW"):
        raise DataError(f"{source}: layout is 'NHWC' or 'NCHW', not {shown(array.tolist())}")
    return str(array)


def dataset_of(halves: Halves, name: str, form: str) -> Dataset:
    """Check arrays and make them a data set.

    Images are N x H x W, N x H x W x C or N x C x H x W, as bytes or as floats; floats are mapped so that the training
    images go from 0 to 1. Labels are whole numbers that count from 0 or 1, or strings.

    Raises:
        DataError: anything else, with the array it is in.
    """
    images = [_channels_first(halves, which) for which in (0, 2)]
    labels = [_labels(halves, which) for which in (1, 3)]
    for which, half in enumerate(images):
        if len(half) != len(labels[which]):
            raise DataError(
                f"{halves.names[2 * which]} has {len(half):,} images, "
                f"{halves.names[2 * which + 1]} has {len(labels[which]):,} labels"
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        both = (" x ".join(map(str, half.shape[1:])) for half in images)
        raise DataError(f"{halves.names[0]} has images of {' and those of the test '.join(both)} (C x H x W)")
    classes, numbered = _numbered(halves, labels)
    train, test = _levelled(halves, images)
    return checked(
        Dataset(
            facts=DatasetFacts(
                name=name,
                title=f"{name}: data of your own, {form}",
                input_shape=(train.shape[1], train.shape[2], train.shape[3]),
                classes=classes,
                train=len(train),
                test=len(test),
            ),
            train_images_NCHW=train,
            train_labels_N=numbered[0],
            test_images_NCHW=test,
            test_labels_N=numbered[1],
        )
    )


def checked(dataset: Dataset) -> Dataset:
    """The same data set, if a report can name its classes.

    Raises:
        DataError: a class without a name, with the name of another, or with a sign in it that cannot be shown.
    """
    if len({*dataset.facts.classes}) < len(dataset.facts.classes):
        raise DataError(f"{dataset.facts.name}: two classes have the same name among {listing(dataset.facts.classes)}")
    for name in dataset.facts.classes:
        if not name.strip() or not name.isprintable():
            raise DataError(f"{dataset.facts.name}: a class is called {name!r}; give it a name that can be shown")
    return dataset


def in_order(names: Iterable[str]) -> list[str]:
    """Class names as they are numbered: by their value where all are whole numbers, otherwise by their letters."""
    names = set(names)
    numeric = all(name.isdecimal() and name.isascii() for name in names)
    return sorted(names, key=lambda name: (int(name) if numeric else 0, name))


def _channels_first(halves: Halves, which: int) -> NDArray[Any]:
    """Images as N x C x H x W; `which` is their place among the arrays."""
    array, name = halves.arrays[which], halves.names[which]
    size = " x ".join(f"{side:,}" for side in array.shape) or "a single value"
    if array.dtype.kind not in "f" and array.dtype != np.uint8:
        raise DataError(f"{name} is {array.dtype}; images are uint8, from 0 to 255, or floats")
    if array.ndim not in (3, 4):
        raise DataError(f"{name} is {size}; images are N x H x W, N x H x W x C or N x C x H x W: reshape it")
    if 0 in array.shape:
        raise DataError(f"{name} is {size}: there is no image in it")
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] <= _MOST_CHANNELS, array.shape[3] <= _MOST_CHANNELS
    if not halves.layout and first == last:
        raise DataError(
            f"{name} is {size}: both N x H x W x C and N x C x H x W would do; "
            "add an array called layout that holds 'NHWC' or 'NCHW'"
        )
    channels_last = halves.layout == "NHWC" if halves.layout else last
    return array.transpose(0, 3, 1, 2) if channels_last else array


def _labels(halves: Halves, which: int) -> NDArray[Any]:
    """Labels as a row of whole numbers or strings; `which` is their place among the arrays."""
    array, name = halves.arrays[which], halves.names[which]
    if array.ndim != 1:
        size = " x ".join(f"{side:,}" for side in array.shape) or "a single value"
        raise DataError(f"{name} is {size}; labels are one row, one label per image")
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{name} holds bytes that are no text in UTF-8; save the labels as strings") from None
    if array.dtype.kind not in "iuU":
        raise DataError(f"{name} is {array.dtype}; labels are whole numbers, such as int64, or strings")
    return array


def _numbered(halves: Halves, labels: list[NDArray[Any]]) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Class names, and the labels of both halves as 0 to classes - 1."""
    train, test = labels
    if (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        raise DataError(f"{halves.names[1]} and {halves.names[3]}: one holds strings, the other numbers")
    present = np.unique(train)
    foreign = [str(label) for label in np.unique(test) if label not in present]
    if train.dtype.kind == "U":
        if halves.classes:
            raise DataError(f"{halves.names[1]} holds strings, which are the classes: leave the array classes out")
        classes = in_order(str(label) for label in present)
        _at_least_two(halves.names[1], classes)
        _none_foreign(halves.names[3], foreign)
        place = {name: number for number, name in enumerate(classes)}
        return tuple(classes), [np.array([place[str(label)] for label in half], dtype=np.int64) for half in labels]
    low, high = (int(bound(half)) for bound, half in ((np.min, present), (np.max, present)))
    if halves.classes:
        last = len(halves.classes) - 1
        for half, name in ((train, halves.names[1]), (test, halves.names[3])):
            if int(half.min()) < 0 or int(half.max()) > last:
                raise DataError(
                    f"{name} goes from {int(half.min())} to {int(half.max())}; "
                    f"{len(halves.classes)} classes are 0 to {last}"
                )
    elif low not in (0, 1) or high - low + 1 != len(present):
        raise DataError(
            f"{halves.names[1]} holds the labels {_some(present)}; they count from 0 or 1 and leave none out: "
            "count them anew, or save the classes' names as strings"
        )
    names = halves.classes or tuple(str(label) for label in present)
    _at_least_two(halves.names[1], names)
    if missing := [name for label, name in enumerate(halves.classes) if label not in present]:
        raise DataError(f"{halves.names[1]} has no image of {listing(missing[:_NAMED])}")
    _none_foreign(halves.names[3], foreign)
    return names, [half.astype(np.int64) - (0 if halves.classes else low) for half in labels]


def _at_least_two(name: str, classes: Iterable[str]) -> None:
    if len(tuple(classes)) < 2:
        raise DataError(f"{name}: all images are of one class, {listing(classes)}; there is nothing to tell apart")


def _none_foreign(name: str, foreign: list[str]) -> None:
    if foreign:
        raise DataError(
            f"{name}: no training image is of {listing(foreign[:_NAMED])}; train and test have the same classes"
        )


def _some(values: NDArray[Any]) -> str:
    """The first few values of a row."""
    return listing(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")


def _levelled(halves: Halves, images: list[NDArray[Any]]) -> list[Images]:
    """Bytes as they are; floats mapped so that the training images go from 0 to 1."""
    train, test = images
    if (train.dtype == np.uint8) != (test.dtype == np.uint8):
        raise DataError(
            f"{halves.names[0]} is {train.dtype}, {halves.names[2]} is {test.dtype}; both are bytes or floats"
        )
    if train.dtype == np.uint8:
        return [np.ascontiguousarray(half) for half in images]
    for half, name in ((train, halves.names[0]), (test, halves.names[2])):
        wrong = sum(int((~np.isfinite(part)).sum()) for part in in_parts(half))
        if wrong:
            first = next(n for n, image in enumerate(half) if not np.isfinite(image).all())
            many = "a value that is" if wrong == 1 else f"{wrong:,} values that are"
            raise DataError(f"{name} holds {many} not a number or infinite, first in image {first}")
    low, high = float(train.min()), float(train.max())
    if low == high:
        raise DataError(f"{halves.names[0]}: every value is {low:g}; there is nothing to learn from")
    levelled: list[Images] = []
    for half in images:
        mapped = np.empty(half.shape, dtype=np.float32)
        for into, part in zip(in_parts(mapped), in_parts(half), strict=True):
            into[:] = (part.astype(np.float64) - low) / (high - low)
        levelled.append(mapped)
    return levelled
