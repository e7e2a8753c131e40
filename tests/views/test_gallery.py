"""The numbers of each figure against a slow count, and drawings that are SVG whatever they are given."""

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from smallprint.results.runs import Arrays
from smallprint.views import gallery
from smallprint.views.gallery import Pictures


@pytest.fixture
def answers(pictures: Pictures) -> Arrays:
    random = np.random.default_rng(1)
    total = len(pictures.labels_N)
    return {
        "predicted": np.where(random.random(total) < 0.8, pictures.labels_N, random.integers(0, 12, total)),
        "confidence": random.random(total).astype(np.float32),
        "loss": random.integers(0, 30, total).astype(np.float32),
    }


def texts(drawn: str) -> set[str]:
    return {text.strip() for text in ET.fromstring(drawn).itertext() if text.strip()}


def test_the_confusion_counts_every_image_once(answers: Arrays, pictures: Pictures) -> None:
    found = gallery.confusion(answers, pictures)
    for true in range(10):
        for taken in range(10):
            both = zip(pictures.labels_N, answers["predicted"], strict=True)
            assert found.counts_KK[true, taken] == sum(pair == (true, taken) for pair in both)
    assert found.counts_KK.sum() + found.beyond_K.sum() == len(pictures.labels_N)
    assert found.beyond_K.sum() == sum(answers["predicted"] > 9)
    for true in range(10):
        members = pictures.labels_N == true
        assert found.wrong[true] == sum(answers["predicted"][members] != true)


def test_the_worst_images_are_wrong_and_have_the_highest_losses(answers: Arrays, pictures: Pictures) -> None:
    found = gallery.worst_images(answers, pictures, most=7)
    wrong = [index for index in range(200) if answers["predicted"][index] != pictures.labels_N[index]]
    expected = sorted(wrong, key=lambda index: (-answers["loss"][index], index))[:7]
    assert found.index_N.tolist() == expected
    assert found.true == tuple(str(pictures.labels_N[index]) for index in expected)
    for place, index in enumerate(expected):
        label = answers["predicted"][index]
        assert found.taken_for[place] == (str(label) if label < 10 else f"output {label}")
        assert np.array_equal(found.images_NCHW[place], pictures.images_NCHW[index])
        assert found.confidence_N[place] == answers["confidence"][index]


def test_a_loss_that_is_no_number_is_the_worst_of_all(answers: Arrays, pictures: Pictures) -> None:
    wrong = np.flatnonzero(answers["predicted"] != pictures.labels_N)
    answers["loss"][wrong[5]] = np.nan
    assert gallery.worst_images(answers, pictures).index_N[0] == wrong[5]


def test_nothing_wrong_leaves_no_worst_image(answers: Arrays, pictures: Pictures) -> None:
    answers["predicted"] = pictures.labels_N
    found = gallery.worst_images(answers, pictures)
    assert len(found.index_N) == 0
    ET.fromstring(gallery.draw_worst(found))


def test_the_drawn_confusion_says_each_mistake_and_the_sum_of_each_row(answers: Arrays, pictures: Pictures) -> None:
    found = gallery.confusion(answers, pictures)
    drawn = ET.fromstring(gallery.draw_confusion(found))
    written = [text.strip() for text in drawn.itertext() if text.strip()]
    for count in set(found.counts_KK[found.counts_KK > 0].tolist()):
        assert written.count(str(count)) >= (found.counts_KK == count).sum()
    assert "wrong" in written


def test_many_classes_with_long_names_are_drawn(pictures: Pictures) -> None:
    names = tuple(f"class number {index}" for index in range(60))
    labels = np.arange(200) % 60
    many = gallery.Pictures(images_NCHW=pictures.images_NCHW, labels_N=labels, class_names=names)
    answers = {"predicted": (labels + labels % 2) % 60, "confidence": np.ones(200), "loss": np.ones(200)}
    ET.fromstring(gallery.draw_confusion(gallery.confusion(answers, many)))
    assert {"class nu…", "→ class …"} <= texts(gallery.draw_worst(gallery.worst_images(answers, many)))


def test_class_names_in_any_script_and_with_markup_are_drawn_as_they_are(pictures: Pictures) -> None:
    names = ("お", "$a$", "<i>", "&", *"456789")
    strange = replace(pictures, class_names=names)
    answers = {"predicted": (pictures.labels_N + 1) % 10, "confidence": np.ones(200), "loss": np.ones(200)}
    assert set(names) <= texts(gallery.draw_confusion(gallery.confusion(answers, strange)))


def test_coloured_images_are_drawn(pictures: Pictures) -> None:
    coloured = replace(pictures, images_NCHW=np.repeat(pictures.images_NCHW, 3, axis=1))
    answers = {"predicted": (pictures.labels_N + 1) % 10, "confidence": np.ones(200), "loss": np.ones(200)}
    drawn = gallery.draw_worst(gallery.worst_images(answers, coloured))
    assert drawn.count("data:image/png;base64,") == 24


def test_the_sample_sheet_grows_with_classes_and_images(pictures: Pictures) -> None:
    narrow, wide = (Image.open(io.BytesIO(gallery.sample_sheet(pictures, count))) for count in (2, 6))
    assert narrow.format == "PNG"
    assert wide.width - narrow.width == 2 * 44 * 4
    assert wide.height == narrow.height == 2 * (44 * 10 + 8)


def test_the_same_numbers_are_the_same_bytes(answers: Arrays, pictures: Pictures) -> None:
    def draw() -> tuple[object, ...]:
        return (
            gallery.draw_confusion(gallery.confusion(answers, pictures)),
            gallery.draw_worst(gallery.worst_images(answers, pictures)),
            gallery.sample_sheet(pictures, 3),
        )

    assert draw() == draw()


def test_an_image_that_is_not_square_keeps_its_proportions(answers: Arrays, pictures: Pictures) -> None:
    wide = replace(pictures, images_NCHW=np.repeat(pictures.images_NCHW, 2, axis=3))
    square, drawn = (
        ET.fromstring(gallery.draw_worst(gallery.worst_images(answers, shown, most=1))) for shown in (pictures, wide)
    )
    sizes = [
        [float(image.attrib[side]) for side in ("width", "height")]
        for drawing in (square, drawn)
        for image in drawing.iter("{http://www.w3.org/2000/svg}image")
    ]
    assert sizes[0][0] == pytest.approx(sizes[0][1], abs=1.5)  # whole pixels
    assert sizes[1][0] == pytest.approx(2 * sizes[1][1], abs=2.5)
