"""The data sets known by name: shapes, classes, mirrors, checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smallprint.spec.trace import Shape

_DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What is known of a data set before a byte of it is read."""

    name: str
    title: str
    input_shape: Shape  # (channels, height, width)
    classes: tuple[str, ...]  # class names, in the order of their labels
    train: int  # images
    test: int  # images
    files: Mapping[str, str] = field(default_factory=dict)  # file -> SHA-256 of its unpacked bytes
    mirrors: tuple[str, ...] = field(default=())  # folders on the web that hold the files, gzipped


DATASETS: Mapping[str, DatasetFacts] = MappingProxyType(
    {
        facts.name: facts
        for facts in (
            DatasetFacts(
                name="mnist",
                title="MNIST: handwritten digits (LeCun, Cortes, Burges; CC BY-SA 3.0)",
                input_shape=(1, 28, 28),
                classes=_DIGITS,
                train=60_000,
                test=10_000,
                files={
                    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                },
                mirrors=(
                    "https://ossci-datasets.s3.amazonaws.com/mnist/",
                    "https://storage.googleapis.com/cvdf-datasets/mnist/",
                ),
            ),
            DatasetFacts(
                name="digits",
                title="digits: 8x8 handwritten digits that ship inside scikit-learn (Alpaydin, Kaynak 1998; CC BY 4.0)",
                input_shape=(1, 8, 8),
                classes=_DIGITS,
                train=1_438,
                test=359,
            ),
        )
    }
)
