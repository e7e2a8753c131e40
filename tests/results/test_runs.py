from __future__ import annotations

import errno
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.results.runs import (
    DiskError,
    Epoch,
    Run,
    Stretch,
    changing,
    prepare_to_write,
    read_run,
    read_runs,
    read_tensors,
    run_folder,
    stored_run,
    write_whole,
)
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError

MakeRun = Callable[..., Run]
ADVICE = "remove that run's folder and climb again: it is trained anew, the others are kept"
HEADER = "epoch,learning_rate,train_loss,train_correct,train_total,test_loss,test_correct,test_total,seconds"


@st.composite
def epochs(draw: st.DrawFn) -> tuple[Epoch, ...]:
    made = []
    for number in range(1, draw(st.integers(0, 5)) + 1):
        train_total, test_total = draw(st.integers(1, 10**9)), draw(st.integers(1, 10**9))
        made.append(
            Epoch(
                epoch=number,
                learning_rate=draw(st.floats()),
                train_loss=draw(st.floats()),
                train_correct=draw(st.integers(0, train_total)),
                train_total=train_total,
                test_loss=draw(st.floats()),
                test_correct=draw(st.integers(0, test_total)),
                test_total=test_total,
                seconds=draw(st.floats()),
            )
        )
    return tuple(made)


@settings(max_examples=60, deadline=None)
@given(epochs(), st.text(), st.integers(0, 2**63))
def test_a_run_survives_its_folder_to_the_last_bit(
    make_run: MakeRun, measured: tuple[Epoch, ...], reason: str, seed: int
) -> None:
    run = replace(make_run([99.0], seed=seed), epochs=measured, reason=reason, planned=max(1, len(measured)))
    run = replace(run, status="finished" if measured else "training")
    with tempfile.TemporaryDirectory() as root:
        folder = run_folder(Path(root), "fable", "small", seed)
        with RunWriter(folder) as writer:
            writer.begin(run, "title = 'x'\n")
        read = read_run(folder)
    assert repr(replace(read, folder=None)) == repr(run)  # in words, since nan is not equal to itself
    assert read.folder == folder
    assert read.hash == run.hash


def folder_of(run: Run) -> Path:
    assert run.folder is not None
    return run.folder


