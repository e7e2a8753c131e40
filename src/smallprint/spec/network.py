"""Network: layers in a row, as text and as a frozen value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from smallprint.spec.errors import NotationError, listing, nearest
from smallprint.spec.notation import Word, count, number, plain, quantity, statements

LayerKind = Literal["conv", "depthwise", "linear", "maxpool", "avgpool", "gap", "flatten"]
OptionName = Literal["pad", "stride", "groups", "bias", "bare", "skip", "times"]

# What may follow the comma of each layer; the order is that of the canonical text.
OPTIONS: Mapping[str, tuple[OptionName, ...]] = MappingProxyType(
    {
        "conv": ("pad", "stride", "groups", "bias", "bare", "skip", "times"),
        "depthwise": ("pad", "stride", "bias", "bare", "skip", "times"),
        "linear": ("bias", "bare", "skip", "times"),
        "maxpool": ("pad", "stride"),
        "avgpool": ("pad", "stride"),
        "gap": (),
        "flatten": (),
    }
)
FOR_EVERY = ("pad", "stride", "groups", "bias")  # the options that `every` may set
LAYER_FORMS = (
    "conv<k>-<width>", "depthwise<k>", "linear-<width>", "flatten", "maxpool", "maxpool<k>", "avgpool<k>", "gap",
)  # fmt: skip
OPERATION_FORMS = (
    "batchnorm", "batchnorm,noscale", "relu", "leakyrelu=0.2", "silu", "hardswish", "gelu", "tanh", "dropout=5%",
    "dropout2d=10%",
)  # fmt: skip
_OPERATIONS = tuple(form.split("=")[0] for form in OPERATION_FORMS if "," not in form)
_TARGET = re.compile(r"(conv|depthwise)([0-9]*)|linear")
_LAYER = re.compile(r"([a-z]+?)([0-9]*)(?:-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What happens to every value on its way: normalisation, activation, dropout."""

    kind: str
    amount: float | None = field(default=None)  # percent of dropout; slope of leakyrelu below zero
    scaled: bool = field(default=True)  # of batchnorm: whether each channel has a scale beside its shift
    word: Word | None = field(default=None, compare=False, repr=False)  # where it was read

    def __str__(self) -> str:
        if self.amount is None:
            return self.kind if self.scaled else f"{self.kind},noscale"
        return f"{self.kind}={plain(self.amount)}{'%' if self.kind.startswith('dropout') else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was said after the comma; None where nothing was said."""

    pad: int | Literal["same"] | None = field(default=None)  # pixels on each side
    stride: int | None = field(default=None)  # pixels
    groups: int | None = field(default=None)  # count
    bias: bool | None = field(default=None)
    bare: bool = field(default=False)  # nothing of `after` follows
    skip: bool = field(default=False)  # the input is added to the output
    times: int = field(default=1)  # applications of the same weights

    def over(self, general: Options) -> Options:
        """These options, and `general` where these say nothing."""
        unsaid = {name: getattr(general, name) for name in FOR_EVERY if getattr(self, name) is None}
        return replace(self, **unsaid)

    def words(self) -> list[str]:
        """The options as words, in canonical order."""
        said = [f"{name}={value}" for name in ("pad", "stride", "groups") if (value := getattr(self, name)) is not None]
        if self.bias is not None:
            said.append("bias" if self.bias else "nobias")
        said += [name for name in ("bare", "skip") if getattr(self, name)]
        return said + ([f"times={self.times}"] if self.times != 1 else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer with weights, a pooling, or a flattening."""

    kind: LayerKind
    kernel: int | None = field(default=None)  # pixels along one side
    width: int | None = field(default=None)  # output channels, or features of linear
    options: Options = field(default_factory=Options)
    word: Word | None = field(default=None, compare=False, repr=False)  # where it was read

    def __str__(self) -> str:
        kernel = "" if self.kernel is None or (self.kind == "maxpool" and self.kernel == 2) else str(self.kernel)
        width = "" if self.width is None else f"-{self.width}"
        return ",".join([f"{self.kind}{kernel}{width}", *self.options.words()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """A header line `every X: ...`: options for all layers X."""

    target: str  # conv, conv3, depthwise, depthwise5, linear
    options: Options

    def __str__(self) -> str:
        return f"every {self.target}: {' '.join(self.options.words())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """A header line `after X: ...`: operations that follow all layers X."""

    target: str  # conv, conv3, depthwise, depthwise5, linear
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"after {self.target}: {' '.join(map(str, self.operations))}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Layers in a row, with the header lines that apply to them.

    `Network.parse(str(network)) == network` for every network. The text is VGG's own notation
    (Simonyan & Zisserman 2015, arXiv 1409.1556, Table 1): "conv<receptive field size>-<number of channels>".
    """

    layers: tuple[Layer | Operation, ...]
    every: tuple[Every, ...] = field(default=())
    after: tuple[After, ...] = field(default=())

    @staticmethod
    def parse(text: str) -> Network:
        """Read a network from its text; one line or many.

        Raises:
            NotationError: where the text does not read, with the line, a caret and what is allowed.
        """
        if text.strip().startswith("python:"):
            raise NotationError("a network in Python code ('python:module:Class') is not read; say it in layers")
        every: list[Every] = []
        after: list[After] = []
        layers: list[Layer | Operation] = []
        for words in statements(text):
            if words[0].text not in ("every", "after"):
                layers += [_layer_or_operation(word) for word in words]
            elif layers:
                raise words[0].fault("header lines ('every ...:', 'after ...:') come before the first layer")
            elif words[0].text == "every":
                every.append(_every(*_header(words, (header.target for header in every))))
            else:
                after.append(_after(*_header(words, (header.target for header in after))))
        if not layers:
            raise NotationError("a network needs at least one layer, such as: conv3-8 conv3-16 maxpool gap conv1-10")
        return Network(layers=tuple(layers), every=tuple(every), after=tuple(after))

    def __str__(self) -> str:
        """Canonical text: header lines, an empty line, one layer per line."""
        header = "".join(f"{line}\n" for line in (*self.every, *self.after))
        return header + ("\n" if header else "") + "\n".join(map(str, self.layers))

    @property
    def line(self) -> str:
        """The same text on one line."""
        return " ".join([*(f"{header};" for header in (*self.every, *self.after)), *map(str, self.layers)])

    def options_of(self, layer: Layer) -> Options:
        """A layer's own options over those of `every`; the more specific header wins."""
        options = layer.options
        for target in _targets(layer):
            for header in self.every:
                if header.target == target:
                    options = options.over(header.options)
        return options

    def operations_after(self, layer: Layer) -> tuple[Operation, ...]:
        """The operations that `after` puts behind a layer; the more specific header wins."""
        if not layer.options.bare:
            for target in _targets(layer):
                for header in self.after:
                    if header.target == target:
                        return header.operations
        return ()


def _targets(layer: Layer) -> tuple[str, ...]:
    """The header targets that mean this layer, most specific first."""
    if layer.kind in ("conv", "depthwise"):
        return (f"{layer.kind}{layer.kernel}", layer.kind)
    return (layer.kind,)


def _header(words: list[Word], taken: Iterable[str]) -> tuple[Word, list[Word]]:
    """Split `every conv3: ...` into its target and the words behind the colon."""
    target, colon, rest = words[1].text.partition(":") if len(words) > 1 else ("", "", "")
    tail = words[2:]
    if rest:
        tail = [words[1].part(rest, len(target) + 1), *tail]
    elif not colon and tail and tail[0].text.startswith(":"):
        colon, first = ":", tail[0]
        tail = [first.part(first.text[1:], 1), *tail[1:]] if first.text != ":" else tail[1:]
    if not colon:
        raise words[0].fault(f"a header line reads '{words[0].text} conv3: ...'; the colon is missing")
    target_word = words[1].part(target, 0)
    known = ("conv", "conv3", "depthwise", "depthwise3", "linear")
    if not _TARGET.fullmatch(target):
        raise target_word.fault(
            f"'{words[0].text}' takes conv, conv<k>, depthwise, depthwise<k> or linear, not {target!r}"
            + nearest(target, known)
        )
    kind = target.rstrip("0123456789")
    canonical = kind + (
        str(count(target_word.part(target[len(kind) :], len(kind)), "the kernel")) if kind != target else ""
    )
    if canonical in taken:
        raise target_word.fault(f"'{words[0].text} {canonical}:' is said twice")
    return target_word.part(canonical, 0), tail


def _every(target: Word, words: list[Word]) -> Every:
    kind = target.text.rstrip("0123456789")
    allowed = tuple(name for name in OPTIONS[kind] if name in FOR_EVERY)
    said = [part for word in words for part in _split(word, ",") if part.text]
    if not said:
        raise target.fault(f"'every {target.text}:' says nothing; it takes {listing(_spelled(allowed))}")
    return Every(target=target.text, options=_options(said, f"every {target.text}", allowed))


def _after(target: Word, words: list[Word]) -> After:
    return After(target=target.text, operations=tuple(_operation(word) for word in words))


def _split(word: Word, separator: str) -> list[Word]:
    parts, start = [], 0
    for text in word.text.split(separator):
        parts.append(word.part(text, start))
        start += len(text) + len(separator)
    return parts


def _operation(word: Word) -> Operation:
    head, *options = _split(word, ",")
    kind, equals, amount = head.text.partition("=")
    if kind not in _OPERATIONS:
        raise word.fault(
            f"no operation is called {kind!r}; known: {listing(OPERATION_FORMS)}" + nearest(kind, _OPERATIONS)
        )
    for option in options:
        if option.text.partition("=")[0] in _OPERATIONS:
            raise option.fault(f"operations stand apart, with a blank between them: '{kind} {option.text}'")
        if kind != "batchnorm":
            raise option.fault(f"'{kind}' takes no options")
        if option.text != "noscale":
            raise option.fault(f"{option.text!r} is no option of batchnorm; known: noscale")
    if len(options) > 1:
        raise options[1].fault("'noscale' is said twice")
    if kind not in ("leakyrelu", "dropout", "dropout2d"):
        if equals:
            raise word.fault(f"'{kind}' takes no amount")
        return Operation(kind=kind, scaled=not options, word=word)
    if not amount:
        form = next(form for form in OPERATION_FORMS if form.startswith(f"{kind}="))
        raise word.fault(f"'{kind}' needs its amount, as in {form}")
    at = word.part(amount, len(kind) + 1)
    if kind == "leakyrelu":
        return Operation(kind=kind, amount=number(at, "the slope of leakyrelu"), word=word)
    percent = quantity(at, kind, "%")
    if percent >= 100:
        raise word.fault(f"{kind} is below 100%; {amount} would leave nothing")
    return Operation(kind=kind, amount=percent, word=word)


def _layer_or_operation(word: Word) -> Layer | Operation:
    head, *options = _split(word, ",")
    name = head.text.partition("=")[0]
    if name in _OPERATIONS:
        return _operation(word)
    found = _LAYER.fullmatch(head.text)
    kind = found.group(1) if found else ""
    if found is None or kind not in OPTIONS:
        guess = nearest(found.group(1) if found else name, (*OPTIONS, *_OPERATIONS))
        raise head.fault(
            f"no layer is called {head.text!r}{guess}\n    known: {listing((*LAYER_FORMS, *OPERATION_FORMS))}"
        )
    kernel, width = _sizes(head, kind, found)
    layer_kind: LayerKind = kind  # type: ignore[assignment]  # a key of OPTIONS
    return Layer(
        kind=layer_kind, kernel=kernel, width=width, options=_options(options, str(kind), OPTIONS[kind]), word=word
    )


def _sizes(head: Word, kind: str, found: re.Match[str]) -> tuple[int | None, int | None]:
    """Kernel and width of a layer's first word, as its kind wants them."""
    form = next(form for form in reversed(LAYER_FORMS) if form.rstrip("<k>").split("<")[0].rstrip("-") == kind)
    kernel_word, width_word = head.part(found.group(2), found.start(2)), found.group(3)
    if ("<width>" in form) != (width_word is not None):
        needs = "needs its width, as in" if "<width>" in form else "has no width; it reads"
        raise head.fault(f"'{kind}' {needs} {form.replace('<k>', '3').replace('<width>', '16')}")
    if "<k>" not in form and kernel_word.text:
        raise head.fault(f"'{kind}' has no size; it reads {form.replace('<width>', '10')}")
    if "<k>" in form and not kernel_word.text and kind != "maxpool":
        raise head.fault(f"'{kind}' needs its size, as in {form.replace('<k>', '3').replace('<width>', '16')}")
    kernel = count(kernel_word, "the kernel") if kernel_word.text else (2 if kind == "maxpool" else None)
    width = None if width_word is None else count(head.part(width_word, found.start(3)), "the width")
    return kernel, width


def _spelled(names: Iterable[str]) -> list[str]:
    """Option names as one writes them: pad=, bias, nobias."""
    return [
        form
        for name in names
        for form in (("bias", "nobias") if name == "bias" else (name,) if name in ("bare", "skip") else (f"{name}=",))
    ]


def _options(words: list[Word], owner: str, allowed: tuple[str, ...]) -> Options:
    said: dict[str, int | str | bool] = {}
    for word in words:
        key, equals, text = word.text.partition("=")
        name = "bias" if key == "nobias" else key
        spelled = f"{key}=" if equals else key
        if name not in allowed or spelled not in _spelled(allowed):
            forms = _spelled(allowed)
            known = f"known: {listing(forms)}" if forms else "it has none"
            raise word.fault(f"{word.text!r} is no option of {owner}; {known}" + nearest(spelled, forms))
        if name in said:
            raise word.fault(f"{name!r} is said twice")
        value = word.part(text, len(key) + 1)
        if name in ("bare", "skip", "bias"):
            said[name] = key != "nobias"
        elif name == "pad":
            said[name] = "same" if text == "same" else count(value, "pad ('same' or pixels)", least=0)
        else:
            said[name] = count(value, name)
    return Options(**said)  # type: ignore[arg-type]  # each value was read by its name
