from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.spec.dataset import DataPlace, DatasetFacts, Split
from smallprint.spec.errors import LadderError
from smallprint.spec.ladder import Ladder, Rung, diff
from smallprint.spec.ladder_file import parse_ladder, read_ladder, shipped
from tests.spec.test_ladder_file import OWN, PHOTOS, TAUGHT, TEXT


def test_what_a_run_keeps_of_a_rung_reads_back_as_that_rung() -> None:
    for name in shipped():
        ladder = read_ladder(name)
        for rung in ladder.rungs:
            alone = parse_ladder(ladder.only(rung), name=name)
            *teachers, read = alone.rungs
            assert [one.name for one in teachers] == ([rung.recipe.teacher] if rung.recipe.teacher else [])
            assert (read.name, read.target, read.network, read.recipe) == (
                rung.name, rung.target, rung.network, rung.recipe,
            )  # fmt: skip
            assert alone.contract == ladder.contract
            assert alone.identity(read) == ladder.identity(rung)
            assert alone.only(read) == ladder.only(rung)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_any_title_and_target_survive_what_a_run_keeps(title: str, target: str) -> None:
    base = parse_ladder(TEXT, name="small")
    title, target = (text.replace("\r\n", "\n") for text in (title, target))  # a line's end is a line's end
    rung = Rung(name="x", target=target, network=base.rungs[0].network, recipe=base.rungs[0].recipe)
    ladder = replace(base, title=title, rungs=(rung,))
    assert parse_ladder(ladder.only(rung), name="small") == ladder


def test_other_words_for_the_same_rung_have_the_same_identity_and_other_numbers_another() -> None:
    ladder = parse_ladder(TEXT, name="small")
    same = TEXT.replace("conv3-8\n", "conv3-8,pad=0,stride=1  # why\n").replace('"sgd lr=0.1"', '"sgd  lr=1e-1"')
    other = parse_ladder(same.replace("Begin.", "Start."), name="other")
    assert [other.identity(rung) for rung in other.rungs] == [ladder.identity(rung) for rung in ladder.rungs]
    assert len({ladder.identity(rung) for rung in ladder.rungs}) == 2
    for before, after in (("conv3-8", "conv3-9"), ("lr=0.1", "lr=0.2"), ("epochs    = 3", "epochs    = 4")):
        changed = parse_ladder(TEXT.replace(before, after), name="small")
        assert changed.identity(changed.rungs[0]) != ladder.identity(ladder.rungs[0])


def test_what_teaches_a_rung_belongs_to_its_identity_by_what_it_is_and_not_by_its_name() -> None:
    ladder = parse_ladder(TAUGHT, name="small")
    first, second = ladder.rungs
    assert (ladder.teacher(first), ladder.teacher(second)) == (None, first)
    renamed = parse_ladder(TAUGHT.replace('"first"', '"1st"').replace("distilled first", "distilled 1st"), name="small")
    assert renamed.identity(renamed.rungs[1]) == ladder.identity(second)
    for before, after in (("relu\n\nconv3-8", "tanh\n\nconv3-8"), ("share=90%", "share=80%"), ("share", "each share")):
        changed = parse_ladder(TAUGHT.replace(before, after, 1), name="small")
        assert changed.identity(changed.rungs[1]) != ladder.identity(second)


def test_a_run_keeps_the_teacher_beside_the_rung() -> None:
    ladder = parse_ladder(TAUGHT, name="small")
    kept = parse_ladder(ladder.only(ladder.rungs[1]), name="small")
    assert [rung.name for rung in kept.rungs] == ["first", "second"]
    assert kept.identity(kept.rungs[1]) == ladder.identity(ladder.rungs[1])


def test_a_taught_rung_leans_on_its_teachers_size_and_on_the_epochs_of_both() -> None:
    ladder = parse_ladder(TAUGHT, name="small")
    first, second = ladder.rungs
    assert ladder.taught(first) is None
    taught = ladder.taught(second)
    assert taught == (
        "first", ladder.trace(first).parameters, first.recipe.epochs, first.recipe.epochs + second.recipe.epochs
    )  # fmt: skip
    assert str(taught) == "taught by first (152 parameters, 3 epochs), 6 epochs together"


def test_a_rung_is_found_by_its_name_or_the_nearest_is_guessed() -> None:
    ladder = parse_ladder(TEXT, name="small")
    assert ladder.rung("second") is ladder.rungs[1]
    with pytest.raises(LadderError) as caught:
        ladder.rung("secnd")
    assert str(caught.value) == "small has no rung 'secnd'; it has first, second; did you mean 'second'?"


def test_a_diff_shows_what_changed_and_nothing_else() -> None:
    ladder = parse_ladder(TEXT, name="small")
    found = diff(ladder, *ladder.rungs)
    assert found.network == (
        "-after conv3: relu", "+after conv3: batchnorm relu", " ", " conv3-8", " gap", " conv1-10",
    )  # fmt: skip
    assert found.recipe == (("schedule", "constant", "cosine"),)
    assert found.parameters == (152, 168)
    assert found.macs == (2_672, 2_672)
    same = diff(ladder, ladder.rungs[0], ladder.rungs[0])
    assert same.recipe == ()
    assert all(line.startswith(" ") for line in same.network)


# --- data of your own -----------------------------------------------------------------------------------------------


def test_what_a_run_keeps_of_data_of_your_own_reads_without_it_and_names_no_folder_of_the_machine() -> None:
    for said, kept in (("photos", "photos"), ("../data/photos", "../data/photos"), ("/home/me/photos", "photos")):
        ladder = parse_ladder(PHOTOS.replace('"photos"', f'"{said}"'), name="own", facts_of=lambda _: OWN)
        for rung in ladder.rungs:
            alone = parse_ladder(ladder.only(rung), name="own")
            assert alone.facts == replace(OWN, name=kept, title=f"{kept}: data of your own")
            assert alone.data == DataPlace(said=kept, split=Split(percent=25.0, seed=7))
            assert alone.identity(alone.rungs[0]) == ladder.identity(rung)
            assert alone.only(alone.rungs[0]) == ladder.only(rung)
            assert "/home" not in ladder.only(rung)


def test_the_identity_of_a_rung_hangs_on_shape_and_not_on_where_the_data_is() -> None:
    def ladder(said: str, facts: DatasetFacts) -> Ladder:
        return parse_ladder(PHOTOS.replace('"photos"', f'"{said}"'), name="own", facts_of=lambda _: facts)

    one, other, larger = ladder("a", OWN), ladder("b/c", OWN), ladder("a", replace(OWN, input_shape=(3, 9, 8)))
    assert one.identity(one.rungs[0]) == other.identity(other.rungs[0])
    assert one.identity(one.rungs[0]) != larger.identity(larger.rungs[0])


def test_data_that_was_read_is_checked_against_what_the_ladder_was_written_for() -> None:
    ladder = parse_ladder(PHOTOS, name="own", facts_of=lambda _: OWN)
    ladder.check(replace(OWN, name="x", train=5_000))
    with pytest.raises(LadderError, match=r"^own is written for images of 3 x 8 x 8; x has 1 x 8 x 8$"):
        ladder.check(replace(OWN, name="x", input_shape=(1, 8, 8)))
    with pytest.raises(LadderError, match=r"^own is written for the classes cat, <b>, ä; x has cat, dog$"):
        ladder.check(replace(OWN, name="x", classes=("cat", "dog")))


# --- faults ---------------------------------------------------------------------------------------------------------
