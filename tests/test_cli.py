"""The commands, as a user types them: what they print, how they end, what they leave behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smallprint
from tests.commands import Say, document, files, plain_environment

UNWRITABLE = "{}; what is stored stays as it is; put that right and start again"


# What is printed as JSON


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


def test_climb_prints_one_json_document_and_its_progress_elsewhere(say: Say, tmp_path: Path) -> None:
    status, out, err = say("climb", "tiny.toml", "--threads", "1", "--json")
    said = json.loads(out)
    assert status == 0
    assert "promise: at least 20% test accuracy" in err
    assert (said["ladder"], said["contract"]["last_epochs"]) == ("tiny", 2)
    assert [rung["name"] for rung in said["rungs"]] == ["base", "batchnorm"]
    run = said["rungs"][0]["runs"][0]
    assert (run["seed"], run["status"], len(run["epochs"])) == (0, "finished", 2)
    assert {"train_correct", "train_total", "test_correct", "test_total", "seconds"} <= set(run["epochs"][0])
    assert said["rungs"][1]["verdict"]["outcome"] in ("kept", "broken")
    assert all((tmp_path / path).is_file() for path in said["report"])
    assert say("climb", "tiny.toml", "--json").out == out  # from what is stored


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


# How judge ends


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


# What is not loaded, and not fetched


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


# What a person sees


def test_help_and_version_are_answered(say: Say) -> None:
    assert say("--version") == (0, f"smallprint {smallprint.__version__}\n", "")
    status, out, err = say("--help")
    assert (status, err) == (0, "")
    assert "..." not in out.split("Commands:")[1]  # every command's help fits its line
    for command in ("climb", "certify", "show", "diff", "judge", "report", "new", "data", "ladders", "doctor"):
        assert say(command, "-h").out.startswith(f"Usage: smallprint {command} ")


def test_diff_says_where_there_is_nothing_to_compare(say: Say) -> None:
    assert say("diff", "tiny.toml:base").out == "nothing to compare: base is the first rung\n"
    assert say("diff", "tiny.toml:base", "base").out == "base -> base\nnothing changed\n"


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


def test_rungs_are_climbed_in_the_ladders_order_and_each_once(say: Say) -> None:
    out = say("climb", "tiny.toml:batchnorm", "--rung", "base", "--rung", "base", "--workers", "1").out
    headings = [line for line in out.splitlines() if " multiply-adds" in line and "/2 " in line]
    assert [line.split("  ")[0] for line in headings] == ["1/2 base", "2/2 batchnorm"]
