"""Starting genes: what a search tries first, spread over its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log

from smallprint.searching.genes import Gene
from smallprint.searching.networks import usual_halvings
from smallprint.searching.recipes import NO_TEACHER
from smallprint.spec.trace import Shape

_TRAITS: Mapping[str, Gene] = {
    "network": "dense", "stem": "conv3", "first": 2, "middle": 2, "last": 1, "halve": "maxpool", "pad": "alternate",
    "widen": 1.6, "bulge": 1.0, "head": "gap", "activation": "relu", "norm": "before", "scale": "own",
    "dropout": 0,
}  # fmt: skip
_RECIPE: Mapping[str, Gene] = {
    "recipe": "sgd", "batch": 64, "pace": 1.0, "decay": 1e-4, "warmup": 20, "tail": 20, "augment": 0.9, "shear": 0,
    "fade": 0, "clean": 35, "hard": 0, "average": 0.5, "smoothing": 0.0,
}  # fmt: skip
# Small maps early and many convolutions behind: cheap to train, and good per parameter on MNIST. One separable unit or
# two before the first halving cost time and are better still (LOG.md).
_DEEP: Mapping[str, Gene] = {"first": 1, "pad": "late", "halve": "avgpool", "activation": "hardswish"}
_SEPARABLE: Mapping[str, Gene] = {
    "network": "separable", "widen": 2.5, "bulge": 1.1, "activation": "gelu",
}  # fmt: skip
_SMALL_STEPS: Mapping[str, Gene] = {"batch": 32, "fade": 20}
_MUON: Mapping[str, Gene] = {
    "recipe": "muon", "batch": 32, "decay": 3e-4, "warmup": 5, "augment": 1.3, "shear": 9, "hard": 50,
}  # fmt: skip
_TAUGHT: Mapping[str, Gene] = {"temperature": 4.0, "share": 90}

# One a line: where between floor and ceiling (0 and 1, on a scale of ratios), and what differs from the usual.
_TRIED: tuple[tuple[float, Mapping[str, Gene], Mapping[str, Gene]], ...] = (
    (0.9, {**_DEEP, **_SEPARABLE, "first": 3, "middle": 2, "last": 2, "widen": 2.7, "bulge": 1.0}, _MUON),
    (0.4, {**_DEEP, **_SEPARABLE, "first": 2, "middle": 3, "last": 2, "widen": 3.0}, _MUON),
    (0.7, {**_DEEP, **_SEPARABLE, "middle": 3, "last": 2, "widen": 3.5}, _MUON),
    (0.7, {**_DEEP, "middle": 4, "last": 2, "widen": 1.3}, _MUON),
    (0.3, {**_DEEP, "middle": 3, "bulge": 1.2, "widen": 1.3}, _SMALL_STEPS),
    (0.9, {}, {}),
    (0.5, {"network": "separable", "last": 2, "widen": 3.0}, {}),
    (0.7, {"stem": "conv5 halved", "last": 2, "pad": "same"}, {"batch": 32}),
    (0.3, {"network": "skip", "activation": "silu", "last": 2}, {"recipe": "adamw"}),
)


def starting_genes(
    *, sizes: tuple[float, float], input_shape: Shape, epochs: tuple[int, int], teachers: Sequence[str]
) -> Sequence[Mapping[str, Gene]]:
    """Usual networks; the starting rung's own with the usual recipe; then that rung itself at three sizes.

    `sizes` is floor and ceiling. Every other one has fewer epochs where it may; two of three are taught where rungs
    can teach.
    """
    low, high = sizes

    def size(place: float) -> float:
        """A place from 0 to 1 as an amount."""
        return min(max(low * exp(place * log(high / low)), low), high)

    few, many = epochs
    usual = usual_halvings(input_shape)

    def where_asked(number: int) -> Mapping[str, Gene]:
        """The genes of those spaces that have a choice of epochs or a teacher."""
        genes: dict[str, Gene] = {}
        if few < many:
            genes["epochs"] = (few + many) // 2 if number % 2 else many
        if teachers:
            genes |= {"teacher": NO_TEACHER} if number % 3 == 2 else {"teacher": teachers[0], **_TAUGHT}
        return genes

    found: list[Mapping[str, Gene]] = [
        {"size": size(place), **_TRAITS, "halvings": usual, **traits, **_RECIPE, **recipe, **where_asked(number)}
        for number, (place, traits, recipe) in enumerate(_TRIED)
    ]
    found.append({"size": size(0.75), "network": "start", **_RECIPE, **where_asked(len(found))})
    found += [{"size": size(place), "network": "start", "recipe": "start"} for place in (1.0, 0.5, 0.0)]
    return found
