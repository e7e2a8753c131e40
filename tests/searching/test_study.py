"""Candidates in Optuna's store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from smallprint.results.runs import DiskError
from smallprint.searching.candidate import Shown
from smallprint.searching.goal import Goal
from smallprint.searching.space import Space
from smallprint.searching.study import Study
from smallprint.spec.errors import SearchError
from tests.searching.candidates import ladder

IDENTITY = {"contract": "a promise", "space": "1"}


@pytest.fixture
def space() -> Space:
    return Space(ladder(), ladder().rungs[0], Goal())


def opened(path: Path, space: Space, identity: Mapping[str, str] = IDENTITY) -> Study:
    study = Study(path / "study.db", identity)
    study.begin(space, seed=0)
    return study


def test_what_is_asked_lies_in_the_space_and_is_stored_at_once(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)
    asked = [study.ask() for _ in range(8)]
    assert all(space.floor <= one.amount <= space.ceiling for one in asked)
    assert [one.number for one in asked] == list(range(8))
    assert opened(tmp_path, space).candidates() == asked


def test_an_amount_that_is_asked_for_is_drawn_once_no_starting_point_is_left(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)
    for _ in space.starts():
        study.ask(target=700)
    drawn = [study.ask(target=700).amount for _ in range(5)]
    assert all(600 < amount <= 730 for amount in drawn)
    assert len({study.ask().amount for _ in range(8)}) > 4


def test_what_a_candidate_has_shown_and_what_became_of_it_is_read_again(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)
    racing, dropped, tested = (study.ask() for _ in range(3))
    racing = racing.having(Shown(level=0, errors=(0.1,)))
    study.keep(racing, 900)
    dropped = replace(dropped.having(Shown(level=0, errors=(0.5,), stopped=True)), fate="dropped", why="too bad")
    study.tell(dropped, 5000, 7.0)
    tested = replace(
        tested.having(Shown(level=0, errors=(0.1,))).having(Shown(level=1, errors=(0.02, 0.03))), fate="tested"
    )
    study.tell(tested, 600, 0.9)
    again = opened(tmp_path, space)
    assert again.candidates() == [racing, dropped, tested]
    racing = replace(racing, fate="dropped", why="later")
    again.tell(racing, 950, 1.0)
    assert opened(tmp_path, space).candidates()[0] == racing


def test_a_process_that_ends_while_it_draws_or_tells_leaves_nothing_in_the_race(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(tmp_path, space)
    told = replace(study.ask().having(Shown(level=0, errors=(0.1,))), fate="dropped", why="too bad")
    with monkeypatch.context() as ending, pytest.raises(KeyboardInterrupt):
        ending.setattr(optuna.Trial, "set_constraint", _ended)
        study.tell(told, 900, 1.0)
    with monkeypatch.context() as ending, pytest.raises(KeyboardInterrupt):
        ending.setattr(optuna.Trial, "set_user_attr", _ended)
        study.ask()
    assert opened(tmp_path, space).candidates() == [told]
    loaded = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [trial.state.name for trial in loaded.trials[:2]] == ["PRUNED", "FAIL"]


def _ended(*_: object) -> None:
    raise KeyboardInterrupt


def test_optunas_own_tools_read_the_file(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)
    for worth in (900.0, 700.0):
        one = study.ask().having(Shown(level=0, errors=(0.1,)))
        study.tell(replace(one, fate="tested"), worth, 0.9)
    study.tell(replace(study.ask().having(Shown(level=0, errors=(0.1,))), fate="dropped"), 800.0, 9.0)
    loaded = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert loaded.best_value == 700
    assert [trial.state.name for trial in loaded.trials[:3]] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert loaded.trials[2].constraints == {"hopeless": 7.5}


def test_the_seconds_that_were_spent_are_kept(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)
    assert study.spent == 0
    study.spent = 12.5
    assert opened(tmp_path, space).spent == 12.5


def test_a_fact_is_found_once(tmp_path: Path, space: Space) -> None:
    assert opened(tmp_path, space).fact("rate", lambda: 3.5) == 3.5
    assert opened(tmp_path, space).fact("rate", lambda: pytest.fail("found twice")) == 3.5


def test_a_study_that_goes_on_does_not_draw_the_same_again(tmp_path: Path, space: Space) -> None:
    first = [opened(tmp_path, space).ask() for _ in range(len(space.starts()) + 3)]
    drawn = [(one.rung.network, one.rung.recipe) for one in first[-3:]]
    assert len(set(map(str, drawn))) == 3


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({"contract": "another promise"}, "of another search: its contract is 'a promise', not 'another promise'"),
        ({"space": "2"}, "written by another version"),
    ],
)
def test_a_study_of_another_search_is_refused_and_left_as_it_is(
    tmp_path: Path, space: Space, identity: dict[str, str], said: str
) -> None:
    opened(tmp_path, space).ask()
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(SearchError, match=said):
        opened(tmp_path, space, {**IDENTITY, **identity})
    assert (tmp_path / "study.db").read_bytes() == before


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_process_that_ends_while_it_begins_a_study_leaves_one_that_begins_again(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    write = optuna.storages.RDBStorage.set_study_user_attr
    written: list[object] = []
    queue = optuna.Study.enqueue_trial

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*said: object, **more: object) -> None:
            if len(written) == done:
                raise KeyboardInterrupt
            written.append(said)
            change(*said, **more)

        return changed

    with monkeypatch.context() as ending, suppress(KeyboardInterrupt):
        ending.setattr(optuna.storages.RDBStorage, "set_study_user_attr", counted(write))
        ending.setattr(optuna.Study, "enqueue_trial", counted(queue))
        opened(tmp_path, space)
    opened(tmp_path, space)
    trials = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    assert [trial.system_attrs["fixed_params"] for trial in trials] == [dict(genes) for genes in space.starts()]


def test_a_full_disk_is_no_reason_to_throw_a_study_away(tmp_path: Path, space: Space) -> None:
    study = opened(tmp_path, space)

    def full(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # the pages that are there stay

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", full)
    try:
        with pytest.raises(DiskError, match="cannot be written: database or disk is full"):
            limited = opened(tmp_path, space)
            for _ in range(200):
                limited.ask()
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", full)
    assert study.ask()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 40, b"SQLite format 3\0"])
def test_a_damaged_file_is_said_to_be(tmp_path: Path, space: Space, content: bytes) -> None:
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(SearchError, match="damaged, or no study"):
        opened(tmp_path, space)


def test_a_file_that_another_program_holds_is_said_to_be(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smallprint.searching.study._PATIENCE", 0.1)
    study = opened(tmp_path, space)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SearchError, match="another program holds it"):
        study.ask()
    holder.close()
    study.ask()
