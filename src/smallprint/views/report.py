"""Target, Result, Analysis: report.html and report.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from smallprint.results.assessment import RungResult
from smallprint.results.runs import Arrays, Run
from smallprint.spec.contract import Certainty, Contract
from smallprint.spec.ladder import Ladder
from smallprint.views import gallery, plots
from smallprint.views.gallery import Pictures
from smallprint.views.page import NONE, Figure, write_pages

__all__ = ["Pictures", "RungResult", "Summary", "summarise", "write_report"]

_WIDE, _NARROW = 820, 360  # pixels: the ladder's picture on a page, and on a phone
_SEEDS_AT_ONCE = 6  # the others are folded away


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The numbers of one rung's row. Those of runs are None where nothing was measured."""

    ended: tuple[Run, ...]  # the runs that count
    finished: int  # of those: trained to their end
    best_test: float | None  # percent, any epoch of any seed; for comparison only
    best_train: float | None  # percent, as the epoch ran
    mean: float | None  # percent: worst of the last epochs, over the seeds that finished
    sd: float | None  # points, sample standard deviation; None below two seeds
    seconds: float | None  # per epoch, mean over all epochs
    published_best: float | None  # percent
    published_worst: float | None  # percent: worst of the last published epochs

    @property
    def seeds(self) -> str:
        """The seeds of the runs that count."""
        return ", ".join(str(run.seed) for run in self.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seed:
    """What one seed did with the clauses in which the seeds differ."""

    seed: int
    outcome: str  # kept | broken | training | failed
    clauses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One rung, ready to be written."""

    number: int
    result: RungResult
    summary: Summary
    seeds: tuple[_Seed, ...]
    common: tuple[str, ...]  # clauses that say the same for every seed
    curves: tuple[Figure, ...]
    answers: tuple[Figure, ...]

    @property
    def outcome(self) -> str:
        """Kept | broken | undecided | not measured."""
        return self.result.verdict.outcome if self.summary.ended and self.result.verdict else "not measured"

    @property
    def passed(self) -> str:
        """Pass rate and its interval."""
        verdict = self.result.verdict
        if not (self.summary.ended and verdict):
            return ""
        low, high = (f"{100 * bound:.1f}" for bound in verdict.interval)
        return f"{verdict.passed} of {verdict.of}, {low} to {high}%"

    @property
    def seeds_that_keep(self) -> str:
        """How many of our seeds keep the contract, in words."""
        verdict = self.result.verdict
        if not (self.summary.ended and verdict):
            return NONE
        return f"kept by {verdict.passed} of {verdict.of} {'seed' if verdict.of == 1 else 'seeds'}"


def write_report(
    ladder: Ladder,
    results: Sequence[RungResult],
    folder: Path,
    test_images: Pictures | None = None,
    *,
    mistakes: int = 24,
) -> tuple[Path, Path]:
    """Write report.html and report.md (with its pictures in report-pictures/) into `folder`; return both paths.

    Per rung, up to `mistakes` images that were taken for another class are drawn. Without the test images there is
    neither a confusion matrix nor a mistake to show.

    Raises:
        RunError: a file cannot be written, or the answers of a run are damaged.
    """
    contract = next((result.verdict.contract for result in results if result.verdict), ladder.contract)
    sections = tuple(
        _section(number, result, contract, lambda name, ended: _answers(name, ended, test_images, mistakes))
        for number, result in enumerate(results, start=1)
    )
    overview = _overview(contract, results)
    figures = [*([overview] if overview else []), *(f for s in sections for f in (*s.curves, *s.answers))]
    said = {
        "ladder": ladder,
        "contract": contract,
        "judged": "last epoch" if contract.last_epochs == 1 else f"worst of the last {contract.last_epochs} epochs",
        "confidence": f"{float(100 * (contract.certainty or Certainty()).confidence):g}%",
        "overview": overview,
        "sections": sections,
        "machines": _machines(results),
        "method": next((result.certificate.method for result in results if result.certificate), None),
        "draws_hard": any(result.rung.recipe.hard(1) for result in results),
        "at_once": _SEEDS_AT_ONCE,
    }
    return write_pages(folder, "report", said, figures)


def summarise(result: RungResult, last: int) -> Summary:
    """The numbers of a rung's row; `last` is how many epochs the promise covers."""
    ended = tuple(run for run in result.runs if run.ended)
    epochs = [epoch for run in ended for epoch in run.epochs]
    worst = plots.worst_accuracies(ended, last)
    published = result.rung.published
    best = published.best_test if published else None
    return Summary(
        ended=ended,
        finished=sum(run.status == "finished" for run in ended),
        best_test=max((100 * epoch.test_accuracy for epoch in epochs), default=None),
        best_train=max((100 * epoch.train_accuracy for epoch in epochs), default=None),
        mean=fmean(worst) if worst else None,
        sd=stdev(worst) if len(worst) > 1 else None,
        seconds=fmean(epoch.seconds for epoch in epochs) if epochs else None,
        published_best=max(published.test) if published and published.test and best is None else best,
        published_worst=plots.published_worst(published, last),
    )


def _section(
    number: int,
    result: RungResult,
    contract: Contract,
    answers: Callable[[str, Sequence[Run]], tuple[Figure, ...]],
) -> _Section:
    summary = summarise(result, contract.last_epochs)
    name = f"{number:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', result.rung.name)}"
    seeds, common = _clauses(result)
    return _Section(
        number=number,
        result=result,
        summary=summary,
        seeds=seeds,
        common=common,
        curves=_curves(name, result, contract, summary),
        answers=answers(name, summary.ended),
    )


def _clauses(result: RungResult) -> tuple[tuple[_Seed, ...], tuple[str, ...]]:
    """Each seed's own clauses, and those in which all seeds that ended agree to the word."""
    judged = {seed.seed: seed for seed in result.verdict.seeds} if result.verdict else {}
    said = [[str(clause) for clause in seed.clauses] for seed in judged.values() if seed.clauses]
    common = [text for text in said[0] if all(text in clauses for clauses in said)] if len(said) > 1 else []
    seeds = []
    for run in result.runs:
        seed = judged.get(run.seed)
        if seed and seed.clauses:
            own = [text for text in map(str, seed.clauses) if text not in common]
            outcome = "kept" if seed.kept else "broken"
            counts = result.verdict is None or result.verdict.counts(seed)
            seeds.append(_Seed(seed=run.seed, outcome=outcome if counts else "not counted", clauses=tuple(own)))
        else:
            reason = f": {run.reason}" if run.reason else ""
            text = f"{run.status}, {len(run.epochs)} of {run.planned} epochs{reason}"
            seeds.append(_Seed(seed=run.seed, outcome="not counted", clauses=(text,)))
    return tuple(seeds), tuple(common)


def _overview(contract: Contract, results: Sequence[RungResult]) -> Figure | None:
    """The ladder's picture, if anything was measured or published."""
    picture = plots.ladder_picture(
        contract,
        [(r.rung, r.trace.parameters, [run for run in r.runs if run.ended]) for r in results],
    )
    if not any(point.worst or point.published is not None for point in picture.points):
        return None
    hollow = any(point.published is not None for point in picture.points)
    return Figure(
        name="ladder",
        caption=(
            "Each dot is a rung: the mean over its seeds, with a whisker from the lowest to the highest seed. "
            + ("Hollow dots are published values. " if hollow else "")
            + "The accuracy axis is logarithmic in the error. Rungs of nearly the same size stand side by side."
        ),
        svg=plots.draw_ladder(picture, width=_WIDE),
        narrow=plots.draw_ladder(picture, width=_NARROW),
    )


def _curves(name: str, result: RungResult, contract: Contract, summary: Summary) -> tuple[Figure, ...]:
    """Accuracy and loss over epochs."""
    if not any(run.epochs for run in summary.ended):
        return ()
    curves = plots.curves(summary.ended, contract, result.rung.published)
    if summary.finished > 1:
        lines = f"Thin: each seed. Thick: mean of {summary.finished} seeds, in a band from the lowest to the highest."
    else:
        lines = "One seed." if len(summary.ended) == 1 else f"{len(summary.ended)} seeds."
    stopped = len(summary.ended) - summary.finished
    lines += f" A cross: a seed whose loss was no longer a number ({stopped})." if stopped else ""
    dashed = " Dashed: as published, test dark and train grey." if curves.published else ""
    last = "the last epoch" if curves.last == 1 else f"the last {curves.last} epochs"
    but = " where every image is drawn once" if result.rung.recipe.hard(1) else ""
    return (
        Figure(
            name=f"{name}-accuracy",
            caption=f"Accuracy, on an axis logarithmic in the error. {lines}{dashed} Shaded: {last}, which are judged.",
            svg=plots.draw_accuracy(curves),
        ),
        Figure(
            name=f"{name}-loss",
            caption=f"Loss, mean per image, on a logarithmic axis. Train numbers are measured during the epoch{but}.",
            svg=plots.draw_loss(curves),
        ),
    )


def _answers(name: str, ended: Sequence[Run], pictures: Pictures | None, mistakes: int) -> tuple[Figure, ...]:
    """Confusion matrix and worst images of the first seed that kept its answers to these very images."""
    if pictures is None:
        return ()
    kept = ((run, run.answers()) for run in ended)
    found = next(((run, answers) for run, answers in kept if answers and _fits(answers, pictures)), None)
    if found is None:
        return ()
    run, answers = found
    confusion, worst = gallery.confusion(answers, pictures), gallery.worst_images(answers, pictures, most=mistakes)
    wrong, shown = int(confusion.wrong.sum()), len(worst.index_N)
    which = f"The {shown} with the highest loss of" if shown < wrong else "All"
    figures = [
        Figure(
            name=f"{name}-confusion",
            caption=f"Seed {run.seed}: {wrong:,} of {len(pictures.labels_N):,} test images wrong. Shaded: mistakes.",
            svg=gallery.draw_confusion(confusion),
        )
    ]
    if shown:
        caption = (
            f"Seed {run.seed}: {which} {wrong:,} wrong images, worst first: the true class → what it was taken for."
        )
        figures.append(Figure(name=f"{name}-worst", caption=caption, svg=gallery.draw_worst(worst)))
    return tuple(figures)


def _fits(answers: Arrays, pictures: Pictures) -> bool:
    """Whether a run's answers are one for each of these images."""
    return len(answers["predicted"]) == len(pictures.labels_N)


def _machines(results: Sequence[RungResult]) -> list[str]:
    """Where the runs were trained, each place once."""
    places = {place for result in results for run in result.runs if run.ended for place in run.environments}
    return sorted(
        {
            f"smallprint {place.smallprint}, torch {place.torch}, {place.device}, "
            f"{place.threads} {'thread' if place.threads == 1 else 'threads'}"
            + (f", {place.way} step" if place.way else "")
            for place in places
        }
    )
