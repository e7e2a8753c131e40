from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smallprint.spec.errors import NotationError, SmallprintError
from smallprint.spec.network import FOR_EVERY, OPTIONS, After, Every, Layer, Network, Operation, Options
from smallprint.spec.notation import LARGEST
from smallprint.spec.trace import trace

COUNTS = st.integers(1, 9) | st.integers(1, LARGEST)
PLAIN = ("batchnorm", "relu", "silu", "hardswish", "gelu", "tanh")
OPERATIONS = st.one_of(
    st.sampled_from(PLAIN).map(lambda kind: Operation(kind=kind)),
    st.just(Operation(kind="batchnorm", scaled=False)),
    st.floats(0, 1e300).map(lambda slope: Operation(kind="leakyrelu", amount=slope)),
    st.builds(
        lambda kind, percent: Operation(kind=kind, amount=percent),
        st.sampled_from(("dropout", "dropout2d")),
        st.integers(0, 99).map(float) | st.floats(0, 100, exclude_max=True),
    ),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "pad": st.just("same") | st.integers(0, LARGEST),
    "stride": COUNTS,
    "groups": COUNTS,
    "bias": st.booleans(),
    "bare": st.booleans(),
    "skip": st.booleans(),
    "times": COUNTS,
}


@st.composite
def any_options(draw: st.DrawFn, names: tuple[str, ...], least: int = 0) -> Options:
    said = draw(st.lists(st.sampled_from(names), min_size=least, unique=True)) if names else []
    return Options(**{name: draw(VALUES[name]) for name in said})


@st.composite
def any_layer(draw: st.DrawFn) -> Layer:
    kind: Any = draw(st.sampled_from(tuple(OPTIONS)))
    sized = kind in ("conv", "depthwise", "maxpool", "avgpool")
    return Layer(
        kind=kind,
        kernel=draw(COUNTS) if sized else None,
        width=draw(COUNTS) if kind in ("conv", "linear") else None,
        options=draw(any_options(OPTIONS[kind])),
    )


@st.composite
def any_network(draw: st.DrawFn) -> Network:
    """Whatever the notation can say; most of it fits no image."""
    target = st.one_of(
        st.just("linear"),
        st.builds(lambda kind, kernel: f"{kind}{kernel}", st.sampled_from(("conv", "depthwise")), st.just("") | COUNTS),
    )
    every = [
        Every(
            target=name,
            options=draw(any_options(tuple(o for o in OPTIONS[name.rstrip("0123456789")] if o in FOR_EVERY), least=1)),
        )
        for name in draw(st.lists(target, max_size=3, unique=True))
    ]
    after = [
        After(target=name, operations=tuple(draw(st.lists(OPERATIONS, max_size=4))))
        for name in draw(st.lists(target, max_size=3, unique=True))
    ]
    layers = draw(st.lists(any_layer() | OPERATIONS, min_size=1, max_size=8))
    return Network(layers=tuple(layers), every=tuple(every), after=tuple(after))


@settings(max_examples=300, deadline=None)
@given(any_network())
def test_a_network_survives_parse_print_parse(network: Network) -> None:
    assert Network.parse(str(network)) == network
    assert str(Network.parse(str(network))) == str(network)


@settings(max_examples=300, deadline=None)
@given(any_network())
def test_a_network_survives_being_written_on_one_line(network: Network) -> None:
    assert "\n" not in network.line
    assert Network.parse(network.line) == network


@settings(max_examples=100, deadline=None)
@given(any_network(), st.lists(st.sampled_from((" ", "\t", "\n", "\r\n", "\n\n  ", " # a word\n", "#;\n")), min_size=1))
def test_among_layers_all_white_space_and_comments_are_the_same(network: Network, gaps: list[str]) -> None:
    header = "".join(f"{line} # why\n" for line in (*network.every, *network.after))
    layers = "".join(f"{layer}{gaps[at % len(gaps)]}" for at, layer in enumerate(network.layers))
    assert Network.parse(header + layers) == network


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("conv3-8,bias,pad=1 maxpool2", "conv3-8,pad=1,bias\nmaxpool"),
        ("every conv:pad=1,nobias\nconv3-8", "every conv: pad=1 nobias\n\nconv3-8"),
        ("every conv : pad=1; conv3-8", "every conv: pad=1\n\nconv3-8"),
        ("every conv :pad=1; conv3-8", "every conv: pad=1\n\nconv3-8"),
        ("after conv03: relu dropout=5.0%; conv3-008", "after conv3: relu dropout=5%\n\nconv3-8"),
        ("after conv3:; conv3-8,times=1", "after conv3:\n\nconv3-8"),
    ],
)
def test_what_can_be_written_in_several_ways_prints_in_one(text: str, canonical: str) -> None:
    assert str(Network.parse(text)) == canonical


