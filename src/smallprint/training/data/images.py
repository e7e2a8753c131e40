"""Class folders of image files, read with Pillow."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.dataset import EXAMPLE_SPLIT, DataPlace, DatasetFacts
from smallprint.spec.errors import DataError, listing
from smallprint.training.data.arrays import checked, in_order
from smallprint.training.data.in_memory import Dataset
from smallprint.training.data.tree import Contents, File, Form, Tree

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Shapes: N images, C channels, H rows, W columns.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_HALVES = ("train", "test")
_NAMED = 5  # files that a message names


class Labelled(NamedTuple):
    """An image file and its class."""

    file: File
    label: int


class _UnfitError(Exception):
    """Why one file is not an image that can be used."""


def class_folders(tree: Tree, place: DataPlace) -> Form:
    """A folder per class, in train/ and test/ or all together, divided by the split.

    Images come class by class, and within a class by their file names.

    Raises:
        DataError: a split that is missing or too much, a class that is empty or in the test alone, fewer than two
            classes, a file or folder out of place.
    """
    names, train, test = _halves(tree, place)
    files = tuple(labelled.file for labelled in (*train, *test))

    def read(contents: Contents) -> Dataset:
        """The images, each decoded once."""
        images_NCHW = read_images(files, contents)
        labels_N = np.array([labelled.label for labelled in (*train, *test)], dtype=np.int64)
        channels, height, width = images_NCHW.shape[1:]
        facts = DatasetFacts(
            name=place.name,
            title=f"{place.name}: data of your own, class folders of images",
            input_shape=(channels, height, width),
            classes=tuple(names),
            train=len(train),
            test=len(test),
        )
        return checked(
            Dataset(
                facts=facts,
                train_images_NCHW=images_NCHW[: len(train)],
                train_labels_N=labels_N[: len(train)],
                test_images_NCHW=images_NCHW[len(train) :],
                test_labels_N=labels_N[len(train) :],
            )
        )

    return Form(files=files, read=read)


def _halves(tree: Tree, place: DataPlace) -> tuple[list[str], list[Labelled], list[Labelled]]:
    """Class names in their order, and the images of both halves."""
    halved = is_halved(tree)
    if halved and place.split:
        raise DataError(f"{tree.root} has train/ and test/ of its own: leave the split out")
    if not halved and not place.split:
        raise DataError(
            f"{tree.root} has no train/ and test/, so say which images are for the test: {EXAMPLE_SPLIT} in the "
            "ladder, --split '20% test, seed 0' on the command line"
        )
    if halved:
        _only_halves(tree)
    by_class = {half: _classes(tree, half) for half in (_HALVES if halved else ("",))}
    names = in_order(by_class["train" if halved else ""])
    if len(names) < 2:
        where = tree.root / "train" if halved else tree.root
        raise DataError(f"{where} has one class, {listing(names)}; there is nothing to tell apart")
    foreign = [name for name in in_order(by_class.get("test", ())) if name not in names]
    if foreign:
        raise DataError(
            f"{tree.root / 'test' / foreign[0]}: no training image is of this class; train/ has {listing(names)}"
        )
    if halved:
        return names, _in_order(by_class["train"], names), _in_order(by_class["test"], names)
    return names, *_divided(by_class[""], names, place, tree)


def is_halved(tree: Tree) -> bool:
    """Whether train/ and test/ are the halves of the data, and not two of its classes."""
    top = tree.folders_in("")
    return any(half in top and (tree.folders_in(half) or not tree.inside[half]) for half in _HALVES) or {*top} == {
        *_HALVES
    }


def _only_halves(tree: Tree) -> None:
    top = tree.folders_in("")
    for half, other in zip(_HALVES, reversed(_HALVES), strict=True):
        if half not in top:
            raise DataError(f"{tree.root} has {other}/ but no {half}/; a data set has both, or neither and a split")
    if beside := [name for name in top if name not in _HALVES]:
        raise DataError(f"{tree.root / beside[0]}: beside train/ and test/ no other folder is read; move it away")


def _classes(tree: Tree, half: str) -> dict[str, list[File]]:
    """The image files of each class folder; `half` is 'train', 'test' or '' for both together."""
    where = tree.root / half
    if stray := [file for file in tree.inside[half] if _is_image(file)]:
        raise DataError(f"{tree.root / stray[0].name}: an image outside the class folders; move it into one")
    found = {}
    for name in tree.folders_in(half):
        folder = f"{half}/{name}" if half else name
        if inner := tree.folders_in(folder):
            raise DataError(f"{where / name / inner[0]}: a folder inside a class folder; images lie directly in it")
        files = tree.inside[folder]
        if other := [file for file in files if not _is_image(file)]:
            raise DataError(f"{tree.root / other[0].name}: not an image file ({listing(_ENDINGS)}); move it away")
        if not files:
            raise DataError(f"{where / name}: no image is in this class folder; fill it or take it away")
        found[name] = files
    if not found:
        raise DataError(f"{where} has no class folders; each class is a folder of its images")
    return found


def _is_image(file: File) -> bool:
    return PurePosixPath(file.name).suffix.lower() in _ENDINGS


def _in_order(by_class: dict[str, list[File]], names: Sequence[str]) -> list[Labelled]:
    return [Labelled(file, label) for label, name in enumerate(names) for file in by_class.get(name, ())]


def _divided(
    by_class: dict[str, list[File]], names: Sequence[str], place: DataPlace, tree: Tree
) -> tuple[list[Labelled], list[Labelled]]:
    """Both halves, as the split says."""
    assert place.split
    halves: tuple[list[Labelled], list[Labelled]] = ([], [])
    for label, name in enumerate(names):
        files = by_class[name]
        if len(files) < 2:
            raise DataError(f"{tree.root / name} has one image; a split needs two of each class, one for the test")
        for_test = {*place.split.test_images([file.name for file in files])}
        for number, file in enumerate(files):
            halves[number in for_test].append(Labelled(file, label))
    return halves


def read_images(files: Sequence[File], contents: Contents) -> NDArray[np.uint8]:
    """All images of one shape, (N, C, H, W).

    Raises:
        DataError: files that are no images or no whole ones, images of more than one shape, or more than fit into
            memory.
    """
    from PIL import Image

    images_NCHW, unfit = None, []
    shapes: dict[tuple[int, ...], list[File]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata that is not read here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for number, file in enumerate(files):
            try:
                image_CHW = decode(contents.read(file))
            except _UnfitError as fault:
                unfit.append(f"{contents.tree.root / file.name}: {fault}")
                continue
            shapes.setdefault(image_CHW.shape, []).append(file)
            if images_NCHW is None:
                images_NCHW = _room(len(files), image_CHW, contents.tree)
            if len(shapes) == 1:
                images_NCHW[number] = image_CHW
    if unfit:
        more = [f"and {len(unfit) - _NAMED:,} more"] if len(unfit) > _NAMED else []
        raise DataError("\n".join([*unfit[:_NAMED], *more]))
    if len(shapes) > 1:
        raise _mixed(shapes, contents.tree)
    assert images_NCHW is not None, "there are no files"
    return images_NCHW


def decode(content: bytes) -> NDArray[np.uint8]:
    """One image file, (C, H, W): one channel of grey or three of colour, upright as its camera says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.format in ("PNG", "TIFF") and (frames := getattr(image, "n_frames", 1)) > 1:
                raise _UnfitError(f"holds {frames} pictures; save one of them")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(_plain(image))
    except _UnfitError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise _UnfitError(f"more than {limit} pixels, which Pillow takes for a decompression bomb") from None
    except UnidentifiedImageError:
        raise _UnfitError(f"not an image in one of the formats {listing(_FORMATS)}, or cut off") from None
    except MemoryError:
        raise _UnfitError("does not fit into this machine's memory") from None
    except Exception:  # a damaged file makes Pillow raise nearly anything
        raise _UnfitError("damaged or cut off") from None
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _plain(image: Picture) -> Picture:
    """An image as plain grey or plain colour, 8 bits per channel."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            raise _UnfitError("is see-through in places; put it on a background and save it without transparency")
    kind = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}.get(image.mode)
    if kind is None:
        raise _UnfitError(
            f"has pixels of the kind {image.mode}; grey and RGB with 8 bits per channel are read: convert it"
        )
    return image if image.mode == kind else image.convert(kind)


def _room(count: int, image_CHW: NDArray[np.uint8], tree: Tree) -> NDArray[np.uint8]:
    """An array for all images, if this machine has the memory."""
    needed = count * image_CHW.nbytes
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system: it finds out by itself
        there = needed
    try:
        if needed > there:
            raise MemoryError
        return np.empty((count, *image_CHW.shape), dtype=np.uint8)
    except MemoryError:
        raise DataError(
            f"{tree.root}: {count:,} images of {_size(image_CHW.shape)} are {needed / 2**30:,.1f} GiB in memory, "
            f"this machine has {there / 2**30:,.1f}; make them smaller"
        ) from None


def _mixed(shapes: dict[tuple[int, ...], list[File]], tree: Tree) -> DataError:
    """The error that names the images that are unlike most."""
    counts = Counter({shape: len(files) for shape, files in shapes.items()})
    (most, many), *others = counts.most_common()
    lines = [f"{tree.root}: images are of one shape, channels x height x width; {many:,} are {_size(most)}, but"]
    for shape, count in others[:_NAMED]:
        named = listing(file.name for file in shapes[shape][:_NAMED])
        lines.append(
            f"  {count:,} {'is' if count == 1 else 'are'} {_size(shape)}: {named}" + (", ..." if count > _NAMED else "")
        )
    if len(others) > _NAMED:
        lines.append(f"  and there are {len(others) - _NAMED:,} shapes more")
    return DataError("\n".join(lines))


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
