"""Ladder files: read strictly from TOML, every fault in one message; those that are shipped."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from smallprint.spec.contract import Contract
from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts, Split, known_facts
from smallprint.spec.errors import DataError, LadderError, NotationError, listing, nearest, shown
from smallprint.spec.ladder import Ladder, Published, Rung
from smallprint.spec.network import Network
from smallprint.spec.places import KeyPath, places
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
FactsOf = Callable[[DataPlace], DatasetFacts]  # how a reader learns what data it is; spec itself knows names only


def shipped() -> tuple[str, ...]:
    """Names of the ladders that come with the package."""
    folder = resources.files("smallprint") / "ladders"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def read_ladder(where: str | Path, *, facts_of: FactsOf = known_facts) -> Ladder:
    """Read a shipped ladder by name, or a ladder file by path.

    `facts_of` is asked for shape and classes of the data; a path to data starts at the ladder file.

    Raises:
        LadderError: no such ladder, or a file with faults; all of them are in the message.
    """
    if isinstance(where, str) and where in shipped():
        text = (resources.files("smallprint") / "ladders" / f"{where}.toml").read_text(encoding="utf-8")
        return parse_ladder(text, name=where)
    path = Path(where)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise LadderError(f"{path}: not a text file in UTF-8") from None
    except IsADirectoryError:
        raise LadderError(f"{path}: is a folder; name the ladder file in it") from None
    except (OSError, ValueError) as fault:  # ValueError: a name that no file can have
        missing = not isinstance(fault, OSError) or isinstance(fault, FileNotFoundError)
        if not missing or path.suffix == ".toml":
            reason = getattr(fault, "strerror", "no file can have this name")
            raise LadderError(f"{path}: cannot be read: {reason}") from None
        guess = nearest(str(where), shipped())
        if (meant := Path(f"{where}.toml")).is_file():
            guess = f"; did you mean the file '{meant}'?"
        raise LadderError(f"no ladder is called {shown(str(where))}; shipped: {listing(shipped())}{guess}") from None
    return parse_ladder(text, name=ladder_name(path), source=str(path), folder=path.parent, facts_of=facts_of)


def ladder_name(path: Path) -> str:
    """What a ladder file's ladder is called.

    Raises:
        LadderError: its file name is none for a ladder.
    """
    name = path.stem.lower()
    if not _NAME.fullmatch(name):
        raise LadderError(f"{path}: a ladder's file name is made of a-z, 0-9, '.', '_' and '-'; found {path.stem!r}")
    return name


def parse_ladder(
    text: str,
    *,
    name: str,
    source: str | None = None,
    folder: Path | None = None,
    facts_of: FactsOf = known_facts,
) -> Ladder:
    """Read a ladder from the text of its file; `source` is what messages call the file, `folder` where it lies.

    Raises:
        LadderError: every fault of the text, each with its line, in one message.
    """
    source = source or f"{name}.toml"
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise LadderError(f"{source}: not TOML: {fault}") from None
    except ValueError:  # Python does not read a number of thousands of digits
        raise LadderError(f"{source}: not TOML: a number has thousands of digits") from None
    except RecursionError:
        raise LadderError(f"{source}: not TOML: brackets within brackets, too deep to read") from None
    reading = _Reading(said, places(text), folder, facts_of)
    ladder = reading.ladder(name)
    if ladder is None or reading.faults:
        lines = [f"{source}:{line}: {message}" for line, message in sorted(reading.faults, key=lambda fault: fault[0])]
        raise LadderError("\n".join(lines))
    return ladder


class _Reading:
    """One pass over a ladder's values that goes on after a fault."""

    def __init__(
        self,
        said: Mapping[str, Any],
        places: Mapping[KeyPath, tuple[int, int]],
        folder: Path | None,
        facts_of: FactsOf,
    ) -> None:
        self.said = said
        self.places = places
        self.folder = folder
        self.facts_of = facts_of
        self.faults: list[tuple[int, str]] = []

    def fault(self, path: KeyPath, message: str, inner: int = 0) -> None:
        """Note a fault at a path; `inner` counts lines within a text that stands there."""
        while path and path not in self.places:
            path, inner = path[:-1], 0
        line, first = self.places.get(path, (1, 1))
        found = (first + inner - 1 if inner else line, message)
        if found not in self.faults:  # what rungs share is said once
            self.faults.append(found)

    def notation(self, path: KeyPath, fault: NotationError) -> None:
        self.fault(path, fault.message + fault.picture, fault.line or 0)

    def ladder(self, name: str) -> Ladder | None:
        """The whole ladder; None if it has faults."""
        self.keys((), self.said, Ladder.KEYS, "a ladder")
        title = self.text((), self.said, "title", default=name)
        data = self.data()
        facts = self.facts(data) if data else None
        contract = self.contract()
        rungs = self.said.get("rung")
        if not isinstance(rungs, list) or not rungs or not all(isinstance(rung, dict) for rung in rungs):
            self.fault(("rung",), "a ladder needs at least one [[rung]]")
            return None
        read = [rung for index, said in enumerate(rungs) if (rung := self.rung(index, said, facts))]
        if len(read) == len(rungs) and facts:
            self.teachers(read, facts)
        if self.faults or contract is None or title is None or data is None or facts is None:
            return None
        return Ladder(name=name, title=title, data=data, facts=facts, contract=contract, rungs=tuple(read))

    def data(self) -> DataPlace | None:
        """Which data the ladder is for; None if that has faults."""
        known = f"a ladder needs its dataset; known: {listing(DATASETS)}, or the path of your own"
        dataset = self.text((), self.said, "dataset", missing=known)
        split = self.text((), self.said, "split") if "split" in self.said else None
        try:
            read = None if split is None else Split.parse(split)
        except NotationError as fault:
            self.notation(("split",), fault)
            return None
        if dataset is None or ("split" in self.said and split is None):
            return None
        return DataPlace(said=dataset, split=read, folder=self.folder)

    def facts(self, data: DataPlace) -> DatasetFacts | None:
        """Shape and classes of the data: as the file states them, or as they are; None if neither can be had."""
        if "facts" in self.said:
            return self.stated_facts(data)
        try:
            return self.facts_of(data)
        except DataError as fault:
            self.fault(("split",) if data.known and data.split else ("dataset",), str(fault))
            return None

    def stated_facts(self, data: DataPlace) -> DatasetFacts | None:
        """The facts of data of your own as a run folder keeps them; None if they have faults."""
        count = len(self.faults)
        said = self.table((), self.said, "facts")
        self.check(not data.known, ("facts",), f"{data.said} is known by name: leave [facts] out")
        if len(self.faults) > count:
            return None
        facts, faults = DatasetFacts.stated(data.name, said)
        for key, message in faults:
            self.fault(("facts", key), message)
        return facts

    def contract(self) -> Contract | None:
        """The contract; None if it has faults."""
        said = self.table((), self.said, "contract")
        faults = Contract.faults(said)
        for key, fault in faults:
            self.notation(("contract", key) if key else ("contract",), fault)
        return None if faults else Contract.parse(said)

    def rung(self, index: int, said: Mapping[str, Any], facts: DatasetFacts | None) -> Rung | None:
        """One rung; None if it has faults."""
        path: KeyPath = ("rung", index)
        count = len(self.faults)
        self.keys(path, said, Rung.KEYS, "a rung")
        name = self.text(path, said, "name", missing="a rung needs its name")
        earlier = [rung.get("name") for rung in self.said["rung"][:index]]
        if name is not None and name in earlier:
            self.fault((*path, "name"), f"two rungs are called {name!r}; each needs its own name")
        elif name is not None and not _NAME.fullmatch(name):
            self.fault((*path, "name"), f"a rung needs a name of a-z, 0-9, '.', '_' and '-', not {shown(name)}")
        target = self.text(path, said, "target", default="")
        text = self.text(path, said, "network", missing="a rung needs its network")
        network = None if text is None else self.network((*path, "network"), text, facts)
        recipe = self.recipe(path, said)
        published = self.published(path, said)
        if name is None or target is None or network is None or recipe is None or len(self.faults) > count:
            return None
        return Rung(name=name, target=target, network=network, recipe=recipe, published=published)

    def network(self, path: KeyPath, text: str, facts: DatasetFacts | None) -> Network | None:
        """A rung's network, checked against the data set's shape where that is known."""
        try:
            network = Network.parse(text)
            if facts:
                trace(network, facts.input_shape, len(facts.classes))
            return network
        except NotationError as fault:
            self.notation(path, fault)
            return None

    def recipe(self, path: KeyPath, said: Mapping[str, Any]) -> Recipe | None:
        """The shared recipe with the rung's own keys over it."""
        shared = self.table((), self.said, "recipe")
        own = self.table(path, said, "recipe")
        merged = {**shared, **own}
        faults = Recipe.faults(merged)
        for key, fault in faults:
            at = (*path, "recipe", key) if key in own else ("recipe", key) if key in shared else path
            self.fault(at, fault.message + fault.picture)
        return None if faults else Recipe.parse(merged)

    def published(self, path: KeyPath, said: Mapping[str, Any]) -> Published | None:
        """What a rung's source reported, if the rung says so."""
        if "published" not in said:
            return None
        table, path = self.table(path, said, "published"), (*path, "published")
        self.keys(path, table, Published.KEYS, "published")
        values: dict[str, Any] = {}
        for key in ("best_train", "best_test"):
            if key in table and self.check(_percent(table[key]), (*path, key), f"{key} is a percentage such as 99.48"):
                values[key] = float(table[key])
        for key in ("train", "test"):
            curve = table.get(key, [])
            good = isinstance(curve, list) and all(_percent(value) for value in curve)
            if self.check(good, (*path, key), f"{key} is a list of percentages, one per epoch"):
                values[key] = tuple(float(value) for value in curve)
        if "parameters" in table:
            count = table["parameters"]
            good = isinstance(count, int) and not isinstance(count, bool) and 0 < count < 10**15
            if self.check(good, (*path, "parameters"), "parameters is a count such as 7864"):
                values["parameters"] = count
        return Published(note=self.text(path, table, "note", default="") or "", **values)

    def teachers(self, rungs: list[Rung], facts: DatasetFacts) -> None:
        """Note what keeps a rung from learning of the rung that it names."""
        outputs = {r.name: trace(r.network, facts.input_shape, len(facts.classes)).outputs for r in rungs}
        taught = {rung.name for rung in rungs if rung.recipe.teacher}
        for index, rung in enumerate(rungs):
            path: KeyPath = ("rung", index, "recipe", "loss")
            if (teacher := rung.recipe.teacher) is None:
                continue
            if teacher not in outputs:
                able = [name for name in outputs if name not in taught]
                known = f"known: {listing(able)}" if able else "and no other rung is there to teach"
                self.fault(path, f"no rung is called {shown(teacher)}; {known}" + nearest(teacher, able))
            elif teacher in taught:
                self.fault(path, f"the teacher {teacher!r} is taught itself; a teacher learns from the labels alone")
            elif outputs[teacher] != outputs[rung.name]:
                answers = f"{outputs[teacher]} values, and {rung.name!r} with {outputs[rung.name]}"
                self.fault(path, f"the teacher {teacher!r} answers with {answers}; both need the same number")

    def check(self, good: bool, path: KeyPath, message: str) -> bool:
        if not good:
            self.fault(path, message)
        return good

    def keys(self, path: KeyPath, said: Mapping[str, Any], known: tuple[str, ...], owner: str) -> None:
        for key in said:
            if key not in known:
                self.fault(
                    (*path, key), f"{owner} has no key {shown(key)}; known: {listing(known)}" + nearest(key, known)
                )

    def text(
        self, path: KeyPath, said: Mapping[str, Any], key: str, *, default: str | None = None, missing: str = ""
    ) -> str | None:
        """A text that stands at `key`; `default`, or a fault, where there is none."""
        value = said.get(key, default)
        if isinstance(value, str):
            return value
        self.fault((*path, key), f"{key} is a text in quotes" if key in said else missing)
        return None

    def table(self, path: KeyPath, said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = said.get(key, {})
        return value if self.check(isinstance(value, dict), (*path, key), f"{key} is a table: [{key}]") else {}


def _percent(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