def test_the_more_specific_header_wins_option_by_option_and_list_by_list() -> None:
    network = Network.parse(
        "every conv: pad=1 stride=2 bias; every conv3: pad=same groups=2; after conv: relu; after conv1: tanh gelu; "
        "conv3-8,stride=1 conv1-8 conv5-8,bare"
    )
    three, one, five = network.layers
    assert isinstance(three, Layer)
    assert isinstance(one, Layer)
    assert isinstance(five, Layer)
    assert network.options_of(three) == Options(pad="same", stride=1, groups=2, bias=True)
    assert network.options_of(one) == Options(pad=1, stride=2, bias=True)
    assert network.options_of(five) == Options(pad=1, stride=2, bias=True, bare=True)
    assert [str(operation) for operation in network.operations_after(three)] == ["relu"]
    assert [str(operation) for operation in network.operations_after(one)] == ["tanh", "gelu"]
    assert network.operations_after(five) == ()


def test_a_specific_empty_header_takes_the_general_operations_away() -> None:
    network = Network.parse("after conv: relu; after conv1:; conv1-4 conv3-4")
    assert [len(network.operations_after(layer)) for layer in network.layers if isinstance(layer, Layer)] == [0, 1]


LAYERS_KNOWN = (
    "\n    known: conv<k>-<width>, depthwise<k>, linear-<width>, flatten, maxpool, maxpool<k>, avgpool<k>, gap, "
    "batchnorm, batchnorm,noscale, relu, leakyrelu=0.2, silu, hardswish, gelu, tanh, dropout=5%, dropout2d=10%"
)
TARGETS = "conv, conv<k>, depthwise, depthwise<k> or linear"
BAD = [
    (
        "conv3-8\n  maxpol conv1-10",
        f"line 2: no layer is called 'maxpol'; did you mean 'maxpool'?{LAYERS_KNOWN}"
        "\n      maxpol conv1-10\n      ^^^^^^",
    ),
    ("3x3-8", f"line 1: no layer is called '3x3-8'{LAYERS_KNOWN}\n    3x3-8\n    ^^^^^"),
    (
        "conv3-8 dropout=5",
        "line 1: dropout needs its unit, as in 5%; found '5'\n    conv3-8 dropout=5\n                    ^",
    ),
    (
        "dropout=100%",
        "line 1: dropout is below 100%; 100% would leave nothing\n    dropout=100%\n    ^^^^^^^^^^^^",
    ),
    ("relu=1", "line 1: 'relu' takes no amount\n    relu=1\n    ^^^^^^"),
    ("relu,bare", "line 1: 'relu' takes no options\n    relu,bare\n         ^^^^"),
    (
        "batchnorm,nobias",
        "line 1: 'nobias' is no option of batchnorm; known: noscale\n    batchnorm,nobias\n              ^^^^^^",
    ),
    (
        "batchnorm,noscale,noscale",
        "line 1: 'noscale' is said twice\n    batchnorm,noscale,noscale\n" + " " * 22 + "^^^^^^^",
    ),
    (
        "batchnorm,relu",
        "line 1: operations stand apart, with a blank between them: 'batchnorm relu'"
        "\n    batchnorm,relu\n              ^^^^",
    ),
    ("leakyrelu", "line 1: 'leakyrelu' needs its amount, as in leakyrelu=0.2\n    leakyrelu\n    ^^^^^^^^^"),
    ("dropout", "line 1: 'dropout' needs its amount, as in dropout=5%\n    dropout\n    ^^^^^^^"),
    (
        "leakyrelu=-1",
        "line 1: the slope of leakyrelu is a number such as 0.01 or 1e-4, not '-1'\n    leakyrelu=-1\n              ^^",
    ),
    ("conv3", "line 1: 'conv' needs its width, as in conv3-16\n    conv3\n    ^^^^^"),
    ("conv-8", "line 1: 'conv' needs its size, as in conv3-16\n    conv-8\n    ^^^^^^"),
    ("gap-8", "line 1: 'gap' has no width; it reads gap\n    gap-8\n    ^^^^^"),
    ("linear3-8", "line 1: 'linear' has no size; it reads linear-10\n    linear3-8\n    ^^^^^^^^^"),
    ("conv3-", "line 1: the width is a whole number, not ''\n    conv3-\n          ^"),
    ("conv0-8", "line 1: the kernel goes from 1 to 999,999, not 0\n    conv0-8\n        ^"),
    (
        "conv3-8,pda=1",
        "line 1: 'pda=1' is no option of conv; known: pad=, stride=, groups=, bias, nobias, bare, skip, times=; "
        "did you mean 'pad='?\n    conv3-8,pda=1\n            ^^^^^",
    ),
    ("gap,bare", "line 1: 'bare' is no option of gap; it has none\n    gap,bare\n        ^^^^"),
    ("conv3-8,pad=1,pad=2", "line 1: 'pad' is said twice\n    conv3-8,pad=1,pad=2\n                  ^^^^^"),
    ("conv3-8,bias,nobias", "line 1: 'bias' is said twice\n    conv3-8,bias,nobias\n                 ^^^^^^"),
    (
        "every conv3 pad=1\nconv3-8",
        "line 1: a header line reads 'every conv3: ...'; the colon is missing\n    every conv3 pad=1\n    ^^^^^",
    ),
    (
        "after cnv: relu\nconv3-8",
        f"line 1: 'after' takes {TARGETS}, not 'cnv'; did you mean 'conv'?\n    after cnv: relu\n          ^^^",
    ),
    (
        "every conv: pad=1\nevery conv: bias\nconv3-8",
        "line 2: 'every conv:' is said twice\n    every conv: bias\n          ^^^^",
    ),
    (
        "every linear:\nlinear-8",
        "line 1: 'every linear:' says nothing; it takes bias, nobias\n    every linear:\n          ^^^^^^",
    ),
    (
        "every conv: skip\nconv3-8",
        "line 1: 'skip' is no option of every conv; known: pad=, stride=, groups=, bias, nobias"
        "\n    every conv: skip\n                ^^^^",
    ),
    (
        "conv3-8 maxpool\nafter conv: relu",
        "line 2: header lines ('every ...:', 'after ...:') come before the first layer"
        "\n    after conv: relu\n    ^^^^^",
    ),
    (
        "# nothing",
        "a network needs at least one layer, such as: conv3-8 conv3-16 maxpool gap conv1-10",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text for text, _ in BAD])
