"""A search's report says what was found and what is in the way, and nothing that a ladder's author could smuggle in."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from smallprint.spec.ladder_file import read_ladder
from smallprint.views.search_report import write_search_report
from smallprint.views.search_result import SearchResult
from tests.searches import drawn, raced, result, some
from tests.searching.candidates import ladder

HOSTILE = '<script>alert(1)</script> & "x" | y `z` <img src=http://evil.example/p.png>\n# *a* [b](http://evil.example)'


class Page(HTMLParser):
    """Tags, references and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def written(said: SearchResult) -> tuple[Page, str]:
    html, markdown = write_search_report(said)
    assert (html.parent, html.name, markdown.name) == (said.folder, "search.html", "search.md")
    return Page(html.read_text(encoding="utf-8")), markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize("keeps", [True, False])
def test_both_pages_say_what_was_found_how_and_what_to_do(tmp_path: Path, keeps: bool) -> None:
    said = result(tmp_path, raced(*some(keeps=keeps)).found())
    page, markdown = written(said)
    assert said.rung
    for text in (page.text, unescape(markdown).replace("\\", "")):
        for part in (
            str(ladder().contract), said.verdict, said.rung.name, said.command, "behind others", "3 of 15 epochs",
            said.found.margin.text, "never looked at", "successive halving", "Parzen", "1 more were drawn",
        ):  # fmt: skip
            assert part in text, part
        for step in said.next_steps:
            assert step.said in text
            assert step.command in text


def test_the_rung_stands_in_both_pages_word_by_word(tmp_path: Path) -> None:
    said = result(tmp_path, raced(*some()).found())
    page, markdown = written(said)
    assert f"```toml\n{said.text.strip()}\n```" in markdown
    assert " ".join(said.text.split()) in page.text


def test_the_file_beside_the_pages_is_a_ladder_that_reads(tmp_path: Path) -> None:
    said = result(tmp_path, raced(*some()).found())
    written(said)
    of = read_ladder(tmp_path / "found.toml")
    assert of.rungs == (said.rung,)
    assert of.contract == ladder().contract


def test_every_row_of_the_front_is_in_both_pages_with_its_seeds(tmp_path: Path) -> None:
    page, markdown = written(result(tmp_path, raced(*some()).found()))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "shown" in line]
    assert rows == [["\\#1", "300", "88.00", "88.00", "88.00", "1", "not shown"]]
    assert "| \\#0, found | 500 | 94.12 | 93.00 | 95.00 | 8 | kept |" in markdown
    assert "#0, found 500 94.12 93.00 95.00 8 kept" in page.text


def test_the_pictures_are_there_and_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    page, markdown = written(result(tmp_path, raced(*some()).found()))
    assert page.tags["svg"] == 2  # wide and narrow
    assert all(reference.startswith("#") for reference in page.references)
    (linked,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)
    ET.fromstring((tmp_path / linked).read_text(encoding="utf-8"))


def test_tables_in_markdown_have_as_many_cells_in_every_row(tmp_path: Path) -> None:
    _, markdown = written(result(tmp_path, raced(*some()).found()))
    lines = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL).splitlines()
    cells = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    assert sum(map(bool, cells)) > 20
    assert all(one == other for one, other in pairwise(cells) if one and other)


def test_nothing_that_somebody_else_wrote_is_markup(tmp_path: Path) -> None:
    of = replace(ladder(), title=HOSTILE)
    said = replace(result(tmp_path, raced(*some(), of=of).found(), of=of), command=HOSTILE)
    page, markdown = written(said)
    assert page.tags["script"] == page.tags["img"] == 0
    assert HOSTILE.split("\n", maxsplit=1)[0] in page.text
    outside = re.sub(r"^(`{3,}).*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in outside
    assert not re.search(r"(?<!\\)\]\((?!search-pictures/)", outside)


def test_a_search_that_found_nothing_has_pages_without_a_rung(tmp_path: Path) -> None:
    page, markdown = written(result(tmp_path, raced(drawn(0, 500, (1.0,), why="it diverged")).found()))
    for text in (page.text, markdown):
        assert "no candidate was trained at full length" in text
    assert page.tags["svg"] == 0
    assert not (tmp_path / "found.toml").exists()


def test_a_search_that_judged_nobody_has_pages_too(tmp_path: Path) -> None:
    page, markdown = written(result(tmp_path, raced().found()))
    assert "no candidate was judged" in page.text
    assert "no candidate was judged" in markdown
