"""A search as JSON: complete, finite, and the same numbers as everywhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smallprint.spec.ladder_file import parse_ladder
from smallprint.views.search_documents import search_document
from tests.searches import MARGIN, drawn, raced, result, some
from tests.searching.candidates import LADDER


def test_the_document_has_the_rung_the_front_and_what_to_do(tmp_path: Path) -> None:
    said = result(tmp_path, raced(*some()).found())
    document = json.loads(json.dumps(search_document(said), allow_nan=False))
    assert (document["keeps"], document["stopped"]) == (True, False)
    assert document["text"] == said.verdict
    assert parse_ladder(LADDER + document["found"]["rung"], name="small").rungs[-1] == said.rung
    assert document["found"]["file"] == str(tmp_path / "found.toml")
    assert document["found"]["held_out"] == [95, 94, 93, 95, 94, 93, 95, 94]
    assert [(point["candidate"], point["amount"], point["keeps"]) for point in document["front"]] == [
        ("#1", 300, False),
        ("#0", 500, True),
        ("start", 760, True),
    ]
    assert document["start_measured"]["mean"] == 95.0
    assert document["needed"]["accuracy"] == pytest.approx(MARGIN.needed)
    assert (document["drawn"], document["drawn_again"]) == (6, 1)
    assert document["levels"][0] == {
        "level": "3 of 15 epochs", "trained": 5, "went_on": 2, "dropped": {"behind others": 1, "diverged": 1},
    }  # fmt: skip
    assert [step["command"] is None for step in document["next"]] == [False, True, True]


def test_a_search_that_found_nothing_says_null(tmp_path: Path) -> None:
    document = search_document(result(tmp_path, raced(drawn(0, 500, (1.0,), why="it diverged")).found()))
    assert json.loads(json.dumps(document, allow_nan=False))["found"] is None
    assert (document["front"], document["start_measured"], document["keeps"]) == ([], None, False)
