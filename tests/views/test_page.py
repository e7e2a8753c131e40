"""Pages are written whole, and no value of a ladder becomes markup in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smallprint.spec.errors import RunError
from smallprint.spec.ladder import RungDiff
from smallprint.views.canvas import PALETTE
from smallprint.views.page import Figure, write_pages

HOSTILE = '<b>&"|`*x*`\n# [y](z)'


def changed(network: tuple[str, ...] = (" gap",)) -> dict[str, object]:
    diff = RungDiff(network=network, recipe=(("loss", HOSTILE, "b"),), parameters=(1_000, 900), macs=(5, 5))
    return {"diff": diff}


def test_both_pages_are_written_with_the_pictures_beside_them(tmp_path: Path) -> None:
    figure = Figure(name="one", caption="One.", svg=f'<svg fill="{PALETTE["ink"]}"/>')
    html, markdown = write_pages(tmp_path, "changed", changed(), [figure])
    assert (html, markdown) == (tmp_path / "changed.html", tmp_path / "changed.md")
    assert (tmp_path / "changed-pictures" / "one.svg").read_text() == figure.svg
    assert "1,000</td><td>900" in html.read_text()
    assert "| parameters | 1,000 | 900 |" in markdown.read_text()


def test_a_value_is_text_in_both_pages(tmp_path: Path) -> None:
    html, markdown = (page.read_text() for page in write_pages(tmp_path, "changed", changed(), []))
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;&#34;|`*x*`" in html
    row = next(line for line in markdown.splitlines() if "loss" in line)
    assert row == r'| loss | &lt;b&gt;&amp;"\|\`\*x\*\` \# \[y\](z) | b |'


def test_lines_of_code_stay_inside_their_fence(tmp_path: Path) -> None:
    _, markdown = write_pages(tmp_path, "changed", changed(("+```", "-out")), [])
    assert re.search(r"^````diff\n\+```\n-out\n````$", markdown.read_text(), re.MULTILINE)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        write_pages(tmp_path / "file", "changed", changed(), [])
