from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smallprint.results.assessment import assess
from smallprint.results.record import counted, joined, read_record, recorded
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import judge
from smallprint.spec.contract import Certainty
from smallprint.spec.errors import RunError
from smallprint.spec.ladder_file import parse_ladder, read_ladder
from smallprint.views.documents import record_document


def test_a_record_keeps_every_number_and_judges_like_the_runs(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-adam")
    runs = [make_run([99.0] * 10 + [99.41] * 5, rung=rung.name), make_run([99.3] * 15, rung=rung.name, seed=1)]
    document = record_document(ladder, [assess(ladder, rung, runs)], "smallprint climb progressive --seeds 2")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(document))
    record = read_record(path)
    assert record.ladder == "progressive"
    assert record.contract == ladder.contract
    assert record.command == "smallprint climb progressive --seeds 2"
    (kept,) = record.rungs
    assert [run.epochs for run in kept.runs] == [run.epochs for run in runs]
    assert judge(record.contract, kept.runs) == judge(ladder.contract, runs)


def test_a_record_keeps_what_each_stretch_of_a_run_was_trained_with(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-adam")
    run, steady = make_run([99.41] * 15, rung=rung.name), make_run([99.41] * 15, rung=rung.name, seed=1)
    there = replace(run.environment, torch="2.14.0")
    mixed = replace(run.going_on(run.epochs[:4], there), epochs=run.epochs, status="finished")
    document = record_document(ladder, [assess(ladder, rung, [mixed, steady])], "smallprint climb progressive")
    assert document["made_with"]["torch"] == ["2.13.0", "2.14.0"]
    (kept,) = document["rungs"]
    assert ["earlier" in said for said in kept["runs"]] == [True, False]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(document))
    (kept,) = read_record(path).rungs
    assert [read.earlier for read in kept.runs] == [mixed.earlier, ()]
    document["rungs"][0]["runs"][0]["earlier"] = [{"until": "four"}]
    path.write_text(json.dumps(document))
    with pytest.raises(RunError, match="not a record"):
        read_record(path)


def certified(make_run, folder: Path) -> tuple[Path, dict[str, Any]]:  # type: ignore[no-untyped-def]
    """A record of a rung whose first two fresh seeds broke their promise; a third was trained ahead."""
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-adam")
    runs = [make_run([99.3] * 15, rung=rung.name, seed=seed) for seed in (1000, 1001, 1002)]
    certificate = Certificate(certainty=Certainty(), first_seed=1000, passed=0, of=2)
    result = assess(ladder, rung, runs, certificate=certificate)
    document = record_document(ladder, [result], "smallprint certify progressive:steplr-adam")
    path = folder / "record.json"
    path.write_text(json.dumps(document))
    return path, document