def test_answers_without_their_arrays_are_damaged(stored: Run) -> None:
    folder = folder_of(stored)
    (folder / "answers.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"answers\.safetensors: damaged; remove that run's folder"):
        stored.answers()


def test_the_hash_depends_on_all_that_decides_the_numbers_and_on_nothing_else(make_run: MakeRun) -> None:
    run = make_run([99.0])
    assert replace(run, ladder="other", rung="other", epochs=(), reason="x").hash == run.hash
    changed = [replace(run, identity="b" * 64), replace(run, data="e" * 64), replace(run, seed=1)]
    assert len({run.hash, *(other.hash for other in changed)}) == 4


def test_what_an_epoch_measured_in_shares(make_run: MakeRun) -> None:
    (epoch,) = make_run([99.25], [98.5]).epochs
    assert (epoch.test_accuracy, epoch.train_accuracy) == (0.9925, 0.985)
    assert epoch.gap == pytest.approx(-0.75)
    assert not epoch.diverged
    assert replace(epoch, train_loss=math.nan).diverged
    assert replace(epoch, train_loss=math.inf).diverged
    assert math.isnan(make_run([]).best_test)


def test_all_runs_of_a_rung_are_read_by_seed_and_only_those_of_the_same_identity(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for seed, identity in ((10, "a"), (2, "a"), (3, "b")):
        with RunWriter(run_folder(tmp_path, "fable", "small", seed)) as writer:
            writer.begin(make_run([99.0], seed=seed, identity=identity), "")
    (tmp_path / "fable" / "small" / "seed-7").mkdir()  # made, not yet begun
    assert [run.seed for run in read_runs(tmp_path, "fable", "small")] == [2, 3, 10]
    assert [run.seed for run in read_runs(tmp_path, "fable", "small", "a")] == [2, 10]
    assert read_runs(tmp_path, "fable", "nothing") == ()


# --- what each epoch was trained with -------------------------------------------------------------------------------


def test_a_run_that_goes_on_elsewhere_keeps_where_each_of_its_epochs_was_trained(make_run: MakeRun) -> None:
    run = make_run([97.0, 98.0, 98.5, 99.0], status="failed")
    here = run.environment
    there, elsewhere = replace(here, torch="3.0"), replace(here, threads=8)
    on = run.going_on(run.epochs[:2], there)
    assert (on.status, on.reason, on.epochs, on.environment) == ("training", "", run.epochs[:2], there)
    assert on.earlier == (Stretch(until=2, environment=here),)
    assert on.environments == (here, there)
    on = replace(on, epochs=run.epochs[:3]).going_on(run.epochs[:3], elsewhere)
    assert on.earlier == (Stretch(until=2, environment=here), Stretch(until=3, environment=there))
    again = replace(on, epochs=run.epochs).going_on(run.epochs, elsewhere)
    assert again.earlier == on.earlier  # the same place is the same stretch
    nothing_new = on.going_on(run.epochs[:3], here)
    assert nothing_new.earlier == on.earlier  # a process that trained no epoch has no stretch
    assert on.going_on((), here).earlier == ()  # from the first epoch on
    assert on.going_on(run.epochs[:1], here) == replace(on, epochs=run.epochs[:1], earlier=(), environment=here)


def test_stretches_are_kept_and_a_run_without_them_has_the_form_it_always_had(
    tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run([98.0, 99.0], status="training")
    mixed = run.going_on(run.epochs[:1], replace(run.environment, python="4.0.0"))
    with RunWriter(tmp_path / "seed-0") as writer:
        writer.begin(run, "")
        said = json.loads((writer.folder / "run.json").read_text(encoding="utf-8"))
        assert "earlier" not in said
        assert read_run(writer.folder) == run
        writer.keep(mixed)
        assert read_run(writer.folder) == mixed
        said = json.loads((writer.folder / "run.json").read_text(encoding="utf-8"))
        assert [(stretch["until"], stretch["environment"]["python"]) for stretch in said["earlier"]] == [(1, "3.11.7")]
        until_text = [{**said["earlier"][0], "until": "1"}]
        damages: tuple[object, ...] = (5, [5], [{}], [{"until": 1, "environment": {}}], until_text)
        for damage in damages:
            (writer.folder / "run.json").write_text(json.dumps({**said, "earlier": damage}), encoding="utf-8")
            assert fails(writer.folder) == f"{writer.folder / 'run.json'}: damaged; {ADVICE}"


def test_a_folder_of_before_there_were_stretches_and_ways_is_read(stored: Run) -> None:
    path = folder_of(stored) / "run.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    del said["environment"]["way"], said["environment"]["commit"]
    path.write_text(json.dumps(said), encoding="utf-8")
    assert read_run(path.parent) == stored


# --- damage ---------------------------------------------------------------------------------------------------------


def fails(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        read_run(folder)
    return str(caught.value)


def test_a_row_that_was_cut_in_the_middle_is_named(stored: Run) -> None:
    path = folder_of(stored) / "epochs.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.rindex("9925") + 2], encoding="utf-8")
    assert fails(path.parent) == (f"{path}: row 3 is cut off or damaged: '3,0.01,0.05,59550,60000,0.03,99'; {ADVICE}")
    path.write_text(text[:-2], encoding="utf-8")  # 7.5 seconds have become 7.
    assert fails(path.parent) == (
        f"{path}: row 3 is cut off or damaged: '3,0.01,0.05,59550,60000,0.03,9925,10000,7.'; {ADVICE}"
    )


def test_a_row_that_is_missing_is_missed(stored: Run) -> None:
    path = folder_of(stored) / "epochs.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    assert fails(path.parent) == f"{path}: 2 of 3 epochs, but the run says 'finished'; {ADVICE}"
    path.write_text("".join(lines[:2] + lines[3:]), encoding="utf-8")
    assert fails(path.parent).startswith(f"{path}: row 2 is cut off or damaged: '3,")
    path.unlink()
    assert fails(path.parent) == f"{path}: 0 of 3 epochs, but the run says 'finished'; {ADVICE}"


@pytest.mark.parametrize(
    "row",
    [
        "1,0.01,0.05,59100,60000,0.03,10001,10000,7.5",
        "1,0.01,0.05,60001,60000,0.03,9850,10000,7.5",
        "1,0.01,0.05,nan,60000,0.03,9850,10000,7.5",
        "1,0.01,0.05,59100,60000,0.03,-1,10000,7.5",
        "1,0.01,0.05,59100,60000,0.03,0,0,7.5",
        "1,0.01,0.05,59100,60000,0.03,9850.0,10000,7.5",
        "2,0.01,0.05,59100,60000,0.03,9850,10000,7.5",
        "1,0.01,0.05,59100,60000,0.03,9850,10000,7.5,1",
        "",
        "1,0.01,0.05,59100,60000,0.03," + "9" * 5000 + ",10000,7.5",
    ],
)
def test_a_row_that_cannot_be_true_is_damage(stored: Run, row: str) -> None:
    path = folder_of(stored) / "epochs.csv"
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    assert fails(path.parent).startswith(f"{path}: row 1 is cut off or damaged: '{row[:60]}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"its first line is not the names of the columns; {ADVICE}"),
        (b"epoch,loss\n", f"its first line is not the names of the columns; {ADVICE}"),
        (b'"' + b"9" * 200_000, f"damaged; {ADVICE}"),
        (b"\xff", f"damaged; {ADVICE}"),
    ],
)
def test_an_epochs_file_that_is_none_is_damage(stored: Run, content: bytes, message: str) -> None:
    path = folder_of(stored) / "epochs.csv"
    path.write_bytes(content)
    assert fails(path.parent) == f"{path}: {message}"


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"[]", b"5", b"null", b'{"hash": 1}', b"\xff\xfe", b"[" * 100_000, b'{"environment": 5, "hash": ""}',
    ],
)  # fmt: skip
def test_a_run_file_that_is_damaged_says_what_to_do(stored: Run, damage: bytes) -> None:
    path = folder_of(stored) / "run.json"
    path.write_bytes(damage)
    assert fails(path.parent) == f"{path}: damaged; {ADVICE}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "3"), ("planned", None), ("parameters", 7.5), ("identity", "c" * 64), ("seed", 4), ("stranger", 1)],
)
def test_a_run_file_that_was_changed_by_hand_is_damage(stored: Run, key: str, value: object) -> None:
    path = folder_of(stored) / "run.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**said, key: value}), encoding="utf-8")
    assert fails(path.parent) == f"{path}: damaged; {ADVICE}"


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    assert fails(tmp_path) == f"{tmp_path / 'run.json'}: cannot be read: No such file or directory"


