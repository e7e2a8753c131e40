from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from smallprint.spec.dataset import DATASETS, Archive, DatasetFacts, Origin
from smallprint.spec.errors import DataError
from smallprint.training.data import cache_folder, find_dataset, known, load_dataset

needs_mnist = pytest.mark.skipif(
    not os.environ.get("SMALLPRINT_DATA") or find_dataset("mnist") is None,
    reason="needs MNIST: set SMALLPRINT_DATA to the folder that holds mnist/",
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mnist_copy(tmp_path: Path) -> Path:
    """A folder with a copy of MNIST's files that a test may damage."""
    source = find_dataset("mnist")
    assert source is not None
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in source.iterdir():
        shutil.copyfile(file, folder / file.name)
    return folder


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stated."""
    monkeypatch.delenv("SMALLPRINT_DATA", raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder on this machine; the address it is at."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_digits_are_embedded_with_every_fifth_image_for_the_test() -> None:
    from sklearn.datasets import load_digits

    digits, facts = load_dataset("digits"), DATASETS["digits"]
    assert digits.train_images_NCHW.shape == (facts.train, *facts.input_shape)
    assert digits.test_images_NCHW.shape == (facts.test, *facts.input_shape)
    assert digits.train_images_NCHW.dtype == np.uint8
    assert digits.train_images_NCHW.max() == 255
    assert set(digits.test_labels_N.tolist()) == set(range(10))
    assert digits.test_labels_N[:3].tolist() == load_digits().target[[4, 9, 14]].tolist()


@needs_mnist
def test_mnist_is_mnist() -> None:
    mnist = load_dataset("mnist")
    assert mnist.train_images_NCHW.shape == (60_000, 1, 28, 28)
    assert mnist.test_images_NCHW.shape == (10_000, 1, 28, 28)
    assert mnist.train_labels_N[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.test_labels_N).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    mean, deviation = mnist.mean_and_deviation
    assert mean[0] == pytest.approx(0.1307, abs=5e-5)
    assert deviation[0] == pytest.approx(0.3081, abs=5e-5)


@needs_mnist
def test_a_stated_folder_may_hold_the_files_or_a_folder_of_the_data_sets_name(mnist_copy: Path) -> None:
    (mnist_copy / "t10k-labels-idx1-ubyte").write_bytes(
        gzip.decompress((mnist_copy / "t10k-labels-idx1-ubyte.gz").read_bytes())
    )
    (mnist_copy / "t10k-labels-idx1-ubyte.gz").unlink()
    assert load_dataset("mnist", mnist_copy).found == str(mnist_copy)
    assert load_dataset("mnist", mnist_copy.parent).found == str(mnist_copy)


@needs_mnist
def test_damaged_files_are_named_and_never_used(mnist_copy: Path) -> None:
    labels = mnist_copy / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    content = bytearray(gzip.decompress(whole))

    labels.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: damaged or cut off"):
        load_dataset("mnist", mnist_copy)

    labels.write_bytes(gzip.compress(bytes(content[:5_000])))
    with pytest.raises(DataError, match="cut off: its header says 10,000, 10,008 bytes in all; 5,000 are there"):
        load_dataset("mnist", mnist_copy)

    content[500] ^= 1
    labels.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError, match=r"this is not mnist's file: its SHA-256 is [0-9a-f]{16}\.\.\., expected ff7bcfd416de3373"
    ):
        load_dataset("mnist", mnist_copy)

    labels.unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte \(or t10k-labels-idx1-ubyte\.gz\) is missing"):
        load_dataset("mnist", mnist_copy)


@needs_mnist
def test_the_files_of_another_data_set_are_never_taken_for_it(mnist_copy: Path) -> None:
    """Fashion-MNIST's files have the names of MNIST's."""
    with pytest.raises(
        DataError, match=r"idx3-ubyte\.gz: this is not fashion-mnist's file: its SHA-256 is [0-9a-f]{16}"
    ):
        load_dataset("fashion-mnist", mnist_copy)


def test_a_folder_without_the_data_set_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no mnist here; it needs train-images-idx3-ubyte"):
        load_dataset("mnist", tmp_path)
    with pytest.raises(DataError) as caught:
        load_dataset("emnist-digits", tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no emnist-digits here; it needs emnist-digits-train-images-idx3-ubyte.gz, "
        "emnist-digits-train-labels-idx1-ubyte.gz, emnist-digits-test-images-idx3-ubyte.gz, "
        "emnist-digits-test-labels-idx1-ubyte.gz, or gzip.zip that holds them, in it or in emnist-digits/"
    )


@needs_mnist
def test_the_cache_is_read_where_nothing_is_stated_and_what_it_lacks_is_fetched(
    mnist_copy: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = cache_folder() / "mnist"
    shutil.copytree(mnist_copy, cached)
    assert load_dataset("mnist").found == str(cached)

    # A mirror that cannot be reached stands in for having no network; only the missing file is asked for.
    (cached / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    at(monkeypatch, "mnist", "http://127.0.0.1:9/")
    with pytest.raises(DataError, match=r"could not be downloaded \(http://127\.0\.0\.1:9/: ConnectionError\)"):
        load_dataset("mnist")


@needs_mnist
def test_deskewed_digits_are_read_from_the_files_of_mnist(mnist_copy: Path, alone: None) -> None:
    shutil.copytree(mnist_copy, cache_folder() / "mnist")
    assert find_dataset("mnist-deskewed") == cache_folder() / "mnist"
    assert load_dataset("mnist-deskewed").found == str(cache_folder() / "mnist")
    with pytest.raises(DataError, match=r"no mnist-deskewed here; it needs .* in it or in mnist/$"):
        load_dataset("mnist-deskewed", mnist_copy.parent / "elsewhere")


def at(monkeypatch: pytest.MonkeyPatch, name: str, *mirrors: str) -> None:
    """Let a data set be had from other mirrors."""
    facts = vars(known)["DATASETS"][name]
    assert facts.origin
    moved = replace(facts, origin=replace(facts.origin, mirrors=mirrors))
    monkeypatch.setattr(known, "DATASETS", {**vars(known)["DATASETS"], name: moved})


@needs_mnist
def test_a_download_is_checked_before_it_is_kept(
    mnist_copy: Path, tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]
) -> None:
    shutil.copytree(mnist_copy, tmp_path / "wrong")
    wrong = tmp_path / "wrong" / "t10k-labels-idx1-ubyte.gz"
    wrong.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
    address = serve(tmp_path)
    at(monkeypatch, "mnist", f"{address}/wrong/")
    with pytest.raises(DataError, match="sent something else"):
        load_dataset("mnist")
    assert not (cache_folder() / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()
    at(monkeypatch, "mnist", f"{address}/wrong/", f"{address}/mnist/")
    assert load_dataset("mnist").found == str(cache_folder() / "mnist")


# Two data sets in one archive, as EMNIST's are: images that lie on their side, labels from 1, or in rows of two


def idx(array: NDArray[np.generic]) -> bytes:
    kind = {"u": 0x08, "i": 0x0C}[array.dtype.kind]
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
LABELS = np.array([[1, 2, 2, 1], [2, 1, 1, 2]])
CONTENT: Mapping[str, Mapping[str, bytes]] = {
    "sideways-letters": {
        "letters-train-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES[0].swapaxes(1, 2)), mtime=0),
        "letters-train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS[0].astype(np.uint8)), mtime=0),
        "letters-test-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES[1].swapaxes(1, 2)), mtime=0),
        "letters-test-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS[1].astype(np.uint8)), mtime=0),
    },
    "sideways-rows": {
        "rows-train-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES[1].swapaxes(1, 2)), mtime=0),
        "rows-train-labels-idx2-int.gz": gzip.compress(idx(np.stack([LABELS[1] - 1, LABELS[0]], 1).astype("i4"))),
        "rows-test-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES[0].swapaxes(1, 2)), mtime=0),
        "rows-test-labels-idx2-int.gz": gzip.compress(idx(np.stack([LABELS[0] - 1, LABELS[1]], 1).astype("i4"))),
    },
}


@pytest.fixture
def archive(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive on a mirror, and the two data sets in it known by name."""
    path = tmp_path / "mirror" / "gzip.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as zipped:
        for files in CONTENT.values():
            for name, content in files.items():
                zipped.writestr(f"gzip/{name}", content)
    held = Archive(
        name="gzip.zip", sha256=hashlib.sha256(path.read_bytes()).hexdigest(), folder="gzip", home="sideways"
    )
    sets = {
        name: DatasetFacts(
            name=name,
            title=name,
            input_shape=(1, 3, 3),
            classes=("A", "B"),
            train=4,
            test=4,
            origin=Origin(
                files={file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
                mirrors=("http://127.0.0.1:9/",),
                archive=held,
                transposed=True,
                first_label=int(name == "sideways-letters"),
            ),
        )
        for name, files in CONTENT.items()
    }
    monkeypatch.setattr(known, "DATASETS", sets)
    monkeypatch.setattr("smallprint.spec.dataset.DATASETS", sets)
    return path


def test_an_archive_is_fetched_once_for_all_the_data_sets_in_it(
    archive: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]
) -> None:
    at(monkeypatch, "sideways-letters", f"{serve(archive.parent)}/")
    letters = load_dataset("sideways-letters")
    assert letters.found == str(cache_folder() / "sideways-letters")
    assert np.array_equal(letters.train_images_NCHW[:, 0], IMAGES[0])  # upright
    assert letters.train_labels_N.tolist() == [0, 1, 1, 0]
    assert letters.test_labels_N.tolist() == [1, 0, 0, 1]
    rows = load_dataset("sideways-rows")  # its own mirror cannot be reached
    assert np.array_equal(rows.test_images_NCHW[:, 0], IMAGES[0])
    assert rows.train_labels_N.tolist() == [1, 0, 0, 1]
    assert sorted(path.name for path in cache_folder().iterdir()) == ["sideways-letters", "sideways-rows"]


def test_another_archive_is_refused_and_nothing_of_it_is_kept(
    archive: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]
) -> None:
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("gzip/more", b"")
    address = serve(archive.parent)
    at(monkeypatch, "sideways-rows", f"{address}/")
    with pytest.raises(DataError) as caught:
        load_dataset("sideways-rows")
    assert f"({address}/: sent something else (wrong SHA-256)).\nPut rows-train-images" in str(caught.value)
    assert "or gzip.zip that holds them into a folder sideways-rows/" in str(caught.value)
    assert not cache_folder().exists()