def test_a_network_that_does_not_read_says_where_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Network.parse(text)
    assert str(caught.value) == message


def test_a_fault_in_a_header_on_one_line_points_at_the_word_behind_the_semicolon() -> None:
    with pytest.raises(NotationError) as caught:
        Network.parse("every conv: pad=1; after conv: rleu; conv3-8")
    shown, caret = caught.value.picture.split("\n")[1:]
    assert shown[caret.index("^") : caret.rindex("^") + 1] == "rleu"


VALID = (
    "every conv: pad=1 bias\nafter conv3: batchnorm relu dropout=5%\n\nconv3-8,skip,times=3 maxpool "
    "conv1-8,bare # why\n"
    "depthwise3,stride=2 leakyrelu=0.2 avgpool2,pad=1 gap flatten linear-10,nobias"
)
PIECES = st.sampled_from((
    "conv", "depthwise", "linear", "maxpool", "avgpool", "gap", "flatten", "every", "after", ":", ";", ",",
    "=", "-", "%",
    "pad=", "same", "stride=", "groups=", "times=", "skip", "bare", "bias", "dropout=", "relu", "leakyrelu=",
    "batchnorm",
    "3", "0", "999999", "1000000", "9" * 5000, "1e999", "1e-999", "²", "٣", " ", "\n", "\t", "\r", "\x00",
    "\x1c", "#", "\u2028",
))  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, valid: str = VALID) -> str:
    text = valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 6)))
        text = text[:start] + draw(PIECES | st.text(max_size=5)) + text[end:]
    return text


@settings(max_examples=800, deadline=None)
@example("conv1-1,times=999999,skip")
@example("conv3-1,pad=1,times=999999")
@example("conv1-1,stride=2,times=999999")
@example("conv999999-999999,pad=999999 flatten linear-999999")
@example("a" * 100_000)
@example("conv" + "9" * 100_000 + "-8")
@example("conv3-8" + "," * 20_000)
@example(("every conv:" + " " * 20_000) * 2)
@given(st.text() | st.lists(PIECES).map("".join) | mutated())
def test_no_text_makes_a_network_fail_in_any_other_way_than_with_a_message(text: str) -> None:
    try:
        network = Network.parse(text)
        assert Network.parse(str(network)) == network
        trace(network, (1, 28, 28), 10)
    except SmallprintError as fault:
        assert str(fault)
