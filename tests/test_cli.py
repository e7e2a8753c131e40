"""The commands, as a user types them: what they print, how they end, what they leave behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import smallprint
from smallprint.cli import main
from smallprint.spec.dataset import DATASETS
from smallprint.spec.ladder import Ladder

SHIPPED = ", ".join(smallprint.shipped())
MNIST_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
MNIST = os.environ.get("SMALLPRINT_DATA", "")  # the fixture takes it away
NOT_HERE = f"missing: no mnist here; it needs {MNIST_FILES} (or .gz of them), in it or in mnist/"
REMOVE = "put the original file in its place"
UNWRITABLE = "{}; what is stored stays as it is; put that right and start again"
ADVICE = "remove that run's folder and climb again: it is trained anew, the others are kept"


class Said(NamedTuple):
    status: int
    out: str
    err: str


Say = Callable[..., Said]


@pytest.fixture
def say(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_text: str,
) -> Say:
    """Run a command line in an empty folder that holds nothing but tiny.toml; no network, no data set, no colours."""
    (tmp_path / "tiny.toml").write_text(tiny_text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("SMALLPRINT_DATA", "FORCE_COLOR", "NO_PROXY", "no_proxy", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["smallprint", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Said(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, tiny: Ladder) -> Path:
    """Runs of both rungs, two seeds each."""
    root = tmp_path_factory.mktemp("climbed")
    for _ in smallprint.climb(tiny, seeds=2, runs=root, threads=1):
        pass
    return root


@pytest.fixture
def runs(climbed: Path, tmp_path: Path) -> Path:
    """A copy of them, to damage."""
    shutil.copytree(climbed, tmp_path / "runs")
    return tmp_path / "runs"


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def document(said: Said) -> Any:
    assert said.err == ""
    return json.loads(said.out)


# Bad input


def idx(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.fixture
def bad(tmp_path: Path, tiny_text: str) -> None:
    """Files with something wrong in each."""
    (tmp_path / "maxpol.toml").write_text(tiny_text.replace("maxpool", "maxpol", 1))
    (tmp_path / "l@dder.toml").write_text(tiny_text)
    (tmp_path / "latin.toml").write_bytes(tiny_text.replace("Tiny", "Pequeña").encode("latin-1"))
    (tmp_path / "folder.toml").mkdir()
    images = idx(2, 28, 28) + bytes(2 * 28 * 28)
    for name, file, content in (
        ("short", "train-images-idx3-ubyte", images[:-1]),
        ("long", "train-images-idx3-ubyte", images + b"\0"),
        ("other", "train-images-idx3-ubyte", images),
        ("none", "train-images-idx3-ubyte", b"<html>"),
        ("cut", "train-images-idx3-ubyte.gz", gzip.compress(os.urandom(500), mtime=0)[:-100]),
        ("page", "train-images-idx3-ubyte.gz", b"<html>"),
        ("three", "train-labels-idx1-ubyte", idx(2) + bytes(2)),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
    (tmp_path / "file").write_text("")


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("show digts", f"no ladder is called 'digts'; shipped: {SHIPPED}; did you mean 'digits'?"),
        ("climb digts", f"no ladder is called 'digts'; shipped: {SHIPPED}; did you mean 'digits'?"),
        ("judge digts", f"no ladder is called 'digts'; shipped: {SHIPPED}; did you mean 'digits'?"),
        ("report digts", f"no ladder is called 'digts'; shipped: {SHIPPED}; did you mean 'digits'?"),
        ("show tiny.toml:bass", "tiny has no rung 'bass'; it has base, batchnorm; did you mean 'base'?"),
        ("judge tiny.toml:Base", "tiny has no rung 'Base'; it has base, batchnorm; did you mean 'base'?"),
        ("show tiny.toml:", "tiny has no rung ''; it has base, batchnorm"),
        (
            "climb tiny.toml --rung batchnrm",
            "tiny has no rung 'batchnrm'; it has base, batchnorm; did you mean 'batchnorm'?",
        ),
        ("diff tiny.toml:base bass", "tiny has no rung 'bass'; it has base, batchnorm; did you mean 'base'?"),
        (
            "diff tiny.toml tiny.toml:base",
            "diff compares two rungs of the same data set: diff LADDER:RUNG LADDER:RUNG",
        ),
        (
            "diff tiny.toml:base progressive:base",
            "diff compares two rungs of the same data set: diff LADDER:RUNG LADDER:RUNG",
        ),
        ("show folder.toml", "folder.toml: is a folder; name the ladder file in it"),
        ("climb missing.toml", "missing.toml: cannot be read: No such file or directory"),
        ("show file/tiny.toml", "file/tiny.toml: cannot be read: Not a directory"),
        ("show latin.toml", "latin.toml: not a text file in UTF-8"),
        (
            "show l@dder.toml",
            "l@dder.toml: a ladder's file name is made of a-z, 0-9, '.', '_' and '-'; found 'l@dder'",
        ),
        ("show " + 300 * "x" + ":base", f"{300 * 'x'}: cannot be read: File name too long"),
        (
            "show maxpol.toml",
            "maxpol.toml:20: no layer is called 'maxpol'; did you mean 'maxpool'?\n    known: conv<k>-<width>, "
            "depthwise<k>, linear-<width>, flatten, maxpool, maxpool<k>, avgpool<k>, gap, batchnorm, relu, "
            "leakyrelu=0.2, silu, gelu, tanh, dropout=5%, dropout2d=10%\n"
            "    conv3-8 maxpol conv3-8 gap conv1-10\n            ^^^^^^",
        ),
        (
            "show --network gap --input 28x28",
            "--input reads channels x height x width, as in 1x28x28, not '28x28'",
        ),
        (
            "show --network gap --input 1x0x28",
            "--input reads channels x height x width, as in 1x28x28, not '1x0x28'",
        ),
        ("show --network gap", "--network needs its --input, channels x height x width, as in 1x28x28"),
        ("show", "show takes a LADDER[:RUNG], or a --network with its --input"),
        ("show digits --network gap", "show takes a LADDER[:RUNG], or a --network with its --input"),
        ("show digits --input 1x28x28", "show takes a LADDER[:RUNG], or a --network with its --input"),
        (
            "judge digits --contract nonsense",
            "a clause reads 'accuracy >= 99.3%' or 'last_epochs = 3', not 'nonsense'",
        ),
        ("judge digits --contract=", "a clause reads 'accuracy >= 99.3%' or 'last_epochs = 3', not ''"),
        (
            "judge digits --contract accuracy>=101%",
            "nobody can keep this: accuracy ends at 100%, but '>= 101%' asks for more",
        ),
        (
            "judge digits --contract accurcy>=90%",
            "no clause is called 'accurcy'; known: accuracy, last_epochs, parameters, epochs, macs, gap, certainty; "
            "did you mean 'accuracy'?",
        ),
        ("climb tiny.toml --workers 0", "--workers is auto or a number from 1 to 1024, not '0'"),
        ("climb tiny.toml --workers many", "--workers is auto or a number from 1 to 1024, not 'many'"),
        ("climb tiny.toml --device tpu", "--device is auto, cpu, cuda or cuda:N, not 'tpu'"),
        (
            "data nonsense",
            f"no data set is called 'nonsense', and 'nonsense' is no folder or file; known: {', '.join(DATASETS)}",
        ),
        (
            "data digit",
            f"no data set is called 'digit', and 'digit' is no folder or file; known: {', '.join(DATASETS)}; "
            "did you mean 'digits'?",
        ),
        ("climb progressive --data missing", NOT_HERE),
        ("climb --data missing", NOT_HERE),
        (
            "data mnist --data short",
            "short/train-images-idx3-ubyte: cut off: its header says 2 x 28 x 28, 1,584 bytes in all; 1,583 are there",
        ),
        (
            "data mnist --data long",
            "long/train-images-idx3-ubyte: too long: its header says 2 x 28 x 28, 1,584 bytes in all; 1,585 are there",
        ),
        (
            "data mnist --data other",
            "other/train-images-idx3-ubyte: this is not mnist's file: its SHA-256 is 12878cea1d1793cf..., "
            f"expected ba891046e6505d7a...; {REMOVE}",
        ),
        (
            "data mnist --data none",
            "none/train-images-idx3-ubyte: not an IDX file: it starts with 3c 68 74 6d",
        ),
        ("data mnist --data cut", "cut/train-images-idx3-ubyte.gz: damaged or cut off; " + REMOVE),
        ("data mnist --data page", "page/train-images-idx3-ubyte.gz: damaged or cut off; " + REMOVE),
        (
            "data mnist --data three",
            "three: train-images-idx3-ubyte (or train-images-idx3-ubyte.gz) is missing; mnist needs " + MNIST_FILES,
        ),
    ],
)
def test_bad_input_is_one_message_and_status_2_and_leaves_nothing_behind(
    say: Say, tmp_path: Path, line: str, message: str
) -> None:
    before = files(tmp_path)
    status, out, err = say(*line.split(" "))
    assert (status, files(tmp_path)) == (2, before)
    assert err == f"smallprint: {message}\n"
    assert out == ""


@pytest.mark.parametrize(
    ("line", "usage", "message"),
    [
        ("climb digits --seeds 0", "climb ", "Invalid value for '--seeds': "),
        ("climb digits --seeds many", "climb ", "Invalid value for '--seeds': "),
        ("climb digits --sedes 2", "climb ", "No such option: --sedes"),
        ("show digits base", "show ", "Got unexpected extra argument"),
        ("judge", "judge ", "Missing argument 'LADDER"),
        ("clmib digits", "", "No such command 'clmib'."),
    ],
)
def test_a_command_line_that_does_not_parse_says_how_it_is_written(
    say: Say, tmp_path: Path, line: str, usage: str, message: str
) -> None:
    before = files(tmp_path)
    status, out, err = say(*line.split())
    assert (status, out, files(tmp_path)) == (2, "", before)
    assert err.startswith(f"Usage: smallprint {usage}[OPTIONS] ")
    assert f"\nTry 'smallprint {usage}-h' for help.\n" in err
    assert f"\nError: {message}" in err


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said_before_anything_is_trained(say: Say, tmp_path: Path) -> None:
    import torch

    before = files(tmp_path)
    assert say("climb", "tiny.toml", "--device", "cuda:0") == (
        2,
        "",
        f"smallprint: --device cuda:0: this machine has no GPU that torch {torch.__version__} can use; say cpu\n",
    )
    assert files(tmp_path) == before


def test_runs_that_cannot_be_written_stop_the_climb_before_it_trains(say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = files(tmp_path)
    status, out, err = say("climb", "tiny.toml", "--runs", "file", "--workers", "1")
    assert err == f"smallprint: file/tiny/base/seed-0: cannot be written: {UNWRITABLE.format('Not a directory')}\n"
    assert (status, files(tmp_path)) == (2, before)
    assert "epoch " not in out


@pytest.mark.parametrize("command", ["judge", "report", "climb"])
@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("epochs.csv", "row", "row 2 is cut off or damaged: '2,0.0"),
        ("epochs.csv", "all", "its first line is not the names of the columns; " + ADVICE),
        ("run.json", "row", "damaged; " + ADVICE),
        ("run.json", "all", "damaged; " + ADVICE),
    ],
)
def test_a_damaged_run_folder_is_named_with_what_to_do_and_nothing_is_overwritten(
    say: Say, runs: Path, tmp_path: Path, command: str, file: str, damage: str, message: str
) -> None:
    victim = runs / "tiny" / "base" / "seed-1" / file
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-20] if damage == "row" else b"")
    before = files(tmp_path)
    status, out, err = say(command, "tiny.toml", *(["--seeds", "2"] if command == "climb" else []))
    assert (status, files(tmp_path)) == (2, before)
    assert err.startswith(f"smallprint: runs/tiny/base/seed-1/{file}: {message}")
    assert err.endswith(f"; {ADVICE}\n")
    assert err.count("\n") == 1
    assert command == "climb" or out == ""


def test_a_damaged_checkpoint_is_named_with_what_to_do_and_nothing_is_overwritten(
    say: Say, runs: Path, tmp_path: Path
) -> None:
    folder = runs / "tiny" / "base" / "seed-1"
    said = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**said, "status": "training"}))
    (folder / "resume.npz").write_bytes(b"no checkpoint")
    epochs = (folder / "epochs.csv").read_bytes()
    status, _, err = say("climb", "tiny.toml:base", "--seeds", "2", "--threads", "1")
    assert (status, err) == (
        2,
        "smallprint: runs/tiny/base/seed-1/resume.npz: damaged, or of another network; "
        "remove it and climb again: that run is trained from its first epoch\n",
    )
    assert (folder / "epochs.csv").read_bytes() == epochs
    (folder / "resume.npz").unlink()
    assert say("climb", "tiny.toml:base", "--seeds", "2", "--threads", "1").status == 0
    assert without_seconds(folder / "epochs.csv") == without_seconds(folder.parent / "seed-1" / "epochs.csv")


def without_seconds(path: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in path.read_text().splitlines()]


AS_ANOTHER_USER = """
import contextlib, io, os, sys
from smallprint.cli import main

