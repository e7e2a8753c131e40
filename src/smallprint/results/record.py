"""Record: the numbers of a rung's runs, committed as evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smallprint.results.assessment import RungResult
from smallprint.results.certification import Plan
from smallprint.results.runs import Environment, Epoch, Run, read_stretch
from smallprint.results.sequential import Certificate
from smallprint.spec.contract import Contract
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import parse_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRung:
    """One rung of a record."""

    name: str
    network: str  # one line
    recipe: Mapping[str, str]  # its sentences
    parameters: int  # trainable values
    macs: int  # multiply-adds of one image
    runs: tuple[Run, ...]  # what the record keeps of them
    text: str = field(default="")  # of a certified rung: a whole ladder file of it
    certificate: Certificate | None = field(default=None)  # what its fresh seeds said


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was measured of a ladder, with what and by which command."""

    ladder: str
    contract: Contract
    command: str
    rungs: tuple[RecordedRung, ...]


def read_record(path: Path) -> Record:
    """Read a record; its runs can be judged like stored ones.

    Raises:
        RunError: the file cannot be read or is no record.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        made_with = said["made_with"]
        # Of runs from several places it names every value: which run had which it no longer says.
        places: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in made_with.items()
            if name in Environment.__dataclass_fields__
        }
        environment = Environment(**places)
        contract = Contract.parse(said["contract"])
        rungs = tuple(_rung(said["ladder"], contract, rung, environment) for rung in said["rungs"])
        return Record(ladder=said["ladder"], contract=contract, command=made_with["command"], rungs=rungs)
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise RunError(f"{path}: not a record: {fault}") from None


def joined(path: Path, ladder: Ladder, results: Sequence[RungResult]) -> tuple[tuple[RungResult, ...], tuple[str, ...]]:
    """Results together with what the record at `path` knows of further seeds; and the rungs whose seeds are left out.

    Those are of another network or recipe than the ladder's rung of that name, or of a rung that it no longer has. A
    record of own data does not say which images those were, so that nothing of it is taken.

    Raises:
        RunError: the file cannot be read, is no record, or is one of another ladder.
    """
    if not path.exists() or not ladder.data.known:
        return tuple(results), ()
    record = read_record(path)
    if record.ladder != ladder.name:
        raise RunError(f"{path}: a record of the ladder {record.ladder}, not of {ladder.name}; name another file")
    same = {result.rung.name for result in results if _has(record, ladder, result.rung)}
    known = {rung.name: rung for rung in record.rungs}
    found = (_with(result, known[result.rung.name]) if result.rung.name in same else result for result in results)
    return tuple(found), tuple(name for name in known if name not in same)


def recorded(path: Path, ladder: Ladder) -> dict[str, tuple[Run, ...]]:
    """The runs that the record at `path` has of a ladder's rungs, by rung.

    Raises:
        RunError: the file cannot be read, is no record, has none of a rung as the ladder has it now, or is of own data:
            then it does not say which images those were.
    """
    record = read_record(path)
    if not ladder.data.known:
        raise RunError(f"{path}: a record does not say which images of your own it is of; climb the rungs here instead")
    known = {rung.name: rung.runs for rung in record.rungs if record.ladder == ladder.name}
    found = {rung.name: known[rung.name] for rung in ladder.rungs if rung.name in known and _has(record, ladder, rung)}
    if not found:
        raise RunError(f"{path}: a record of no rung that the ladder {ladder.name} has now; name another file")
    return found


def counted(path: Path, ladder: Ladder, rung: Rung) -> tuple[Run, ...]:
    """The runs of a rung that the record at `path` has counted, in their order; none where there is no such file.

    A record of own data does not say which images those were, so that its seeds are not counted.

    Raises:
        RunError: the file cannot be read, is no record or more than that of one certificate, or has counted for another
            rung, recipe, teacher or contract.
    """
    if not path.exists():
        return ()
    record = read_record(path)
    if (record.ladder, record.contract) != (ladder.name, ladder.contract) or not _has(record, ladder, rung):
        raise RunError(
            f"{path}: a record of another rung, recipe, teacher or contract; name another file, or move it away"
        )
    (found, *others), certificate = record.rungs, record.rungs[0].certificate
    if others or certificate is None:
        raise RunError(f"{path}: a record of more than the certificate of {rung.name}; name another file")
    if not ladder.data.known:
        return ()
    return tuple(sorted((run for run in found.runs if certificate.counts(run.seed)), key=lambda run: run.seed))


def _has(record: Record, ladder: Ladder, rung: Rung) -> bool:
    """Whether a record has a rung as the ladder has it now; of one that is taught, its teacher too."""
    found = next((one for one in record.rungs if one.name == rung.name), None)
    if found is None or (found.network, found.recipe) != (rung.network.line, rung.recipe.sentences()):
        return False
    teacher = ladder.teacher(rung)
    if teacher is None:
        return True
    if not found.text:
        return _has(record, ladder, teacher)
    there = parse_ladder(found.text, name=record.ladder)
    return there.identity(there.rung(rung.name)) == ladder.identity(rung)


def _with(result: RungResult, recorded: RecordedRung) -> RungResult:
    """A result with the recorded seeds that are not stored."""
    stored = {run.seed: run for run in result.runs if run.status != "training"}
    runs = {**{run.seed: run for run in recorded.runs}, **stored}
    certificate = result.certificate or recorded.certificate
    return replace(result, runs=tuple(runs[seed] for seed in sorted(runs)), certificate=certificate)


def _epoch(said: dict[str, Any]) -> Epoch:
    values: dict[str, Any] = {name: math.nan if value is None else value for name, value in said.items()}
    epoch = Epoch(**values)
    if not epoch.sound:
        raise ValueError(f"epoch {epoch.epoch} has more right images than there are")
    return epoch


def _certificate(contract: Contract, said: dict[str, Any], runs: Sequence[Run]) -> Certificate:
    """A certificate, counted again from the runs beside it."""
    sure = Contract.parse({**contract.clauses(), "certainty": said["certainty"]})
    plan = Plan(identity="", data="", contract=sure, first_seed=said["first_seed"])
    certificate = plan.certificate(runs)
    claimed = said["outcome"], said["passed"], said["of"]
    if claimed != (certificate.outcome, certificate.passed, certificate.of):
        raise ValueError(f"its runs do not say what the certificate does: {' '.join(map(str, claimed))}")
    return certificate


def _rung(ladder: str, contract: Contract, said: dict[str, Any], environment: Environment) -> RecordedRung:
    name, parameters, macs = said["name"], said["parameters"], said["macs"]
    runs = []
    for run in said["runs"]:
        epochs = tuple(_epoch(epoch) for epoch in run["epochs"])
        earlier = tuple(read_stretch(stretch) for stretch in run.get("earlier", ()))
        runs.append(
            Run(
                ladder=ladder, rung=name, seed=run["seed"], status=run["status"], reason=run["reason"],
                identity="", data="", parameters=parameters, macs=macs, planned=len(epochs),
                environment=environment, earlier=earlier, epochs=epochs,
            )
        )  # fmt: skip
    certificate = said.get("certificate")
    return RecordedRung(
        name=name, network=said["network"], recipe=said.get("recipe", {}), parameters=parameters, macs=macs,
        runs=tuple(runs), text=said.get("rung", ""),
        certificate=certificate and _certificate(contract, certificate, runs),
    )  # fmt: skip
