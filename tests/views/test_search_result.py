"""What is said of a search: text that reads back, counts that add up, sentences that name what is missing."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from smallprint.searching.candidate import START, Candidate
from smallprint.searching.race import Found
from smallprint.spec.dataset import DataPlace
from smallprint.spec.ladder import Ladder, diff
from smallprint.spec.ladder_file import parse_ladder, read_ladder
from smallprint.spec.recipe import Recipe
from smallprint.views.search_documents import search_document
from smallprint.views.search_report import write_search_report
from smallprint.views.search_result import FILE, SearchResult, level_said
from smallprint.views.search_terminal import result_text
from tests.searches import CLIMB, MARGIN, drawn, raced, result, some
from tests.searching.candidates import LADDER, LEVELS, candidate, ladder


def found(*, keeps: bool = True) -> Found:
    return raced(*some(keeps=keeps)).found()


def taught(one: Candidate, teacher: str) -> Candidate:
    recipe = Recipe.parse({**one.rung.recipe.sentences(), "loss": f"distilled teacher={teacher}"})
    return replace(one, rung=replace(one.rung, recipe=recipe))


def test_the_text_pasted_into_the_ladder_file_is_the_rung_that_was_found(tmp_path: Path) -> None:
    said = result(tmp_path, found())
    pasted = parse_ladder(f"{LADDER}\n{said.text}", name="small").rung("start-500")
    assert pasted == said.rung
    assert (pasted.network, pasted.recipe) == (some()[1].rung.network, some()[1].rung.recipe)


def test_the_rung_says_which_command_found_it_among_how_many_and_what_it_reached(tmp_path: Path) -> None:
    for keeps, begin in ((True, "Found by"), (False, "Came nearest by")):
        rung = result(tmp_path, found(keeps=keeps)).rung
        assert rung
        accuracy = "94.12%" if keeps else "89.12%"
        assert rung.target == (
            f"{begin} `smallprint search small:start --budget 10m`, the best of 6 candidates (drawn with seed 7): "
            f"500 parameters, {accuracy} of 1,000 held-out training images over 8 seeds."
        )


def test_a_name_that_the_ladder_has_gets_a_number(tmp_path: Path) -> None:
    once = result(tmp_path, found())
    of = parse_ladder(f"{LADDER}\n{once.text}", name="small")
    again = result(tmp_path, raced(*some(), of=of).found(), of=of)
    assert again.rung and again.rung.name == "start-500-2"


def test_the_file_is_a_ladder_of_that_rung_alone_with_the_contract(tmp_path: Path) -> None:
    said = result(tmp_path, found())
    of = parse_ladder(said.file, name="found")
    assert of.rungs == (said.rung,)
    assert (of.contract, of.data, of.title) == (ladder().contract, ladder().data, ladder().title)


def pupil(folder: Path) -> SearchResult:
    """A search that found a rung which another of its ladder teaches."""
    of = parse_ladder(LADDER + '\n[[rung]]\nname = "large"\nnetwork = "conv3-16 gap conv1-10,bare"\n', name="small")
    return result(folder, raced(taught(some()[1], "large"), of=of).found(), of=of)


def test_the_file_of_a_rung_that_is_taught_brings_its_teacher(tmp_path: Path) -> None:
    said = pupil(tmp_path)
    assert parse_ladder(said.file, name="found").rungs == (said.ladder.rung("large"), said.rung)


def test_what_a_taught_rung_leans_on_is_said_wherever_it_is(tmp_path: Path) -> None:
    said = pupil(tmp_path)
    words = "taught by large (304 parameters, 15 epochs), 30 epochs together"
    assert str(said.taught) == words
    assert words in result_text(said).plain
    assert all(words in page.read_text(encoding="utf-8") for page in write_search_report(said))
    document = search_document(said)["found"]
    assert isinstance(document, dict) and document["taught"]["together"] == 30
    assert result(tmp_path, found()).taught is None


def test_the_file_names_own_data_from_where_it_lies(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "runs" / "deep"
    of = replace(ladder(), data=DataPlace(said="photos", folder=home))
    read = parse_ladder(result(folder, found(), of=of).file, name="found", folder=folder)
    assert read.data.path.resolve() == (home / "photos").resolve()
    assert read.facts.input_shape == ladder().facts.input_shape


def test_what_changed_is_the_ladders_own_diff(tmp_path: Path) -> None:
    said = result(tmp_path, found())
    assert said.rung
    of = replace(ladder(), rungs=(*ladder().rungs, said.rung))
    assert said.diff == diff(of, of.rung("start"), of.rung("start-500"))


def test_what_was_found_is_said_with_what_is_needed(tmp_path: Path) -> None:
    assert result(tmp_path, found()).verdict == (
        "found: 500 parameters, 94.12% of held-out images over 8 seeds, where 90.64% are needed"
    )


def test_what_misses_is_said_with_by_how_much(tmp_path: Path) -> None:
    assert result(tmp_path, found(keeps=False)).verdict == (
        "nothing found: 90.64% of held-out images over at least 3 seeds are needed; nearest is 500 parameters, "
        "89.12% over 8 seeds: misses by 1.52 points"
    )


def test_what_misses_by_next_to_nothing_is_not_said_to_miss_by_nothing(tmp_path: Path) -> None:
    said = result(tmp_path, found(keeps=False))
    needed = said.found.margin.needed
    nearly = drawn(0, 500, (0.3,), (0.2,), (0.2,), (1 - needed + 1e-5,) * 3)
    assert result(tmp_path, raced(nearly).found()).verdict.endswith("over 3 seeds: misses by less than 0.01 points")


def test_a_start_that_misses_too_is_told(tmp_path: Path) -> None:
    weak = candidate(START, 760, (0.3,), (0.2,), (0.5,), (0.5, 0.5, 0.5))
    verdict = result(tmp_path, raced(weak, *some(keeps=False)[1:]).found()).verdict
    assert verdict.endswith("misses by 1.52 points (the start itself reached 50.00%)")


def test_too_few_seeds_are_what_is_missing_where_the_accuracy_would_do(tmp_path: Path) -> None:
    one = drawn(0, 500, (0.3,), (0.2,), (0.01,))
    assert result(tmp_path, raced(one).found()).verdict.endswith("99.00% over 1 seed: it was trained with 1 seed only")
    one = drawn(0, 500, (0.3,), (0.2,), (0.2,))
    assert "misses by 10.64 points; it was trained with 1 seed only" in result(tmp_path, raced(one).found()).verdict


def test_a_search_in_which_nothing_got_through_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    said = result(tmp_path, raced(drawn(0, 500, (1.0,), why="it diverged")).found())
    assert said.verdict.startswith("nothing found: no candidate was trained at full length")
    assert (said.rung, said.text, said.diff) == (None, "", None)
    assert [step.command for step in said.next_steps] == [""]
    assert "--budget" in said.next_steps[0].said


def test_a_search_in_which_all_were_stopped_says_how_near_the_best_of_them_was(tmp_path: Path) -> None:
    weak = candidate(START, 760, (0.3,), (0.2,), (0.5,), (0.5, 0.5, 0.5))
    errors = ((0, 0.4), (1, 0.3))
    far = [drawn(number, 500, (0.5,), (0.5,), (error,)) for number, error in errors]
    stopped = [replace(one, shown=(*one.shown[:2], replace(one.shown[2], stopped=True))) for one in far]
    said = result(tmp_path, raced(weak, *stopped).found())
    assert said.rung is None
    assert said.verdict == (
        "nothing found: every candidate that was trained at full length was stopped, as it could no longer keep the "
        "contract; the best of them, 500 parameters, had 70.00%; held-out images must show 90.64% over at least 3 "
        "seeds (the start itself reached 50.00%)"
    )


def test_a_search_that_does_not_know_how_test_images_relate_says_how_it_would(tmp_path: Path) -> None:
    guessed = replace(MARGIN, rungs=0)
    for rivals, told in ((some(keeps=False), True), (some()[:1], True), (some(), False)):
        steps = result(tmp_path, raced(*rivals, margin=guessed).found()).next_steps
        assert any(step.command == CLIMB for step in steps) == told
    steps = result(tmp_path, found(keeps=False)).next_steps
    assert not any(step.command == CLIMB for step in steps)


@pytest.mark.parametrize("keeps", [True, False])
def test_the_command_that_judges_it_names_the_file_and_the_rung(tmp_path: Path, keeps: bool) -> None:
    said = result(tmp_path / "a b", found(keeps=keeps))
    commands = [step.command for step in said.next_steps if step.command]
    assert commands == [f"smallprint certify '{tmp_path}/a b/{FILE}:start-500'"]
    assert any("--budget" in step.said for step in said.next_steps)


def test_every_candidate_is_counted_once_at_each_level_it_was_trained_for(tmp_path: Path) -> None:
    said = result(tmp_path, found())
    assert [(row.said, row.trained, row.went_on, dict(row.dropped)) for row in said.reached] == [
        ("3 of 15 epochs", 5, 2, {"behind others": 1, "diverged": 1}),  # and one is still in the race
        ("7 of 15 epochs", 2, 2, {}),
        ("1 seed", 2, 1, {"behind others": 1}),
        ("3 seeds", 1, 1, {}),
        ("8 seeds", 1, 0, {}),
    ]
    assert (said.twins, len(said.drawn)) == (1, 6)


def test_short_levels_of_recipes_with_different_epochs_are_one_row(tmp_path: Path) -> None:
    one, other = drawn(0, 500, (0.3,)), drawn(1, 400, (0.3,))
    recipe = replace(other.rung.recipe, epochs=10)
    other = replace(other, rung=replace(other.rung, recipe=recipe))
    (row,) = result(tmp_path, raced(one, other).found(), goal="seconds").reached
    assert row.said == "2 to 3 of 10 to 15 epochs"


def test_a_level_is_said_for_a_person() -> None:
    assert [level_said(level) for level in LEVELS] == [
        "3 of 15 epochs",
        "7 of 15 epochs",
        "1 seed",
        "3 seeds",
        "8 seeds",
    ]


def test_a_rung_found_around_a_shipped_ladder_reads_in_its_very_file(tmp_path: Path) -> None:
    of: Ladder = read_ladder("digits")
    said: SearchResult = replace(result(tmp_path, found()), ladder=of, start=of.rung("quiet-end"))
    text = (resources.files("smallprint") / "ladders" / "digits.toml").read_text()
    assert parse_ladder(text + said.text, name="digits").rungs[-1] == said.rung
