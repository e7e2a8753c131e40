"""The tables of the pages are the records, counted again by hand."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_tables import epoch, speed
from cells import NONE
from record_tables import fewest, progressive, published, records
from tables import rewritten

from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.recipe import Distilled

ROOT = Path(__file__).parent.parent
MADE_WITH = {
    "smallprint": "0.1.0", "python": "3.11", "torch": "2.13", "numpy": "2", "platform": "here", "device": "cpu",
    "threads": 2, "command": "smallprint climb three-steps --seeds 3",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project in which nothing is measured yet."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "records").mkdir()
    (tmp_path / "docs" / "published-remarks.toml").write_text('[three-steps]\nnarrow = "Because."\n')
    return tmp_path


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


def test_a_row_is_what_the_seeds_of_its_record_say(root: Path) -> None:
    small = [
        run(0, [9_000] * 8 + [9_945, 9_950, 9_940, 9_941, 9_942, 9_940, 9_941]),
        run(1, [9_000] * 8 + [9_940, 9_947, 9_946, 9_939, 9_942, 9_940, 9_941]),
        run(2, [9_000] * 8 + [9_961, 9_947, 9_950, 9_951, 9_952, 9_953, 9_950]),
    ]
    record(root, {"rotation-lr-0.19-7836": small, "narrow": [run(0, [9_924] * 15)]})
    text = published(root, "three-steps")
    # best: 99.50, 99.47 and 99.61; worst of the last 5: 99.40, 99.39 and 99.50
    assert cells(text, "rotation-lr-0.19-7836") == [
        "7,836", "99.43", "broken", "99.53", "0.074", "3", "+0.10", "99.43", "99.39", "2 of 3 (9.4 to 99.2%)",
    ]  # fmt: skip
    assert cells(text, "narrow") == [
        "8,582", "99.40", "broken", "99.24", "-", "1", "-0.16", "99.24", "99.24", "0 of 1 (0.0 to 97.5%)",
    ]  # fmt: skip
    assert cells(text, "rotation") == ["8,582", "99.41", "broken", "not measured", *6 * ["-"]]
    assert "Ours: `smallprint climb three-steps --seeds 3`." in text


def test_a_seed_that_diverged_breaks_the_contract_and_has_no_part_in_the_means(root: Path) -> None:
    good = run(0, [9_950] * 15)
    record(root, {"rotation-lr-0.19-7836": [good, run(1, [9_960, 1_000], "diverged"), run(2, [], "failed")]})
    found = cells(published(root, "three-steps"), "rotation-lr-0.19-7836")
    assert found[3:6] == ["99.50", "-", "1"]
    assert found[-1].startswith("1 of 2 ")
    record(root, {"rotation-lr-0.19-7836": [run(1, [9_960, 1_000], "diverged")]})
    found = cells(published(root, "three-steps"), "rotation-lr-0.19-7836")
    assert found[3:] == [*6 * ["-"], "0 of 1 (0.0 to 97.5%)"]


def test_a_rung_clearly_below_the_published_best_comes_with_its_remark_or_the_lack_of_one(root: Path) -> None:
    assert "Below" not in published(root, "three-steps")
    near, far = [run(0, [9_926] * 15)], [run(0, [9_900] * 15)]
    record(root, {"narrow": near, "vanilla": near})
    assert "Below" not in published(root, "three-steps")
    record(root, {"narrow": far, "vanilla": [run(0, [9_817] * 15)]})
    below = published(root, "three-steps").split("Below the published best by more than 0.15 points:\n\n")[1]
    assert below == "- **vanilla**, by 1.00: not explained yet.\n- **narrow**, by 0.40: Because."


def test_without_a_record_nothing_is_claimed(root: Path) -> None:
    text = published(root, "onecycle")
    assert text.count("not measured") == 6
    assert "there is no `records/onecycle.json`" in text
    assert "**onecycle**: Every one of the last 5 epochs has 99.4%" in text
    assert progressive(root).count("not measured") == 7


def test_a_page_is_rewritten_between_its_marks_only(root: Path) -> None:
    page = "before\n<!-- table: published onecycle -->\nold\n<!-- end -->\nafter"
    new = rewritten(page, root)
    assert new.startswith("before\n<!-- table: published onecycle -->\n| rung | parameters |")
    assert new.endswith("\n<!-- end -->\nafter")
    assert "old" not in new
    assert rewritten(new, root) == new


def test_the_page_has_every_published_ladder_and_every_remark_is_of_a_rung() -> None:
    published = [name for name in shipped() if read_ladder(name).rungs[0].published]
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- table: published (\S+) -->", page)) == published
    remarks = tomllib.loads((ROOT / "docs" / "published-remarks.toml").read_text(encoding="utf-8"))
    for name, rungs in remarks.items():
        assert set(rungs) <= {rung.name for rung in read_ladder(name).rungs}


MACHINE = {"platform": "Linux", "cores": 2, "smallprint": "0.1.0", "torch": "2.13"}


def result(folder: Path, name: str, found: dict[str, Any], *, trial: bool = False) -> None:
    """Keep what a benchmark found."""
    said = {"date": "2026-01-02", "command": f"python -m benchmarks {name} --rounds 3", "trial": trial}
    (folder / "benchmarks" / "results").mkdir(parents=True, exist_ok=True)
    path = folder / "benchmarks" / "results" / f"{name}.json"
    path.write_text(json.dumps({**said, "machine": MACHINE, "settings": {"images": 640}, **found}))


CLAIMS = """
dataset = "mnist"
[contract]
accuracy    = ">= 99.4%"
last_epochs = 5
parameters  = "< 8000"
epochs      = "<= 15"