@pytest.mark.parametrize("home", ["", "sideways-rows", "sideways"])
def test_an_archive_that_is_here_is_read_where_it_lies_and_each_file_in_it_is_checked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    place = tmp_path / "stated" / home / "gzip.zip"
    place.parent.mkdir(parents=True)
    shutil.copyfile(archive, place)
    assert load_dataset("sideways-rows", tmp_path / "stated").train_labels_N.tolist() == [1, 0, 0, 1]
    if home:
        monkeypatch.setenv("SMALLPRINT_DATA", str(tmp_path / "stated"))
        assert load_dataset("sideways-rows").train_labels_N.tolist() == [1, 0, 0, 1]
        assert find_dataset("sideways-rows") == tmp_path / "stated" / "sideways-rows"

    with zipfile.ZipFile(place, "w") as zipped:
        for name, content in CONTENT["sideways-rows"].items():
            zipped.writestr(f"gzip/{name}", content if "labels" in name else gzip.compress(gzip.decompress(content), 1))
    with pytest.raises(DataError, match=r"gzip\.zip: rows-train-images-idx3-ubyte\.gz: this is not sideways-rows's"):
        load_dataset("sideways-rows", tmp_path / "stated")
    with zipfile.ZipFile(place, "w") as zipped:
        zipped.writestr("gzip/other", b"")
    with pytest.raises(DataError, match=r"gzip\.zip: gzip/rows-train-images-idx3-ubyte\.gz is not in it; put the orig"):
        load_dataset("sideways-rows", tmp_path / "stated")
    place.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"gzip\.zip: damaged or cut off; put the original file in its place"):
        load_dataset("sideways-rows", tmp_path / "stated")


def test_a_file_whose_sum_is_known_only_packed_is_used_only_packed(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stated"
    folder.mkdir()
    for name, content in CONTENT["sideways-letters"].items():
        (folder / name).write_bytes(content)
    assert load_dataset("sideways-letters", folder).found == str(folder)
    packed = folder / "letters-test-labels-idx1-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    with pytest.raises(
        DataError, match=r"stated: letters-test-labels-idx1-ubyte\.gz is missing; sideways-letters needs"
    ):
        load_dataset("sideways-letters", folder)
