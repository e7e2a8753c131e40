"""Which jobs there are to do, and in which order."""

from __future__ import annotations

from smallprint.jobs.job import (
    Backlog,
    Job,
    RunLeft,
    with_teachers,
)
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder


def test_a_backlog_hands_out_what_is_held_once_more_behind_all_others(tiny: Ladder) -> None:
    first, second, third = (Job(ladder=tiny, rung=tiny.rungs[0], seed=seed) for seed in range(3))
    backlog = Backlog([first, second, third])
    held = RunLeft(job=first, reason="held", held=True)
    assert backlog.take() == first
    assert backlog.takes_back(held)
    assert not backlog.takes_back(RunLeft(job=second, reason="damaged", held=False))
    assert backlog.take() == second
    backlog.put_back(second)
    assert [backlog.take() for _ in range(3)] == [second, third, first]
    assert not backlog.takes_back(held)
    assert not backlog


def test_jobs_may_be_added_on_the_way_but_none_is_done_twice(tiny: Ladder) -> None:
    first, second = (Job(ladder=tiny, rung=tiny.rungs[0], seed=seed) for seed in range(2))
    backlog = Backlog()
    assert not backlog
    backlog.add([first])
    assert backlog.take() == first
    backlog.add([first, second])
    assert backlog.take() == second
    assert not backlog


def _taught(tiny_text: str, loss: str) -> Ladder:
    network = '\n[[rung]]\nname = "taught"\nnetwork = "conv3-4 gap conv1-10"\n'
    return parse_ladder(f'{tiny_text}{network}[rung.recipe]\nloss = "{loss}"\n', name="tiny")


def test_a_pupil_brings_its_teacher_along_and_waits_for_it(tiny_text: str) -> None:
    ladder = _taught(tiny_text, "distilled base")
    base, taught = ladder.rung("base"), ladder.rung("taught")
    pupils = [Job(ladder=ladder, rung=taught, seed=seed) for seed in (1, 2)]
    jobs = with_teachers(pupils)
    teacher = Job(ladder=ladder, rung=base, seed=0)
    assert jobs == (teacher, *pupils)
    assert with_teachers([*pupils, teacher]) == (*pupils, teacher)
    backlog = Backlog([*pupils, teacher])
    assert backlog.take() == teacher
    assert backlog.take() is None
    backlog.takes_back(RunLeft(job=teacher, reason="gone", held=False))
    assert [backlog.take(), backlog.take()] == pupils
    assert not backlog


def test_every_seed_may_have_its_own_teacher(tiny_text: str) -> None:
    ladder = _taught(tiny_text, "distilled base each")
    jobs = with_teachers([Job(ladder=ladder, rung=ladder.rung("taught"), seed=seed) for seed in (1, 2)])
    assert [job.name for job in jobs] == [("base", 1), ("taught", 1), ("base", 2), ("taught", 2)]


def test_jobs_of_a_rung_are_taken_together_but_none_before_its_teacher(tiny_text: str) -> None:
    ladder = _taught(tiny_text, "distilled base each")
    jobs = with_teachers([Job(ladder=ladder, rung=ladder.rung("taught"), seed=seed) for seed in range(3)])
    backlog = Backlog(jobs)
    teachers = backlog.take_alike(2)
    assert [job.name for job in teachers] == [("base", 0), ("base", 1)]
    backlog.takes_back(RunLeft(job=teachers[1], reason="gone", held=False))
    assert [job.name for job in backlog.take_alike(5)] == [("taught", 1)]
    assert [job.name for job in backlog.take_alike(5)] == [("base", 2)]
    assert backlog.take_alike(5) == []
