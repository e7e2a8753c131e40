"""Commands that read what is there, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import smallprint
from tests.typed import Say, document, files


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


def test_diff_says_where_there_is_nothing_to_compare(say: Say) -> None:
    assert say("diff", "tiny.toml:base").out == "nothing to compare: base is the first rung\n"
    assert say("diff", "tiny.toml:base", "base").out == "base -> base\nnothing changed\n"