words = sys.argv[1:]

def say(*words):
    sys.argv = ["smallprint", *words]
    try:
        main()
    except SystemExit as end:
        return end.code

with contextlib.redirect_stdout(io.StringIO()):  # what is imported on the way may not be readable for others
    say(*words, "--runs", "before")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(say(*words))
"""


def as_another_user(folder: Path, *words: str) -> Said:
    """Run a command as somebody who owns nothing."""
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, *words],
        cwd=folder, capture_output=True, text=True, check=False, env=_environment(),
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def locked(tiny_text: str) -> Iterator[Path]:
    """A folder that everybody may read, with a ladder and an empty run folder."""
    installed = Path(sys.prefix)
    if not all(folder.stat().st_mode & 0o005 == 0o005 for folder in (installed, *installed.parents)):
        pytest.skip(f"another user cannot read {installed}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tiny.toml").write_text(tiny_text)
        (folder / "runs" / "tiny" / "base" / "seed-0").mkdir(parents=True)
        yield folder
        (folder / "runs" / "tiny" / "base" / "seed-0").chmod(0o755)


def test_a_folder_that_may_not_be_written_is_said(locked: Path) -> None:
    (locked / "runs" / "tiny").chmod(0o555)
    before = files(locked / "runs")
    status, out, err = as_another_user(locked, "report", "tiny.toml")
    assert (status, out) == (2, "")
    assert err == (f"smallprint: runs/tiny/report.html: cannot be written: {UNWRITABLE.format('Permission denied')}\n")
    assert files(locked / "runs") == before


def test_a_folder_that_may_not_be_read_is_said_and_not_taken_for_an_empty_one(locked: Path) -> None:
    (locked / "runs" / "tiny" / "base" / "seed-0").chmod(0o000)
    assert as_another_user(locked, "judge", "tiny.toml") == (
        2,
        "",
        "smallprint: runs/tiny/base/seed-0/run.json: cannot be read: Permission denied\n",
    )


# What is printed as JSON


def test_show_gives_every_layer_of_a_rung_as_json(say: Say) -> None:
    said = document(say("show", "progressive:base", "--json"))
    assert (said["name"], said["parameters"], said["macs"]) == ("base", 7704, 1045312)
    assert said["input_shape"] == [1, 28, 28]
    assert said["receptive_field"] == 32
    first, last = said["layers"][0], said["layers"][-1]
    assert first == {
        "text": "conv3-8",
        "operations": ["relu"],
        "output_shape": [8, 26, 26],
        "parameters": 72,
        "macs": 48672,
        "receptive_field": 3,
    }
    assert (last["text"], last["output_shape"]) == ("conv1-10", [10, 1, 1])
    assert sum(layer["parameters"] for layer in said["layers"]) == 7704
    assert sum(layer["macs"] for layer in said["layers"]) == 1045312


def test_show_gives_a_network_as_text_the_same_json_as_a_rung(say: Say) -> None:
    rung = document(say("show", "tiny.toml:base", "--json"))
    network = "every conv3: pad=1; after conv3: relu; conv3-8 maxpool conv3-8 gap conv1-10"
    assert {"name": "base", **document(say("show", "--network", network, "--input", "1x8x8", "--json"))} == rung


def test_show_gives_all_rungs_of_a_ladder_as_json(say: Say) -> None:
    said = document(say("show", "tiny.toml", "--json"))
    assert said["ladder"] == "tiny"
    assert [(rung["name"], rung["parameters"]) for rung in said["rungs"]] == [("base", 728), ("batchnorm", 760)]


def test_diff_gives_every_step_as_json(say: Say) -> None:
    step = {
        "from": "base",
        "to": "batchnorm",
        "network": ["-after conv3: relu", "+after conv3: batchnorm relu"],
        "recipe": [],
        "parameters": [728, 760],
        "macs": [13904, 13904],
    }
    assert document(say("diff", "tiny.toml", "--json")) == [step]
    assert document(say("diff", "tiny.toml:batchnorm", "--json")) == [step]
    assert document(say("diff", "tiny.toml:base", "batchnorm", "--json")) == [step]
    assert document(say("diff", "tiny.toml:base", "--json")) == []


def test_ladders_gives_every_shipped_ladder_as_json(say: Say) -> None:
    said = {ladder["name"]: ladder for ladder in document(say("ladders", "--json"))}
    assert set(said) == set(smallprint.shipped())
    assert said["progressive"]["dataset"] == "mnist"
    assert said["progressive"]["contract"]["accuracy"] == ">= 99.4%"
    assert said["progressive"]["rungs"][0] == {"name": "base", "parameters": 7704}


def test_data_counts_every_class_as_json_and_draws_samples(say: Say, tmp_path: Path) -> None:
    said = document(say("data", "digits", "--sheet", "sheet.png", "--json"))
    assert (said["name"], said["found"], said["input_shape"]) == ("digits", "scikit-learn", [1, 8, 8])
    assert (sum(said["train"].values()), sum(said["test"].values())) == (1438, 359)
    assert len(said["fingerprint"]) == 64
    assert (tmp_path / said["sheet"]).read_bytes().startswith(b"\x89PNG")


def test_a_sheet_that_cannot_be_written_is_said(say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = f"smallprint: file/x.png: cannot be written: {UNWRITABLE.format('File exists')}\n"
    assert say("data", "digits", "--sheet", "file/x.png") == (2, "", message)


@pytest.mark.skipif(not MNIST, reason="SMALLPRINT_DATA does not say where MNIST is")
def test_data_reads_mnist_from_the_folder_that_is_named(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALLPRINT_DATA", MNIST)
    said = document(say("data", "--json"))
    assert (said["mean"], said["deviation"]) == ([0.13066], [0.308108])
    assert (sum(said["train"].values()), sum(said["test"].values())) == (60_000, 10_000)
    assert said["found"] == str(Path(MNIST) / "mnist")


def test_doctor_gives_what_it_finds_as_json(say: Say) -> None:
    said = document(say("doctor", "--json"))
    assert (said["smallprint"], said["mnist"]) == (smallprint.__version__, None)
    assert said["cache"] == str(Path(os.environ["XDG_CACHE_HOME"]) / "smallprint" / "data")
    assert said["ladders"] == list(smallprint.shipped())
    told = say("doctor").out
    assert "'smallprint data mnist' fetches it" in told
    assert f"   trainings: {said['trainings']}\n" in told
    if not said["gpu"]:
        per = "; one per core" if said["cores"] > 1 else ""
        assert said["trainings"] == f"{said['cores']} at a time on cpu (no GPU is here{per})"
    assert said["step"].startswith("native, compiled by /") or "many times slower" in said["step"]


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


def test_judge_prints_the_verdict_of_every_seed_as_json(say: Say, runs: Path) -> None:
    status, out, err = say("judge", "tiny.toml:base", "--contract", "accuracy >= 1%", "--json")
    verdict = json.loads(out)["rungs"][0]["verdict"]
    assert (status, err) == (0, "")
    assert (verdict["outcome"], verdict["passed"], verdict["of"]) == ("kept", 2, 2)
    assert [seed["seed"] for seed in verdict["seeds"]] == [0, 1]
    assert verdict["seeds"][0]["clauses"][0]["name"] == "accuracy"


def test_report_prints_what_it_wrote_and_keeps_a_record(say: Say, runs: Path, tmp_path: Path) -> None:
    said = document(say("report", "tiny.toml", "--out", "out", "--record", "records/tiny.json", "--json"))
    assert said["written"] == ["out/report.html", "out/report.md", "records/tiny.json"]
    assert [(rung["name"], rung["verdict"]["of"], rung["published"]) for rung in said["rungs"]] == [
        ("base", 2, None),
        ("batchnorm", 2, None),
    ]
    record = json.loads((tmp_path / "records" / "tiny.json").read_text())
    assert [(rung["name"], len(rung["runs"])) for rung in record["rungs"]] == [("base", 2), ("batchnorm", 2)]
    assert (record["ladder"], record["made_with"]["command"]) == ("tiny", "smallprint climb tiny.toml --seeds 2")


def test_a_record_of_a_part_of_a_ladder_names_what_was_climbed(say: Say, runs: Path, tmp_path: Path) -> None:
    shutil.rmtree(runs / "tiny" / "base")
    assert say("report", "tiny.toml", "--record", "tiny.json").status == 0
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert [(rung["name"], len(rung["runs"])) for rung in record["rungs"]] == [("batchnorm", 2)]
    assert record["made_with"]["command"] == "smallprint climb tiny.toml --rung batchnorm --seeds 2"


# How judge ends


@pytest.mark.parametrize(
    ("contract", "status"),
    [
        ("accuracy >= 1%", 0),
        ("accuracy > 99.9%", 1),
        ("accuracy >= 1%, parameters < 100", 1),
        ("accuracy >= 1%, certainty = 95% of seeds, 95% confidence", 3),
        ("accuracy >= 1%, certainty = 10% of seeds, 60% confidence", 0),
        ("accuracy > 99.9%, certainty = 99% of seeds, 60% confidence", 1),
    ],
)
def test_judge_ends_as_the_contract_says(say: Say, runs: Path, contract: str, status: int) -> None:
    said = say("judge", "tiny.toml:base", "--contract", contract)
    assert (said.status, said.err) == (status, "")
    assert {0: "kept: ", 1: "broken: ", 3: "undecided: "}[status] in said.out


def test_judge_is_undecided_where_nothing_was_measured_and_says_what_to_do(say: Say, tmp_path: Path) -> None:
    before = files(tmp_path)
    status, out, err = say("judge", "tiny.toml:base", "--runs", "there")
    assert (status, err, files(tmp_path)) == (3, "", before)
    assert out.endswith(
        "\nbase\nnot measured\n\nno run of base is stored under there/tiny\n"
        "'smallprint climb tiny.toml:base' measures what is missing\n"
    )


def test_judge_does_not_take_another_recipes_run_for_this_one(
    say: Say, runs: Path, tmp_path: Path, tiny_text: str
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_text.replace("lr=0.05", "lr=0.04"))
    status, out, _ = say("judge", "tiny.toml", "--contract", "accuracy >= 1%")
    assert status == 3
    assert "the runs of base, batchnorm under runs/tiny are of another network or recipe\n" in out


def test_one_kept_rung_keeps_the_contract_of_a_ladder(say: Say, runs: Path) -> None:
    shutil.rmtree(runs / "tiny" / "base")
    assert say("judge", "tiny.toml", "--contract", "accuracy >= 1%").status == 0
    assert say("judge", "tiny.toml", "--contract", "accuracy > 99.9%").status == 3  # base is not measured


def test_judge_says_why_a_failed_run_does_not_count(say: Say, runs: Path) -> None:
    path = runs / "tiny" / "base" / "seed-1" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "failed", "reason": "RuntimeError: [no]"}))
    out = say("judge", "tiny.toml:base", "--contract", "accuracy >= 1%").out
    assert "seed 1 failed: RuntimeError: [no]\n" in out
    assert "kept: 1 of 1 seed kept" in out


# What is not loaded, and not fetched


def test_nothing_that_does_not_train_imports_torch(climbed: Path, tmp_path: Path, tiny_text: str) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_text)
    shutil.copytree(climbed, tmp_path / "runs")
    lines = [
        "--help", "--version", "climb --help", "report --help", "ladders", "show tiny.toml", "show tiny.toml --json",
        "diff tiny.toml", "judge tiny.toml", "judge tiny.toml --json", "report tiny.toml", "data digits",
        "climb tiny.toml:bass", "climb tiny.toml --seeds 0", "climb tiny.toml --device tpu",
        "climb tiny.toml --workers 0", "climb ./tiny.toml --seeds 2 --workers 2",
    ]  # fmt: skip
    program = f"""
