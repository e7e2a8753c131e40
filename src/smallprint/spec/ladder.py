"""Ladder, Rung: target, network and recipe, and what changed from one rung to the next."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import tomli_w

from smallprint.spec.contract import Contract
from smallprint.spec.dataset import DataPlace, DatasetFacts
from smallprint.spec.errors import LadderError, listing, nearest
from smallprint.spec.network import Network
from smallprint.spec.recipe import Distilled, Recipe
from smallprint.spec.trace import Shape, Trace, trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a rung's source reported; nothing of it is ours."""

    parameters: int | None = field(default=None)  # trainable values
    best_train: float | None = field(default=None)  # percent
    best_test: float | None = field(default=None)  # percent
    train: tuple[float, ...] = field(default=())  # percent, epoch by epoch
    test: tuple[float, ...] = field(default=())  # percent, epoch by epoch
    note: str = field(default="")  # what a reader should know of it

    KEYS: ClassVar[tuple[str, ...]] = ("parameters", "best_train", "best_test", "train", "test", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One idea: why, which network, how it is trained."""

    name: str
    target: str
    network: Network
    recipe: Recipe
    published: Published | None = field(default=None)

    KEYS: ClassVar[tuple[str, ...]] = ("name", "target", "network", "recipe", "published")

    def table(self) -> dict[str, Any]:
        """The rung as a ladder file says it, everything resolved, but for what its source published."""
        recipe = self.recipe.sentences()
        return {"name": self.name, "target": self.target, "network": f"{self.network}\n", "recipe": recipe}


class Taught(NamedTuple):
    """What a distilled rung leans on, beside its own parameters and epochs."""

    by: str  # the rung that teaches
    parameters: int  # of the teacher
    epochs: int  # of the teacher
    together: int  # epochs of teacher and pupil: the strict count

    def __str__(self) -> str:
        """In words."""
        size = f"{self.parameters:,} parameters, {self.epochs} epoch{'s' * (self.epochs != 1)}"
        return f"taught by {self.by} ({size}), {self.together} epochs together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs in order, and the contract they climb towards."""

    name: str
    title: str
    data: DataPlace  # which data, as the file says it
    facts: DatasetFacts  # its shape and classes
    contract: Contract
    rungs: tuple[Rung, ...]

    KEYS: ClassVar[tuple[str, ...]] = ("title", "dataset", "split", "facts", "contract", "recipe", "rung")

    @property
    def dataset(self) -> str:
        """What the data set is called on pages and in run folders."""
        return self.data.name

    def trace(self, rung: Rung) -> Trace:
        """Shapes, parameters and MACs of a rung on this ladder's data set."""
        return trace(rung.network, self.facts.input_shape, len(self.facts.classes))

    def identity(self, rung: Rung) -> str:
        """SHA-256 of all that a rung says about the numbers it will give, whatever words said it."""
        steps = [step.identity for step in self.trace(rung).steps]
        recipe = rung.recipe
        if teacher := self.teacher(rung):  # what it is counts, not what it is called
            assert isinstance(recipe.loss, Distilled)
            recipe = replace(recipe, loss=replace(recipe.loss, teacher=self.identity(teacher)))
        said = [f"{key}: {value}" for key, value in recipe.sentences().items()]
        return hashlib.sha256("\n".join([*steps, *said]).encode()).hexdigest()

    def teacher(self, rung: Rung) -> Rung | None:
        """The rung that teaches this one, if its loss is distilled."""
        return self.rung(rung.recipe.teacher) if rung.recipe.teacher else None

    def taught(self, rung: Rung) -> Taught | None:
        """What this rung leans on, if its loss is distilled."""
        teacher = self.teacher(rung)
        if teacher is None:
            return None
        epochs = teacher.recipe.epochs
        parameters = self.trace(teacher).parameters
        return Taught(by=teacher.name, parameters=parameters, epochs=epochs, together=epochs + rung.recipe.epochs)

    def rung(self, name: str) -> Rung:
        """The rung of that name.

        Raises:
            LadderError: there is none, with the names there are.
        """
        names = [rung.name for rung in self.rungs]
        if name not in names:
            raise LadderError(f"{self.name} has no rung {name!r}; it has {listing(names)}" + nearest(name, names))
        return self.rungs[names.index(name)]

    def with_teachers(self, rungs: Iterable[Rung]) -> tuple[Rung, ...]:
        """Rungs and those that teach them, in the ladder's order."""
        named = list(rungs)
        taught_by = [teacher for rung in named if (teacher := self.teacher(rung))]
        return tuple(rung for rung in self.rungs if rung in named or rung in taught_by)

    def only(self, rung: Rung) -> str:
        """One rung, its teacher before it, as a whole ladder file, everything resolved: what a run folder keeps."""
        entries = [kept.table() for kept in (self.teacher(rung), rung) if kept]
        said: dict[str, Any] = {"title": self.title, "dataset": self.dataset}
        if self.data.split:
            said["split"] = str(self.data.split)
        if not self.data.known:  # the run stays readable where the data is gone
            said["facts"] = self.facts.table()
        return tomli_w.dumps({**said, "contract": self.contract.clauses(), "rung": entries}, multiline_strings=True)

    def check(self, facts: DatasetFacts) -> None:
        """Make sure that data which was read is what this ladder was written for.

        Raises:
            LadderError: another image shape, or other classes.
        """
        for what, mine, found in (
            ("images of", _sides(self.facts.input_shape), _sides(facts.input_shape)),
            ("the classes", listing(self.facts.classes), listing(facts.classes)),
        ):
            if mine != found:
                raise LadderError(f"{self.name} is written for {what} {mine}; {facts.name} has {found}")


class RungDiff(NamedTuple):
    """What changed from one rung to the next."""

    network: tuple[str, ...]  # lines of the canonical texts, each behind ' ', '-' or '+'
    recipe: tuple[tuple[str, str, str], ...]  # key, before, after
    parameters: tuple[int, int]  # before, after
    macs: tuple[int, int]  # before, after


def diff(ladder: Ladder, before: Rung, after: Rung) -> RungDiff:
    """What changed between two rungs of a ladder: lines of the network, keys of the recipe, counts."""
    lines = difflib.ndiff(str(before.network).split("\n"), str(after.network).split("\n"))
    old, new = ({**Recipe.UNSAID, **rung.recipe.sentences()} for rung in (before, after))
    first, second = ladder.trace(before), ladder.trace(after)
    return RungDiff(
        network=tuple(f"{line[0]}{line[2:]}" for line in lines if line[0] != "?"),
        recipe=tuple((key, str(old[key]), str(new[key])) for key in Recipe.KEYS if old[key] != new[key]),
        parameters=(first.parameters, second.parameters),
        macs=(first.macs, second.macs),
    )


def _sides(shape: Shape) -> str:
    return " x ".join(map(str, shape))
