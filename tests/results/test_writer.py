"""The one process that may write a run folder: alone, whole or not at all, and only where the folder is its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smallprint.results.holding import HeldError
from smallprint.results.runs import DiskError, Run, read_run, read_runs, read_tensors
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError

MakeRun = Callable[..., Run]


def folder_of(run: Run) -> Path:
    assert run.folder is not None
    return run.folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_finished_run_keeps_its_weights_and_answers_and_drops_its_checkpoint(stored: Run) -> None:
    folder = folder_of(stored)
    weights = read_tensors(folder / "weights.safetensors")["0.layer.weight"]
    assert weights.tolist() == [[0, 3], [1, 4], [2, 5]]
    answers = stored.answers()
    assert answers is not None
    assert answers["confidence"].tolist() == [0.5, 1.0]
    assert not (folder / "resume.npz").exists()
    assert (folder / "rung.toml").read_text(encoding="utf-8") == "title = 'x'\n"
    assert stored.ended
    assert stored.best_test == pytest.approx(99.25)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]  # no temporary file is left


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


HOLD = """
import sys
from pathlib import Path
from smallprint.results.writer import RunWriter
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
                folder.with_name(".seed-0.lock").write_text(says)
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
        RunWriter(tmp_path / "seed-0", holder=1),
        pytest.raises(HeldError, match="held by process 1; "),
        RunWriter(tmp_path / "seed-0"),
    ):
        pass
    assert (tmp_path / ".seed-0.lock").read_text() == ""


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
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
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
    before = files(folder)
    with python(FULL, str(folder)) as other:
        said, _ = other.communicate(timeout=60)
    advice = "cannot be written: File too large; what is stored stays as it is; put that right and start again"
    assert said.splitlines() == [f"{folder / name}: {advice}" for name in ("epochs.csv", "resume.npz")]
    assert files(folder) == before
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
            before = files(writer.folder)
            with pytest.raises(
                RunError, match=r"resume\.npz: cannot be written: No space left on device; what is stored"
            ):
                writer.checkpoint(bytes(100_000))
            assert files(writer.folder) == before
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
        f"{tmp_path / 'fable' / 'seed-0'}: cannot be written: File exists; what is stored stays as it is; "
        "put that right and start again"
    )


def test_a_run_that_is_set_aside_keeps_everything_however_often(stored: Run, make_run: MakeRun) -> None:
    folder = folder_of(stored)
    before = files(folder)
    with RunWriter(folder) as writer:
        kept = writer.set_aside(stored)
        assert writer.stored() is None
        assert kept == folder.with_name(f"seed-3.{stored.hash[:8]}")
        assert files(kept) == before
        begun = make_run([], seed=3, status="training")  # the same run, begun again and dropped again
        assert begun.hash == stored.hash
        writer.begin(begun, "")
        again = writer.set_aside(begun)
    assert again.name == f"seed-3.{stored.hash[:8]}-2"
    assert files(kept) == before
    assert read_run(again).status == "training"
    assert read_runs(folder.parents[2], "fable", "small") == ()


def test_a_process_that_is_killed_while_it_sets_a_run_aside_leaves_it_whole(
    stored: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(stored)
    before = files(folder)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for moment in ("rename", "mkdir"):
        with RunWriter(folder) as writer, monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Path, moment, killed)
            writer.set_aside(stored)
        kept = folder if moment == "rename" else folder.with_name(f"seed-3.{stored.hash[:8]}")
        assert files(kept) == before
        assert [path for path in folder.parent.glob("seed-*") if any(path.iterdir())] == [kept]
    with RunWriter(folder) as writer:
        assert writer.stored() is None


def test_a_checkpoint_without_a_run_is_of_one_that_is_gone_and_one_beside_a_run_is_kept(
    tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run([], status="training")
    with RunWriter(tmp_path / "seed-0") as writer:
        writer.checkpoint(b"of another")
        writer.begin(run, "")
        assert writer.stored_checkpoint() is None
        writer.checkpoint(b"the first epoch, which the table does not have yet")
        writer.begin(run, "")
        assert writer.stored_checkpoint() == b"the first epoch, which the table does not have yet"


def test_the_lock_of_a_process_that_is_gone_is_waited_for_until_its_workers_are_gone_too(tmp_path: Path) -> None:
    folder = tmp_path / "seed-0"
    with python("import sys; sys.stdin.read()") as over:
        over.communicate()
    code = HOLD.replace("(Path(sys.argv[1]))", "(Path(sys.argv[1]), holder=int(sys.argv[2]))")
    code = code.replace("sys.stdin.read()", "sys.stdin.readline(); import time; time.sleep(0.5)")
    with python(code, str(folder), str(over.pid)) as worker:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == "held\n"
        worker.stdin.write("\n")
        worker.stdin.flush()
        with RunWriter(folder) as writer:
            assert writer.stored() is None


def test_a_folder_that_is_taken_away_is_not_made_again(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "seed-0"
    run = make_run([99.0], status="training")
    gone = f"{folder}: was taken away while it was written; start again to train that run"
    with RunWriter(folder) as writer:
        writer.begin(run, "")
        shutil.rmtree(folder)
        for write in (lambda: writer.keep(run), lambda: writer.checkpoint(b""), lambda: writer.begin(run, "")):
            with pytest.raises(RunError) as caught:
                write()
            assert str(caught.value) == gone
            assert not isinstance(caught.value, DiskError)
        assert not folder.exists()
        with pytest.raises(HeldError), RunWriter(folder):  # nobody else makes it while this one thinks it has it
            pass


def test_a_folder_that_another_process_has_made_anew_is_not_touched(tmp_path: Path, make_run: MakeRun) -> None:
    rung = tmp_path / "small"
    run, other = make_run([99.0], status="training"), make_run([98.0], status="training")
    with RunWriter(rung / "seed-0") as first:
        first.begin(run, "")
        shutil.rmtree(rung)  # with its lock
        with RunWriter(rung / "seed-0", holder=1) as second:
            second.begin(other, "")
            before = files(rung / "seed-0")
            with pytest.raises(RunError, match="was taken away while it was written"):
                first.keep(run)
            assert files(rung / "seed-0") == before
    assert read_run(rung / "seed-0") == other
