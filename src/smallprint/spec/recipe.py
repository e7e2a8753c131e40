"""Recipe: optimiser, schedule, batch, epochs, sampling, augmentation, averaging, loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from smallprint.spec.errors import NotationError, listing, nearest, shown
from smallprint.spec.notation import LARGEST, statements
from smallprint.spec.schedule import SCHEDULES, Constant, Rates, Schedule
from smallprint.spec.sentence import read_sentence, read_words, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """`torch.optim.SGD`."""

    lr: float = field(default=0.0, metadata={"unit": "number", "required": True})  # learning rate
    momentum: float = field(default=0.0, metadata={"unit": "number"})  # 0 to 1
    nesterov: bool = field(default=False, metadata={"unit": "flag"})
    weight_decay: float = field(default=0.0, metadata={"unit": "number"})  # per step, on every parameter

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum, as in momentum=0.9")

    @property
    def rates(self) -> Rates:
        return Rates(lr=self.lr, momentum=self.momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """`torch.optim.Adam`; its weight decay is added to the gradient."""

    lr: float = field(default=0.0, metadata={"unit": "number", "required": True})  # learning rate
    beta1: float = field(default=0.9, metadata={"unit": "number"})  # 0 to 1
    beta2: float = field(default=0.999, metadata={"unit": "number"})  # 0 to 1
    eps: float = field(default=1e-8, metadata={"unit": "number"})  # added to the divisor
    weight_decay: float = field(default=0.0, metadata={"unit": "number"})  # per step, on every parameter

    def __post_init__(self) -> None:
        if not (self.beta1 < 1 and self.beta2 < 1):
            raise ValueError("beta1 and beta2 are below 1")

    @property
    def rates(self) -> Rates:
        return Rates(lr=self.lr, momentum=self.beta1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """`torch.optim.AdamW`; its weight decay acts on the weights themselves."""

    lr: float = field(default=0.0, metadata={"unit": "number", "required": True})  # learning rate
    beta1: float = field(default=0.9, metadata={"unit": "number"})  # 0 to 1
    beta2: float = field(default=0.999, metadata={"unit": "number"})  # 0 to 1
    eps: float = field(default=1e-8, metadata={"unit": "number"})  # added to the divisor
    weight_decay: float = field(default=0.01, metadata={"unit": "number"})  # times the learning rate, per step

    def __post_init__(self) -> None:
        if not (self.beta1 < 1 and self.beta2 < 1):
            raise ValueError("beta1 and beta2 are below 1")

    @property
    def rates(self) -> Rates:
        return Rates(lr=self.lr, momentum=self.beta1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for the matrices between the first and the last layer, SGD for all else.

    `torch.optim.Muon`, its step computed in float32: a matrix is the weight of a convolution or linear layer without
    groups, (outputs, inputs * height * width). All other parameters go by `torch.optim.SGD` with Nesterov momentum; its
    rate follows the same schedule. Source: K. Jordan and others, "Muon: an optimizer for hidden layers in neural
    networks" (2024), https://kellerjordan.github.io/posts/muon.
    """

    lr: float = field(default=0.0, metadata={"unit": "number", "required": True})  # learning rate, of matrices
    momentum: float = field(default=0.95, metadata={"unit": "number"})  # 0 to 1
    weight_decay: float = field(default=0.0, metadata={"unit": "number"})  # times the learning rate, per step
    sgd_lr: float = field(default=0.0, metadata={"unit": "number", "required": True})  # of all else
    sgd_momentum: float = field(default=0.9, metadata={"unit": "number"})  # 0 to 1
    sgd_weight_decay: float = field(default=0.0, metadata={"unit": "number"})  # per step

    def __post_init__(self) -> None:
        if not self.lr:
            raise ValueError("the learning rate of muon is above 0, as in lr=0.005")
        if not (0 < self.momentum < 1 and 0 < self.sgd_momentum < 1):
            raise ValueError("momentum and sgd_momentum are between 0 and 1")

    @property
    def rates(self) -> Rates:
        return Rates(lr=self.lr, momentum=self.momentum)

    def sgd_rates(self, rates: Rates) -> Rates:
        """Of all else, where matrices have these: the rate follows theirs, the momentum stays."""
        return Rates(lr=self.sgd_lr * (rates.lr / self.lr), momentum=self.sgd_momentum)


Optimiser = Sgd | Adam | AdamW | Muon
OPTIMISERS: dict[str, type[Optimiser]] = {"sgd": Sgd, "adam": Adam, "adamw": AdamW, "muon": Muon}


