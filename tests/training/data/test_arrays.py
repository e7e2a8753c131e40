from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from smallprint.training.data import Dataset, load_dataset
from smallprint.training.data.arrays import ARRAYS, Halves, dataset_of, in_order

RANDOM = np.random.default_rng(0)
WHOLE: dict[str, Any] = {
    "x_train": RANDOM.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": RANDOM.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8),
    "y_test": np.array([2, 0, 1]),
}


def npz(path: Path, **changed: Any) -> Dataset:
    np.savez_compressed(path / "data.npz", **{**WHOLE, **changed})
    return load_dataset(path / "data.npz")


def test_the_digits_of_scikit_learn_as_an_npz_file_are_the_digits(tmp_path: Path, digits: Dataset) -> None:
    """Written by the one line that the guide shows, as floats from 0 to 16 and as bytes."""
    inside = load_digits()
    test = np.arange(len(inside.target)) % 5 == 4
    x, y = inside.images, inside.target
    own = npz(tmp_path, x_train=x[~test], y_train=y[~test], x_test=x[test], y_test=y[test])
    assert own.facts.input_shape == digits.facts.input_shape
    assert own.facts.classes == digits.facts.classes
    assert own.train_images_NCHW.dtype == own.test_images_NCHW.dtype == np.float32
    assert np.array_equal(own.train_images_NCHW[:, 0], (x[~test] / 16).astype(np.float32))
    assert np.array_equal(own.test_images_NCHW[:, 0], (x[test] / 16).astype(np.float32))
    assert np.array_equal(own.test_labels_N, digits.test_labels_N)

    x = np.rint(x * (255 / 16)).astype(np.uint8)
    own = npz(tmp_path, x_train=x[~test], y_train=y[~test], x_test=x[test], y_test=y[test])
    assert own.fingerprint == digits.fingerprint


def test_numbers_train_as_bytes_do(tmp_path: Path, digits: Dataset) -> None:
    from smallprint.spec.recipe import Recipe
    from smallprint.training.trainer import train

    own = npz(
        tmp_path,
        x_train=digits.train_images_NCHW / 17.0 - 3,
        y_train=digits.train_labels_N,
        x_test=digits.test_images_NCHW / 17.0 - 3,
        y_test=digits.test_labels_N,
    )
    recipe = Recipe.parse({"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 32, "epochs": 3})
    network = "every conv3: pad=1; after conv3: batchnorm relu; conv3-8 maxpool conv3-8 gap conv1-10"
    bytes_, numbers = ([epoch.test_loss for epoch in train(network, recipe, data, threads=1)] for data in (digits, own))
    np.testing.assert_allclose(numbers, bytes_, rtol=0.02)


def test_floats_are_mapped_by_the_training_images_alone(tmp_path: Path) -> None:
    train, test = RANDOM.normal(5, 2, (600, 4, 4)), RANDOM.normal(5, 4, (50, 4, 4))
    labels = {"y_train": np.arange(600) % 2, "y_test": np.arange(50) % 2}
    own = npz(tmp_path, x_train=train, x_test=test, **labels)
    low, high = train.min(), train.max()
    assert (own.train_images_NCHW.min(), own.train_images_NCHW.max()) == (0.0, 1.0)
    assert own.test_images_NCHW.max() > 1 > 0 > own.test_images_NCHW.min()
    np.testing.assert_array_equal(own.test_images_NCHW[:, 0], ((test - low) / (high - low)).astype(np.float32))
    for kind in (np.float16, np.float32):
        assert (
            npz(tmp_path, x_train=train.astype(kind), x_test=test.astype(kind), **labels).train_images_NCHW.max() == 1
        )


@pytest.mark.parametrize(
    ("axes", "layout"), [((0, 1, 2, 3), None), ((0, 3, 1, 2), None), ((0, 1, 2, 3), "NHWC"), ((0, 3, 1, 2), "NCHW")]
)
def test_channels_stand_where_the_short_axis_or_the_layout_says(
    tmp_path: Path, axes: tuple[int, ...], layout: str | None
) -> None:
    images = {name: WHOLE[name].transpose(axes) for name in ("x_train", "x_test")}
    own = npz(tmp_path, **images, **({"layout": np.array(layout)} if layout else {}))
    assert own.facts.input_shape == (3, 5, 7)
    assert np.array_equal(own.train_images_NCHW, WHOLE["x_train"].transpose(0, 3, 1, 2))


def test_a_layout_decides_where_the_shape_cannot(tmp_path: Path) -> None:
    images = {"x_train": WHOLE["x_train"][:, :3, :4], "x_test": WHOLE["x_test"][:, :3, :4]}  # 3 x 4 x 3
    assert npz(tmp_path, **images, layout=np.array("NHWC")).facts.input_shape == (3, 3, 4)
    assert npz(tmp_path, **images, layout=np.array("NCHW")).facts.input_shape == (3, 4, 3)


def test_strings_are_classes_in_their_order_and_numbers_among_them_in_theirs(tmp_path: Path) -> None:
    words = {"y_train": np.array(["dog", "cat", "owl"] * 2), "y_test": np.array(["owl", "cat", "dog"])}
    own = npz(tmp_path, **words)
    assert own.facts.classes == ("cat", "dog", "owl")
    assert own.train_labels_N.tolist() == [1, 0, 2, 1, 0, 2]
    assert own.test_labels_N.tolist() == [2, 0, 1]
    assert npz(tmp_path, **{name: array.astype("S") for name, array in words.items()}).fingerprint == own.fingerprint
    assert in_order(["10", "9", "2"]) == ["2", "9", "10"]
    assert in_order(["10", "9", "b"]) == ["10", "9", "b"]


def test_whole_numbers_count_from_0_or_1_or_are_places_among_names(tmp_path: Path) -> None:
    assert npz(tmp_path).facts.classes == ("0", "1", "2")
    from_one = npz(tmp_path, y_train=WHOLE["y_train"] + 1, y_test=WHOLE["y_test"].astype(np.uint8) + 1)
    assert from_one.facts.classes == ("1", "2", "3")
    assert from_one.fingerprint == npz(tmp_path).fingerprint
    named = npz(tmp_path, classes=np.array(["cat", "dog", "owl"]))
    assert named.facts.classes == ("cat", "dog", "owl")
    assert named.fingerprint == from_one.fingerprint


def test_a_class_may_be_missing_from_the_test(tmp_path: Path) -> None:
    assert npz(tmp_path, y_test=np.array([0, 0, 1])).facts.classes == ("0", "1", "2")
    assert npz(tmp_path, y_train=np.array(["b", "a"] * 3), y_test=np.array(["a"] * 3)).test_labels_N.tolist() == [0] * 3


SHOWN = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("Cc", "Zs", "Cf", "Cn")),
    min_size=1,
    max_size=4,
)


@given(st.lists(SHOWN, min_size=4, max_size=12))
def test_every_string_label_stays_the_name_of_its_image(labels: list[str]) -> None:
    if len(set(labels)) < 2:
        labels = [*labels, "one", "two"]
    images = np.zeros((len(labels), 2, 2), dtype=np.uint8)
    own = dataset_of(Halves(ARRAYS, (images, np.array(labels), images, np.array(labels))), "own", "arrays")
    assert [own.facts.classes[label] for label in own.train_labels_N] == labels
    assert set(own.facts.classes) == set(labels)
