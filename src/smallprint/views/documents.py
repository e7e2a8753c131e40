"""Every result as JSON: what --json prints and records keep."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.results.assessment import RungResult
from smallprint.results.certification import FIRST
from smallprint.results.runs import Environment, Epoch, Run
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import Clause, Verdict
from smallprint.spec.contract import Contract
from smallprint.spec.dataset import DatasetFacts
from smallprint.spec.ladder import Ladder, Rung, RungDiff
from smallprint.spec.network import Network
from smallprint.spec.trace import Trace

Document = dict[str, Any]


def network_document(network: Network, trace: Trace) -> Document:
    """A network and what arithmetic says of it."""
    return {
        "network": network.line,
        "input_shape": list(trace.input_shape),
        "parameters": trace.parameters,
        "macs": trace.macs,
        "receptive_field": trace.receptive_field,
        "layers": [
            {
                "text": step.text,
                "operations": [str(operation) for operation in step.operations],
                "output_shape": list(step.output_shape),
                "parameters": step.parameters,
                "macs": step.macs,
                "receptive_field": step.receptive_field,
            }
            for step in trace.steps
        ],
    }


def outline_document(ladder: Ladder) -> Document:
    """A ladder at a glance."""
    return {
        "name": ladder.name,
        "title": ladder.title,
        "dataset": ladder.dataset,
        "contract": ladder.contract.clauses(),
        "rungs": [{"name": rung.name, "parameters": ladder.trace(rung).parameters} for rung in ladder.rungs],
    }


def dataset_document(
    facts: DatasetFacts,
    *,
    found: str,
    fingerprint: str,
    mean_and_deviation: tuple[NDArray[np.float64], NDArray[np.float64]],
    labels: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Document:
    """A data set that was read and checked: where, what it holds, how many images of each class."""
    mean, deviation = ([round(float(value), 6) for value in values] for values in mean_and_deviation)
    train, test = (np.bincount(half, minlength=len(facts.classes)).tolist() for half in labels)
    return {
        "name": facts.name,
        "title": facts.title,
        "found": found,
        "fingerprint": fingerprint,
        "input_shape": list(facts.input_shape),
        "mean": mean,
        "deviation": deviation,
        "train": dict(zip(facts.classes, train, strict=True)),
        "test": dict(zip(facts.classes, test, strict=True)),
    }


def diff_document(difference: RungDiff) -> Document:
    """What changed between two rungs."""
    return {
        "network": [line for line in difference.network if line[0] != " " and line[1:].strip()],
        "recipe": [{"key": key, "before": before, "after": after} for key, before, after in difference.recipe],
        "parameters": list(difference.parameters),
        "macs": list(difference.macs),
    }


def verdict_document(verdict: Verdict) -> Document:
    """A verdict, clause by clause for each seed."""
    return {
        "outcome": verdict.outcome,
        "text": verdict.text,
        "passed": verdict.passed,
        "of": verdict.of,
        "interval": list(verdict.interval),
        "certificate": verdict.certificate,
        "more_clean_seeds": verdict.more_clean_seeds,
        "seeds": [
            {
                "seed": seed.seed,
                "kept": seed.kept,
                "clauses": _clauses_document(seed.clauses),
            }
            for seed in verdict.seeds
        ],
    }


def _clauses_document(clauses: Sequence[Clause]) -> list[Document]:
    return [{"name": c.name, "kept": c.kept, "margin": _finite(c.margin), "text": c.text} for c in clauses]


def certificate_document(certificate: Certificate | None) -> Document | None:
    """What fresh seeds said of the pass rate, how, and how often it was looked at."""
    if certificate is None:
        return None
    return {
        "outcome": certificate.outcome,
        "certainty": str(certificate.certainty),
        "method": certificate.method,
        "first_seed": certificate.first_seed,
        "passed": certificate.passed,
        "of": certificate.of,
        "rate_at_least": certificate.rate_at_least,
        "rate_at_most": certificate.rate_at_most,
        "looked": certificate.of,
        "judged_on": "test set",
    }


def certification_document(ladder: Ladder, result: RungResult) -> Document:
    """A certification: the rung with its fresh seeds, and which of them are not counted."""
    counts = result.certificate.counts if result.certificate else bool
    return {
        "ladder": ladder.name,
        "dataset": ladder.dataset,
        "contract": ladder.contract.clauses(),
        **_rung_document(result),
        "not_counted": [run.seed for run in result.runs if not counts(run.seed)],
    }


def never_kept_document(ladder: Ladder, rung: Rung, broken: Sequence[Clause]) -> Document:
    """A rung that breaks its contract before anything is trained."""
    return {
        "ladder": ladder.name,
        "dataset": ladder.dataset,
        "contract": ladder.contract.clauses(),
        "name": rung.name,
        "certificate": None,
        "broken": _clauses_document(broken),
    }


def ladder_document(ladder: Ladder, results: Sequence[RungResult], contract: Contract | None = None) -> Document:
    """A climb or its judgement: every rung with its runs' numbers, verdict and findings."""
    return {
        "ladder": ladder.name,
        "title": ladder.title,
        "dataset": ladder.dataset,
        "contract": (contract or ladder.contract).clauses(),
        "rungs": [_rung_document(result) for result in results],
    }


