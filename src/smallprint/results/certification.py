"""Plan: which fresh seeds certify a rung, written down before the first of them is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from smallprint.results.runs import Run, write_whole
from smallprint.results.sequential import METHOD, Certificate, outcome
from smallprint.results.verdict import judge_seed
from smallprint.spec.contract import Certainty, Contract
from smallprint.spec.errors import NotationError, RunError, shown
from smallprint.spec.ladder import Ladder, Rung

FIRST = 1000  # fresh seeds start here, or at the first thousand behind all that were ever used
_VERSION = 1  # of the file, and of the test that it names
_ADVICE = "move it away and certify again: fresh seeds are trained, behind all that were used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to be certified, by which seeds. A seed counts in its order, and only under this very plan."""

    identity: str  # SHA-256 of network and recipe
    data: str  # SHA-256 of the data set
    contract: Contract  # always with a certainty
    first_seed: int

    @property
    def certainty(self) -> Certainty:
        """How sure the certificate is going to be."""
        assert self.contract.certainty
        return self.contract.certainty

    def certificate(self, runs: Iterable[Run]) -> Certificate:
        """What the runs say: seeds are counted from the first on, up to a decision or to one that has not ended."""
        mine = (run for run in runs if run.ended and (run.identity, run.data) == (self.identity, self.data))
        by_seed = {run.seed: run for run in mine}
        passed = of = 0
        while outcome(passed, of - passed, self.certainty) == "undecided" and self.first_seed + of in by_seed:
            passed += bool(judge_seed(self.contract, by_seed[self.first_seed + of]).kept)
            of += 1
        return Certificate(certainty=self.certainty, first_seed=self.first_seed, passed=passed, of=of)


def plan_path(root: Path, ladder: str, rung: str) -> Path:
    """Where the plan of a rung is kept."""
    return root / ladder / rung / "certificate.json"


def stored_plan(root: Path, ladder: Ladder, rung: Rung, contract: Contract | None = None) -> Plan | None:
    """The plan of a rung as it is now, under the ladder's contract or another; None where none was made for that.

    Raises:
        RunError: it cannot be read, is damaged or of another version.
    """
    plan = _read(plan_path(root, ladder.name, rung.name))
    asked = ladder.identity(rung), _sure(contract or ladder.contract)
    return plan if plan and (plan.identity, plan.contract) == asked else None


def make_plan(root: Path, ladder: Ladder, rung: Rung, data: str, first_seed: int | None = None) -> Plan:
    """The plan of a rung as it is now, trained on this data: the stored one, or a new one that is written here.

    A plan of another network, recipe, data set or contract is set aside, to `certificate.<first seed>.json`; the seeds
    of the new one start behind all that were ever used, or at `first_seed`, where some of them were counted before.

    Raises:
        RunError: the stored one is damaged, of another version or for other seeds, or the new one cannot be written.
    """
    path = plan_path(root, ladder.name, rung.name)
    if (stored := stored_plan(root, ladder, rung)) and stored.data == data:
        if first_seed not in (None, stored.first_seed):
            raise RunError(
                f"{path}: counts seeds from {stored.first_seed} on, the record from {first_seed} on; say another "
                "--record, or --runs"
            )
        return stored
    other = _read(path)
    plan = Plan(
        identity=ladder.identity(rung), data=data, contract=_sure(ladder.contract),
        first_seed=_fresh(path.parent, other) if first_seed is None else first_seed,
    )  # fmt: skip
    if other:
        write_whole(path.with_name(f"certificate.{other.first_seed}.json"), _written(other))
    write_whole(path, _written(plan))
    return plan


def _sure(contract: Contract) -> Contract:
    """A contract with its certainty, or with the usual one."""
    return replace(contract, certainty=contract.certainty or Certainty())


def _fresh(folder: Path, other: Plan | None) -> int:
    """The first seed of the first thousand behind every seed that was planned or begun in a rung's folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    used = [int(found[1]) for name in names if (found := re.fullmatch(r"\.?seed-([0-9]+)(?:\..*)?", name))]
    used += [int(found[1]) for name in names if (found := re.fullmatch(r"certificate\.([0-9]+)\.json", name))]
    used += [other.first_seed] if other else []
    return max([FIRST, *(FIRST * (seed // FIRST + 1) for seed in used)])


def _written(plan: Plan) -> bytes:
    said = {
        "version": _VERSION,
        "identity": plan.identity,
        "data": plan.data,
        "contract": plan.contract.clauses(),
        "first_seed": plan.first_seed,
        "method": METHOD,
    }
    return (json.dumps(said, indent=1) + "\n").encode()


def _read(path: Path) -> Plan | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version, identity, data, first = (said[key] for key in ("version", "identity", "data", "first_seed"))
        contract = Contract.parse(said["contract"])
        whole = isinstance(identity, str) and isinstance(data, str) and type(first) is int and contract.certainty
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    except (NotationError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RunError(f"{path}: damaged; {_ADVICE}") from None
    if version != _VERSION:
        raise RunError(f"{path}: of version {shown(version)}, not {_VERSION}; {_ADVICE}")
    if not whole:
        raise RunError(f"{path}: damaged; {_ADVICE}")
    return Plan(identity=identity, data=data, contract=contract, first_seed=first)