import sys
from smallprint.cli import main
for line in {lines!r}:
    sys.argv = ["smallprint", *line.split()]
    try:
        main()
    except SystemExit as end:
        print("ended:", line, end.code, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, env=_environment()
    )
    ended = [line.removeprefix("ended: ") for line in done.stdout.splitlines() if line.startswith("ended: ")]
    statuses = [2 if line.startswith("climb tiny") else 0 for line in lines]
    assert [line.replace(" 1 False", " 0 False") for line in ended] == [
        f"{line} {status} False" for line, status in zip(lines, statuses, strict=True)
    ]


def test_a_report_is_written_without_the_images_rather_than_fetching_them(say: Say, tmp_path: Path) -> None:
    status, out, err = say("report", "progressive", "--out", "out")
    assert (status, out) == (0, "out/report.html\nout/report.md\n")
    assert err == (
        "smallprint: the report is written without pictures of the images: "
        "mnist is not on this machine ('smallprint data mnist' fetches it)\n"
    )
    assert (tmp_path / "out" / "report.html").is_file()


def test_without_a_ladder_and_without_mnist_the_embedded_digits_are_climbed(say: Say, tmp_path: Path) -> None:
    status, out, err = say("climb", "--rung", "base", "--threads", "1")
    assert err == (
        "mnist is not on this machine and could not be downloaded: "
        "climbing the embedded 'digits' instead ('smallprint data mnist' says more).\n"
    )
    assert status == 0
    assert "1/1 base  1,304 parameters" in out
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m smallprint show progressive | head -n 1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, env=_environment(),
    )  # fmt: skip
    assert done.stderr == ""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "SMALLPRINT_DATA")}


