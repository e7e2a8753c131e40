from __future__ import annotations

import gzip
import os
import shutil
import struct
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from smallprint.spec.dataset import DATASETS
from smallprint.spec.errors import DataError
from smallprint.training import data
from smallprint.training.data import find_dataset, load_dataset, read_idx

stated = os.environ.get("SMALLPRINT_DATA")
needs_mnist = pytest.mark.skipif(
    not stated or find_dataset("mnist") is None,
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


def test_digits_are_embedded_with_every_fifth_image_for_the_test() -> None:
    digits = load_dataset("digits")
    facts = DATASETS["digits"]
    assert digits.train_images_NCHW.shape == (facts.train, *facts.input_shape)
    assert digits.test_images_NCHW.shape == (facts.test, *facts.input_shape)
    assert digits.train_images_NCHW.dtype == np.uint8
    assert digits.train_images_NCHW.max() == 255
    assert set(digits.test_labels_N.tolist()) == set(range(10))
    from sklearn.datasets import load_digits

    assert digits.test_labels_N[:3].tolist() == load_digits().target[[4, 9, 14]].tolist()


def test_the_fingerprint_is_that_of_images_and_labels() -> None:
    digits, again = load_dataset("digits"), load_dataset("digits")
    assert digits.fingerprint == again.fingerprint
    other = data.Dataset(
        facts=digits.facts,
        train_images_NCHW=digits.train_images_NCHW,
        train_labels_N=digits.train_labels_N,
        test_images_NCHW=digits.test_images_NCHW,
        test_labels_N=np.roll(digits.test_labels_N, 1),
    )
    assert other.fingerprint != digits.fingerprint


def test_mean_and_deviation_are_those_of_the_training_images() -> None:
    digits = load_dataset("digits")
    mean, deviation = digits.mean_and_deviation
    greys = digits.train_images_NCHW / 255
    np.testing.assert_allclose(mean, [greys.mean()])
    np.testing.assert_allclose(deviation, [greys.std()])


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


def test_a_folder_without_the_data_set_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no mnist here; it needs train-images-idx3-ubyte"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "not an IDX file of unsigned bytes: it starts with 00 00 0d 01"),
        (b"\0\0\x08\x03\0\0", "6 bytes end within the header of 16"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"12", "cut off: its header says 3, 11 bytes in all; 10 are there"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"1234", "too long"),
        (b"\0\0\x08\x04" + struct.pack(">4I", *[2**32 - 1] * 4), "cut off"),
    ],
)
def test_what_is_no_idx_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(content, "file")


def test_an_idx_file_reads_in_its_shape() -> None:
    content = b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(range(6))
    assert read_idx(content, "file").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match="no data set is called 'mnits'; known: mnist, digits; did you mean 'mnist'"):
        load_dataset("mnits")


@needs_mnist
def test_the_cache_is_read_where_nothing_is_stated_and_what_it_lacks_is_fetched(
    mnist_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMALLPRINT_DATA")
    monkeypatch.setattr(data, "user_cache_path", lambda _: tmp_path / "cache")
    cached = data.cache_folder() / "mnist"
    shutil.copytree(mnist_copy, cached)
    assert load_dataset("mnist").found == str(cached)

    # A mirror that cannot be reached stands in for having no network; only the missing file is asked for.
    unreachable = replace(DATASETS["mnist"], mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(data, "DATASETS", {"mnist": unreachable})
    (cached / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"could not be downloaded \(http://127\.0\.0\.1:9/: ConnectionError\)"):
        load_dataset("mnist")


@needs_mnist
def test_a_download_is_checked_before_it_is_kept(
    mnist_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMALLPRINT_DATA")
    monkeypatch.setattr(data, "user_cache_path", lambda _: tmp_path / "cache")
    wrong = tmp_path / "wrong"
    shutil.copytree(mnist_copy, wrong)
    (wrong / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        first_wrong = replace(DATASETS["mnist"], mirrors=(f"{address}/wrong/",))
        monkeypatch.setattr(data, "DATASETS", {"mnist": first_wrong})
        with pytest.raises(DataError, match="sent something else"):
            load_dataset("mnist")
        assert not (data.cache_folder() / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()
        monkeypatch.setattr(
            data, "DATASETS", {"mnist": replace(first_wrong, mirrors=(f"{address}/wrong/", f"{address}/mnist/"))}
        )
        assert load_dataset("mnist").found == str(data.cache_folder() / "mnist")
    finally:
        server.shutdown()
        server.server_close()
