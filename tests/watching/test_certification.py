"""A certification as a person sees it: a line per seed, what is known by then, and what to do with the record."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from smallprint.certify import CertifyEnded, certify
from smallprint.jobs.job import Job, RunEnded, RunLeft
from smallprint.results.record import read_record
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset
from smallprint.watching.certification import CertifyWatch
from tests.typed import Say, document, plain_environment

CERTAIN = '">= 1%"\ncertainty   = "60% of seeds, 80% confidence"'  # four clean seeds certify, three broken ones refute
CERTIFY = ("certify", "tiny.toml:base", "--threads", "1", "--workers", "1")


@pytest.fixture
def tiny_text(tiny_text: str) -> str:
    """The tiny ladder with a promise that every seed keeps, and a certainty that a handful of them can give."""
    return tiny_text.replace('">= 20%"', CERTAIN)


@pytest.fixture
def sure(tiny_text: str) -> Ladder:
    return parse_ladder(tiny_text, name="tiny")


def rows(text: str) -> list[list[str]]:
    """The lines of seeds, cell by cell."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if re.match(r" 1\d{3}  ", line)]


def test_a_rung_that_is_taught_says_what_it_leans_on(say: Say) -> None:
    ladder = Path("tiny.toml")
    ladder.write_text(ladder.read_text() + '[rung.recipe]\nloss = "distilled base"\n')
    certify = ("certify", "tiny.toml:batchnorm", *CERTIFY[2:])
    assert "taught by base (728 parameters, 2 epochs), 4 epochs together" in say(*certify).out.splitlines()
    assert json.loads(say(*certify, "--json").out)["taught"] == {
        "by": "base", "parameters": 728, "epochs": 2, "together": 4
    }  # fmt: skip


def test_every_seed_has_a_line_with_what_is_known_by_then(say: Say) -> None:
    status, out, err = say(*CERTIFY)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [
        "Tiny",
        "promise: at least 1% test accuracy in each of the last 2 epochs, for 60% of seeds, 80% confidence",
    ]
    assert (
        "Fresh seeds from 1000 on, counted in their order and judged on the test set; "
        "4 clean ones would certify 60% of seeds, 80% confidence." in lines
    )
    (header,) = [line for line in lines if "seed" in line and "contract" in line and "kept so far" in line]
    assert header == " seed  worst of last 2 %  contract  kept so far  pass rate at least %  clean seeds to go"
    found = rows(out)
    assert [row[0] for row in found] == ["1000", "1001", "1002", "1003"]
    assert [row[2:] for row in found] == [
        ["kept", "1 of 1", "17.5", "3"],
        ["kept", "2 of 2", "40.9", "2"],
        ["kept", "3 of 3", "54.8", "1"],
        ["kept", "4 of 4", "63.5", "certified"],
    ]
    assert all(0 < float(row[1]) < 100 for row in found)
    assert lines[-2:] == [
        "certified for 60% of seeds, 80% confidence: 4 of 4 fresh seeds kept the contract "
        "(pass rate at least 63.5% with 80% confidence, however often one looks)",
        "record: runs/tiny/base/record.json; to commit it: cp runs/tiny/base/record.json records/tiny-base.json",
    ]


def test_a_certified_rung_is_not_trained_again_and_its_record_stays_the_same(say: Say) -> None:
    first = say(*CERTIFY)
    record = Path("runs/tiny/base/record.json")
    before = record.read_bytes()
    again = say(*CERTIFY)
    assert again.status == 0
    assert "4 of them are stored and not trained again" in again.out
    assert rows(again.out) == rows(first.out)
    assert record.read_bytes() == before


def test_the_record_is_evidence_that_anybody_can_count_again(say: Say) -> None:
    status, out, _ = say(*CERTIFY, "--record", "records/tiny-base.json")
    assert status == 0
    assert out.splitlines()[-1] == "record: records/tiny-base.json"
    assert not Path("runs/tiny/base/record.json").exists()
    record = read_record(Path("records/tiny-base.json"))
    assert record.command == "smallprint certify tiny.toml:base"
    (rung,) = record.rungs
    assert [(run.seed, len(run.epochs)) for run in rung.runs] == [(seed, 2) for seed in range(1000, 1004)]
    assert rung.certificate
    assert rung.certificate.outcome == "certified"
    parse_ladder(rung.text, name="tiny")


