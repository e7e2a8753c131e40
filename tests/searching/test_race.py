"""Candidates at their levels: which jobs there are, and what becomes of each."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from smallprint.jobs.job import Backlog, Job, RunEnded, RunLeft, RunStopped
from smallprint.results.runs import Environment, Epoch, Run
from smallprint.searching.candidate import START, Candidate
from smallprint.searching.margin import Margin
from smallprint.searching.race import Judged, Race
from smallprint.spec.ladder_file import parse_ladder
from tests.searching.candidates import LADDER, candidate, ladder

IMAGES = 1000
HERE = Environment(smallprint="0", python="3", torch="2", numpy="2", platform="any", device="cpu", threads=1)
MARGIN = Margin(  # needed: 91.6%
    promised=0.90, offset=0, offset_noise=0, noise=0.01, rate=0.9, rungs=1, seeds=0
)


def race() -> Race:
    return Race(ladder(), ladder().rungs[0], 1500, IMAGES, MARGIN)


def epochs(job: Job, right: int, most: int = 99) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1,
              test_correct=right, test_total=IMAGES, seconds=1)
        for number in range(1, min(most, job.rung.recipe.epochs) + 1)
    )  # fmt: skip


def ended(job: Job, right: int, status: str = "finished") -> RunEnded:
    run = Run(
        ladder="candidates", rung=job.rung.name, seed=job.seed, status=status, identity="", data="", parameters=1,
        macs=1, planned=job.rung.recipe.epochs, environment=HERE, epochs=epochs(job, right),
    )  # fmt: skip
    return RunEnded(job=job, run=run, reused=False)


def through(race: Race, one: Candidate, *rights: int) -> Judged:
    """Let a candidate go through levels, with so many right images in each."""
    jobs, judged = race.enter(one), None
    for right in rights:
        for job in jobs:
            judged = race.hear(ended(job, right))
        assert judged
        jobs = race.go_on(judged.candidate) if judged.goes_on else []
    assert judged
    return judged


def test_a_candidate_begins_with_a_short_training_of_one_seed() -> None:
    (job,) = race().enter(candidate(7, 1000))
    assert job.rung.name == "start-3-epochs"
    assert (job.rung.recipe.epochs, job.seed, job.threshold) == (3, 0, None)
    assert job.ladder.name == "candidates"


def test_at_full_length_it_stops_where_it_can_no_longer_keep_the_contract() -> None:
    running = race()
    through(running, candidate(1, 1000), 800, 900)
    (job,) = running._laps[1].jobs
    assert job.rung.name == "start"
    assert job.threshold
    assert (job.threshold.since, job.threshold.correct) == (11, 900)
    judged = running.hear(RunStopped(job=job, epochs=epochs(job, 899, 11)))
    assert judged
    assert (judged.goes_on, judged.candidate.fate) == (False, "dropped")
    assert judged.candidate.why == "it could no longer keep the contract"
    assert judged.candidate.shown[-1].errors[0] == pytest.approx(0.101)


def test_nothing_is_stopped_by_a_margin_that_is_still_a_guess() -> None:
    running = Race(ladder(), ladder().rungs[0], 1500, IMAGES, replace(MARGIN, rungs=0))
    through(running, candidate(1, 1000), 800, 900)
    (job,) = running._laps[1].jobs
    assert job.rung.name == "start"
    assert job.threshold is None


def test_the_best_goes_through_every_level_and_is_found() -> None:
    running = race()
    judged = through(running, candidate(1, 1000), 800, 900, 930, 940, 950)
    assert judged.candidate.fate == "tested"
    assert [len(shown.errors) for shown in judged.candidate.shown] == [1, 1, 1, 3, 8]
    assert judged.candidate.shown[-1].errors == pytest.approx((0.07, *[0.06] * 2, *[0.05] * 5))
    found = running.found()
    assert found.keeps
    assert found.best == judged.candidate


def test_a_level_that_fails_early_gives_back_what_need_not_be_trained() -> None:
    running = race()
    through(running, candidate(1, 1000), 800, 900, 930)
    jobs = running._laps[1].jobs
    judged = running.hear(ended(jobs[0], 0, "diverged"))
    assert judged
    assert judged.left == jobs[1:]
    assert judged.candidate.why == "it diverged"
    assert running.hear(ended(jobs[1], 950)) is None


def test_a_training_that_fails_leaves_its_candidate_in_the_race() -> None:
    running = race()
    (job,) = running.enter(candidate(1, 1000))
    judged = running.hear(RunLeft(job=job, reason="gone", held=False))
    assert judged
    assert judged.lost
    assert (judged.goes_on, judged.candidate.fate, judged.candidate.shown) == (False, "racing", ())


def test_what_was_shown_before_is_not_shown_again() -> None:
    running = race()
    jobs = running.enter(candidate(1, 1000, (0.2,), (0.1,), (0.05,)))
    assert [job.seed for job in jobs] == [1, 2]
    assert running.enter(replace(candidate(2, 1000, (0.2,)), fate="dropped")) == []


def test_the_starting_rung_is_measured_whatever_it_shows_and_is_never_found() -> None:
    running = race()
    judged = through(running, running.candidates[START], 500, 500, 950, 950)
    assert judged.level.seeds == 3
    assert sorted(running.start_runs) == [0, 1, 2]
    found = running.found()
    assert (found.best, found.keeps) == (None, False)
    assert found.front == (judged.candidate,)


def test_the_smallest_that_keeps_it_is_found_not_the_best() -> None:
    running = race()
    for number, (amount, right) in enumerate([(1200, 940), (800, 935), (500, 930)]):
        through(running, candidate(number, amount), 800, 900, right, right)
    found = running.found()
    assert found.keeps
    assert found.best
    assert found.best.amount == 500
    assert [one.amount for one in found.front] == [500, 800, 1200]


def test_where_none_keeps_it_the_one_that_misses_least_is_the_nearest() -> None:
    running = race()
    for number, (amount, right) in enumerate([(1200, 912), (300, 890), (1000, 912)]):
        through(running, candidate(number, amount), 800, 900, right, right)
    found = running.found()
    assert not found.keeps
    assert found.best
    assert found.best.number == 2


def test_two_seeds_are_not_enough_to_be_found() -> None:
    running = race()
    through(running, candidate(0, 500), 800, 900, 990)
    assert not running.found().keeps


def test_the_same_network_and_recipe_is_known_again() -> None:
    running = race()
    other = parse_ladder(LADDER.replace("conv3-8 gap", "conv3-7 gap"), name="small").rungs[0]
    assert running.twin(candidate(1, 1000)) == running.candidates[START]
    assert running.twin(candidate(1, 1000, rung=other)) is None


def test_a_twin_has_no_offspring_and_counts_once() -> None:
    running = race()
    for number, right in enumerate((930, 925, 920)):
        through(running, candidate(number, 1000), 800, 900, right)
    rank = running.outlook.rank(running.candidates[2], 2)
    for number in range(3, 9):
        shown = running.candidates[0].shown
        running.candidates[number] = replace(candidate(number, 1000), shown=shown, fate="dropped", twin_of=0)
    assert running.outlook.rank(running.candidates[2], 2) == rank
    draw = Random(0)
    assert {one.number for _ in range(100) if (one := running.parent(draw))} == {0, 1, 2}


def test_a_teacher_that_is_called_like_the_starting_rung_trains_beside_it() -> None:
    small = """