def test_a_folder_in_which_nothing_was_begun_holds_no_run_and_one_that_is_closed_is_not_taken_for_one(
    tmp_path: Path, stored: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert [stored_run(tmp_path / name) for name in ("file", "nothing", ".")] == [None, None, None]
    assert stored_run(folder_of(stored)) == stored

    def closed(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(RunError, match=r"run\.json: cannot be read: Permission denied"):
        stored_run(folder_of(stored))


def test_weights_that_are_damaged_say_what_to_do(stored: Run) -> None:
    path = folder_of(stored) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError) as caught:
        read_tensors(path)
    assert str(caught.value) == f"{path}: damaged; {ADVICE}"
    with pytest.raises(RunError, match="cannot be read: No such file or directory"):
        read_tensors(path.with_name("nothing"))


# --- all or nothing ------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_will_be_written_has_its_folder_made_and_nothing_else(tmp_path: Path) -> None:
    prepare_to_write(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    write_whole(tmp_path / "new" / "file", b"one")
    with pytest.raises(RunError, match=r"file/x: cannot be written: (Not a directory|File exists)"):
        prepare_to_write(tmp_path / "new" / "file" / "x")


def test_a_file_that_cannot_be_written_says_so_and_whether_any_other_could(tmp_path: Path) -> None:
    (tmp_path / "fable").write_text("a file", encoding="utf-8")
    advice = "what is stored stays as it is; put that right and start again"
    with pytest.raises(RunError, match=r"cannot be written: (Not a directory|File exists)") as caught:
        write_whole(tmp_path / "fable" / "x", b"")
    assert not isinstance(caught.value, DiskError)
    for number, of_all in (("ENOSPC", True), ("EDQUOT", True), ("EFBIG", True), ("EROFS", True), ("EIO", True),
                           ("EACCES", False), ("EPERM", False), ("ENOENT", False)):  # fmt: skip
        with pytest.raises(RunError) as caught, changing(Path("there")):
            raise OSError(getattr(errno, number), "no")
        assert str(caught.value) == f"there: cannot be written: no; {advice}"
        assert isinstance(caught.value, DiskError) == of_all