def test_a_record_that_cannot_be_written_is_said_before_anything_is_trained(say: Say) -> None:
    status, out, err = say(*CERTIFY, "--record", "tiny.toml/record.json")
    assert (status, out) == (2, "")
    assert err.startswith("smallprint: tiny.toml/record.json: cannot be written: ")
    assert not Path("runs").exists()


def test_as_json_it_is_one_document(say: Say) -> None:
    status, out, err = say(*CERTIFY, "--json")
    assert status == 0
    said = json.loads(out)
    assert rows(err)
    assert (said["ladder"], said["name"], said["not_counted"]) == ("tiny", "base", [])
    assert said["record"] == "runs/tiny/base/record.json"
    assert said["verdict"]["outcome"] == "kept"
    assert said["certificate"] == {
        "outcome": "certified",
        "certainty": "60% of seeds, 80% confidence",
        "method": said["certificate"]["method"],
        "first_seed": 1000,
        "passed": 4,
        "of": 4,
        "rate_at_least": pytest.approx(0.635, abs=1e-3),
        "rate_at_most": 1.0,
        "looked": 4,
        "judged_on": "test set",
    }
    assert "Ville 1939" in said["certificate"]["method"]


def test_judge_and_report_go_by_the_certificate(say: Say) -> None:
    say("climb", "tiny.toml:base", "--threads", "1")
    assert say("judge", "tiny.toml:base").status == 3  # one seed decides nothing
    say(*CERTIFY)
    status, out, _ = say("judge", "tiny.toml:base")
    assert status == 0
    assert out.splitlines()[-1] == (
        "kept, certified for 60% of seeds, 80% confidence: 4 of 4 fresh seeds kept the contract "
        "(pass rate at least 63.5% with 80% confidence, however often one looks)"
    )
    assert "seed 0 kept, not counted" in out.splitlines()
    assert "seed 1003 kept" in out.splitlines()
    (rung,) = document(say("judge", "tiny.toml:base", "--json"))["rungs"]
    assert (rung["verdict"]["passed"], rung["verdict"]["of"], rung["certificate"]["of"]) == (4, 4, 4)
    status, out, _ = say("report", "tiny.toml", "--record", "record.json")
    assert status == 0
    page = Path("runs/tiny/report.md").read_text()
    assert "**Result.** kept, certified for 60% of seeds" in page
    assert "* seed 0, not counted: " in page
    assert "Certificates: fresh seeds, named beforehand and counted in their order, judged on the test set;" in page
    assert "Fresh seeds, named beforehand" in Path("runs/tiny/report.html").read_text()
    record = read_record(Path("record.json"))
    assert record.command == ("smallprint climb tiny.toml --rung base --seeds 1 && smallprint certify tiny.toml:base")
    assert record.rungs[0].certificate
    other = say("judge", "tiny.toml:base", "--contract", "accuracy >= 2%")
    assert "fresh" not in other.out  # that was not what the fresh seeds were to show
    assert "not counted" not in other.out


def test_a_refuted_rung_ends_with_status_one_and_an_undecided_one_with_three(say: Say) -> None:
    status, out, _ = say(*CERTIFY, "--seeds-at-most", "2")
    assert status == 3
    assert "At most 2 of them are counted now: too few to certify, whatever they measure." in out
    assert "\nundecided: 2 of 2 fresh seeds kept the contract (pass rate at least 40.9% with 80% confidence" in out
    assert read_record(Path("runs/tiny/base/record.json")).rungs[0].certificate
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace(">= 1%", ">= 100%"))
    status, out, _ = say(*CERTIFY)
    assert status == 1
    assert [row[0] for row in rows(out.replace(" 200", " 100"))] == ["1000", "1001", "1002"]
    assert "\nrefuted for 60% of seeds, 80% confidence: 0 of 3 fresh seeds kept the contract (pass rate at most " in out
    assert say("judge", "tiny.toml:base").status == 1


