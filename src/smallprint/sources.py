"""Ladders, data and stored runs, as the commands find them on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smallprint.console import busy, say_fault
from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts
from smallprint.spec.errors import DataError

if TYPE_CHECKING:
    from smallprint.results.assessment import RungResult
    from smallprint.spec.ladder import Ladder
    from smallprint.spec.ladder_file import FactsOf
    from smallprint.training.data import Dataset
    from smallprint.views.gallery import Pictures


def first_ladder(data: Path | None) -> tuple[Ladder, Dataset]:
    """The ladder that is climbed when none is named, with its data."""
    from smallprint.spec.ladder_file import read_ladder

    ladder = read_ladder("progressive")
    try:
        return ladder, load(ladder.data, data)
    except DataError as fault:
        if data is not None:
            raise
        reason = str(fault).split(" (http", 1)[0]
        typer.echo(f"{reason}: climbing the embedded 'digits' instead ('smallprint data mnist' says more).", err=True)
        return read_ladder("digits"), load(DataPlace(said="digits"), None)


def facts_of_data(data: Path | None = None, runs: Path | None = None) -> FactsOf:
    """How a ladder learns shape and classes of your own data; of data that is gone, from the runs that are stored."""

    def facts_of(place: DataPlace) -> DatasetFacts:
        """Read them, or take them from what runs have kept."""
        from smallprint.training.facts import read_facts

        try:
            with nullcontext() if place.known else busy(f"reading {place.name}"):
                return read_facts(place, data)
        except DataError:
            from smallprint.results.kept import kept_data

            if runs and not place.known and (kept := kept_data(runs, place)):
                return kept.facts
            raise

    return facts_of


def load(place: DataPlace, data: Path | None) -> Dataset:
    """A data set, read or fetched, which is said where somebody watches."""
    from smallprint.training.data import find_dataset, load_dataset

    here = not place.known or not DATASETS[place.said].origin or find_dataset(place.said, data)
    with busy(f"{'reading' if here else 'fetching'} {place.name}"):
        return load_dataset(place, data)


def load_if_here(place: DataPlace, data: Path | None) -> Dataset | None:
    """A data set for a report's pictures; without it there are none, and nothing is downloaded for them."""
    from smallprint.training.data import find_dataset, load_dataset

    name = place.name
    try:
        if data is None and place.known and DATASETS[name].origin and not find_dataset(name):
            raise DataError(f"{name} is not on this machine ('smallprint data {name}' fetches it)")
        return load_dataset(place, data)
    except DataError as fault:
        say_fault(f"the report is written without pictures of the images: {fault}")
        return None


def assess_here(ladder: Ladder, runs: Path, dataset: Dataset | None = None) -> tuple[RungResult, ...]:
    """All rungs from their stored runs; those that were trained on other data than is there now do not count."""
    from smallprint.results.assessment import assess_stored

    data = dataset.fingerprint if dataset else None
    if data is None and not ladder.data.known:
        from smallprint.results.kept import kept_data
        from smallprint.training.data.own import own_fingerprint

        try:
            data = own_fingerprint(ladder.data)
        except DataError:
            kept = kept_data(runs, ladder.data)
            data = kept.fingerprint if kept else None
    return assess_stored(ladder, runs, data=data)


def say_not_counted(ladder: Ladder, results: Sequence[RungResult]) -> None:
    """Which stored runs are left out, and what would train what is missing; nothing where all count."""
    from smallprint.results.assessment import why_not_counted
    from smallprint.results.certification import FIRST

    if why := why_not_counted(ladder, results):
        climbed = [seed for result in results for seed in result.other_data if seed < FIRST]
        how = f"climb' with --seeds {1 + max(climbed)}" if climbed else "certify'"
        say_fault(f"{why}; 'smallprint {how} trains what is missing")


def pictures_of(dataset: Dataset) -> Pictures:
    """The test images, as figures take them."""
    from smallprint.views.gallery import Pictures

    return Pictures(
        images_NCHW=dataset.test_pictures(), labels_N=dataset.test_labels_N, class_names=dataset.facts.classes
    )


def report_here(
    ladder: Ladder, results: Sequence[RungResult], folder: Path, dataset: Dataset | None, *, mistakes: int = 24
) -> tuple[Path, Path]:
    """Write the report of a ladder, with the pictures that the data at hand allows."""
    from smallprint.views.report import write_report

    pictures = pictures_of(dataset) if dataset else None
    return write_report(ladder, results, folder, pictures, mistakes=mistakes)
