"""Commands about data, as a user types them."""

from __future__ import annotations

from pathlib import Path

from tests.typed import Say, document

UNWRITABLE = "{}; what is stored stays as it is; put that right and start again"


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
