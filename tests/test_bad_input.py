"""Bad input to the commands: one message, status 2, and nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import smallprint
from smallprint.spec.dataset import DATASETS
from tests.typed import Said, Say, files, plain_environment

SHIPPED = ", ".join(smallprint.shipped())
MNIST_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
NOT_HERE = f"missing: no mnist here; it needs {MNIST_FILES} (or .gz of them), in it or in mnist/"
REMOVE = "put the original file in its place"
UNWRITABLE = "{}; what is stored stays as it is; put that right and start again"
ADVICE = "remove that run's folder and climb again: it is trained anew, the others are kept"


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
            "diff compares two rungs, and tiny.toml is more than one: diff LADDER:RUNG LADDER:RUNG",
        ),
        (
            "diff tiny.toml:base progressive:base",
            "diff compares rungs of the same data set, not digits and mnist",
        ),
        (
            "report tiny.toml --runs nowhere --record record.json",
            "no run of base, batchnorm is stored under nowhere/tiny: 'smallprint climb tiny.toml' trains them, --runs "
            "says where they are",
        ),
        ("report digits:base", "a report is of a whole ladder: smallprint report digits"),
        ("data digits --sheet tiny.toml", "--sheet is a PNG file, whose name ends with .png, not tiny.toml"),
        ("new nowhere/mine --data digits", "nowhere/mine.toml: there is no folder nowhere for it"),
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
            "depthwise<k>, linear-<width>, flatten, maxpool, maxpool<k>, avgpool<k>, gap, batchnorm, "
            "batchnorm,noscale, relu, leakyrelu=0.2, silu, hardswish, gelu, tanh, dropout=5%, dropout2d=10%\n"
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
        (
            "climb tiny.toml --seeds 9-5",
            "--seeds is how many, from 1 to 10000, or the first and the last (9999 at most), as in 5-9, not '9-5'",
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
        cwd=folder, capture_output=True, text=True, check=False, env=plain_environment(),
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
        (folder / "before" / "tiny").mkdir(parents=True)
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