def test_a_certified_rung_is_recorded_with_its_whole_text_and_its_certificate(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    path, document = certified(make_run, tmp_path)
    (said,) = document["rungs"]
    assert {key: said["certificate"][key] for key in ("outcome", "passed", "of", "first_seed", "looked")} == {
        "outcome": "refuted", "passed": 0, "of": 2, "first_seed": 1000, "looked": 2,
    }  # fmt: skip
    assert said["certificate"]["rate_at_most"] < 0.95
    (kept,) = read_record(path).rungs
    assert kept.certificate == Certificate(certainty=Certainty(), first_seed=1000, passed=0, of=2)
    ladder = parse_ladder(kept.text, name="progressive")
    rung = ladder.rung("steplr-adam")
    shipped = read_ladder("progressive")
    assert ladder.identity(rung) == shipped.identity(shipped.rung("steplr-adam"))
    assert [run.seed for run in kept.runs] == [1000, 1001, 1002]


def test_a_record_without_a_certificate_has_none(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    path, document = certified(make_run, tmp_path)
    document["rungs"][0]["certificate"] = None
    path.write_text(json.dumps(document))
    (kept,) = read_record(path).rungs
    assert kept.certificate is None


@pytest.mark.parametrize("claim", [{"outcome": "certified"}, {"passed": 1}, {"of": 3}, {"first_seed": 1001}])
def test_a_certificate_that_its_own_runs_do_not_bear_out_is_refused(  # type: ignore[no-untyped-def]
    tmp_path: Path, make_run, claim: dict[str, Any]
) -> None:
    path, document = certified(make_run, tmp_path)
    document["rungs"][0]["certificate"] |= claim
    if "first_seed" in claim:
        document["rungs"][0]["runs"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(RunError, match="not a record: its runs do not say what the certificate does"):
        read_record(path)


def test_what_is_stored_here_joins_what_a_record_knows_of_other_seeds(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-adam")
    there = [make_run([99.0] * 15, rung=rung.name, seed=seed) for seed in (0, 2)]
    there = [replace(run, environment=replace(run.environment, platform="elsewhere")) for run in there]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record_document(ladder, [assess(ladder, rung, there)], "smallprint climb")))
    here = [make_run([99.4] * 15, rung=rung.name, seed=seed) for seed in (0, 1)]
    results = [assess(ladder, other, here if other == rung else ()) for other in ladder.rungs]
    found, left_out = joined(path, ladder, results)
    assert left_out == ()
    assert [len(result.runs) for result in found if result.rung != rung] == [0] * (len(ladder.rungs) - 1)
    (both,) = (result for result in found if result.rung == rung)
    assert [(run.seed, run.epochs) for run in both.runs] == [
        (0, here[0].epochs), (1, here[1].epochs), (2, there[1].epochs),
    ]  # fmt: skip
    document = record_document(ladder, found, "smallprint climb")
    assert document["made_with"]["platform"] == sorted({"elsewhere", here[0].environment.platform})
    path.write_text(json.dumps(document))
    once_more, _ = joined(path, ladder, results)
    assert record_document(ladder, once_more, "smallprint climb") == document


def test_no_record_adds_nothing_and_one_of_another_ladder_is_refused(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    ladder, path = read_ladder("progressive"), tmp_path / "record.json"
    results = (assess(ladder, ladder.rungs[0], [make_run([99.0] * 15, rung=ladder.rungs[0].name)]),)
    assert joined(path, ladder, results) == (results, ())
    path.write_text(json.dumps(record_document(ladder, results, "smallprint climb")))
    with pytest.raises(RunError, match="a record of the ladder progressive, not of digits"):
        joined(path, read_ladder("digits"), ())


def test_what_a_record_knows_of_a_rung_that_has_changed_is_left_out(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    ladder, path = read_ladder("progressive"), tmp_path / "record.json"
    rung = ladder.rungs[0]
    runs = [make_run([99.0] * 15, rung=rung.name)]
    path.write_text(json.dumps(record_document(ladder, [assess(ladder, rung, runs)], "smallprint climb")))
    longer = replace(rung, recipe=replace(rung.recipe, epochs=14))
    changed = replace(ladder, rungs=(longer, *ladder.rungs[1:]))
    found, left_out = joined(path, changed, [assess(changed, longer, ())])
    assert [result.runs for result in found] == [()]
    assert left_out == (rung.name,)


def test_what_a_record_knows_of_a_pupil_is_left_out_once_its_teacher_has_changed(  # type: ignore[no-untyped-def]
    tiny_text: str, tmp_path: Path, make_run
) -> None:
    taught = '\n[[rung]]\nname = "pupil"\nnetwork = "conv3-4 gap conv1-10"\n[rung.recipe]\nloss = "distilled base"\n'
    ladder, path = parse_ladder(tiny_text + taught, name="tiny"), tmp_path / "record.json"
    base, pupil = ladder.rung("base"), ladder.rung("pupil")
    results = [assess(ladder, rung, [make_run([99.0] * 2, rung=rung.name)]) for rung in (base, pupil)]
    path.write_text(json.dumps(record_document(ladder, results, "smallprint climb")))
    assert set(recorded(path, ladder)) == {"base", "pupil"}
    teacher = replace(base, recipe=replace(base.recipe, epochs=3))
    changed = replace(ladder, rungs=tuple(teacher if rung == base else rung for rung in ladder.rungs))
    found, left_out = joined(path, changed, [assess(changed, pupil, ())])
    assert [result.runs for result in found] == [()]
    assert left_out == ("base", "pupil")
    with pytest.raises(RunError, match="a record of no rung that the ladder tiny has now"):
        recorded(path, changed)


def test_a_certificate_stays_when_what_it_rests_on_is_stored_no_more(tmp_path: Path, make_run) -> None:  # type: ignore[no-untyped-def]
    path, document = certified(make_run, tmp_path)
    ladder = read_ladder("progressive")
    (found,), _ = joined(path, ladder, [assess(ladder, ladder.rung("steplr-adam"), ())])
    again = record_document(ladder, [found], "smallprint certify progressive:steplr-adam")
    assert again["rungs"] == document["rungs"]


def test_a_certification_does_not_go_on_from_a_record_of_more_than_its_own_certificate(  # type: ignore[no-untyped-def]
    tmp_path: Path, make_run
) -> None:
    ladder, path = read_ladder("progressive"), tmp_path / "record.json"
    results = [assess(ladder, rung, [make_run([99.0] * 15, rung=rung.name)]) for rung in ladder.rungs[-2:]]
    for some in (results, results[1:]):
        path.write_text(json.dumps(record_document(ladder, some, "smallprint climb progressive")))
        with pytest.raises(RunError, match="a record of more than the certificate of steplr-adam-light-dropout"):
            counted(path, ladder, ladder.rungs[-1])


def test_a_record_of_own_data_tells_nothing_of_the_images_that_are_there_now(  # type: ignore[no-untyped-def]
    tiny_text: str, tmp_path: Path, make_run
) -> None:
    ladder, path = parse_ladder(tiny_text, name="tiny"), tmp_path / "record.json"
    result = assess(ladder, ladder.rung("base"), [make_run([99.0] * 2, rung="base")])
    path.write_text(json.dumps(record_document(ladder, [result], "smallprint climb")))
    own = replace(ladder, data=replace(ladder.data, said="images"))
    with pytest.raises(RunError, match="does not say which images of your own it is of"):
        recorded(path, own)
    assert joined(path, own, []) == ((), ())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("made_with",), "x"),
        (("rungs", 0, "runs", 0, "epochs", 0), [1, 2]),
        (("rungs", 0, "runs", 0, "epochs", 0, "test_total"), 0),
        (("rungs", 0, "runs", 0, "epochs", 0, "test_correct"), 20_000),
    ],
)
def test_a_damaged_record_is_said_to_be_none(  # type: ignore[no-untyped-def]
    tmp_path: Path, make_run, place: tuple[str | int, ...], value: object
) -> None:
    ladder, path = read_ladder("progressive"), tmp_path / "record.json"
    result = assess(ladder, ladder.rungs[0], [make_run([99.0] * 15, rung=ladder.rungs[0].name)])
    document = json.loads(json.dumps(record_document(ladder, [result], "smallprint climb progressive")))
    inside = document
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"record\.json: not a record"):
        read_record(path)


@pytest.mark.parametrize(
    "content", ["", "{}", "[" * 100_000, "[]", '{"made_with": {}, "rungs": [], "ladder": "x", "contract": {}}']
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(RunError, match=r"record\.json: not a record"):
        read_record(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_record(tmp_path / "none.json")
