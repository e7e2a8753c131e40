from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.results.runs import (
    Epoch,
    HeldError,
    Run,
    RunWriter,
    read_run,
    read_runs,
    read_tensors,
    run_folder,
    write_whole,
)
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


@pytest.fixture
def stored(tmp_path: Path, make_run: MakeRun) -> Run:
    """A finished run in its folder."""
    run = make_run([98.5, 99.1, 99.25], seed=3)
    with RunWriter(run_folder(tmp_path, "fable", "small", 3)) as writer:
        writer.begin(replace(run, status="training", epochs=()), "title = 'x'\n")
        writer.checkpoint(b"half way")
        weights = {"0.layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T}
        answers = {"predicted": np.array([1, 2]), "confidence": np.array([0.5, 1.0]), "loss": np.array([0.7, 0.0])}
        writer.finish(run, weights, answers)
    return read_run(writer.folder)


def folder_of(run: Run) -> Path:
    assert run.folder is not None
    return run.folder


def test_a_finished_run_keeps_its_weights_and_answers_and_drops_its_checkpoint(stored: Run) -> None:
    folder = folder_of(stored)
    weights = read_tensors(folder / "weights.safetensors")["0.layer.weight"]
    assert weights.tolist() == [[0, 3], [1, 4], [2, 5]]
    answers = stored.answers()
    assert answers is not None
    assert answers["confidence"].tolist() == [0.5, 1.0]
    assert not (folder / "resume.pt").exists()
    assert (folder / "rung.toml").read_text(encoding="utf-8") == "title = 'x'\n"
    assert stored.ended
    assert stored.best_test == pytest.approx(99.25)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]  # no temporary file is left


def test_answers_without_their_arrays_are_damaged(stored: Run) -> None:
    folder = folder_of(stored)
    (folder / "answers.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"answers\.safetensors: damaged; remove that run's folder"):
        stored.answers()


def test_a_checkpoint_is_there_until_the_run_ends(tmp_path: Path, make_run: MakeRun) -> None:
    with RunWriter(tmp_path / "seed-0") as writer:
        assert writer.stored() is None
        assert writer.stored_checkpoint() is None
        writer.begin(make_run([], status="training"), "")
        writer.checkpoint(b"one")
        writer.checkpoint(b"two")
        assert writer.stored_checkpoint() == b"two"
        found = writer.stored()
        assert found is not None
        assert not found.ended
        assert found.answers() is None


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


def test_weights_that_are_damaged_say_what_to_do(stored: Run) -> None:
    path = folder_of(stored) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError) as caught:
        read_tensors(path)
    assert str(caught.value) == f"{path}: damaged; {ADVICE}"
    with pytest.raises(RunError, match="cannot be read: No such file or directory"):
        read_tensors(path.with_name("nothing"))


# --- one process at a time, and all or nothing ----------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from smallprint.results.runs import RunWriter
with RunWriter(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def test_a_folder_that_another_process_holds_is_not_touched_and_is_free_when_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "seed-0"
    with python(HOLD, str(folder)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for says, holder, who in ((None, other.pid, f"process {other.pid}"), ("", None, "another process")):
            if says is not None:  # it has not signed yet
                (folder / "lock").write_text(says)
            with pytest.raises(HeldError) as caught, RunWriter(folder):
                pass
            assert caught.value.holder == holder
            assert str(caught.value) == (
                f"{folder}: held by {who}; start again when it has ended, or choose another --runs"
            )
        other.kill()
        assert other.wait() == -signal.SIGKILL
    with RunWriter(folder) as writer:
        assert writer.stored() is None


def test_a_holder_may_sign_for_another_process_and_takes_its_name_off_when_it_goes(tmp_path: Path) -> None:
    with (
        RunWriter(tmp_path, holder=4711),
        pytest.raises(HeldError, match="held by process 4711; "),
        RunWriter(tmp_path),
    ):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_a_lock_that_was_let_go_does_not_let_two_in(tmp_path: Path) -> None:
    folder = tmp_path / "seed-0"
    first = RunWriter(folder)
    with first:
        pass
    with RunWriter(folder), pytest.raises(RunError), first:
        pass
    with first:
        pass


FULL = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from smallprint.results.runs import RunWriter, read_run
from smallprint.spec.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
run = read_run(folder)
with RunWriter(folder) as writer:
    for write in (lambda: writer.keep(replace(run, epochs=run.epochs * 50)), lambda: writer.checkpoint(b"x" * 10_000)):
        try:
            write()
        except RunError as fault:
            print(fault)
"""


def test_a_file_that_cannot_grow_leaves_the_folder_as_it_was(stored: Run) -> None:
    folder = folder_of(stored)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with python(FULL, str(folder)) as other:
        said, _ = other.communicate(timeout=60)
    advice = "cannot be written: File too large; what is stored stays as it is; put that right and start again"
    assert said.splitlines() == [f"{folder / name}: {advice}" for name in ("epochs.csv", "resume.pt")]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert read_run(folder) == stored


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tiny disk")
def test_a_full_disk_is_reported_and_the_folder_reads_as_before(tmp_path: Path, make_run: MakeRun) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no permission to mount a disk")
    try:
        run = make_run([98.5, 99.0], status="training")
        with RunWriter(tmp_path / "seed-0") as writer:
            writer.begin(run, "")
            before = {path.name: path.read_bytes() for path in writer.folder.iterdir()}
            with pytest.raises(
                RunError, match=r"resume\.pt: cannot be written: No space left on device; what is stored"
            ):
                writer.checkpoint(bytes(100_000))
            assert {path.name: path.read_bytes() for path in writer.folder.iterdir()} == before
            assert writer.stored() == run
            writer.checkpoint(bytes(10_000))
            assert writer.stored_checkpoint() == bytes(10_000)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "fable").write_text("a file", encoding="utf-8")
    with pytest.raises(RunError) as caught, RunWriter(tmp_path / "fable" / "seed-0"):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'fable' / 'seed-0'}: cannot be written: Not a directory; what is stored stays as it is; "
        "put that right and start again"
    )
    with pytest.raises(RunError, match=r"cannot be written: (Not a directory|File exists)"):
        write_whole(tmp_path / "fable" / "x", b"")


def test_a_run_that_is_set_aside_keeps_everything_however_often(stored: Run, make_run: MakeRun) -> None:
    folder = folder_of(stored)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    with RunWriter(folder) as writer:
        kept = writer.set_aside(stored)
        assert writer.stored() is None
        assert kept == folder.with_name(f"seed-3.{stored.hash[:8]}")
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
        begun = make_run([], seed=3, status="training")  # the same run, begun again and dropped again
        assert begun.hash == stored.hash
        writer.begin(begun, "")
        again = writer.set_aside(begun)
    assert again.name == f"seed-3.{stored.hash[:8]}-2"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert read_run(again).status == "training"
    assert read_runs(folder.parents[2], "fable", "small") == ()


def test_a_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
