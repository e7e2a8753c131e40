"""A search on the embedded digits: real trainings, real candidates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from smallprint.climb import RungJudged, climb
from smallprint.jobs.job import EpochEnded, RunEnded
from smallprint.results.holding import HeldError, Hold
from smallprint.search import (
    CandidateDrawn,
    MarginLearnt,
    SearchEnded,
    SearchEvent,
    SearchStarted,
    search,
    search_folder,
)
from smallprint.searching.candidate import START
from smallprint.searching.race import Found, Judged, Race
from smallprint.spec.errors import RunError, SearchError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset, held_out, load_dataset
from smallprint.views.documents import record_document, record_text

LADDER = """
title = "Easy"
dataset = "digits"
[contract]
accuracy = ">= 60%"
last_epochs = 1
parameters = "< 2000"
epochs = "<= 4"
certainty = "60% of seeds, 80% confidence"
[recipe]
optimiser = "sgd lr=0.2 momentum=0.9"
schedule = "cosine"
epochs = 4
[[rung]]
name = "start"
network = "after conv: batchnorm relu; conv3-8,pad=1 maxpool conv3-16 gap conv1-10,bare"
"""


@pytest.fixture(scope="module")
def easy() -> Ladder:
    return parse_ladder(LADDER, name="easy")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def searched(ladder: Ladder, digits: Dataset, runs: Path, *, budget: float, **more: object) -> Iterator[SearchEvent]:
    return search(ladder, "start", budget=budget, runs=runs, dataset=digits, workers=1, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def events(easy: Ladder, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[SearchEvent]:
    """Those of a whole search."""
    return list(searched(easy, digits, tmp_path_factory.mktemp("search"), budget=600, candidates=4))


def found_in(events: list[SearchEvent]) -> Found:
    last = events[-1]
    assert isinstance(last, SearchEnded)
    return last.found


def test_it_begins_with_what_it_looks_for_and_ends_with_what_it_found(events: list[SearchEvent]) -> None:
    first = events[0]
    assert isinstance(first, SearchStarted)
    assert (first.ceiling, first.spent, first.candidates) == (1_432, 0, ())
    found = found_in(events)
    assert found.best is not None
    assert found.best.amount <= first.ceiling


def test_what_is_found_keeps_what_held_out_images_must_show_over_several_seeds(events: list[SearchEvent]) -> None:
    found = found_in(events)
    assert found.keeps
    assert found.best
    shown = found.best.shown[-1]
    assert len(shown.errors) >= 3
    assert 1 - shown.error >= found.margin.needed


def test_nothing_is_trained_or_judged_on_a_test_image(events: list[SearchEvent], digits: Dataset) -> None:
    parts = held_out(digits)
    totals = {(e.epoch.train_total, e.epoch.test_total) for e in events if isinstance(e, EpochEnded)}
    assert totals == {(parts.facts.train, parts.facts.test)}


def test_every_candidate_that_is_judged_was_drawn_and_one_that_goes_on_is_judged_again(
    events: list[SearchEvent],
) -> None:
    drawn = [event.candidate.number for event in events if isinstance(event, CandidateDrawn)]
    assert drawn == list(range(len(drawn)))
    judged = [event.candidate.number for event in events if isinstance(event, Judged)]
    assert set(judged) <= {START, *drawn}
    assert judged.count(START) == 3


def test_the_margin_is_learnt_from_the_starting_rung(events: list[SearchEvent]) -> None:
    learnt = [event.margin for event in events if isinstance(event, MarginLearnt)]
    assert learnt[-1].seeds == 2
    assert found_in(events).margin == learnt[-1]


OTHER = """
[[rung]]
name = "other"
network = "after conv: batchnorm relu; conv3-8,pad=1 maxpool conv3-12 gap conv1-10,bare"
"""


def test_the_margin_is_learnt_from_a_record_too_whose_rung_is_trained_for_held_out_images(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["smallprint.search"], "_MANY", 3)
    ladder = parse_ladder(LADDER + OTHER, name="easy")
    climbed = list(climb(ladder, seeds=3, runs=tmp_path / "there", dataset=digits))
    results = [event.result for event in climbed if isinstance(event, RungJudged)]
    record = tmp_path / "record.json"
    record.write_text(record_text(record_document(ladder, results, "smallprint climb easy --seeds 3")))
    events = list(searched(ladder, digits, tmp_path / "here", budget=600, candidates=1, records=[record]))
    ended = [event.job for event in events if isinstance(event, RunEnded)]
    assert [job.seed for job in ended if job.rung.name == "related-other"] == [0, 1]
    learnt = found_in(events).margin
    assert (learnt.rungs, learnt.guessed) == (2, False)
    started = events[0]
    assert isinstance(started, SearchStarted)
    assert started.margin.seeds == sum(len(result.runs) - 1 for result in results)


def test_a_record_of_another_ladder_is_refused_before_anything_is_trained(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    record = tmp_path / "record.json"
    record.write_text(record_text(record_document(replace(easy, name="hard"), [], "smallprint climb hard")))
    with pytest.raises(RunError, match="a record of no rung that the ladder easy has now"):
        next(iter(searched(easy, digits, tmp_path, budget=60, records=[record])))
    assert not any(tmp_path.rglob("seed-*"))


def test_a_search_that_was_stopped_goes_on_with_what_it_has(easy: Ladder, digits: Dataset, tmp_path: Path) -> None:
    judged = []
    with closing(searched(easy, digits, tmp_path, budget=600)) as first:  # type: ignore[type-var]
        for event in first:
            if isinstance(event, Judged) and event.candidate.number != START:
                judged.append(event.candidate)
                if len(judged) == 2:
                    break
    again = list(searched(easy, digits, tmp_path, budget=0.5))
    started = again[0]
    assert isinstance(started, SearchStarted)
    assert started.spent > 0
    kept = {one.number: one for one in started.candidates}
    for one in judged:
        assert kept[one.number].shown[: len(one.shown)] == one.shown
    assert not any(isinstance(event, CandidateDrawn) for event in again), "its time is up"
    assert found_in(again).candidates[0].number == START


def test_a_search_whose_time_is_up_asks_for_no_more_than_before(easy: Ladder, digits: Dataset, tmp_path: Path) -> None:
    first = found_in(list(searched(easy, digits, tmp_path, budget=600, candidates=1)))
    again = list(searched(easy, digits, tmp_path, budget=0.01))
    assert isinstance(again[0], SearchStarted)
    assert first.margin.seeds > 0, "the starting rung's seeds have told of the noise"
    assert again[0].margin == first.margin
    assert found_in(again) == first


def test_another_search_from_the_same_rung_trains_that_rung_no_second_time(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    def starts(**more: object) -> list[RunEnded]:
        events = searched(easy, digits, tmp_path, budget=600, candidates=1, **more)
        ended = [event for event in events if isinstance(event, RunEnded)]
        return [event for event in ended if event.job.rung.name.startswith("start")]

    first, second = starts(), starts(ceiling=1500)
    assert not any(event.reused for event in first)
    assert all(event.reused for event in second)
    assert [event.run.epochs for event in second] == [event.run.epochs for event in first]


def test_two_searches_at_once_in_one_folder_are_one_too_many(easy: Ladder, digits: Dataset, tmp_path: Path) -> None:
    folder = search_folder(tmp_path, easy, "start", "parameters", None, None)
    with Hold(folder / "study.db"), pytest.raises(HeldError, match="held by"):
        next(iter(searched(easy, digits, tmp_path, budget=60)))


def test_a_budget_that_is_too_small_is_said_once_a_training_has_been_timed(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=r"too small: the starting rung.* say --budget [0-9]+m"):
        list(searched(easy, digits, tmp_path, budget=0.01))


def test_it_is_said_too_where_the_starting_rung_has_been_trained_by_another_search(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    list(searched(easy, digits, tmp_path, budget=600, candidates=1))
    with pytest.raises(SearchError, match="too small: the starting rung"):
        list(searched(easy, digits, tmp_path, budget=0.01, ceiling=1500))


def test_a_changed_contract_is_another_search_and_nothing_is_lost(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    with closing(searched(easy, digits, tmp_path, budget=600)) as first:  # type: ignore[type-var]
        next(event for event in first if isinstance(event, Judged))
    other = replace(easy, contract=easy.contract.amend("accuracy >= 70%"))
    study = search_folder(tmp_path, easy, "start", "parameters", None, None) / "study.db"
    before = study.read_bytes()
    with pytest.raises(SearchError, match="of another search: its contract is"):
        next(iter(searched(other, digits, tmp_path, budget=600)))
    assert study.read_bytes() == before


def test_a_ceiling_below_any_network_is_said_before_anything_is_trained(
    easy: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match="no network is as small"):
        next(iter(searched(easy, digits, tmp_path, budget=60, ceiling=20)))
    assert not any(tmp_path.rglob("seed-*"))


def test_where_every_candidate_diverges_nothing_is_found_and_that_is_all(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smallprint.searching.recipes._RATES", {"sgd": 1e30, "adamw": 1e30})
    wild = parse_ladder(LADDER.replace("lr=0.2", "lr=1e30"), name="wild")
    ended = found_in(list(searched(wild, digits, tmp_path, budget=600, candidates=2)))
    assert len(ended.candidates) == 3
    assert all(one.shown[-1].diverged for one in ended.candidates)
    assert (ended.best, ended.keeps, ended.front) == (None, False, ())


def test_where_nothing_new_is_left_to_draw_the_search_ends_before_its_time(
    easy: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Race, "twin", lambda race, _: race.candidates[START])
    monkeypatch.setattr(import_module("smallprint.search"), "_MOST_TWINS", 5)  # the package has its function there
    ended = found_in(list(searched(easy, digits, tmp_path, budget=3600)))
    assert {one.why for one in ended.candidates if one.number != START} == {"the same as start"}
