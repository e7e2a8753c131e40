"""What makes two networks the same, and what a network that fits no image is told."""

from __future__ import annotations

import pytest

from smallprint.spec.errors import NotationError
from smallprint.spec.network import Layer, Network
from smallprint.spec.trace import trace


def identities(text: str) -> list[str]:
    return [step.identity for step in trace(Network.parse(text), (1, 28, 28)).steps]


def test_the_same_network_in_other_words_has_the_same_identity() -> None:
    assert identities("every conv3: pad=1; conv3-8 maxpool2 conv3-4,bare") == identities(
        "conv3-8,pad=same,stride=1,nobias maxpool conv3-4,pad=1,times=1"
    )


@pytest.mark.parametrize(
    "other",
    ["conv3-9", "conv5-8,pad=1", "conv3-8", "conv3-8,pad=1,bias", "conv3-8,pad=1,stride=2", "conv3-8,pad=1 relu"],
)
def test_another_network_has_another_identity(other: str) -> None:
    assert identities(other) != identities("conv3-8,pad=1")


def test_each_option_that_changes_what_is_computed_changes_the_identity() -> None:
    base = "conv3-8,pad=1 conv3-8,pad=1{}"
    found = {
        tuple(identities(base.format(option))) for option in ("", ",skip", ",times=2", ",groups=2", ",times=2,skip")
    }
    assert len(found) == 5
    assert identities("dropout=5%") != identities("dropout=6%")
    assert identities("avgpool2") != identities("maxpool2")


FAULTS = [
    (
        "conv3-8 maxpool maxpool\nmaxpool maxpool conv3-10",
        "line 2: conv3 does not fit into the 1 x 1 that reach it: the shape would shrink below 1; "
        "pool less, pad more, or take a smaller kernel\n    maxpool maxpool conv3-10\n                    ^^^^^^^^",
    ),
    (
        "conv3-8 conv3-16,pad=1,skip",
        "line 1: skip needs an output shaped like its input, but 8 x 26 x 26 becomes 16 x 26 x 26"
        "\n    conv3-8 conv3-16,pad=1,skip\n            ^^^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8 conv3-8,times=2",
        "line 1: times=2 needs an output shaped like its input, but 8 x 26 x 26 becomes 8 x 24 x 24"
        "\n    conv3-8 conv3-8,times=2\n            ^^^^^^^^^^^^^^^",
    ),
    (
        "gap conv1-1,times=2,stride=2",
        "line 1: times=2 needs stride=1, not stride=2\n    gap conv1-1,times=2,stride=2"
        "\n        ^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8\ngap\nconv1-9",
        "line 3: the last layer leaves 9 values for 10 classes; it needs at least 10\n    conv1-9\n    ^^^^^^^",
    ),
    (
        "conv3-10",
        "line 1: the network ends with 10 x 26 x 26; it must leave one value per class: end with gap or flatten"
        "\n    conv3-10\n    ^^^^^^^^",
    ),
    (
        "conv3-8 conv3-12,groups=8",
        "line 1: groups=8 must divide both the 8 channels that come in and the 12 that go out"
        "\n    conv3-8 conv3-12,groups=8\n            ^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv4-8,pad=same",
        "line 1: pad=same needs an odd kernel, not 4; say pad=2 or pad=1\n    conv4-8,pad=same\n    ^^^^^^^^^^^^^^^^",
    ),
    (
        "maxpool3,pad=2",
        "line 1: a pooling's pad is at most half its size: 0 to 1, not 2\n    maxpool3,pad=2\n    ^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8 linear-10",
        "line 1: linear needs a flat input, but 8 x 26 x 26 reaches it; put flatten or gap before it"
        "\n    conv3-8 linear-10\n            ^^^^^^^^^",
    ),
    (
        "flatten conv3-10",
        "line 1: conv needs an image, but what reaches it is flat: 784\n    flatten conv3-10\n            ^^^^^^^^",
    ),
    (
        "after linear: dropout2d=5%; flatten linear-10",
        "line 1: dropout2d drops whole channels, but what reaches it is flat: 10; say dropout"
        "\n    after linear: dropout2d=5%; flatten linear-10\n                  ^^^^^^^^^^^^",
    ),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text for text, _ in FAULTS])
def test_a_layer_that_does_not_fit_is_shown_with_what_reaches_it(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        trace(Network.parse(text), (1, 28, 28), 10)
    assert str(caught.value) == message


def test_a_network_that_was_never_text_is_named_by_its_layer() -> None:
    network = Network(layers=(Layer(kind="conv", kernel=3, width=9), Layer(kind="gap")))
    with pytest.raises(NotationError, match=r"^gap: the last layer leaves 9 values for 10 classes"):
        trace(network, (1, 28, 28), 10)


def test_as_many_values_as_classes_or_more_are_enough() -> None:
    assert trace(Network.parse("conv1-16 gap"), (1, 8, 8), 10).outputs == 16
    assert trace(Network.parse("conv1-10 gap flatten"), (1, 8, 8), 10).output_shape == (10,)
