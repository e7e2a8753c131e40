"""Trainings of one job, whole or left after an epoch."""

from __future__ import annotations

from smallprint.jobs.alone import train
from smallprint.jobs.job import EpochEnded, Job, RunEnded, Terms
from smallprint.training.data import Dataset


def trained(job: Job, digits: Dataset, terms: Terms) -> RunEnded:
    *_, ended = train(job, digits, terms)
    assert isinstance(ended, RunEnded)
    return ended


def interrupted(job: Job, digits: Dataset, terms: Terms) -> EpochEnded:
    """Train one epoch and go."""
    events = train(job, digits, terms)
    first = next(event for event in events if isinstance(event, EpochEnded))
    events.close()  # type: ignore[attr-defined]
    return first