# What a person sees


def test_help_and_version_are_answered(say: Say) -> None:
    assert say("--version") == (0, f"smallprint {smallprint.__version__}\n", "")
    status, out, err = say("--help")
    assert (status, err) == (0, "")
    assert "..." not in out.split("Commands:")[1]  # every command's help fits its line
    for command in ("climb", "show", "diff", "judge", "report", "new", "data", "ladders", "doctor"):
        assert say(command, "-h").out.startswith(f"Usage: smallprint {command} ")


def test_show_aligns_its_columns_however_narrow_the_screen(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = say("show", "progressive:dropout").out
    monkeypatch.setenv("COLUMNS", "40")
    assert say("show", "progressive:dropout").out == wide
    lines = wide.splitlines()
    header = next(line for line in lines if line.startswith("layer"))
    assert all(len(line) == len(header) for line in lines if line.startswith(("conv", "maxpool", "gap")))
    assert lines[-1].split() == ["7,864", "1,045,312"]
    assert not any(line != line.rstrip() for line in lines)


def test_diff_says_where_there_is_nothing_to_compare(say: Say) -> None:
    assert say("diff", "tiny.toml:base").out == "nothing to compare: base is the first rung\n"
    assert say("diff", "tiny.toml:base", "base").out == "base -> base\nnothing changed\n"


def test_a_colon_takes_a_ladder_apart_only_where_no_file_has_that_name(
    say: Say, tmp_path: Path, tiny_text: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "tiny.toml").write_text(tiny_text)
    (tmp_path / "a:x").mkdir()
    (tmp_path / "a:x" / "tiny.toml").write_text(tiny_text)
    assert "1/2 base" in say("show", "x/tiny.toml:base").out
    assert "2/2 batchnorm" in say("show", "a:x/tiny.toml").out
    assert "1/2 base" not in say("show", "a:x/tiny.toml:batchnorm").out
    (tmp_path / "tiny.toml:base").write_text(tiny_text)
    assert "2/2 batchnorm" in say("show", "tiny.toml:base").out


def test_rungs_are_climbed_in_the_ladders_order_and_each_once(say: Say) -> None:
    out = say("climb", "tiny.toml:batchnorm", "--rung", "base", "--rung", "base", "--workers", "1").out
    headings = [line for line in out.splitlines() if " multiply-adds" in line and "/2 " in line]
    assert [line.split("  ")[0] for line in headings] == ["1/2 base", "2/2 batchnorm"]
