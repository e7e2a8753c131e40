"""Data sets: those known by name, and what a ladder says of your own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, ClassVar

from smallprint.spec.errors import DataError, NotationError, listing, nearest, shown
from smallprint.spec.notation import plain
from smallprint.spec.trace import Shape

EXAMPLE_SPLIT = 'split = "20% test, seed 0"'
_SPLIT = re.compile(r"\s*([0-9]{1,2}(?:\.[0-9]{1,6})?)%\s*test\s*,\s*seed\s+([0-9]{1,9})\s*")
_SIDES = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_DIGITS = tuple("0123456789")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One zip file on the web that holds the files of several data sets."""

    name: str  # of the zip file
    sha256: str  # of the zip file
    folder: str  # in it, where the files lie
    home: str  # the folder that it lies in beside data sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The IDX files of a data set, how they are checked, and where they are had."""

    files: Mapping[str, str]  # train images, train labels, test images, test labels -> SHA-256 of exactly that file
    mirrors: tuple[str, ...]  # folders on the web that hold the files, gzipped, or the archive
    archive: Archive | None = field(default=None)  # that holds the files; None: each is had by itself
    transposed: bool = field(default=False)  # rows and columns of the stored images are exchanged
    first_label: int = field(default=0)  # label of the first class in the files
    home: str = field(default="")  # the folder of the files; empty: it is named as the data set is
    deskewed: bool = field(default=False)  # images are deskewed when they are read


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What a network must fit, and what a reader wants to know."""

    name: str
    title: str
    input_shape: Shape  # (channels, height, width)
    classes: tuple[str, ...]  # class names, in the order of their labels
    train: int  # images
    test: int  # images
    origin: Origin | None = field(default=None)  # None: embedded, or your own

    KEYS: ClassVar[tuple[str, ...]] = ("input", "classes", "train", "test")

    @property
    def home(self) -> str:
        """The folder that holds its files, beside those of other data sets."""
        return (self.origin and self.origin.home) or self.name

    def table(self) -> dict[str, object]:
        """The facts of data of your own as a ladder file may state them, and a run folder does."""
        sides = "x".join(map(str, self.input_shape))
        return {"input": sides, "classes": list(self.classes), "train": self.train, "test": self.test}

    @staticmethod
    def stated(name: str, said: Mapping[str, Any]) -> tuple[DatasetFacts | None, list[tuple[str, str]]]:
        """Read what `table` gives: the facts, or every fault with the key it belongs to."""
        faults = [
            (
                key,
                f"facts has no key {shown(key)}; known: {listing(DatasetFacts.KEYS)}" + nearest(key, DatasetFacts.KEYS),
            )
            for key in said
            if key not in DatasetFacts.KEYS
        ]
        sides = _SIDES.fullmatch(said["input"]) if isinstance(said.get("input"), str) else None
        if not sides:
            faults.append(("input", "input is channels x height x width, as in '1x28x28'"))
        classes = said.get("classes")
        named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        if not named or len(set(classes or ())) != len(classes or ()) or len(classes or ()) < 2:
            faults.append(("classes", "classes is a list of two or more names, each its own"))
        for key in ("train", "test"):
            images = said.get(key)
            if not isinstance(images, int) or isinstance(images, bool) or not 0 < images < 10**12:
                faults.append((key, f"{key} is a count of images such as 1200"))
        if faults or not sides:
            return None, faults
        channels, height, width = map(int, sides.groups())
        return DatasetFacts(
            name=name,
            title=f"{name}: data of your own",
            input_shape=(channels, height, width),
            classes=tuple(said["classes"]),
            train=said["train"],
            test=said["test"],
        ), []


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which of your own images are for the test, where no folder says so."""

    percent: float  # of each class's images, for the test; above 0, below 100
    seed: int

    @staticmethod
    def parse(text: str) -> Split:
        """Read a split from its sentence.

        Raises:
            NotationError: anything but '20% test, seed 0', or a share that leaves one half empty.
        """
        found = _SPLIT.fullmatch(text)
        if not found:
            raise NotationError(f"a split reads '20% test, seed 0', not {shown(text)}")
        percent = float(found[1])
        if not percent:
            raise NotationError(f"a split leaves images for the test: more than 0%, not {shown(text)}")
        return Split(percent=percent, seed=int(found[2]))

    def __str__(self) -> str:
        return f"{plain(self.percent)}% test, seed {self.seed}"

    def test_images(self, names: Sequence[str]) -> list[int]:
        """Which images of one class are for the test: their places among `names`, in order.

        Images are ranked by the SHA-256 of seed and name, and the first are taken: the share rounded to the
        nearest, at least one, never all. The order of `names` and what else is there do not enter.
        """
        assert len(names) > 1, "a class of one image cannot be split"
        share = Fraction(plain(self.percent)) / 100
        count = min(max(floor(len(names) * share + Fraction(1, 2)), 1), len(names) - 1)
        ranked = sorted(
            range(len(names)), key=lambda place: hashlib.sha256(f"{self.seed} {names[place]}".encode()).digest()
        )
        return sorted(ranked[:count])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlace:
    """Which data a ladder asks for: a known name, or the path of your own."""

    said: str  # as the ladder says it
    split: Split | None = field(default=None)
    folder: Path | None = field(default=None, compare=False)  # where a relative path starts; None: the working folder

    @property
    def known(self) -> bool:
        """Whether it is a data set known by name."""
        return self.said in DATASETS

    @property
    def path(self) -> Path:
        """Where data of your own lies."""
        return (self.folder or Path()) / self.said

    @property
    def name(self) -> str:
        """What pages and run folders call it: as it was said, but nothing of a machine's folders."""
        path = PurePath(self.said)
        return path.name if path.is_absolute() else self.said

    def unknown(self) -> DataError:
        """The error that neither a data set nor a path is called so."""
        near = nearest(self.said, DATASETS)
        return DataError(
            f"no data set is called {shown(self.said)}; known: {listing(DATASETS)}, or the path of your own{near}"
        )


