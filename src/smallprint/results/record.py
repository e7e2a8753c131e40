"""Record: the numbers of a rung's runs, committed as evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallprint.results.certification import Plan
from smallprint.results.runs import Environment, Epoch, Run, read_stretch
from smallprint.results.sequential import Certificate
from smallprint.spec.contract import Contract
from smallprint.spec.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRung:
    """One rung of a record."""

    name: str
    network: str  # one line
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
        environment = Environment(
            **{name: made_with[name] for name in Environment.__dataclass_fields__ if name in made_with}
        )
        contract = Contract.parse(said["contract"])
        rungs = tuple(_rung(said["ladder"], contract, rung, environment) for rung in said["rungs"])
        return Record(ladder=said["ladder"], contract=contract, command=made_with["command"], rungs=rungs)
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError) as fault:
        raise RunError(f"{path}: not a record: {fault}") from None


def _epoch(said: dict[str, Any]) -> Epoch:
    values: dict[str, Any] = {name: math.nan if value is None else value for name, value in said.items()}
    return Epoch(**values)


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
        name=name, network=said["network"], parameters=parameters, macs=macs, runs=tuple(runs),
        text=said.get("rung", ""), certificate=certificate and _certificate(contract, certificate, runs),
    )  # fmt: skip