def test_a_certification_goes_on_from_a_record_and_says_so(say: Say) -> None:
    assert say(*CERTIFY, "--seeds-at-most", "2", "--record", "record.json").status == 3
    shutil.rmtree("runs")
    status, out, _ = say(*CERTIFY, "--record", "record.json")
    assert status == 0
    assert "\nThe record has counted 2 of them: 2 kept the contract.\n" in out
    assert [row[0] for row in rows(out)] == ["1002", "1003"]
    (rung,) = read_record(Path("record.json")).rungs
    assert [run.seed for run in rung.runs] == [1000, 1001, 1002, 1003]
    before = Path("record.json").read_bytes()
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace(">= 1%", ">= 2%"))
    status, _, err = say(*CERTIFY, "--record", "record.json")
    assert (status, err.count("\n")) == (2, 1)
    assert "record.json: a record of another rung, recipe, teacher or contract" in err
    assert Path("record.json").read_bytes() == before


def test_a_rung_that_cannot_keep_its_contract_is_said_at_once(say: Say) -> None:
    Path("tiny.toml").write_text(
        Path("tiny.toml").read_text().replace("last_epochs", 'parameters = "< 700"\nlast_epochs')
    )
    status, out, err = say(*CERTIFY)
    assert (status, err) == (1, "")
    assert out.splitlines()[-1] == (
        "broken whatever a seed does, so that nothing is trained: parameters broken: 728 (< 700), 29 too many"
    )
    said = say(*CERTIFY, "--json", "--record", "records/tiny-base.json")
    assert said.status == 1
    assert [clause["name"] for clause in json.loads(said.out)["broken"]] == ["parameters"]
    assert not Path("runs").exists()
    assert not Path("records").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny.toml:bse"], "tiny has no rung 'bse'; it has base, batchnorm; did you mean 'base'?"),
        (["tiny.toml"], "say which rung, as in tiny.toml:batchnorm; tiny has base, batchnorm"),
        (["tiny.toml:base", "--workers", "some"], "--workers is auto or a number from 1 to 1024, not 'some'"),
        (
            ["tiny.toml:base", "--runs", "tiny.toml"],
            "tiny.toml/tiny/base/certificate.json: cannot be written: Not a directory",
        ),
    ],
)
def test_wrong_input_is_one_message(say: Say, words: list[str], message: str) -> None:
    status, _, err = say("certify", *words)
    assert status == 2
    assert err.startswith(f"smallprint: {message}")
    assert len(err.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("damage", "said"), [(("1000", '"x"'), "damaged"), (('"version": 1', '"version": 9'), "of version 9, not 1")]
)
def test_a_plan_that_does_not_read_is_refused_by_all_who_need_it(say: Say, damage: tuple[str, str], said: str) -> None:
    say(*CERTIFY, "--seeds-at-most", "1")
    plan = Path("runs/tiny/base/certificate.json")
    plan.write_text(plan.read_text().replace(*damage))
    for words in (CERTIFY, ("judge", "tiny.toml"), ("report", "tiny.toml")):
        status, _, err = say(*words)
        assert status == 2
        advice = "move it away and certify again: fresh seeds are trained, behind all that were used"
        assert err == f"smallprint: {plan}: {said}; {advice}\n"
    plan.rename("elsewhere")
    status, out, _ = say(*CERTIFY)
    assert status == 0
    assert "Fresh seeds from 2000 on" in out