@dataclass(frozen=True, slots=True, kw_only=True)
class Even:
    """Every image once in every epoch, in random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """Images that the network is unsure of are drawn more often; an epoch still draws as many as there are.

    Before each epoch but the first the judged weights answer every training image as it is. Its doubt is one minus the
    probability of its class; `share` of the draws go by doubt to a `power`, which counts up to `cap` times its mean,
    the rest evenly. An image that is due 2.3 draws gets two or three. Sources: I. Loshchilov and F. Hutter, "Online
    batch selection for faster training of neural networks" (2015), arXiv 1511.06343; A. Jiang and others, "Accelerating
    deep learning by focusing on the biggest losers" (2019), arXiv 1910.00762.
    """

    share: float = field(default=50.0, metadata={"unit": "%"})  # percent of the draws
    power: float = field(default=0.5, metadata={"unit": "number"})  # 0: all alike
    cap: float = field(default=8.0, metadata={"unit": "number"})  # times the mean
    until: float = field(default=100.0, metadata={"unit": "%"})  # percent of the epochs; even from there on

    def __post_init__(self) -> None:
        if not (self.share <= 100 and self.until <= 100):
            raise ValueError("share and until are at most 100%")
        if self.power > 4:
            raise ValueError("power is at most 4; with 0 all images are alike")
        if self.cap < 1:
            raise ValueError("cap is 1 or more, as a multiple of what images are due on average")


Sampling = Even | Hard
SAMPLINGS: dict[str, type[Sampling]] = {"even": Even, "hard": Hard}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """One random change of every training image: first its greys, then one warp about its centre.

    Every amount is a range: drawn per image, evenly, from minus to plus. With `nearest`, shifts are
    whole pixels and the greys stay those of the image, as in the published recipes. Clean epochs at the end let weights
    and batch-norm statistics come back to the images that are judged (He et al. 2019, "Data augmentation revisited").
    """

    rotate: float = field(default=0.0, metadata={"unit": "deg"})  # degrees, either way
    shift: float = field(default=0.0, metadata={"unit": "px"})  # pixels, either way, each axis
    scale: float = field(default=0.0, metadata={"unit": "%"})  # percent, larger or smaller
    shear: float = field(default=0.0, metadata={"unit": "deg"})  # degrees, either way, along x
    stretch: float = field(default=0.0, metadata={"unit": "%"})  # percent, wider and as much less tall, or the reverse
    brightness: float = field(default=0.0, metadata={"unit": "%"})  # percent, brighter or darker
    contrast: float = field(default=0.0, metadata={"unit": "%"})  # percent, about the image's mean grey
    interpolation: str = field(default="bilinear", metadata={"unit": ("bilinear", "nearest")})
    fill: float = field(default=0.0, metadata={"unit": "fraction"})  # grey outside the image: 0 black, 1 white
    fade: float = field(default=0.0, metadata={"unit": "%"})  # percent of the epochs, before clean ones: falls to 0
    clean: float = field(default=0.0, metadata={"unit": "%"})  # percent of the epochs, the last: images as they are

    def __post_init__(self) -> None:
        if self.scale >= 100 or self.stretch >= 100:
            raise ValueError("scale and stretch are below 100%: nothing would be left of the image")
        if self.rotate > 180 or self.shear >= 90:
            raise ValueError("rotate is at most 180deg and shear below 90deg")
        if self.brightness > 100 or self.contrast > 100:
            raise ValueError("brightness and contrast are at most 100%")
        if self.fade + self.clean > 100:
            raise ValueError("fade and clean are at most 100% of the epochs together")
        if self.fill > 1:
            raise ValueError("fill is a grey from 0 (black) to 1 (white), as in fill=1/255")

    def strength(self, epoch: int, epochs: int) -> float:
        """Factor of every amount in an epoch, counted from 0: 1, then evenly down to 0, then 0."""
        fading, clean = self.fade / 100 * epochs, round(self.clean / 100 * epochs)
        if not fading:
            return float(epoch < epochs - clean)
        return min(1.0, max(0, epochs - max(1, clean) - epoch) / fading)

    @property
    def warps(self) -> bool:
        """Whether pixels move at all."""
        return any((self.rotate, self.shift, self.scale, self.shear, self.stretch))

    @property
    def recolours(self) -> bool:
        """Whether greys change at all."""
        return any((self.brightness, self.contrast))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """The judged weights are an exponential moving average, batch-norm statistics included.

    `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)` and `use_buffers=True`, updated every step.
    """

    decay: float = field(default=0.0, metadata={"unit": "number", "required": True, "direct": True})  # per step

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError("the decay of ema is between 0 and 1, as in: ema 0.998")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """`torch.nn.CrossEntropyLoss`."""

    smoothing: float = field(default=0.0, metadata={"unit": "number"})  # share of the label spread over all classes

    def __post_init__(self) -> None:
        if self.smoothing >= 1:
            raise ValueError("smoothing is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """Learn from what a teacher, another rung of the ladder, says of each image as the network sees it.

    `share` of the loss is T^2 times the Kullback-Leibler divergence of both answers at the temperature T, the rest is
    cross-entropy. Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network" (2015),
    arXiv 1503.02531, section 2.
    """

    teacher: str = field(default="", metadata={"unit": "rung", "required": True, "direct": True})  # its name
    temperature: float = field(default=4.0, metadata={"unit": "number"})  # both logits are divided by it
    share: float = field(default=100.0, metadata={"unit": "%"})  # percent
    smoothing: float = field(default=0.0, metadata={"unit": "number"})  # of the cross-entropy's labels
    each: bool = field(default=False, metadata={"unit": "flag"})  # every seed has its own teacher, not that of seed 0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("the temperature is above 0")
        if not 0 < self.share <= 100:
            raise ValueError("share is above 0% and at most 100%")
        if self.smoothing >= 1:
            raise ValueError("smoothing is below 1")


Loss = CrossEntropy | Distilled
LOSSES: dict[str, type[Loss]] = {"cross-entropy": CrossEntropy, "distilled": Distilled}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; every field reads from and prints as one sentence."""

    optimiser: Optimiser
    schedule: Schedule = field(default_factory=Constant)
    batch: int = field(default=128)  # images
    epochs: int = field(default=15)  # count
    sampling: Sampling = field(default_factory=Even)
    augment: tuple[Augment, ...] = field(default=())  # in this order
    average: Ema | None = field(default=None)
    loss: Loss = field(default_factory=CrossEntropy)

    KEYS: ClassVar[tuple[str, ...]] = (
        "optimiser", "schedule", "batch", "epochs", "sampling", "augment", "average", "loss",
    )  # fmt: skip
    UNSAID: ClassVar[Mapping[str, str]] = {"sampling": "even"}  # what `sentences` leaves out, see there

    @staticmethod
    def parse(said: Mapping[str, object]) -> Recipe:
        """Read a recipe from its keys.

        Raises:
            NotationError: the first fault; `Recipe.faults` gives all.
        """
        for _, fault in Recipe.faults(said):
            raise fault
        return Recipe(**{key: _READERS[key](value) for key, value in said.items()})  # type: ignore[arg-type]

    @staticmethod
    def faults(said: Mapping[str, object]) -> list[tuple[str, NotationError]]:
        """Every fault of a recipe, with the key it belongs to."""
        found: list[tuple[str, NotationError]] = []
        for key, value in said.items():
            try:
                if key not in _READERS:
                    raise NotationError(
                        f"no recipe key is called {key!r}; known: {listing(Recipe.KEYS)}" + nearest(key, Recipe.KEYS)
                    )
                _READERS[key](value)
            except NotationError as fault:
                found.append((key, fault))
        if "optimiser" not in said:
            found.append(
                ("", NotationError('a recipe needs an optimiser, such as: optimiser = "sgd lr=0.01 momentum=0.9"'))
            )
        return found

    @property
    def teacher(self) -> str | None:
        """Name of the rung that teaches."""
        return self.loss.teacher if isinstance(self.loss, Distilled) else None

    def hard(self, epoch: int) -> Hard | None:
        """By what hard images are drawn more often in an epoch, counted from 0; never in the first."""
        if isinstance(self.sampling, Hard) and 0 < epoch < round(self.sampling.until / 100 * self.epochs):
            return self.sampling
        return None

    def steps(self, images: int) -> int:
        """Of an epoch of so many images; the last one may have fewer than a batch."""
        return -(-images // self.batch)

    def sentences(self) -> dict[str, str | int]:
        """Every key with its canonical sentence; `Recipe.parse(recipe.sentences()) == recipe`.

        Even sampling goes without saying, so that what was stored before there was another keeps its identity.
        """
        said: dict[str, str | int] = {
            "optimiser": sentence(_name(OPTIMISERS, self.optimiser), self.optimiser),
            "schedule": sentence(_name(SCHEDULES, self.schedule), self.schedule),
            "batch": self.batch,
            "epochs": self.epochs,
            "sampling": sentence(_name(SAMPLINGS, self.sampling), self.sampling),
            "augment": "; ".join(sentence("", stage) for stage in self.augment) or "none",
            "average": sentence("ema", self.average) if self.average else "none",
            "loss": sentence(_name(LOSSES, self.loss), self.loss),
        }
        return {key: text for key, text in said.items() if text != self.UNSAID.get(key)}


def _name(names: Mapping[str, type], value: object) -> str:
    return next(name for name, kind in names.items() if type(value) is kind)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise NotationError(f"{key} is a sentence in quotes, not {shown(value)}")
    return value


def _whole(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise NotationError(f"{key} is a whole number from 1 to {LARGEST:,}, not {shown(value)}")
    return value


def _augment(value: object) -> tuple[Augment, ...]:
    text = _text(value, "augment")
    if text.strip() in ("", "none"):
        return ()
    stages = (read_words(words, Augment, "augment", start=words[0]) for words in statements(text))
    return tuple(stage for stage in stages if stage.warps or stage.recolours)


def _average(value: object) -> Ema | None:
    text = _text(value, "average")
    return None if text.strip() == "none" else read_sentence(text, {"ema": Ema}, "average")


_READERS: dict[str, Callable[[object], object]] = {
    "optimiser": lambda value: read_sentence(_text(value, "optimiser"), OPTIMISERS, "optimiser"),
    "schedule": lambda value: read_sentence(_text(value, "schedule"), SCHEDULES, "schedule"),
    "batch": lambda value: _whole(value, "batch"),
    "epochs": lambda value: _whole(value, "epochs"),
    "sampling": lambda value: read_sentence(_text(value, "sampling"), SAMPLINGS, "sampling"),
    "augment": _augment,
    "average": _average,
    "loss": lambda value: read_sentence(_text(value, "loss"), LOSSES, "loss"),
}
