from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from smallprint import SmallNetClassifier
from smallprint.spec.errors import NotationError

FAST = {"optimiser": "adamw lr=0.02", "schedule": "onecycle", "batch": 16, "epochs": 20}


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8), labels


@parametrize_with_checks([SmallNetClassifier(recipe=FAST, threads=1)])
def test_it_keeps_all_rules_of_scikit_learn(estimator: SmallNetClassifier, check: Any) -> None:
    check(estimator)


def test_it_learns_digits_as_images_and_as_rows_alike(digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    images, labels = digits
    classifier = SmallNetClassifier(threads=1).fit(images[:1200], labels[:1200])
    assert classifier.score(images[1200:], labels[1200:]) > 0.95
    assert classifier.parameters_ < 2100
    rows = SmallNetClassifier(threads=1).fit(images[:1200].reshape(-1, 64), labels[:1200])
    np.testing.assert_array_equal(
        rows.predict_proba(images[1200:].reshape(-1, 64)), classifier.predict_proba(images[1200:])
    )


def test_it_works_in_a_pipeline_and_under_cross_validation(digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    images, labels = digits
    network = "after conv3: batchnorm relu; conv3-8 maxpool conv3-16 gap conv1-{classes},bias"
    pipeline = make_pipeline(MinMaxScaler(), SmallNetClassifier(network, FAST, threads=1))
    assert cross_val_score(pipeline, images[:600].reshape(-1, 64), labels[:600], cv=2).min() > 0.6


def test_labels_may_be_names_and_channels_come_first() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (80, 3, 8, 8))
    labels = np.array(["red", "blue"])[(np.arange(80) % 2)]
    images[labels == "red", 0] += 1
    images[labels == "blue", 2] += 1
    classifier = SmallNetClassifier("gap linear-{classes},bias", FAST, threads=1).fit(images, labels)
    assert classifier.classes_.tolist() == ["blue", "red"]
    assert classifier.score(images, labels) == 1
    assert classifier.image_shape_ == (3, 8, 8)


def test_the_same_seed_gives_the_same_answers_and_a_copy_on_disk_too(digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    images, labels = digits[0][:200], digits[1][:200]
    first = SmallNetClassifier(recipe=FAST, seed=3, threads=1).fit(images, labels)
    second = clone(first).fit(images, labels)
    other = SmallNetClassifier(recipe=FAST, seed=4, threads=1).fit(images, labels)
    expected = first.predict_proba(images)
    np.testing.assert_array_equal(second.predict_proba(images), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(images), expected)
    assert (other.predict_proba(images) != expected).any()
    np.testing.assert_allclose(expected.sum(1), 1)


def test_bad_input_is_an_error_that_says_what_to_change(digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    with pytest.raises(NotationError, match="did you mean 'maxpool'"):
        SmallNetClassifier("conv3-8 maxpol gap conv1-10").fit(images, labels)
    with pytest.raises(NotationError, match="5 values for 10 classes"):
        SmallNetClassifier("gap linear-5").fit(images, labels)
    with pytest.raises(ValueError, match=r"image_shape=\(1, 5, 5\) does not hold the 64 features"):
        SmallNetClassifier(image_shape=(1, 5, 5)).fit(images.reshape(-1, 64), labels)
    with pytest.raises(ValueError, match="at least two classes"):
        SmallNetClassifier().fit(images, np.zeros(50, int))
    with pytest.raises(ValueError, match="NaN"):
        SmallNetClassifier().fit(np.full((4, 8, 8), np.nan), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SmallNetClassifier().fit(images, labels[:20])
    with pytest.raises(ValueError, match="images of 36 values"):
        SmallNetClassifier(recipe={**FAST, "epochs": 1}).fit(images, labels).predict(np.zeros((2, 6, 6)))
