from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts, Split
from smallprint.spec.errors import DataError, LadderError, SmallprintError
from smallprint.spec.ladder import Ladder, Published, Rung
from smallprint.spec.ladder_file import parse_ladder, read_ladder, shipped

DATASETS_KNOWN = ", ".join(DATASETS)
TEXT = '''\
title   = "Two small ones"
dataset = "digits"

[contract]
accuracy    = ">= 90%"
last_epochs = 2

[recipe]
optimiser = "sgd lr=0.1"
epochs    = 3

[[rung]]
name    = "first"
target  = "Begin."
network = """
after conv3: relu

conv3-8
gap
conv1-10
"""

[[rung]]
name    = "second"
target  = "Normalise."
network = """
after conv3: batchnorm relu

conv3-8
gap
conv1-10
"""
[rung.recipe]
schedule = "cosine"
[rung.published]
parameters = 168
test       = [50.0, 60, 70.5]
'''


def fails(text: str) -> str:
    with pytest.raises(LadderError) as caught:
        parse_ladder(text, name="small")
    return str(caught.value)


def test_a_ladder_reads_whole() -> None:
    ladder = parse_ladder(TEXT, name="small")
    assert (ladder.name, ladder.title, ladder.dataset) == ("small", "Two small ones", "digits")
    assert [rung.name for rung in ladder.rungs] == ["first", "second"]
    assert ladder.rungs[1].recipe.sentences()["schedule"] == "cosine"
    assert ladder.rungs[0].recipe.sentences()["schedule"] == "constant"
    assert ladder.rungs[1].published == Published(parameters=168, test=(50.0, 60.0, 70.5))
    assert ladder.trace(ladder.rungs[1]).parameters == 168


def test_every_shipped_ladder_reads_and_its_published_counts_are_ours() -> None:
    assert "progressive" in shipped()
    for name in shipped():
        ladder = read_ladder(name)
        for rung in ladder.rungs:
            if rung.published and rung.published.parameters:
                assert ladder.trace(rung).parameters == rung.published.parameters, rung.name


