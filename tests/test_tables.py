"""The tables of the pages are the records, counted again by hand."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smallprint.spec.ladder import read_ladder, shipped

ROOT = Path(__file__).parent.parent
MADE_WITH = {
    "smallprint": "0.1.0", "python": "3.11", "torch": "2.13", "numpy": "2", "platform": "here", "device": "cpu",
    "threads": 2, "command": "smallprint climb three-steps --seeds 3",
}  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/tables.py over a folder of its own, in which nothing is measured yet."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tables", module)  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    (tmp_path / "docs").mkdir()
    (tmp_path / "records").mkdir()
    (tmp_path / "docs" / "published-remarks.toml").write_text('[three-steps]\nnarrow = "Because."\n')
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def run(seed: int, test: Sequence[int], status: str = "finished") -> dict[str, Any]:
    """A recorded run from its correct test images, of 10,000 each."""
    measured = {"learning_rate": 0.01, "train_loss": 0.1, "test_loss": 0.1, "seconds": 1.0, "train_correct": 59_000,
                "train_total": 60_000, "test_total": 10_000}  # fmt: skip
    epochs = [{"epoch": number, **measured, "test_correct": correct} for number, correct in enumerate(test, start=1)]
    return {"seed": seed, "status": status, "reason": "", "epochs": epochs}


def record(folder: Path, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Write the record of a part of three-steps."""
    ladder = read_ladder("three-steps")
    rungs = [
        {"name": name, "network": "", "parameters": ladder.trace(ladder.rung(name)).parameters, "macs": 1, "runs": kept}
        for name, kept in runs.items()
    ]
    said = {"ladder": "three-steps", "contract": ladder.contract.clauses(), "made_with": MADE_WITH, "rungs": rungs}
    (folder / "records" / "three-steps.json").write_text(json.dumps(said))


def cells(text: str, rung: str) -> list[str]:
    (row,) = re.findall(rf"(?m)^\| {re.escape(rung)} \| (.*) \|$", text)
    return [cell.replace("\N{EN DASH}", "-") for cell in str(row).split(" | ")]


def test_a_row_is_what_the_seeds_of_its_record_say(tables: ModuleType, tmp_path: Path) -> None:
    small = [
        run(0, [9_000] * 8 + [9_945, 9_950, 9_940, 9_941, 9_942, 9_940, 9_941]),
        run(1, [9_000] * 8 + [9_940, 9_947, 9_946, 9_939, 9_942, 9_940, 9_941]),
        run(2, [9_000] * 8 + [9_961, 9_947, 9_950, 9_951, 9_952, 9_953, 9_950]),
    ]
    record(tmp_path, {"rotation-lr-0.19-7836": small, "narrow": [run(0, [9_924] * 15)]})
    text = tables.published("three-steps")
    # best: 99.50, 99.47 and 99.61; worst of the last 5: 99.40, 99.39 and 99.50
    assert cells(text, "rotation-lr-0.19-7836") == [
        "7,836", "99.43", "broken", "99.53", "0.074", "3", "+0.10", "99.43", "99.39", "2 of 3 (9.4 to 99.2%)",
    ]  # fmt: skip
    assert cells(text, "narrow") == [
        "8,582", "99.40", "broken", "99.24", "-", "1", "-0.16", "99.24", "99.24", "0 of 1 (0.0 to 97.5%)",
    ]  # fmt: skip
    assert cells(text, "rotation") == ["8,582", "99.41", "broken", "not measured", *6 * ["-"]]
    assert "Ours: `smallprint climb three-steps --seeds 3`." in text


def test_a_seed_that_diverged_breaks_the_contract_and_has_no_part_in_the_means(
    tables: ModuleType, tmp_path: Path
) -> None:
    good = run(0, [9_950] * 15)
    record(tmp_path, {"rotation-lr-0.19-7836": [good, run(1, [9_960, 1_000], "diverged"), run(2, [], "failed")]})
    found = cells(tables.published("three-steps"), "rotation-lr-0.19-7836")
    assert found[3:6] == ["99.50", "-", "1"]
    assert found[-1].startswith("1 of 2 ")
    record(tmp_path, {"rotation-lr-0.19-7836": [run(1, [9_960, 1_000], "diverged")]})
    found = cells(tables.published("three-steps"), "rotation-lr-0.19-7836")
    assert found[3:] == [*6 * ["-"], "0 of 1 (0.0 to 97.5%)"]


def test_a_rung_clearly_below_the_published_best_comes_with_its_remark_or_the_lack_of_one(
    tables: ModuleType, tmp_path: Path
) -> None:
    assert "Below" not in tables.published("three-steps")
    near, far = [run(0, [9_926] * 15)], [run(0, [9_900] * 15)]
    record(tmp_path, {"narrow": near, "vanilla": near})
    assert "Below" not in tables.published("three-steps")
    record(tmp_path, {"narrow": far, "vanilla": [run(0, [9_817] * 15)]})
    below = tables.published("three-steps").split("Below the published best by more than 0.15 points:\n\n")[1]
    assert below == "- **vanilla**, by 1.00: not explained yet.\n- **narrow**, by 0.40: Because."


def test_without_a_record_nothing_is_claimed(tables: ModuleType) -> None:
    text = tables.published("onecycle")
    assert text.count("not measured") == 6
    assert "there is no `records/onecycle.json`" in text
    assert "**onecycle**: Every one of the last 5 epochs has 99.4%" in text
    assert tables.progressive().count("not measured") == 7


def test_a_page_is_rewritten_between_its_marks_only(tables: ModuleType) -> None:
    page = "before\n<!-- table: published onecycle -->\nold\n<!-- end -->\nafter"
    new = tables.rewritten(page)
    assert new.startswith("before\n<!-- table: published onecycle -->\n| rung | parameters |")
    assert new.endswith("\n<!-- end -->\nafter")
    assert "old" not in new
    assert tables.rewritten(new) == new


def test_the_page_has_every_published_ladder_and_every_remark_is_of_a_rung() -> None:
    published = [name for name in shipped() if read_ladder(name).rungs[0].published]
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- table: published (\S+) -->", page)) == published
    remarks = tomllib.loads((ROOT / "docs" / "published-remarks.toml").read_text(encoding="utf-8"))
    for name, rungs in remarks.items():
        assert set(rungs) <= {rung.name for rung in read_ladder(name).rungs}