[[claim]]
source     = "a/kept"
parameters = 7864
epochs     = 15
last       = [99.46, 99.43, 99.43, 99.40, 99.45]

[[claim]]
source     = "b/short"
parameters = 6750
epochs     = 15
last       = [99.26, 99.33, 99.41, 99.43, 99.50]

[[claim]]
source     = "c/large"
parameters = 8172
epochs     = 15
last       = [99.48, 99.44, 99.48, 99.51, 99.57]

[[claim]]
source     = "d/best"
parameters = 697
epochs     = 2000
best       = 99.03
note       = "best epoch"
"""


def pupil(of: Ladder, name: str) -> Ladder:
    """A ladder of its first rung and another that the first teaches."""
    rung = of.rung(name)
    taught = replace(rung, recipe=replace(rung.recipe, loss=Distilled(teacher=of.rungs[0].name)))
    return replace(of, rungs=(of.rungs[0], taught))


def certified(
    folder: Path, place: str = "three-steps:narrow", macs: int = 1, clean: int = 0, of: Ladder | None = None
) -> None:
    """Write the record of a rung whose fresh seeds kept its promise, or of two that broke it."""
    where, name = place.split(":")
    ladder = of or read_ladder(where)
    rung = ladder.rung(name)
    runs = [run(1000, [9_930] * 15), run(1001, [9_934] * 15), run(1002, [9_000] * 15)]
    if clean:
        runs = [run(seed, [9_950] * 15) for seed in range(1000, 1000 + clean)]
    certificate = {"outcome": "certified" if clean else "refuted", "certainty": "95% of seeds, 95% confidence",
                   "passed": clean, "of": clean or 2, "first_seed": 1000}  # fmt: skip
    said = {"name": name, "network": "", "parameters": ladder.trace(rung).parameters, "macs": macs, "runs": runs,
            "rung": ladder.only(rung), "certificate": certificate}  # fmt: skip
    document = {"ladder": where, "contract": ladder.contract.clauses(), "made_with": MADE_WITH, "rungs": [said]}
    (folder / "records" / f"{where}-{name}.json").write_text(json.dumps(document))


def test_certified_rungs_stand_beside_public_claims_with_the_seeds_that_each_rests_on(root: Path) -> None:
    (root / "docs" / "public-claims.toml").write_text(CLAIMS)
    claims = records(root, "mnist").splitlines()
    promise, none = ">= 99.4% in each of the last 5", NONE
    assert claims[2:] == [
        f"| 697 | {none} | d/best | 2,000 | {none} | {none} | not published; 99.03 is the best epoch "
        f"| 1 | not known | {none} |",
        f"| 6,750 | {none} | b/short | 15 | {none} | {promise} | 99.26 | 1 | 0 | {none} |",
        f"| 7,864 | {none} | a/kept | 15 | {none} | {promise} | 99.40 | 1 | 1 | {none} |",
        f"| 8,172 | {none} | c/large | 15 | {none} | {promise} | 99.44 | 1 | 0 | {none} |",
        "",
        "None of our rungs is certified yet.",
    ]
    certified(root)
    record(root, {"narrow": [run(0, [9_990] * 15)]})  # has no certificate, so that it claims nothing here
    both = records(root, "mnist").splitlines()
    assert [line for line in both if line not in claims] == [
        "| 8,582 | 1 | **[three-steps:narrow](../records/three-steps-narrow.json)** | 15 | 15 | "
        f"{promise} | 99.30, mean 99.32 | 2 | 0 | 0.0%, refuted |"
    ]
    assert both[-1] == next(line for line in both if "three-steps" in line)  # the largest comes last
    assert records(root, "digits").endswith("\n\nNone of our rungs is certified yet.")
    assert not any(name in records(root, "digits") for name in ("three-steps", "d/best"))


def test_a_certified_rung_that_was_taught_names_its_teacher_and_the_epochs_of_both(root: Path) -> None:
    taught = pupil(read_ladder("three-steps"), "narrow")
    (root / "docs" / "public-claims.toml").write_text(CLAIMS)
    certified(root, of=taught)
    (line,) = (line for line in records(root, "mnist").splitlines() if "three-steps" in line)
    assert f"three-steps-narrow.json)**, {taught.taught(taught.rungs[1])} | 15 |" in line


def test_the_fewest_of_each_measure_are_named_among_what_is_certified(root: Path) -> None:
    certified(root)  # refuted, so that it leads in nothing
    assert fewest(root, "mnist").count("\n") == 1
    certified(root, "three-steps:rotation-lr-0.19-7836", macs=3, clean=66)
    certified(root, "progressive:dropout", macs=2, clean=66)
    assert cells(fewest(root, "mnist"), ">= 99.4% in each of the last 5") == [
        "7,836: **[three-steps:rotation-lr-0.19-7836](../records/three-steps-rotation-lr-0.19-7836.json)**",
        "2: **[progressive:dropout](../records/progressive-dropout.json)**",
        "15: **[progressive:dropout](../records/progressive-dropout.json)**",
    ]
    certified(root, "progressive:dropout", macs=1, clean=66, of=pupil(read_ladder("progressive"), "dropout"))
    leads = "**[progressive:dropout](../records/progressive-dropout.json)**"
    taught, alone = (
        cells(fewest(root, "mnist"), f">= 99.4% in each of the last 5{track}") for track in (", taught", "")
    )
    assert taught == [f"7,864: {leads}", f"1: {leads}", f"15: {leads}"]
    assert "dropout" not in "".join(alone)


def test_what_no_benchmark_has_measured_says_so(root: Path) -> None:
    assert speed(root, "gpu") == "Not yet measured: `python -m benchmarks gpu --write` does it."


def test_a_result_comes_with_its_date_machine_and_command_and_a_trial_is_marked(root: Path) -> None:
    ratio = {"median": 8.0, "lowest": 6.5, "highest": 9.0}
    seconds = {"course": [4800.0, 4200.0, 5400.0], "ours": [600.0, 540.0, 660.0]}
    found = {
        "rung": "a:b", "seeds": 8, "epochs": 15, "scaled": ["course"], "verdict": "broken: 7 of 8", "seconds": seconds,
        "runs_per_hour": {"course": 6.0, "ours": 48.0}, "ratios": {"course": ratio},
    }  # fmt: skip
    result(root, "contract", found)
    text = speed(root, "contract")
    assert cells(text, "the notebooks' loop, seed after seed") == [
        "80.0 (70.0 to 90.0)", "6.0", "8.0 (6.5 to 9.0)", "scaled from a part",
    ]  # fmt: skip
    assert cells(text, "**`smallprint climb`**") == ["10.0 (9.0 to 11.0)", "48.0", "1", "whole"]
    assert "The verdict: broken: 7 of 8." in text
    assert text.endswith(
        "\n\n2026-01-02, 2 cores, Linux, torch 2.13, smallprint 0.1.0. "
        "Repeat: `python -m benchmarks contract --rounds 3`."
    )
    result(root, "contract", found, trial=True)
    assert "A trial with small settings" in speed(root, "contract")


def test_an_epoch_stands_side_by_side_for_every_kind_of_processor_that_measured_it(root: Path) -> None:
    def measured(threads: int, **seconds: float) -> dict[str, Any]:
        times = {side: {"median": seconds[side] / seconds["ours"], "lowest": 2.0, "highest": 4.0} for side in seconds}
        del times["ours"]
        return {"threads": threads, "seconds": {side: [said] for side, said in seconds.items()}, "ratios": times,
                "gflops": [50.0], "product_gflops": [100.0], "share_of_product": 0.5}  # fmt: skip

    result(root, "epoch-a", {"results": [measured(1, nhwc=3.0, ours=1.0)]})
    result(
        root, "epoch-b", {"results": [measured(1, nhwc=6.0, compile=4.0, ours=2.0), measured(2, nhwc=5.0, ours=1.0)]}
    )
    rows = [line.strip("| ").split(" | ")[1:] for line in epoch(root).splitlines()[2:]]
    assert [[who, *[cell.split(" ")[0] for cell in found]] for who, *found in rows] == [
        ["the same, channels_last", "3.0", "3.0", "6.0", "3.0"],
        ["**smallprint**", "1.0", "1", "2.0", "1"],
        ["the same, torch.compile", NONE, NONE, "4.0", "2.0"],
        ["the same, channels_last", NONE, NONE, "5.0", "5.0"],
        ["**smallprint**", NONE, NONE, "1.0", "1"],
    ]
    assert speed(root, "epoch").count("50 GFLOP/s with 1 thread, 50% of the 100 ") == 2


def test_a_growth_has_a_table_of_its_own_and_a_steep_one_is_marked(root: Path) -> None:
    growth = {
        "title": "Judging", "size": "runs", "cost": "judging", "sizes": [10, 1000], "factor": 1.0, "exponent": 1.5,
        "seconds": [[0.0005, 0.0007, 0.0006], [2.0, 150.0, 120.0]], "exponent_of_work": 1.0, "steeper": True,
    }  # fmt: skip
    result(root, "growth", {"results": {"judged": growth}})
    text = speed(root, "growth", "judged", "width")
    assert cells(text, "runs") == ["10", "1,000"]
    assert cells(text, "judging") == ["600 µs", "120 s"]
    assert "the power 1.50, its work with 1.00. **Steeper than its work.**" in text
    assert "width: not yet measured." in text


def test_seeds_on_a_gpu_are_held_against_one_by_one(root: Path) -> None:
    line = {"precision": "float32", "seeds": 1, "step": 0.004, "runs_per_hour": 100.0, "share_of_bandwidth": 0.1}
    many = {"way": "stack", "seeds": 64, "step": 0.012, "runs_per_hour": 2150.0, "share_of_bandwidth": 0.62}
    found = {"device": "GPU", "parameters": 7864, "epochs": 15, "steps_per_epoch": 469}
    result(root, "gpu", {**found, "timed": [{**line, "way": "eager"}, {**line, **many}]})
    text = speed(root, "gpu")
    assert cells(text, "stacked") == ["float32", "64", "12 ms", "2,150", "21.5", "62%"]
    assert cells(text, "one by one, eager")[-2:] == ["1.0", "10%"]


def test_the_readme_names_the_command_that_its_timings_come_from() -> None:
    files = list((ROOT / "benchmarks" / "results").glob("epoch-*.json"))
    assert files
    for said in (json.loads(file.read_text(encoding="utf-8")) for file in files):
        assert f"`{said['command']}`" in (ROOT / "README.md").read_text(encoding="utf-8")
        assert not said["trial"]


def test_the_speed_page_has_every_benchmark_and_the_command_that_repeats_it() -> None:
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    shown = {words.split()[0] for words in re.findall(r"<!-- table: speed ([^>]+) -->", page)}
    assert shown == {"epoch", "contract", "first", "growth", "contended", "gpu"}
    assert all(f"`python -m benchmarks {name}" in page for name in shown)