TAUGHT = TEXT.replace('schedule = "cosine"', 'loss = "distilled first share=90%"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TAUGHT.replace("distilled first", "distilled frist"),
         "small.toml:34: no rung is called 'frist'; known: first; did you mean 'first'?"),
        (TAUGHT.replace("distilled first", "distilled second"),
         "small.toml:34: the teacher 'second' is taught itself; a teacher learns from the labels alone"),
        (TAUGHT.replace("conv1-10", "conv1-12", 1),
         "small.toml:34: the teacher 'first' answers with 12 values, and 'second' with 10; both need the same number"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_teach_is_a_fault_of_the_loss(text: str, message: str) -> None:
    assert fails(text) == message


OWN = DatasetFacts(
    name="photos", title="photos: data of your own", input_shape=(3, 8, 8), classes=("cat", "<b>", "ä"), train=8, test=2
)
PHOTOS = TEXT.replace('"digits"', '"photos"\nsplit = "25% test, seed 7"')


def test_a_ladder_asks_for_the_facts_of_data_that_is_not_known_by_name(tmp_path: Path) -> None:
    asked = []

    def facts_of(data: DataPlace) -> DatasetFacts:
        asked.append(data)
        return OWN

    ladder = parse_ladder(PHOTOS, name="own", folder=tmp_path, facts_of=facts_of)
    assert asked == [ladder.data]
    assert ladder.data.path == tmp_path / "photos"
    assert (ladder.dataset, ladder.facts, ladder.data.split) == ("photos", OWN, Split(percent=25.0, seed=7))
    assert ladder.trace(ladder.rungs[0]).input_shape == (3, 8, 8)


def test_faults_of_data_stand_beside_all_others_with_their_line() -> None:
    def refuse(data: DataPlace) -> DatasetFacts:
        raise DataError("photos/cat/1.png: damaged or cut off")

    with pytest.raises(LadderError) as caught:
        parse_ladder(PHOTOS.replace("cosine", "cosin"), name="own", facts_of=refuse)
    assert str(caught.value).startswith(
        "own.toml:2: photos/cat/1.png: damaged or cut off\nown.toml:35: no schedule is called 'cosin'"
    )


def test_all_faults_of_a_file_come_in_one_message_with_their_lines() -> None:
    broken = (
        TEXT.replace('"digits"', '"digit"').replace(">= 90%", ">= 101%").replace("epochs    = 3", 'epohs     = "3"')
        .replace("gap\nconv1-10", "gap maxpol\nconv1-10", 1).replace('"second"', '"first"')
        .replace('"cosine"', '"cosine warmup=5"').replace("168", "-1").replace("60,", "160,")
    )  # fmt: skip
    assert fails(broken) == "\n".join([
        "small.toml:2: no data set is called 'digit'; known: "
        f"{DATASETS_KNOWN}, or the path of your own; did you mean 'digits'?",
        "small.toml:5: nobody can keep this: accuracy ends at 100%, but '>= 101%' asks for more",
        "small.toml:10: no recipe key is called 'epohs'; known: optimiser, schedule, batch, epochs, "
        "sampling, augment, average, loss; "
        "did you mean 'epochs'?",
        "small.toml:19: no layer is called 'maxpol'; did you mean 'maxpool'?",
        "    known: conv<k>-<width>, depthwise<k>, linear-<width>, flatten, maxpool, maxpool<k>, "
        "avgpool<k>, gap, batchnorm, batchnorm,noscale, "
        "relu, leakyrelu=0.2, silu, hardswish, gelu, tanh, dropout=5%, dropout2d=10%",
        "    gap maxpol",
        "        ^^^^^^",
        "small.toml:24: two rungs are called 'first'; each needs its own name",
        "small.toml:34: warmup needs its unit, as in 5%; found '5'",
        "    cosine warmup=5",
        "                  ^",
        "small.toml:36: parameters is a count such as 7864",
        "small.toml:37: test is a list of percentages, one per epoch",
    ])  # fmt: skip


ONE = '[contract]\naccuracy = ">= 90%"\n[recipe]\noptimiser = "sgd lr=0.1"\n[[rung]]\nname = "a"\n'
NET = 'network = "gap conv1-10"\n'
ROOT = 'dataset = "digits"\n'
KNOWN = "title, dataset, split, facts, contract, recipe, rung"
BAD = [
    (f'{ROOT}titel = "x"\n{ONE}{NET}', f"x.toml:2: a ladder has no key 'titel'; known: {KNOWN}; did you mean 'title'?"),
    (f"{ONE}{NET}", f"x.toml:1: a ladder needs its dataset; known: {DATASETS_KNOWN}, or the path of your own"),
    (f"dataset = 5\n{ONE}{NET}", "x.toml:1: dataset is a text in quotes"),
    ('dataset = "digits"\n[contract]\naccuracy = ">= 9%"', "x.toml:1: a ladder needs at least one [[rung]]"),
    ('dataset = "digits"\nrung = 5\n[contract]\naccuracy = ">= 9%"', "x.toml:2: a ladder needs at least one [[rung]]"),
    (
        f"{ROOT}[[rung]]\n{NET}name='a'\nrecipe.optimiser = 'sgd lr=1'",
        'x.toml:1: a contract needs an accuracy, such as: accuracy = ">= 99.4%"',
    ),
    (f"{ROOT}{ONE}", "x.toml:6: a rung needs its network"),
    (f"{ROOT}{ONE}network = 5\n", "x.toml:8: network is a text in quotes"),
    (
        f"{ROOT}{ONE}{NET}name_ = 5",
        "x.toml:9: a rung has no key 'name_'; known: name, target, network, recipe, published; did you mean 'name'?",
    ),
    (
        ROOT + ONE.replace('"a"', '"A b"') + NET,
        "x.toml:7: a rung needs a name of a-z, 0-9, '.', '_' and '-', not 'A b'",
    ),
    (ROOT + ONE.replace('name = "a"', "") + NET, "x.toml:6: a rung needs its name"),
    (
        ROOT + ONE.replace("optimiser", "batch = 9 #") + NET,
        'x.toml:6: a recipe needs an optimiser, such as: optimiser = "sgd lr=0.01 momentum=0.9"',
    ),
    (
        ROOT + "recipe = 5\n" + ONE.replace("[recipe]\noptimiser", "#") + NET + 'recipe.optimiser = "sgd lr=1"',
        "x.toml:2: recipe is a table: [recipe]",
    ),
    (f"{ROOT}{ONE}{NET}[rung.published]\nbest_test = 101", "x.toml:10: best_test is a percentage such as 99.48"),
    (f"{ROOT}{ONE}{NET}published = 5", "x.toml:9: published is a table: [published]"),
    (
        f"{ROOT}{ONE}network = '''\n\nconv3-8\ngap conv1-9'''",
        "x.toml:11: the last layer leaves 9 values for 10 classes; it needs at least 10\n    gap conv1-9"
        "\n        ^^^^^^^",
    ),
    (
        f"{ROOT}{ONE}network = '''conv3-8\ngap conv1-9'''",
        "x.toml:9: the last layer leaves 9 values for 10 classes; it needs at least 10\n    gap conv1-9"
        "\n        ^^^^^^^",
    ),
    (
        f"{ROOT}{ONE}network = '''  \ngap conv1-9'''",
        "x.toml:9: the last layer leaves 9 values for 10 classes; it needs at least 10\n    gap conv1-9"
        "\n        ^^^^^^^",
    ),
    (
        f"{ROOT}{ONE}network = '''\r\ngap conv1-9'''",
        "x.toml:9: the last layer leaves 9 values for 10 classes; it needs at least 10\n    gap conv1-9"
        "\n        ^^^^^^^",
    ),
    (f'{ROOT}split = "20%"\n{ONE}{NET}', "x.toml:2: a split reads '20% test, seed 0', not '20%'"),
    (
        f'{ROOT}split = "20% test, seed 0"\n{ONE}{NET}',
        "x.toml:2: digits has test images of its own: leave the split out",
    ),
    (f"{ROOT}split = 5\n{ONE}{NET}", "x.toml:2: split is a text in quotes"),
    (f"{ROOT}[facts]\n{ONE}{NET}", "x.toml:2: digits is known by name: leave [facts] out"),
    ('dataset = "own"\nfacts = 5\n' + ONE + NET, "x.toml:2: facts is a table: [facts]"),
    (
        'dataset = "own"\n[facts]\n' + ONE + NET,
        "x.toml:2: input is channels x height x width, as in '1x28x28'\n"
        "x.toml:2: classes is a list of two or more names, each its own\n"
        "x.toml:2: train is a count of images such as 1200\n"
        "x.toml:2: test is a count of images such as 1200",
    ),
    (
        'dataset = "own"\n[facts]\ninput = "8x8"\nclasses = ["a", "b"]\ntrain = 5\n' + ONE + NET,
        "x.toml:2: test is a count of images such as 1200\n"
        "x.toml:3: input is channels x height x width, as in '1x28x28'",
    ),
    ("x = [1,\n", "x.toml: not TOML: Invalid value (at end of document)"),
    ("a = 1\na = 2\n", "x.toml: not TOML: Cannot overwrite a value (at line 2, column 6)"),
    ("a = " + "9" * 5000, "x.toml: not TOML: a number has thousands of digits"),
    ("a = " + "[" * 5000, "x.toml: not TOML: brackets within brackets, too deep to read"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_a_ladder_that_does_not_read_says_where_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(LadderError) as caught:
        parse_ladder(text, name="x")
    assert str(caught.value) == message


def test_a_fault_that_rungs_share_is_said_once_even_if_the_first_rung_overrides_it() -> None:
    text = TEXT.replace('"sgd lr=0.1"', '"sdg lr=0.1"')
    shared = (
        "small.toml:9: no optimiser is called 'sdg'; known: sgd, adam, adamw, muon; did you mean 'sgd'?"
        "\n    sdg lr=0.1\n    ^^^"
    )
    assert fails(text) == shared
    first = text.replace(
        '\n[[rung]]\nname    = "second"', '[rung.recipe]\noptimiser = "sgd lr=0.2"\n[[rung]]\nname    = "second"'
    )
    assert fails(first) == shared
    both = first.replace('schedule = "cosine"', 'optimiser = "sgd lr=0.3"')
    assert len(parse_ladder(both, name="small").rungs) == 2  # a shared key that nobody uses is nobody's fault


def test_a_line_that_only_looks_like_a_table_does_not_move_the_lines_of_faults() -> None:
    text = TEXT.replace("test       = [50.0, 60, 70.5]", "test = [50.0,\n60,\n70.5]\ntrain = [1,\n  2,\n]\nnote = 5")
    assert fails(text) == "small.toml:43: note is a text in quotes"


def test_a_ladder_is_read_by_its_path_and_called_by_its_file_name(tmp_path: Path) -> None:
    path = tmp_path / "My-Ladder.toml"
    path.write_text(TEXT, encoding="utf-8")
    assert read_ladder(path) == read_ladder(str(path)) == parse_ladder(TEXT, name="my-ladder")
    path.write_text(TEXT.replace("digits", "digit"), encoding="utf-8")
    with pytest.raises(LadderError, match=f"^{re.escape(str(path))}:2: no data set is called 'digit'"):
        read_ladder(path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("progresive", r"no ladder is called 'progresive'; shipped: .*progressive.*; did you mean 'progressive'\?"),
        ("nowhere/x.toml", r"nowhere/x\.toml: cannot be read: No such file or directory"),
        ("a\0b", r"no ladder is called 'a\\x00b'; shipped: .*"),
        ("a\0b.toml", r"a\0b\.toml: cannot be read: no file can have this name"),
        ("x" * 5000, r"x{5000}: cannot be read: File name too long"),
    ],
)  # fmt: skip
def test_a_ladder_that_is_not_there_says_which_there_are(where: str, message: str) -> None:
    with pytest.raises(LadderError) as caught:
        read_ladder(where)
    assert re.fullmatch(message, str(caught.value))


def test_a_ladder_file_that_is_named_without_its_ending_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(LadderError, match=rf"; did you mean the file '{re.escape(str(tmp_path))}/mine\.toml'\?$"):
        read_ladder(str(tmp_path / "mine"))


def test_a_folder_and_a_file_that_is_no_text_are_no_ladders(tmp_path: Path) -> None:
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b'title = "\xff"')
    spaced = tmp_path / "a b.toml"
    spaced.write_text(TEXT, encoding="utf-8")
    for path, message in (
        (folder, f"{folder}: is a folder; name the ladder file in it"),
        (binary, f"{binary}: not a text file in UTF-8"),
        (spaced, f"{spaced}: a ladder's file name is made of a-z, 0-9, '.', '_' and '-'; found 'a b'"),
    ):
        with pytest.raises(LadderError) as caught:
            read_ladder(path)
        assert str(caught.value) == message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_ladder_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.toml"
    path.write_text(TEXT, encoding="utf-8")
    path.chmod(0)
    with pytest.raises(LadderError, match=r": cannot be read: Permission denied$"):
        read_ladder(path)


# --- no text makes it fail in another way ---------------------------------------------------------------------------

PIECES = st.sampled_from((
    "[", "]", "[[rung]]", "[rung.recipe]", "[recipe]", "[contract]", "=", '"', "'", '"""', "'''", "#", "\n",
    "\r\n", ".", ",",
    "{}", "{a = 1}", "0x" + "f" * 5000, "9" * 5000, "nan", "-inf", "true", "1979-05-27", "[[1], 2]", "network",
    "name", "rung",
    "published", "conv3-8", "\x00", "\x7f", "\u2028", " ", "\t",
))  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = TEXT
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(PIECES | st.text(max_size=3)) + text[end:]
    return text


@settings(max_examples=600, deadline=None)
@example("a = [\n[" + " " * 20_000 + "\n1]]")
@example(TEXT.replace("epochs    = 3", "epochs = 0x" + "f" * 5000))
@example(TEXT.replace('"second"', "0x" + "f" * 5000).replace('"Begin."', "0x" + "f" * 5000))
@example(TEXT.replace(">= 90%", ">= " + "9" * 5000 + "%"))
@given(st.text() | mutated())
def test_no_text_makes_a_ladder_fail_in_any_other_way_than_with_a_message(text: str) -> None:
    try:
        ladder = parse_ladder(text, name="fuzz")
        for rung in ladder.rungs:
            assert parse_ladder(ladder.only(rung), name="fuzz").identity(rung) == ladder.identity(rung)
    except SmallprintError as fault:
        assert str(fault).startswith("fuzz.toml:")


VALUES = st.recursive(
    st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
RUNGS = st.lists(st.dictionaries(st.sampled_from(Rung.KEYS), VALUES, max_size=5), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(Ladder.KEYS), VALUES), RUNGS)
def test_no_value_of_any_type_makes_a_ladder_fail_in_any_other_way(
    said: dict[str, object], rungs: list[object]
) -> None:
    with pytest.raises(LadderError):
        parse_ladder(tomli_w.dumps({**said, "rung": rungs} if rungs else said), name="fuzz")
