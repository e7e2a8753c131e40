"""Where commands find ladders and data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.typed import Say, document

MNIST = os.environ.get("SMALLPRINT_DATA", "")  # the fixture takes it away


@pytest.mark.skipif(not MNIST, reason="SMALLPRINT_DATA does not say where MNIST is")
def test_data_reads_mnist_from_the_folder_that_is_named(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALLPRINT_DATA", MNIST)
    said = document(say("data", "--json"))
    assert (said["mean"], said["deviation"]) == ([0.13066], [0.308108])
    assert (sum(said["train"].values()), sum(said["test"].values())) == (60_000, 10_000)
    assert said["found"] == str(Path(MNIST) / "mnist")


def test_a_report_is_written_without_the_images_rather_than_fetching_them(say: Say, tmp_path: Path) -> None:
    (tmp_path / "runs" / "progressive").mkdir(parents=True)
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