def test_a_seed_that_could_not_be_counted_is_said_at_the_end(sure: Ladder, tmp_path: Path, digits: Dataset) -> None:
    from smallprint.spec.errors import RunError
    from smallprint.watching.certification import write_outcome

    events = list(certify(sure, "base", runs=tmp_path, dataset=digits, threads=1, at_most=2))
    ended = events[-1]
    assert isinstance(ended, CertifyEnded)
    job = Job(ladder=sure, rung=sure.rungs[0], seed=1002)
    left = RunLeft(job=job, reason="held by process 7", held=True, holder=7)
    failed = next(event for event in events if isinstance(event, RunEnded))
    console = Console(file=io.StringIO(), width=300, highlight=False)
    stuck = CertifyEnded(result=ended.result, certificate=ended.certificate, stuck="seed 1002: held by process 7")
    said = (event for event in [*events[:-1], left, stuck])
    assert CertifyWatch(sure, sure.rungs[0], console).show(said) == stuck
    assert isinstance(console.file, io.StringIO)
    assert "base seed 1002 left out: held by process 7" in console.file.getvalue()
    assert failed.run.ended
    with pytest.raises(RunError, match=r"^seed 1002: held by process 7; the seeds behind it count when it does"):
        write_outcome(sure, stuck, "tiny.toml:base", tmp_path, tmp_path / "record.json", as_json=False)
    assert (tmp_path / "record.json").exists()  # what was counted is not lost


def test_a_contract_without_a_certainty_gets_the_usual_one_and_says_so(say: Say) -> None:
    text = Path("tiny.toml").read_text().replace('certainty   = "60% of seeds, 80% confidence"', "")
    Path("tiny.toml").write_text(text)
    status, out, _ = say(*CERTIFY, "--seeds-at-most", "1")
    assert status == 3
    assert "The contract asks for no certainty: certified is the usual one, 95% of seeds, 95% confidence." in out
    assert "66 clean ones would certify 95% of seeds, 95% confidence." in out
    judged = say("judge", "tiny.toml:base")
    assert judged.status == 0  # without a certainty every seed decides, as ever
    assert judged.out.splitlines()[-1].endswith("; 65 more clean seeds would certify 95% of seeds, 95% confidence")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_a_record_of_what_was_counted_and_the_same_command_goes_on(
    tmp_path: Path, tiny_text: str, how: signal.Signals
) -> None:
    long = tiny_text.replace("60% of seeds, 80%", "95% of seeds, 95%").replace("epochs    = 2", "epochs    = 30")
    (tmp_path / "tiny.toml").write_text(long)
    command = [sys.executable, "-m", "smallprint", *CERTIFY]
    with subprocess.Popen(
        command, cwd=tmp_path, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith(" 1001"):
                break
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "stopped. Finished epochs are kept; the same command goes on behind them."
    counted = [1000, 1001, *(int(row[0]) for row in rows(out))]  # what was said before the signal was heard
    assert f"undecided: {len(counted)} of {len(counted)} fresh seeds kept the contract" in out
    (rung,) = read_record(tmp_path / "runs/tiny/base/record.json").rungs
    assert [run.seed for run in rung.runs if rung.certificate and rung.certificate.counts(run.seed)] == counted
    told = subprocess.run(
        [*command, "--seeds-at-most", "2"], cwd=tmp_path, env=plain_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert told.returncode == 3
    assert "of them are stored and not trained again" in told.stdout


def test_ctrl_c_while_a_line_is_written_ends_with_what_was_counted(
    sure: Ladder, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CertifyWatch, "_row", interrupted)  # a seed's line
    events = certify(sure, "base", runs=tmp_path, dataset=digits, threads=1)
    ended = CertifyWatch(sure, sure.rungs[0], Console(file=io.StringIO())).show(events)
    assert isinstance(ended, CertifyEnded)
    assert (ended.stopped, ended.certificate.of) == (True, 1)


def test_on_a_terminal_what_runs_stands_under_the_lines(tmp_path: Path, tiny_text: str) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_text)
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "smallprint", "certify", "tiny.toml:base", "--workers", "2"], cwd=tmp_path,
        env={**plain_environment(), "TERM": "xterm", "COLUMNS": "120"}, stdout=child, stderr=child,
    ) as process:  # fmt: skip
        os.close(child)
        seen = b""
        while True:
            try:
                seen += (part := os.read(parent, 65536))
            except OSError:
                break
            if not part:
                break
    os.close(parent)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "tiny:base: kept 4 of 4" in text
    assert "worst of last 2 %" in text
    assert "certified for 60% of seeds, 80% confidence: 4 of 4 fresh seeds" in text
