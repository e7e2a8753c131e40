from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from smallprint.results.diagnosis import Finding, diagnose
from smallprint.results.runs import Run
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import judge
from smallprint.spec.contract import Certainty
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder

MakeRun = Callable[..., Run]
SMALL = "conv3-8 conv3-16 maxpool conv1-8 relu conv3-12 conv3-12 conv3-16 conv3-16,pad=1 gap conv1-10"


def ladder_of(network: str = SMALL, augment: str = "none", after: str = "relu batchnorm") -> Ladder:
    header = f"after conv3: {after}; " if after else ""
    return parse_ladder(
        f"""
        dataset = "mnist"
        [contract]
        accuracy = ">= 99.4%"
        last_epochs = 5
        parameters = "< 8000"
        [recipe]
        optimiser = "sgd lr=0.01 momentum=0.9"
        augment = "{augment}"
        [[rung]]
        name = "only"
        network = "{header}{network}"
        """,
        name="fable",
    )


def findings(ladder: Ladder, *runs: Run) -> dict[str, Finding]:
    found = diagnose(ladder, ladder.rungs[0], judge(ladder.contract, runs), runs)
    assert all(finding.evidence and finding.advice for finding in found)
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


# The last epochs of published runs of networks of this size, in percent.
LIGHT = ([99.20, 99.23, 99.23, 99.16, 99.18], [99.50, 99.52, 99.55, 99.53, 99.54])  # batch norm and nothing else
DROPOUT = ([98.95, 98.94, 99.13, 99.17, 99.17], [98.05, 98.21, 98.30, 98.37, 98.44])  # ten percent of the channels
GAP_LAYER = ([98.30, 98.28, 98.52, 98.50, 98.44], [98.64, 98.68, 98.70, 98.81, 98.80])
BASE = ([96.63, 96.35, 97.78, 97.52, 98.06], [96.14, 96.79, 97.34, 97.57, 97.97])
STEPS = ([99.34, 99.36, 99.37, 99.40, 99.40], [99.20, 99.23, 99.24, 99.25, 99.30])
ADAM = ([99.46, 99.43, 99.43, 99.44, 99.45], [99.40, 99.46, 99.48, 99.51, 99.55])
LOW_END = [0.01, 0.01, 0.001, 0.001, 0.0001]
FIT = (
    "has hardly begun to learn", "over-fits",
    "dropout or augmentation too strong for the size", "capacity reached", "under-fits",
)  # fmt: skip


def fit(found: dict[str, Finding]) -> list[str]:
    return [name for name in FIT if name in found]


def test_a_train_accuracy_far_above_test_is_over_fitting(make_run: MakeRun) -> None:
    found = findings(ladder_of(), make_run(*LIGHT))
    assert fit(found) == ["over-fits"]
    assert found["over-fits"].evidence == (
        "train 99.53%, test 99.20% over the last 5 epochs; promised 99.4%; gap +0.33 points"
    )
    assert "over-fits" not in findings(ladder_of(), make_run(*STEPS))


def test_a_train_accuracy_far_below_test_is_too_much_dropout_if_there_is_any(make_run: MakeRun) -> None:
    assert fit(findings(ladder_of(after="relu batchnorm dropout2d=10%"), make_run(*DROPOUT))) == [
        "dropout or augmentation too strong for the size"
    ]
    assert fit(findings(ladder_of(augment="rotate=20deg"), make_run(*DROPOUT))) == [
        "dropout or augmentation too strong for the size"
    ]
    assert fit(findings(ladder_of(), make_run(*DROPOUT))) == ["under-fits"]


def test_a_train_accuracy_that_rises_no_more_is_the_networks_capacity(make_run: MakeRun) -> None:
    flat = make_run([98.50, 98.44, 98.52, 98.46, 98.50], [98.60, 98.61, 98.60, 98.62, 98.61])
    assert fit(findings(ladder_of(), flat)) == ["capacity reached"]
    assert fit(findings(ladder_of(), make_run(*GAP_LAYER))) != ["capacity reached"]  # by 0.045 points per epoch


def test_a_train_accuracy_that_still_rises_is_under_fitting(make_run: MakeRun) -> None:
    found = findings(ladder_of(), make_run(*BASE))
    assert fit(found) == ["under-fits"]
    assert found["under-fits"].evidence.endswith("train still rises by 0.444 points per epoch")
    assert fit(findings(ladder_of(), make_run(*ADAM))) == []


def test_an_accuracy_that_still_rises_when_training_stops_is_told(make_run: MakeRun) -> None:
    name = "still improving when it stopped"
    assert name in findings(ladder_of(), make_run([98.9, 99.0, 99.1, 99.2, 99.3]))
    assert name not in findings(ladder_of(), make_run([99.21, 99.35, 99.19, 99.28, 99.32]))
    assert name not in findings(ladder_of(), make_run([99.41, 99.45, 99.50, 99.54, 99.60]))  # kept