[[rung]]
name = "small"
network = "after conv: batchnorm relu; conv3-4 gap conv1-10,bare"
recipe.loss = "distilled start"
"""
    of = parse_ladder(LADDER + small, name="small")
    running = Race(of, of.rung("small"), 300, IMAGES, MARGIN)
    judged = through(running, running.candidates[START], 500, 500)
    (job,) = running.go_on(judged.candidate)
    assert (job.rung.name, job.rung.network) == ("start", of.rung("small").network)
    assert job.teacher
    assert job.teacher.rung.network == of.rung("start").network
    assert len(Backlog([job])) == 2
    assert Backlog([job]).take() == job.teacher
    assert job.hash("") == Job(ladder=of, rung=of.rung("small"), seed=0).hash("")
    assert running.hear(ended(job.teacher, 990)) is None
    assert running.whose(job.teacher) is None
    assert running.start_runs == {}


def test_one_with_few_epochs_goes_from_its_only_short_training_to_its_full_length() -> None:
    running = race()
    rung = replace(ladder().rungs[0], recipe=replace(ladder().rungs[0].recipe, epochs=5))
    judged = through(running, candidate(1, 1000, rung=rung), 800, 930, 930)
    assert [(shown.level, len(shown.errors)) for shown in judged.candidate.shown] == [(1, 1), (2, 1), (3, 3)]
    assert running.found().keeps


def test_amounts_are_asked_for_around_where_the_best_would_just_keep_it() -> None:
    running, draw = race(), Random(0)
    assert running.target(draw, 100, 2000) is None
    for number, amount in enumerate((740, 720, 700)):
        through(running, candidate(number, amount), 800, 900, 916)
    drawn = [running.target(draw, 100, 2000) for _ in range(400)]
    amounts = sorted(amount for amount in drawn if amount is not None)
    assert 100 < len(amounts) < 300
    assert 600 < amounts[len(amounts) // 2] < 800
    assert all(100 <= amount <= 2000 for amount in amounts)
