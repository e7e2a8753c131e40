"""What a search is judged by: training images alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from smallprint.training.data import Dataset, held_out, load_dataset


def _digits() -> Dataset:
    return load_dataset("digits")


def test_the_parts_are_the_training_images_each_once() -> None:
    whole = _digits()
    held = held_out(whole)
    assert held.facts.train + held.facts.test == whole.facts.train
    assert held.facts.test == len(held.test_labels_N) == whole.facts.train // 6
    both = np.concatenate([held.train_images_NCHW, held.test_images_NCHW]).reshape(whole.facts.train, -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole.train_images_NCHW.reshape(whole.facts.train, -1)))


def test_labels_stay_with_their_images() -> None:
    whole = _digits()
    held = held_out(whole)
    known = {bytes(image): label for image, label in zip(whole.train_images_NCHW, whole.train_labels_N, strict=True)}
    for image, label in zip(held.test_images_NCHW, held.test_labels_N, strict=True):
        assert known[bytes(image)] == label


def test_which_images_are_held_out_follows_from_the_data_alone() -> None:
    whole = _digits()
    assert held_out(whole).fingerprint == held_out(_digits()).fingerprint
    salt = whole.fingerprint.encode()
    ranked = sorted(range(whole.facts.train), key=lambda n: hashlib.sha256(salt + n.to_bytes(8, "big")).digest()[:8])
    chosen = sorted(ranked[: whole.facts.train // 6])
    np.testing.assert_array_equal(held_out(whole).test_labels_N, whole.train_labels_N[chosen])


def test_other_test_images_hold_out_other_training_images_but_are_never_among_them() -> None:
    whole = _digits()
    other = replace(whole, test_images_NCHW=whole.test_images_NCHW[::-1].copy())
    assert held_out(other).fingerprint != held_out(whole).fingerprint
    empty = replace(whole, test_images_NCHW=np.zeros_like(whole.test_images_NCHW))
    assert held_out(empty).test_images_NCHW.any(axis=(1, 2, 3)).all()
