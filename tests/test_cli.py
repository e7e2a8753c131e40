"""The terminal: help, what it loads, and how a line is taken apart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import smallprint
from tests.typed import Say, plain_environment


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
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=plain_environment(),
    )
    ended = [line.removeprefix("ended: ") for line in done.stdout.splitlines() if line.startswith("ended: ")]
    statuses = [2 if line.startswith("climb tiny") else 0 for line in lines]
    assert [line.replace(" 1 False", " 0 False") for line in ended] == [
        f"{line} {status} False" for line, status in zip(lines, statuses, strict=True)
    ]


def test_help_and_version_are_answered(say: Say) -> None:
    assert say("--version") == (0, f"smallprint {smallprint.__version__}\n", "")
    status, out, err = say("--help")
    assert (status, err) == (0, "")
    assert "..." not in out.split("Commands:")[1]  # every command's help fits its line
    for command in ("climb", "certify", "show", "diff", "judge", "report", "new", "data", "ladders", "doctor"):
        assert say(command, "-h").out.startswith(f"Usage: smallprint {command} ")


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