def record_document(ladder: Ladder, results: Sequence[RungResult], command: str) -> Document:
    """A record: the numbers of every run that is no longer in training, and all that is needed to repeat them.

    A rung without such a run is left out; one that was certified comes with its whole text, as a ladder file.
    """
    return {
        "ladder": ladder.name,
        "contract": ladder.contract.clauses(),
        "made_with": {**_common([run for result in results for run in _recorded(result)]), "command": command},
        "rungs": [
            {
                "name": result.rung.name,
                "network": result.rung.network.line,
                "recipe": result.rung.recipe.sentences(),
                "parameters": result.trace.parameters,
                "macs": result.trace.macs,
                **({"rung": ladder.only(result.rung)} if result.certificate else {}),
                "runs": [_run_document(run) for run in runs],
                "certificate": certificate_document(result.certificate),
            }
            for result in results
            if (runs := _recorded(result))
        ],
    }


def record_text(record: Document) -> str:
    """A record as its file holds it: an epoch on each line."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r'\{\s+("epoch": [^{}]+?)\s+\}', lambda epoch: f"{{{' '.join(epoch[1].split())}}}", text) + "\n"


def training_commands(place: str, ladder: Ladder, results: Sequence[RungResult]) -> str:
    """The commands that train these runs again; one for all rungs that were climbed with the same number of seeds.

    `place` is what a command line calls the ladder.
    """
    rungs_by_seeds: dict[int, list[str]] = {}
    for result in results:
        if climbed := [run.seed for run in _recorded(result) if run.seed < FIRST]:
            rungs_by_seeds.setdefault(1 + max(climbed), []).append(result.rung.name)
    climbs = [
        ["smallprint", "climb", place, *_named(names, ladder), "--seeds", str(seeds)]
        for seeds, names in rungs_by_seeds.items()
    ]
    certified = [["smallprint", "certify", f"{place}:{one.rung.name}"] for one in results if one.certificate]
    return " && ".join(shlex.join(words) for words in [*climbs, *certified])


def _recorded(result: RungResult) -> list[Run]:
    """The runs that a record keeps."""
    return [run for run in result.runs if run.status != "training"]


def _named(names: Sequence[str], ladder: Ladder) -> list[str]:
    """The options that name these rungs; none for all of a ladder."""
    return [] if len(names) == len(ladder.rungs) else [word for name in names for word in ("--rung", name)]


def _rung_document(result: RungResult) -> Document:
    return {
        "name": result.rung.name,
        "parameters": result.trace.parameters,
        "macs": result.trace.macs,
        "taught": result.taught._asdict() if result.taught else None,
        "runs": [_run_document(run) for run in result.runs],
        "verdict": verdict_document(result.verdict) if result.verdict else None,
        "certificate": certificate_document(result.certificate),
        "other_data": list(result.other_data),
        "findings": [asdict(finding) for finding in result.findings],
        "diff": diff_document(result.diff) if result.diff else None,
        "published": _published_document(result),
    }


def _published_document(result: RungResult) -> Document | None:
    """What the rung's source reported, and what the contract says of it; `kept` is null where that is not known."""
    published, verdict = result.rung.published, result.published
    if published is None or verdict is None:
        return None
    return {
        **asdict(published),
        "train": list(published.train),
        "test": list(published.test),
        "kept": verdict.kept,
        "clauses": _clauses_document(verdict.clauses),
    }


def _run_document(run: Run) -> Document:
    return {
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        **({"earlier": [asdict(stretch) for stretch in run.earlier]} if run.earlier else {}),
        "epochs": [_epoch_document(epoch) for epoch in run.epochs],
    }


def _epoch_document(epoch: Epoch) -> Document:
    return {key: _finite(value) for key, value in asdict(epoch).items()}


def _common(runs: Sequence[Run]) -> Document:
    """The environments of all runs; where they differ, every value that occurs."""
    said: Document = {}
    for name in Environment.__dataclass_fields__:
        said_here = {getattr(place, name) for run in runs for place in run.environments}
        values = sorted({one for value in said_here for one in (value if isinstance(value, tuple) else (value,))})
        said[name] = values[0] if len(values) == 1 else values
    return said


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