def test_a_large_last_learning_rate_is_blamed_for_a_restless_end(make_run: MakeRun) -> None:
    name = "learning rate too high at the end"
    restless = [99.21, 99.35, 99.19, 99.28, 99.32]
    found = findings(ladder_of(), make_run(restless))
    assert "the learning rate ends at 0.01" in found[name].evidence
    assert name not in findings(ladder_of(), make_run(restless, rates=LOW_END))
    assert name not in findings(ladder_of(), make_run([99.29, 99.30, 99.30, 99.31, 99.30]))
    assert name not in findings(ladder_of(), make_run([99.45, 99.60, 99.41, 99.55, 99.45]))  # kept


def test_a_good_mean_with_one_epoch_below_is_bad_luck_if_the_end_is_quiet(make_run: MakeRun) -> None:
    name = "good seeds but an unlucky window"
    window = [99.43, 99.38, 99.44, 99.41, 99.44]
    found = findings(ladder_of(), make_run(window, rates=LOW_END), make_run(ADAM[0], rates=LOW_END, seed=1))
    assert "seed 0 fell short in 1 of them" in found[name].evidence
    assert "seed 1" not in found[name].evidence
    assert name not in findings(ladder_of(), make_run(window))  # the learning rate is still large
    assert name not in findings(ladder_of(), make_run(STEPS[0], rates=LOW_END))  # the mean is below
    assert name not in findings(ladder_of(), make_run(ADAM[0], rates=LOW_END))  # kept


def test_an_end_that_is_quiet_too_late_is_told_from_an_unlucky_window(make_run: MakeRun) -> None:
    name, unlucky = "quiet only behind the first promised epochs", "good seeds but an unlucky window"
    late, later = [99.39, 99.41, 99.44, 99.45, 99.45], [99.37, 99.39, 99.44, 99.45, 99.46]
    found = findings(ladder_of(), make_run(late, rates=LOW_END), make_run(later, rates=LOW_END, seed=1))
    assert found[name].evidence.endswith(
        "yet seed 0 fell short in the first of them; seed 1 fell short in the first 2 of them and in none behind"
    )
    assert "a longer tail" in found[name].advice
    assert unlucky not in found
    again = [99.39, 99.41, 99.39, 99.45, 99.45]
    found = findings(ladder_of(), make_run(late, rates=LOW_END), make_run(again, rates=LOW_END, seed=1))
    assert name not in found
    assert unlucky in found
    low = [99.38, 99.39, 99.39, 99.40, 99.41]
    found = findings(ladder_of(), make_run([99.5] * 5, rates=LOW_END), make_run(low, rates=LOW_END, seed=1))
    assert name not in found  # one that hardly gets there
    assert unlucky in found


def test_a_receptive_field_smaller_than_the_image_is_told(make_run: MakeRun) -> None:
    name = "receptive field smaller than the image"
    blind = "conv3-8 conv3-8 conv3-10 avgpool22 flatten linear-10"
    assert name not in findings(ladder_of(blind), make_run(*BASE))
    short = "conv3-8,stride=3 conv3-8,stride=3 avgpool2 conv1-10"
    found = findings(ladder_of(short), make_run(*BASE))
    assert found[name].evidence == "an output sees 18 of 28 pixels along a side"


def test_one_layer_with_most_of_the_parameters_is_told(make_run: MakeRun) -> None:
    name = "most of the parameters in one layer"
    heavy = "conv3-4 maxpool conv3-4 maxpool flatten linear-20 linear-10"
    found = findings(ladder_of(heavy), make_run(*BASE))
    assert found[name].evidence == "linear-20 holds 2,000 of 2,396 parameters (83%)"
    assert name not in findings(ladder_of(), make_run(*BASE))
    assert name not in findings(ladder_of("conv1-4 flatten linear-10"), make_run(*BASE))  # two layers: one must


def test_a_kept_contract_says_how_much_room_there_is(make_run: MakeRun) -> None:
    found = findings(ladder_of(), make_run(*ADAM), make_run([99.5] * 5, seed=1))
    assert list(found) == ["room to shrink"]
    assert found["room to shrink"].evidence == (
        "the worst of the last 5 epochs over all seeds has 3 test images to spare"
    )
    assert list(findings(ladder_of(), make_run([99.4, 99.5, 99.5, 99.5, 99.5]))) == ["kept by a hair"]
    assert not {"room to shrink", "kept by a hair"} & set(findings(ladder_of(), make_run(*STEPS)))


