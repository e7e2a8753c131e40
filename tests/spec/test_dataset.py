from __future__ import annotations

import pytest
from sklearn.datasets import load_digits

from smallprint.spec.dataset import DATASETS


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_known_by_its_own_name_and_has_its_facts(name: str) -> None:
    facts = DATASETS[name]
    assert facts.name == name
    assert facts.title.startswith(("MNIST", "digits"))
    channels, height, width = facts.input_shape
    assert channels == 1
    assert height == width
    assert len(set(facts.classes)) == len(facts.classes) == 10
    assert facts.train > facts.test > 0


def test_mnist_is_sixty_thousand_images_of_28_pixels_from_more_than_one_mirror() -> None:
    facts = DATASETS["mnist"]
    assert (facts.input_shape, facts.train, facts.test) == ((1, 28, 28), 60_000, 10_000)
    assert len(facts.files) == 4
    assert all(len(checksum) == 64 and set(checksum) <= set("0123456789abcdef") for checksum in facts.files.values())
    assert len(set(facts.files.values())) == 4
    assert len(facts.mirrors) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in facts.mirrors)


def test_digits_is_what_ships_inside_scikit_learn() -> None:
    facts, inside = DATASETS["digits"], load_digits()
    assert inside.images.shape == (facts.train + facts.test, *facts.input_shape[1:])
    assert tuple(map(str, inside.target_names)) == facts.classes


def test_the_list_of_data_sets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DATASETS["mnist"] = DATASETS["digits"]  # type: ignore[index]