def known_facts(place: DataPlace) -> DatasetFacts:
    """The facts of a data set that is known by name.

    Raises:
        DataError: another name, or a split of a data set that has its own test images.
    """
    if not place.known:
        raise place.unknown()
    if place.split:
        raise DataError(f"{place.said} has test images of its own: leave the split out")
    return DATASETS[place.said]


def _sums(listing: str) -> dict[str, str]:
    """A listing as `sha256sum` prints it: file -> SHA-256."""
    return {name: known for known, name in (line.split() for line in listing.strip().split("\n"))}


_MNIST = """
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
"""
# Fashion-MNIST, KMNIST and EMNIST's archive: the checksums of TensorFlow Datasets, the same in torchvision's prototype
# data sets for the first two. QMNIST: torchvision's prototype data sets. The files inside EMNIST's archive: published
# by others who unpacked it.
_FASHION_MNIST = """
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz
"""
_KMNIST = """
51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4  train-images-idx3-ubyte.gz
e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17  train-labels-idx1-ubyte.gz
edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5  t10k-images-idx3-ubyte.gz
20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c  t10k-labels-idx1-ubyte.gz
"""
_QMNIST = """
9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d  qmnist-train-images-idx3-ubyte.gz
2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f  qmnist-train-labels-idx2-int.gz
43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375  qmnist-test-images-idx3-ubyte.gz
9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06  qmnist-test-labels-idx2-int.gz
"""
_EMNIST_LETTERS = """
6288f418a917e007bf5fddb823a2dc7a5c6a35031401b93292a539cb12bd881f  emnist-letters-train-images-idx3-ubyte.gz
9759af91ea6bccdf07a6040fd085861f2ec88e37f7c3f5760f6feb57106fbe5c  emnist-letters-train-labels-idx1-ubyte.gz
50f0e93d75b99b463e9760b8345866f22587fa2c2fba472730a5ba09c693412d  emnist-letters-test-images-idx3-ubyte.gz
924955c31fe7fd809b7303b5c0141282955f4b8390c74cdfd5d80435e0f4b4cb  emnist-letters-test-labels-idx1-ubyte.gz
"""
_EMNIST_DIGITS = """
f7c95004d14d81af89522e67d8f0c781dfb3bd544181c81bfe1eb6b41c35b726  emnist-digits-train-images-idx3-ubyte.gz
6638a6ff5fe2eefd9cca2471995b46c82986b8e4b2a70d2f5ce8e05d7edb319e  emnist-digits-train-labels-idx1-ubyte.gz
20ebe43509264f7639d37c835a3f0b009e90b29e00a099a03101abe1644a3f63  emnist-digits-test-images-idx3-ubyte.gz
bad1834c45d5988e270b99d43b13edc3fd898f658ffbc2caf2846ef27f7b05b0  emnist-digits-test-labels-idx1-ubyte.gz
"""
_EMNIST_BALANCED = """
74295e75e4e9fa2c102147460ee7eb763653d5132d883a84fb88932bfb8d2db4  emnist-balanced-train-images-idx3-ubyte.gz
b46d41e5156a0a8aaaa4d18979fdd1588850fa8571018acffd5d93b325a7d6ed  emnist-balanced-train-labels-idx1-ubyte.gz
117fc12b015e37ea98bfb2cbba3f77c3782c056cdbd219b87abfc8661d7135db  emnist-balanced-test-images-idx3-ubyte.gz
a67cac948379b67270b9a4d0a01c8ec661598accf2f2b1964340b7c83cb175cd  emnist-balanced-test-labels-idx1-ubyte.gz
"""
_EMNIST = Archive(
    name="gzip.zip",
    sha256="fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    folder="gzip",
    home="emnist",
)
_NIST = "(Cohen, Afshar, Tapson, van Schaik 2017; from NIST's Special Database 19)"