def test_one_image_and_one_epoch_are_counted_as_one(make_run: MakeRun) -> None:
    one_image = [99.41, 99.5, 99.5, 99.5, 99.5]
    assert findings(ladder_of(), make_run(one_image))["room to shrink"].evidence == (
        "the worst of the last 5 epochs over all seeds has 1 test image to spare"
    )
    ladder = ladder_of()
    short = replace(ladder, contract=replace(ladder.contract, last_epochs=1))
    assert findings(short, make_run(one_image))["room to shrink"].evidence == (
        "the worst of the last epoch over all seeds has 10 test images to spare"
    )
    over_fits = findings(short, make_run([99.2] * 5, train=[99.53] * 5))["over-fits"].evidence
    assert over_fits.startswith("train 99.53%, test 99.20% over the last epoch; promised 99.4%")


def test_a_network_that_is_only_too_large_is_not_told_to_learn_better(make_run: MakeRun) -> None:
    large = make_run(ADAM[0], [98.8, 98.9, 98.9, 99.0, 99.0], parameters=8_172)
    found = findings(ladder_of(after="relu batchnorm dropout=5%"), large)
    assert list(found) == ["more than the contract allows"]
    assert found["more than the contract allows"].evidence == "parameters: 8,172 (< 8000), 173 too many"


def test_a_network_that_is_too_large_already_is_not_told_to_grow(make_run: MakeRun) -> None:
    flat = [98.50, 98.44, 98.52, 98.46, 98.50], [98.60, 98.61, 98.60, 98.62, 98.61]
    fits, large = (findings(ladder_of(), make_run(*flat, parameters=count)) for count in (7_999, 8_172))
    assert fits["capacity reached"].advice.startswith("widen the layers after the first pooling")
    assert large["capacity reached"].advice.startswith("narrow the largest layer")


def test_a_network_near_chance_is_told_to_begin_not_to_grow_or_to_drop(make_run: MakeRun) -> None:
    chance, little = make_run([8.8] * 5, [8.8] * 5), make_run([14.0] * 5, [20.0, 20.5, 21.0, 21.5, 22.0])
    assert fit(findings(ladder_of(), chance)) == ["has hardly begun to learn"]
    assert fit(findings(ladder_of(), little)) == ["has hardly begun to learn"]
    half = make_run([48.0] * 5, [55.0, 56.0, 57.0, 58.0, 60.0])
    assert fit(findings(ladder_of(), half)) == ["under-fits"]  # 9 points of gap, 42 points short of the promise


def test_old_seeds_do_not_say_how_much_room_there_is_where_fresh_ones_are_asked_for(make_run: MakeRun) -> None:
    ladder = ladder_of()
    ladder = replace(ladder, contract=ladder.contract.amend("certainty = 95% of seeds, 95% confidence"))
    old, good = make_run([99.3] * 5), [make_run([99.5] * 5, seed=1000 + seed) for seed in range(3)]
    for of in (0, 3):
        fresh = Certificate(certainty=Certainty(), first_seed=1000, passed=of, of=of)
        runs = [old, *good[:of]]
        found = {one.name for one in diagnose(ladder, ladder.rungs[0], judge(ladder.contract, runs, fresh), runs)}
        assert found & {"room to shrink", "kept by a hair"} == ({"room to shrink"} if of else set())


def test_a_loss_that_is_no_number_is_told_first_with_its_learning_rate(make_run: MakeRun) -> None:
    diverged = make_run([9.8, 9.8], rates=[0.5, 0.5], status="diverged", seed=4)
    found = findings(ladder_of(), diverged, make_run(*BASE))
    assert next(iter(found)) == "diverged"
    assert found["diverged"].evidence == ("seed 4: the loss was no longer a number in epoch 2, at learning rate 0.5")
    assert found["diverged"].advice.startswith("lower the learning rate to 0.1,")
    assert list(findings(ladder_of(), diverged)) == ["diverged"]
    assert "diverged" not in findings(ladder_of(), make_run(*BASE))


@pytest.mark.parametrize("status", ["training", "failed"])
def test_a_run_that_has_not_ended_says_nothing(make_run: MakeRun, status: str) -> None:
    assert findings(ladder_of(), make_run(*BASE, status=status)) == {}


@pytest.mark.parametrize("test", [[99.0], [99.0, 99.1], [10.0] * 6, [100.0] * 6])
def test_short_flat_and_perfect_runs_are_read_without_a_fault(make_run: MakeRun, test: Sequence[float]) -> None:
    assert isinstance(findings(ladder_of(), make_run(test)), dict)
    assert isinstance(findings(ladder_of(), make_run(test, rates=[0.0] * len(test))), dict)
