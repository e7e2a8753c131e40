"""What a rung's source reported, judged by the same clauses as a run of ours."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from smallprint.results.runs import Environment, Epoch, Run
from smallprint.results.verdict import Clause, judge
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder, Published, Rung

_ELSEWHERE = Environment(smallprint="", python="", torch="", numpy="", platform="", device="", threads=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVerdict:
    """What the contract says of the run that a source reported."""

    clauses: tuple[Clause, ...]  # those that the reported numbers decide
    whole: bool  # whether these are all

    @property
    def kept(self) -> bool | None:
        """None where nothing is broken, but too little is reported to call it kept."""
        if all(clause.kept for clause in self.clauses):
            return True if self.whole else None
        return False

    @property
    def outcome(self) -> str:
        """Kept | broken | not known."""
        return {True: "kept", False: "broken", None: "not known"}[self.kept]


def judge_published(contract: Contract, ladder: Ladder, rung: Rung) -> PublishedVerdict | None:
    """Judge what the source of a rung reported; None where there is no source.

    Its accuracies need its curve, epoch by epoch, and the gap both curves. A source that does not say how many
    parameters it counted has those of the rung.
    """
    published = rung.published
    if published is None:
        return None
    undecided = set() if published.test else {"accuracy", "epochs", "gap"}
    if contract.gap and len(published.train) != len(published.test):
        undecided.add("gap")
    clauses = judge(contract, [_run(ladder, rung, published)]).seeds[0].clauses
    decided = tuple(clause for clause in clauses if clause.name not in undecided)
    return PublishedVerdict(clauses=decided, whole=not undecided)


def _run(ladder: Ladder, rung: Rung, published: Published) -> Run:
    """The published run. What no source says of it, such as its losses, is not a number."""
    traced, train, test = ladder.trace(rung), ladder.facts.train, ladder.facts.test
    in_train = published.train if len(published.train) == len(published.test) else (0.0,) * len(published.test)
    epochs = tuple(
        Epoch(
            epoch=number, learning_rate=nan, train_loss=nan, test_loss=nan, seconds=nan,
            train_correct=_images(of_train, train), train_total=train,
            test_correct=_images(of_test, test), test_total=test,
        )
        for number, (of_test, of_train) in enumerate(zip(published.test, in_train, strict=True), start=1)
    )  # fmt: skip
    return Run(
        ladder=ladder.name, rung=rung.name, seed=0, status="finished", identity="", data="",
        parameters=published.parameters or traced.parameters, macs=traced.macs, planned=len(epochs),
        environment=_ELSEWHERE, epochs=epochs,
    )  # fmt: skip


def _images(percent: float, total: int) -> int:
    """A published percentage as the whole images that it stands for: 99.40% of 10,000 are 9,940."""
    return round(percent * total / 100)
