"""Recipes as a search draws them: what is usual for the data, and how far from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from smallprint.searching.genes import Asked
from smallprint.spec.recipe import (
    AdamW,
    Augment,
    CrossEntropy,
    Distilled,
    Ema,
    Even,
    Hard,
    Loss,
    Muon,
    Optimiser,
    Recipe,
    Sgd,
)
from smallprint.spec.schedule import Cosine

NO_TEACHER = "none"
OPTIMISERS = ("sgd", "adamw", "muon")
BATCHES = (32, 64, 128)

# What is usual: where the ranges below have their middle. A gene multiplies it, so that one optimiser or batch in
# place of another keeps the meaning of the others.
_BATCH = 64  # images; rates grow with the square root of the batch
_RATES = {"sgd": 0.1, "adamw": 0.014}  # peak learning rates at that batch
_MUON = 0.1131  # of those of SGD: the rates of the matrices that Muon moves
# Weight decay of AdamW and Muon acts in proportion to the rate alone, without momentum. Muon's has been certified
# at 0.018 beside 0.0003 of SGD (LOG.md).
_DECAYS = {"sgd": 1.0, "adamw": 100.0, "muon": 60.0}
_ROTATE, _SHIFT, _SCALE = 7.0, 0.054, 8.0  # degrees, parts of the shorter side, percent
_COLOURS = 20.0  # percent of brightness and of contrast, where images have colours
_FINAL = 0.5  # percent of the peak learning rate in the quiet tail
_POWER = 1.0  # of doubt, by which hard images are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What recipes are drawn for."""

    side: int  # pixels, the shorter one
    coloured: bool
    images: int  # of the training
    epochs: tuple[int, int]  # fewest and most
    fill: float  # grey outside an image: 0 black, 1 white
    teachers: Sequence[str]  # names of rungs


def asked_recipe(trial: Asked, optimiser: str, terms: Terms) -> Recipe:
    """The recipe that a trial answers with, for an optimiser of that kind."""
    few, many = terms.epochs
    epochs = trial.whole("epochs", few, many) if few < many else many
    batch = trial.number("batch", BATCHES)
    pace, decay = trial.log_even("pace", 0.3, 3.0), trial.log_even("decay", 1e-5, 1e-3)
    schedule = Cosine(
        warmup=float(trial.whole("warmup", 5, 35, step=5)),
        tail=float(trial.whole("tail", 0, 35, step=5)),
        final=_FINAL,
    )
    strength, shear = trial.even("augment", 0.0, 2.5), trial.whole("shear", 0, 15, step=3)
    fade = trial.whole("fade", 0, 50, step=10)
    clean, hard = trial.whole("clean", 0, 50, step=5), trial.whole("hard", 0, 80, step=10)
    steps = trial.log_even("average", 0.05, 1.0) * ceil(terms.images / batch)
    return Recipe(
        optimiser=_optimiser(optimiser, batch, pace=pace, decay=decay),
        schedule=schedule,
        batch=batch,
        epochs=epochs,
        sampling=Hard(share=float(hard), power=_POWER, until=float(100 - clean)) if hard else Even(),
        augment=_augment(terms, strength=strength, shear=shear, fade=fade, clean=clean),
        average=Ema(decay=round(1 - _short(1 / max(steps, 2.0)), 12)),
        loss=_loss(trial, terms.teachers),
    )


def _optimiser(name: str, batch: int, *, pace: float, decay: float) -> Optimiser:
    kind = "adamw" if name == "adamw" else "sgd"
    rate = _RATES[kind] * sqrt(batch / _BATCH) * pace
    weight_decay = _short(_DECAYS[kind] * decay)
    match name:
        case "sgd":
            return Sgd(lr=_short(rate), momentum=0.9, nesterov=True, weight_decay=weight_decay)
        case "muon":
            return Muon(
                lr=_short(_MUON * rate),
                weight_decay=_short(_DECAYS["muon"] * decay),
                sgd_lr=_short(rate),
                sgd_weight_decay=weight_decay,
            )
    return AdamW(lr=_short(rate), weight_decay=weight_decay)


def _augment(terms: Terms, *, strength: float, shear: int, fade: int, clean: int) -> tuple[Augment, ...]:
    colours = _short(_COLOURS * strength) if terms.coloured else 0.0
    stage = Augment(
        rotate=_short(_ROTATE * strength),
        shift=_short(_SHIFT * terms.side * strength),
        scale=_short(_SCALE * strength),
        shear=float(shear),
        brightness=colours,
        contrast=colours,
        fill=terms.fill,
        fade=float(fade),
        clean=float(clean),
    )
    return (stage,) if stage.warps else ()


def _loss(trial: Asked, teachers: Sequence[str]) -> Loss:
    smoothing = round(trial.even("smoothing", 0.0, 0.1), 3)
    teacher = trial.choice("teacher", (NO_TEACHER, *teachers)) if teachers else NO_TEACHER
    if teacher == NO_TEACHER:
        return CrossEntropy(smoothing=smoothing)
    temperature = _short(trial.log_even("temperature", 1.0, 8.0))
    share = float(trial.whole("share", 60, 100, step=10))
    smoothing = smoothing if share < 100 else 0.0  # of labels that are not looked at
    return Distilled(teacher=teacher, temperature=temperature, share=share, smoothing=smoothing)


def _short(value: float) -> float:
    """A number as one would write it: two digits and a half."""
    return float(f"{value:.3g}") if value >= 1e-9 else 0.0