def _emnist(listing: str, first_label: int = 0) -> Origin:
    return Origin(
        files=_sums(listing),
        mirrors=(
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        archive=_EMNIST,
        transposed=True,
        first_label=first_label,
    )


_MNIST_FILES = Origin(
    files=_sums(_MNIST),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
_MNIST_FACTS = DatasetFacts(
    name="mnist",
    title="MNIST: handwritten digits (LeCun, Cortes, Burges; CC BY-SA 3.0)",
    input_shape=(1, 28, 28),
    classes=_DIGITS,
    train=60_000,
    test=10_000,
    origin=_MNIST_FILES,
)
_KNOWN = (
    _MNIST_FACTS,
    replace(
        _MNIST_FACTS,
        name="mnist-deskewed",
        title="MNIST, every digit deskewed, of more even width, and larger (docs/data.md says how)",
        origin=replace(_MNIST_FILES, home="mnist", deskewed=True),
    ),
    DatasetFacts(
        name="digits",
        title="digits: 8x8 handwritten digits that ship inside scikit-learn (Alpaydin, Kaynak 1998; CC BY 4.0)",
        input_shape=(1, 8, 8),
        classes=_DIGITS,
        train=1_438,
        test=359,
    ),
    DatasetFacts(
        name="fashion-mnist",
        title="Fashion-MNIST: pictures of clothes (Xiao, Rasul, Vollgraf 2017; MIT)",
        input_shape=(1, 28, 28),
        classes=_CLOTHES,
        train=60_000,
        test=10_000,
        origin=Origin(
            files=_sums(_FASHION_MNIST),
            mirrors=(
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
        ),
    ),
    DatasetFacts(
        name="kmnist",
        title="Kuzushiji-MNIST: cursive Japanese characters (Clanuwat and others 2018; CC BY-SA 4.0)",
        input_shape=(1, 28, 28),
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        train=60_000,
        test=10_000,
        origin=Origin(
            files=_sums(_KMNIST),
            mirrors=(
                "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            ),
        ),
    ),
    DatasetFacts(
        name="qmnist",
        title="QMNIST: MNIST rebuilt from its sources, with 60,000 test images (Yadav, Bottou 2019)",
        input_shape=(1, 28, 28),
        classes=_DIGITS,
        train=60_000,
        test=60_000,
        origin=Origin(
            files=_sums(_QMNIST),
            mirrors=(
                "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
                "https://github.com/facebookresearch/qmnist/raw/master/",
            ),
        ),
    ),
    DatasetFacts(
        name="emnist-letters",
        title=f"EMNIST Letters: handwritten letters, capital and small as one {_NIST}",
        input_shape=(1, 28, 28),
        classes=_LETTERS,
        train=124_800,
        test=20_800,
        origin=_emnist(_EMNIST_LETTERS, first_label=1),
    ),
    DatasetFacts(
        name="emnist-digits",
        title=f"EMNIST Digits: handwritten digits {_NIST}",
        input_shape=(1, 28, 28),
        classes=_DIGITS,
        train=240_000,
        test=40_000,
        origin=_emnist(_EMNIST_DIGITS),
    ),
    DatasetFacts(
        name="emnist-balanced",
        title=f"EMNIST Balanced: handwritten digits and letters, equally many of each {_NIST}",
        input_shape=(1, 28, 28),
        classes=(*_DIGITS, *_LETTERS, *"abdefghnqrt"),
        train=112_800,
        test=18_800,
        origin=_emnist(_EMNIST_BALANCED),
    ),
)
DATASETS: Mapping[str, DatasetFacts] = MappingProxyType({facts.name: facts for facts in _KNOWN})
