"""Commands that train, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smallprint.search import search_folder
from smallprint.spec.ladder_file import parse_ladder
from tests.test_search import LADDER
from tests.typed import Say, files, plain_environment

PLACE = "easy.toml:start"
STUDY = search_folder("runs", parse_ladder(LADDER, name="easy"), "start", "parameters", None, None) / "study.db"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "easy.toml").write_text(LADDER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--goal", "parms"], "no goal is called 'parms'; known: parameters, macs, flash, seconds; did you mean 'para"),
        (["--budget", "soon"], "a time reads 90s, 30m, 2h or 1h30m, not 'soon'"),
        (["--budget", "0s"], "a time reads 90s, 30m, 2h or 1h30m, not '0s'"),
        (["--ceiling", "5000"], "the ceiling 5,000 parameters is above what the contract allows: 1,999 parameters"),
        (["--ceiling", "9"], "no network is as small as the ceiling, 9 parameters: the smallest that is drawn here"),
        (["--floor", "1500"], "the floor lies between 0 and the ceiling, 1,432 parameters; not 1,500 parameters"),
        (["--teacher", "start"], "'start' cannot teach start; no other rung can"),
        (["--budget", "1s", "--workers", "0"], "--workers is auto or a number from 1 to 1024, not '0'"),
    ],
)  # fmt: skip
def test_bad_input_is_said_in_one_message_and_leaves_no_run_behind(
    say: Say, here: Path, words: list[str], message: str
) -> None:
    said = say("search", PLACE, *words)
    assert said.status == 2
    assert said.err.startswith("smallprint: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert not any(here.rglob("seed-*"))


def test_a_rung_must_be_named_where_there_are_several(say: Say) -> None:
    said = say("search", "digits")
    assert said.status == 2
    assert "say which rung, as in digits:quiet-end" in said.err


def test_it_finds_reports_and_says_how_to_certify(say: Say, here: Path) -> None:
    found = json.loads(say("search", PLACE, "--candidates", "3", "--workers", "1", "--json").out)
    folder = here / STUDY.parent
    assert {"study.db", "search.html", "search.md", "found.toml", "candidates"} <= {p.name for p in folder.iterdir()}
    assert found["keeps"] is True
    shown = say("show", str(folder / "found.toml"))
    assert shown.status == 0
    assert f"{found['found']['amount']:,.0f} parameters" in shown.out
    again = say("search", PLACE, "--budget", "1s", "--workers", "1")
    assert again.status == 0
    assert "an earlier part took" in again.out
    assert "smallprint certify" in again.out


def test_a_damaged_study_is_left_as_it_is(say: Say, here: Path) -> None:
    (here / STUDY).parent.mkdir(parents=True)
    (here / STUDY).write_bytes(b"nothing like a database" * 100)
    before = files(here / "runs")
    said = say("search", PLACE, "--budget", "60s")
    assert said.status == 2
    assert "damaged, or no study; move it away" in said.err
    after = files(here / "runs")
    assert {name: after[name] for name in before} == before


def test_ctrl_c_ends_it_with_a_word_and_the_same_command_goes_on(here: Path) -> None:
    command = [sys.executable, "-m", "smallprint", "search", PLACE, "--budget", "10m", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=here, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        latest = time.monotonic() + 120
        while time.monotonic() < latest and len(list(here.glob("runs/**/candidate-*"))) < 3:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        found, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on behind them" in said
    assert "next: to go on, give the same command" in found
    assert (here / STUDY.parent / "search.html").exists()
    assert "Traceback" not in said
    again = subprocess.run(
        [*command[:-4], "--budget", "1s", "--workers", "2"], cwd=here, env=plain_environment(), capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert again.returncode in (0, 3)
    assert "an earlier part took" in again.stdout


def test_ctrl_c_that_falls_where_python_drops_exceptions_ends_it_all_the_same(here: Path) -> None:
    code = """
import time
from smallprint.commands.training import _stopping_tidily
class Freed:
    def __del__(self):
        raise KeyboardInterrupt
with _stopping_tidily():
    Freed()
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain_environment(), capture_output=True, text=True, check=False, timeout=30
    )
    assert "the same command goes on behind them" in done.stderr
    assert done.stderr.rstrip().endswith("Exit: 130"), "which the command line ends with"


def test_a_worker_that_is_killed_loses_nothing_but_its_training(here: Path) -> None:
    command = [sys.executable, "-m", "smallprint", "search", PLACE, "--candidates", "5", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=here, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        latest = time.monotonic() + 120
        while time.monotonic() < latest and not list(here.glob("runs/**/candidate-*/seed-0/epochs.csv")):
            time.sleep(0.1)
        workers = subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=False
        ).stdout.split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        out, said = process.communicate(timeout=120)
    assert process.returncode in (0, 3), said
    assert "Traceback" not in said
    assert "search.html" in out


def test_climb_prints_one_json_document_and_its_progress_elsewhere(say: Say, tmp_path: Path) -> None:
    status, out, err = say("climb", "tiny.toml", "--threads", "1", "--json")
    said = json.loads(out)
    assert status == 0
    assert "promise: at least 20% test accuracy" in err
    assert (said["ladder"], said["contract"]["last_epochs"]) == ("tiny", 2)
    assert [rung["name"] for rung in said["rungs"]] == ["base", "batchnorm"]
    run = said["rungs"][0]["runs"][0]
    assert (run["seed"], run["status"], len(run["epochs"])) == (0, "finished", 2)
    assert {"train_correct", "train_total", "test_correct", "test_total", "seconds"} <= set(run["epochs"][0])
    assert said["rungs"][1]["verdict"]["outcome"] in ("kept", "broken")
    assert all((tmp_path / path).is_file() for path in said["report"])
    assert say("climb", "tiny.toml", "--json").out == out  # from what is stored


def test_rungs_are_climbed_in_the_ladders_order_and_each_once(say: Say) -> None:
    out = say("climb", "tiny.toml:batchnorm", "--rung", "base", "--rung", "base", "--workers", "1").out
    headings = [line for line in out.splitlines() if " multiply-adds" in line and "/2 " in line]
    assert [line.split("  ")[0] for line in headings] == ["1/2 base", "2/2 batchnorm"]
