"""Climbs side by side: their order, and what stops them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from smallprint.climb import RungJudged, RungStarted, climb
from smallprint.jobs.job import RunLeft, RunStarted
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.ladder_file import parse_ladder
from smallprint.sweep import SweepStarted
from tests.climbs import (
    QUICK,
    read_until,
    rung,
    started,
)
from tests.typed import Say, speaker


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command line in the test's folder; its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    return speaker(monkeypatch, capsys)


PAIR = QUICK.replace("epochs    = 2", "epochs    = 900") + rung("wide", "conv3-16 batchnorm relu gap conv1-10")
SHORT = rung("last", "conv3-8 batchnorm relu gap conv1-10") + "epochs = 1\n"
STOPPED = "\nstopped. Finished epochs are kept; the same command goes on behind them.\n"
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


def children(pid: int) -> set[int]:
    """The processes that this one has started and that live; a zombie does not."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(path.parent.name))
    return found


def gone(pids: set[int]) -> bool:
    """Whether all of them have ended, or do within seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


def side_by_side(folder: Path) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return started(folder, "--workers", "2", text=PAIR)


def both_run(process: subprocess.Popen[str]) -> None:
    read_until(process, "base")
    read_until(process, "wide")


def test_rungs_overlap_and_each_is_judged_when_its_own_seeds_have_ended(tmp_path: Path) -> None:
    ladder = parse_ladder(QUICK.replace("epochs    = 2", "epochs    = 200") + SHORT, name="tiny")
    _, *events = climb(ladder, seeds=1, runs=tmp_path, threads=1, workers=2)
    told: dict[str, list[str]] = {"base": [], "last": []}
    for event in events:
        assert not isinstance(event, SweepStarted)
        about = (
            event.result if isinstance(event, RungJudged) else event if isinstance(event, RungStarted) else event.job
        )
        told[about.rung.name].append(type(event).__name__)
    assert told["last"] == ["RungStarted", "RunStarted", "EpochEnded", "RunEnded", "RungJudged"]
    assert told["base"] == ["RungStarted", "RunStarted", *["EpochEnded"] * 200, "RunEnded", "RungJudged"]
    judged = [event.result for event in events if isinstance(event, RungJudged)]
    assert [result.rung.name for result in judged] == ["last", "base"]
    again = [event.result for event in climb(ladder, runs=tmp_path) if isinstance(event, RungJudged)]
    assert again == judged[::-1]


def test_seeds_that_end_in_any_order_are_judged_in_theirs(tmp_path: Path) -> None:
    ladder = parse_ladder(QUICK, name="tiny")
    with RunWriter(tmp_path / "one" / "tiny" / "base" / "seed-0", holder=1):
        *_, judged = climb(ladder, seeds=3, runs=tmp_path / "one", threads=1)
    assert isinstance(judged, RungJudged)
    assert [run.seed for run in judged.result.runs] == [1, 2]  # and seed 0 is left
    *events, judged = climb(ladder, seeds=3, runs=tmp_path / "one", threads=1, workers=3)
    assert isinstance(judged, RungJudged)
    assert [run.seed for run in judged.result.runs] == [0, 1, 2]
    assert not any(isinstance(event, RunLeft) for event in events)


@needs_proc
@pytest.mark.parametrize("how", ["keys", "SIGINT", "SIGTERM"])
def test_ctrl_c_and_sigterm_stop_all_workers_keep_their_epochs_and_the_next_start_goes_on(
    tmp_path: Path, how: str
) -> None:
    with side_by_side(tmp_path) as process:
        both_run(process)
        workers = children(process.pid)
        if how == "keys":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of them
        else:
            process.send_signal(signal.Signals[how])
        _, err = process.communicate(timeout=30)
        assert len(workers) >= 2
        assert gone(workers)
    assert (process.returncode, err) == (130, STOPPED)
    stored = [read_run(tmp_path / "runs" / "tiny" / name / "seed-0") for name in ("base", "wide")]
    assert all((run.status, 1 <= len(run.epochs) < 900) == ("training", True) for run in stored)
    stream = climb(parse_ladder(PAIR, name="tiny"), runs=tmp_path / "runs", threads=1, workers=2)
    begun = {}
    for event in stream:
        if isinstance(event, RunStarted):
            begun[event.job.rung.name] = event.stored
        if len(begun) == 2:
            break
    stream.close()
    for run in stored:
        assert begun[run.rung][: len(run.epochs)] == run.epochs


@needs_proc
def test_workers_end_themselves_when_their_parent_is_killed(tmp_path: Path) -> None:
    with side_by_side(tmp_path) as process:
        both_run(process)
        workers = children(process.pid)
        process.kill()
        process.wait()
        assert len(workers) >= 2
        assert gone(workers)
    for name in ("base", "wide"):
        with RunWriter(tmp_path / "runs" / "tiny" / name / "seed-0") as writer:
            stored = writer.stored()
        assert stored
        assert (stored.status, 1 <= len(stored.epochs) < 900) == ("training", True)


@needs_proc
def test_a_climb_beside_another_trains_what_that_does_not_hold(tmp_path: Path, say: Say) -> None:
    with side_by_side(tmp_path) as process:
        both_run(process)
        (tmp_path / "tiny.toml").write_text(PAIR + SHORT)
        status, out, err = say("climb", "tiny.toml", "--workers", "2", "--threads", "1")
    held = f"held by process {process.pid}: 2 runs (base seed 0, wide seed 0); start again when it has ended"
    assert (status, err) == (2, f"smallprint: {held}\n")
    assert read_run(tmp_path / "runs" / "tiny" / "last" / "seed-0").status == "finished"
    assert "report: " in out
