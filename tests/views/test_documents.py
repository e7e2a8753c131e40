"""What --json prints: valid JSON, and everything in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from smallprint.results.assessment import assess
from smallprint.results.runs import Run
from smallprint.results.sequential import Certificate
from smallprint.spec.contract import Certainty
from smallprint.spec.dataset import DATASETS
from smallprint.spec.ladder import Ladder, diff
from smallprint.views import documents
from smallprint.views.documents import Document

Fabricate = Callable[..., Run]


def whole(document: Document) -> Document:
    """The document after a journey as strict JSON; the same as before it."""
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    return document


def test_a_network_is_told_layer_by_layer(ladder: Ladder) -> None:
    rung = ladder.rungs[1]
    said = whole(documents.network_document(rung.network, ladder.trace(rung)))
    assert (said["parameters"], said["macs"], said["receptive_field"]) == (7864, 1045312, 32)
    assert set(said["layers"][0]) == {"text", "operations", "output_shape", "parameters", "macs", "receptive_field"}
    assert sum(layer["parameters"] for layer in said["layers"]) == said["parameters"]
    assert "batchnorm" in said["layers"][0]["operations"]


def test_a_rung_that_diverged_is_still_json(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = ladder.rungs[0]
    result = assess(ladder, rung, [fabricate(ladder, rung, 0, status="diverged", epochs=2)])
    said = whole(documents.ladder_document(ladder, [result]))["rungs"][0]
    assert [epoch["train_loss"] is None for epoch in said["runs"][0]["epochs"]] == [False, True]
    assert said["verdict"]["seeds"][0]["clauses"][0]["margin"] is None
    assert said["findings"][0]["name"] == "diverged"


def test_a_rung_without_runs_has_no_verdict(ladder: Ladder) -> None:
    said = whole(documents.ladder_document(ladder, [assess(ladder, ladder.rungs[1], [])]))["rungs"][0]
    assert (said["runs"], said["verdict"], said["findings"]) == ([], None, [])
    assert said["diff"]["parameters"] == [7704, 7864]


def test_a_rung_tells_what_its_source_reported_and_whether_that_keeps_the_contract(ladder: Ladder) -> None:
    results = [assess(ladder, ladder.rung(name), []) for name in ("steplr-sgd", "steplr-adam")]
    short, kept = (rung["published"] for rung in whole(documents.ladder_document(ladder, results))["rungs"])
    assert (short["parameters"], short["best_train"], short["best_test"], short["kept"]) == (7864, 99.3, 99.4, False)
    assert (len(short["train"]), short["test"][-1]) == (15, 99.4)
    assert short["clauses"][0] == {
        "name": "accuracy",
        "kept": False,
        "margin": -6,
        "text": "epoch 11 had 9,934 of 10,000, 6 short (3 of the last 5 epochs short)",
    }
    assert kept["kept"] is True
    bare = replace(ladder, rungs=(replace(ladder.rungs[0], published=None),))
    assert documents.ladder_document(bare, [assess(bare, bare.rungs[0], [])])["rungs"][0]["published"] is None


def test_a_record_keeps_rungs_that_were_measured_and_runs_that_are_no_longer_in_training(
    ladder: Ladder, fabricate: Fabricate
) -> None:
    first, second, third = ladder.rungs[:3]
    training = fabricate(ladder, first, 2, status="training", epochs=4)
    results = [
        assess(ladder, first, [fabricate(ladder, first, 0), fabricate(ladder, first, 1), training]),
        assess(ladder, second, []),
        assess(ladder, third, [fabricate(ladder, third, seed) for seed in (0, 1)]),
        assess(ladder, ladder.rungs[3], [replace(training, rung=ladder.rungs[3].name)]),
    ]
    said = whole(documents.record_document(ladder, results, "how"))
    assert [(rung["name"], [run["seed"] for run in rung["runs"]]) for rung in said["rungs"]] == [
        ("base", [0, 1]),
        ("dropout", [0, 1]),
    ]
    assert said["made_with"]["command"] == "how"
    command = "smallprint climb progressive --rung base --rung dropout --seeds 2"
    assert documents.training_commands("progressive", ladder, results) == command


def test_rungs_with_other_numbers_of_seeds_have_commands_of_their_own(ladder: Ladder, fabricate: Fabricate) -> None:
    short = replace(ladder, rungs=ladder.rungs[:2])
    results = [assess(short, rung, [fabricate(short, rung, seed) for seed in range(3)]) for rung in short.rungs]
    assert (
        documents.training_commands("my ladder.toml", short, results) == "smallprint climb 'my ladder.toml' --seeds 3"
    )
    fewer = [results[0], assess(short, short.rungs[1], results[1].runs[:1])]
    assert documents.training_commands("short", short, fewer) == (
        "smallprint climb short --rung base --seeds 3 && smallprint climb short --rung batchnorm --seeds 1"
    )


def test_a_certified_rung_is_climbed_without_its_fresh_seeds_and_certified_by_a_command_of_its_own(
    ladder: Ladder, fabricate: Fabricate
) -> None:
    first, second = ladder.rungs[:2]
    certificate = Certificate(certainty=Certainty(), first_seed=1000, passed=1, of=1)
    both = [fabricate(ladder, first, seed) for seed in (0, 1, 1000)]
    fresh = [fabricate(ladder, second, 1000)]
    results = [assess(ladder, rung, runs, certificate=certificate) for rung, runs in ((first, both), (second, fresh))]
    assert documents.training_commands("my ladder.toml", ladder, results) == (
        "smallprint climb 'my ladder.toml' --rung base --seeds 2 && smallprint certify 'my ladder.toml:base' && "
        "smallprint certify 'my ladder.toml:batchnorm'"
    )
    said = whole(documents.certification_document(ladder, results[0]))
    assert (said["name"], said["not_counted"], said["certificate"]["of"]) == ("base", [0, 1], 1)
    assert documents.certificate_document(None) is None


def test_a_record_has_an_epoch_on_each_line_and_reads_back_the_same(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = ladder.rungs[0]
    lost = replace(fabricate(ladder, rung, 1, status="diverged", epochs=2), reason='a "{brace}"')
    said = documents.record_document(ladder, [assess(ladder, rung, [fabricate(ladder, rung, 0), lost])], "how")
    text = documents.record_text(said)
    assert json.loads(text) == said
    epochs = [line.strip().rstrip(",") for line in text.splitlines() if '"epoch"' in line]
    assert [set(json.loads(line)) for line in epochs] == 17 * [set(said["rungs"][0]["runs"][0]["epochs"][0])]


def test_a_verdict_keeps_its_interval_and_every_clause(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = ladder.rungs[0]
    runs = [fabricate(ladder, rung, seed, level=99.8) for seed in range(3)]
    result = assess(ladder, rung, runs)
    assert result.verdict
    said = whole(documents.verdict_document(result.verdict))
    assert (said["outcome"], said["passed"], said["of"]) == ("kept", 3, 3)
    assert 0 < said["interval"][0] < said["interval"][1] == 1
    assert [clause["name"] for clause in said["seeds"][0]["clauses"]] == ["accuracy", "parameters", "epochs"]


def test_a_diff_tells_changes_alone(ladder: Ladder) -> None:
    said = whole(documents.diff_document(diff(ladder, ladder.rungs[0], ladder.rungs[1])))
    assert all(line[0] in "+-" and line[1:].strip() for line in said["network"])
    assert said["parameters"] == [7704, 7864]
    same = documents.diff_document(diff(ladder, ladder.rungs[0], ladder.rungs[0]))
    assert (same["network"], same["recipe"]) == ([], [])


def test_an_outline_names_the_rungs(ladder: Ladder) -> None:
    said = whole(documents.outline_document(ladder))
    assert (said["name"], said["dataset"]) == ("progressive", "mnist")
    assert said["rungs"][0] == {"name": "base", "parameters": 7704}


def test_a_data_set_is_counted_class_by_class_even_where_a_class_is_missing() -> None:
    train, test = np.array([0, 0, 9], dtype=np.int64), np.array([1], dtype=np.int64)
    said = whole(
        documents.dataset_document(
            DATASETS["digits"],
            found="here",
            fingerprint="f" * 64,
            mean_and_deviation=(np.array([0.1234567]), np.array([0.5])),
            labels=(train, test),
        )
    )
    assert (said["train"]["0"], said["train"]["1"], said["train"]["9"]) == (2, 0, 1)
    assert (said["test"]["1"], sum(said["test"].values())) == (1, 1)
    assert (said["mean"], said["deviation"]) == ([0.123457], [0.5])
