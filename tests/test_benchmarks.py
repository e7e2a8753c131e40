"""The benchmarks' command lines, their arithmetic against plain counting, and what they hand over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import contract, first, growth, optimisers, ways
from benchmarks.__main__ import PLAN
from benchmarks._command import until_line, whole
from benchmarks._document import Benchmark
from benchmarks._stored import Shelf
from benchmarks._turns import Side, Work, in_turn, ratio
from smallprint.results.assessment import assess_stored
from smallprint.results.record import read_record
from smallprint.results.runs import Environment, Epoch, Run, read_runs
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import read_ladder
from smallprint.training.data.known import find_dataset
from smallprint.training.machine import cores

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

ANYWHERE = Environment(smallprint="0", python="3", torch="2", numpy="2", platform="any", device="cpu", threads=1)

needs_mnist = pytest.mark.skipif(
    find_dataset("mnist") is None, reason="MNIST is not on this machine: SMALLPRINT_DATA does not say where"
)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return read_ladder("digits")


def start(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def run_here(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark in this process, where torch is loaded already."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
    import_module(f"benchmarks.{name}").main()


def test_without_a_name_it_lists_the_benchmarks_and_nothing_else() -> None:
    listed = start()
    assert listed.returncode == 0
    names = {line.split()[3] for line in listed.stdout.splitlines()}
    assert {*PLAN, "all"} <= names
    assert not any(name.startswith("_") for name in names)
    assert all(len(line.split()) > 5 for line in listed.stdout.splitlines())


def test_an_unknown_name_is_told_what_there_is() -> None:
    wrong = start("epohc")
    assert wrong.returncode == 2
    assert "no benchmark is called 'epohc'" in wrong.stderr
    assert "python -m benchmarks epoch" in wrong.stdout


def test_all_says_what_it_would_run_and_how_long_that_takes() -> None:
    said = start("all", "--dry")
    lines = said.stdout.splitlines()
    assert [line.split()[3] for line in lines] == list(PLAN)
    assert all("--write" in line and line.endswith(" minutes") for line in lines)
    assert start("all", "gpu", "--dry").returncode == 2


@pytest.mark.parametrize("name", PLAN)
@pytest.mark.parametrize("kind", ["options", "look"])
def test_what_is_planned_is_understood(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class UnderstoodError(Exception):
        pass

    def measure(*_: object, **__: object) -> None:
        raise UnderstoodError

    module = import_module(f"benchmarks.{name}")
    monkeypatch.setattr(module, "measure_first_epoch" if name == "first" else "measure", measure)
    with pytest.raises(UnderstoodError):
        run_here(name, f"{getattr(PLAN[name], kind)} --trial --write", monkeypatch)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("epoch", "--sides nope,ours", "no side is called nope; known: course,"),
        ("growth", "--of width,nope", "no growth is called nope; known: width,"),
        ("growth", "--sizes 4", "two or more different sizes"),
        ("contract", "--of progressive:steplr-sdg", "steplr-sgd"),
        ("contract", "--part 9,1", "--part is at least 1,1 and at most 8,15"),
        ("contract", "--part much", "no pair of numbers"),
        ("ways", "--of progressive:steplr-adma", "steplr-adam"),
        ("ways", "--seeds 1", "at least 2"),
        ("optimisers", "--of smallest:under-400", "under-4000"),
        ("optimisers", "--images 3", "at least a batch (32)"),
        ("first", "--of digitz:base", "digits"),
        ("contended", "--round 3", "unrecognized arguments: --round"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        run_here(name, words, monkeypatch)
    assert refusal.value.code == 2
    assert said in capsys.readouterr().err


@given(st.floats(1e-6, 1e3), st.floats(-1, 4), st.lists(st.integers(1, 10**6), min_size=2, unique=True))
def test_the_exponent_of_a_power_is_found(factor: float, exponent: float, sizes: list[int]) -> None:
    found = growth.fit(sizes, [factor * size**exponent for size in sizes])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.factor == pytest.approx(factor, rel=1e-4)


def test_of_noisy_costs_it_is_the_least_squares_of_the_logarithms() -> None:
    chance = np.random.default_rng(1)
    sizes = [2.0**power for power in range(8)]
    costs = [3e-3 * size**1.4 * float(np.exp(0.2 * chance.standard_normal())) for size in sizes]
    slope, offset = np.polyfit(np.log(sizes), np.log(costs), 1)
    found = growth.fit(sizes, costs)
    assert found.exponent == pytest.approx(slope)
    assert found.factor == pytest.approx(np.exp(offset))


def test_a_ratio_is_of_neighbours() -> None:
    assert ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == {"median": 3.0, "lowest": 2.0, "highest": 4.0}


def test_sides_take_turns() -> None:
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    measured = in_turn({"a": partial(work, "a"), "b": partial(work, "b")}, rounds=3)
    assert calls == ["a", "b"] * 3
    assert measured == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_side_works_in_a_process_of_its_own_and_its_death_is_heard() -> None:
    with Side(partial, os.getpid) as side:
        assert side() == side() != os.getpid()
    with pytest.raises(RuntimeError, match="died"):
        Side(os._exit, 3)
    with pytest.raises(RuntimeError, match="died"), Side(partial, partial(os._exit, 3)) as side:
        side()


def test_a_command_is_timed_to_its_end_or_to_a_line() -> None:
    begun = time.perf_counter()
    seconds, printed = whole("show", "digits:base")
    assert "conv3-8" in printed
    assert 0 < seconds < time.perf_counter() - begun
    assert until_line(r"^conv1-10\s", "show", "digits:base") > 0
    with pytest.raises(RuntimeError, match="no ladder"):
        whole("show", "digitz")
    with pytest.raises(RuntimeError, match="ended early"):
        until_line("never said", "show", "digits:base")


def test_stored_runs_are_whole_dealt_to_the_rungs_and_gone_with_the_stack(ladder: Ladder) -> None:
    shelf = Shelf(ladder, "random")
    with ExitStack() as stack:
        few, more = shelf.first(2, stack), shelf.first(6, stack)
        stored = {rung.name: read_runs(more, ladder.name, rung.name) for rung in ladder.rungs}
        assert [len(runs) for runs in stored.values()] == [2, 2, 1, 1]
        assert all(run.status == "finished" for runs in stored.values() for run in runs)
        assert sum(result.verdict is not None for result in assess_stored(ladder, few)) == 2
        assert [result.verdict.of for result in assess_stored(ladder, more) if result.verdict] == [2, 2, 1, 1]
    assert not few.exists()
    assert not more.exists()


def trained(epochs: int, seconds: float) -> Run:
    where = Environment(smallprint="", python="", torch="", numpy="", platform="", device="cpu", threads=1)
    epoch = partial(
        Epoch, learning_rate=0.1, train_loss=1.0, train_correct=1, train_total=1, test_loss=1.0, test_correct=1,
        test_total=1, seconds=seconds,
    )  # fmt: skip
    return Run(
        ladder="", rung="", seed=0, identity="", data="", parameters=1, macs=1, planned=epochs, environment=where,
        epochs=tuple(epoch(epoch=number) for number in range(1, epochs + 1)),
    )  # fmt: skip


def test_a_part_of_a_contract_is_scaled_by_its_missing_epochs_alone(ladder: Ladder) -> None:
    at_once = cores()
    asked = contract.Asked(ladder=ladder, rung=ladder.rungs[0], seeds=4 * at_once, part=(at_once, 3))
    # 3 epochs of 2 s in 10 s of wall clock: 4 s are no epochs. All of it: 4 s, and 4 seeds in a row of 30 epochs.
    assert contract.scaled(10.0, (trained(3, 2.0),) * at_once, asked) == 4.0 + 4 * 30 * 2.0
    assert contract.scaled(10.0, (), replace(asked, part=(4 * at_once, 30))) == 10.0


def test_the_part_of_a_contract_is_the_same_share_of_training_and_test(ladder: Ladder) -> None:
    asked = contract.Asked(ladder=ladder, rung=ladder.rungs[0], seeds=1, part=(1, 1))
    part, share = contract.part_of(asked, 64)
    assert (len(part.train_labels_N), len(part.test_labels_N)) == (64, round(359 * 64 / 1438))
    assert share == 64 / 1438
    whole, all_of_it = contract.part_of(asked, 6_400)
    assert (len(whole.train_labels_N), len(whole.test_labels_N), all_of_it) == (1438, 359, 1)


def test_the_surest_rung_of_the_records_comes_first() -> None:
    found = first.kept_by_record()
    assert "smallest" in {kept.ladder for kept in found}
    assert "smallest-99" not in {kept.ladder for kept in found}  # it promises less
    assert found == sorted(found, key=lambda kept: (-kept.at_least, kept.seconds))
    records = [read_record(path) for path in (ROOT / "records").glob("*.json")]
    for kept in found:
        (record, rung), *_ = [
            (record, rung)
            for record in records
            for rung in record.rungs
            if (record.ladder, rung.name) == (kept.ladder, kept.rung)
        ]
        needed = record.contract.last_epochs
        keeps = [all(e.test_correct >= 9_940 for e in run.epochs[-needed:]) for run in rung.runs]
        assert (kept.passed, kept.of) == (sum(keeps), len(keeps))


def test_the_document_says_all_that_is_needed_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_here("growth", "--of judged,trained,batch --sizes 2,4 --rounds 1 --trial --json", monkeypatch)
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["command"] == "python -m benchmarks growth --of judged,trained,batch --sizes 2,4 --rounds 1"
    assert said["trial"] is True
    assert said["settings"]["sizes"] == "2,4"
    assert {"platform", "cores", "torch", "smallprint", "python", "load_before"} <= said["machine"].keys()
    assert list(said["results"]) == ["judged", "trained", "batch"]
    for found in said["results"].values():
        assert found["sizes"] == [2, 4]
        assert [len(seconds) for seconds in found["seconds"]] == [1, 1]
        assert found["exponent_of_work"] == pytest.approx(1)


class Here(Side):
    """A side in this process, where torch is loaded already."""

    def __init__(self, prepare: Callable[..., Work], *arguments: object) -> None:
        self.work = prepare(*arguments)

    def start(self) -> None:
        pass

    def seconds(self) -> float:
        return self.work()

    def __exit__(self, *_: object) -> None:
        pass


def test_a_whole_contract_ends_with_its_verdict_and_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contract, "Side", Here)
    run_here("contract", "--of digits:base --seeds 1 --rounds 1 --images 32 --json", monkeypatch)
    said = json.loads(capsys.readouterr().out)
    assert said["ratio"] == said["ratios"]["course"]["median"]
    assert said["ratio"] == pytest.approx(said["seconds"]["course"][0] / said["seconds"]["ours"][0])
    assert said["runs_per_hour"]["ours"] == pytest.approx(3600 / said["seconds"]["ours"][0])
    assert "1 of 1 seed kept" in said["verdict"]
    assert said["scaled"] == ["course", "pytorch"]


@needs_mnist
@pytest.mark.parametrize("name", ["epoch", "contended"])
def test_sides_are_compared_round_by_round(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"benchmarks.{name}.Side", Here)
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)  # of the tests that follow
    words = "--sides nhwc,ours" if name == "epoch" else ""
    run_here(name, f"--images 128 --rounds 2 --threads 1 {words} --json", monkeypatch)
    said = json.loads(capsys.readouterr().out)
    if name == "epoch":
        (found,) = said["results"]
        seconds, ratios = found["seconds"], found["ratios"]["nhwc"]
        assert ratios == ratio(seconds["nhwc"], seconds["ours"])
        assert found["share_of_product"] > 0
        assert len(found["gflops"]) == len(found["product_gflops"]) == 2
        return
    ours, pytorch = said["results"]
    assert (ours["side"], pytorch["side"]) == ("ours", "pytorch")
    for state in ("alone", "contended"):
        measured = [side["seconds_per_step"][state] for side in (pytorch, ours)]
        assert pytorch["ratios"][state] == ratio(*measured)
    assert said["ratio"] == pytorch["ratios"]["contended"]["median"]


def ended(seed: int, *right: int) -> Run:
    """A run of `digits:base`'s contract: so many of 359 test images right in its last epochs."""
    epochs = tuple(
        Epoch(epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1,
              test_correct=correct, test_total=359, seconds=1)
        for number, correct in enumerate((*range(30 - len(right)), *right), start=1)
    )  # fmt: skip
    return Run(
        ladder="digits", rung="base", seed=seed, status="finished", reason="", identity="", data="", parameters=1304,
        macs=1, planned=30, environment=ANYWHERE, epochs=epochs,
    )  # fmt: skip


def test_two_ways_are_compared_by_the_worst_of_their_last_epochs(ladder: Ladder) -> None:
    native = [ended(seed, *[350 + seed] * 4, 340 + seed) for seed in range(4)]
    pytorch = [ended(seed, 330 + seed, *[359] * 4) for seed in range(4)]
    found = ways.compared(ladder, ladder.rung("base"), {"native": native, "pytorch": pytorch})
    assert found["sides"]["native"]["worst"] == [100 * (340 + seed) / 359 for seed in range(4)]
    assert found["sides"]["pytorch"]["mean"] == pytest.approx(100 * 331.5 / 359)
    assert found["sides"]["pytorch"]["best_epoch"] == pytest.approx(100)
    # By hand: ten images apart, a variance of 5/3 each; a t of 10 / sqrt(2 * 5/12) with 6 degrees of freedom.
    off = 10 / np.sqrt(5 / 6)
    assert found["difference"]["mean"] == pytest.approx(1000 / 359)
    assert found["p"]["welch"] == pytest.approx(2 * stats.t.sf(off, 6))
    assert found["difference"]["from"] == pytest.approx((10 - stats.t.ppf(0.975, 6) * np.sqrt(5 / 6)) * 100 / 359)
    assert found["p"]["kolmogorov_smirnov"] == pytest.approx(2 / 70)  # no overlap: 2 of the 8 over 4 orders
    assert found["sides"]["native"]["kept"] == 0


def test_both_ways_are_trained_and_what_is_kept_is_not_trained_again(
    tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(tiny_text)
    words = f"--of tiny.toml:base --seeds 2 --runs {tmp_path} --json"
    run_here("ways", words, monkeypatch)
    said = json.loads(capsys.readouterr().out)
    assert said["command"] == "python -m benchmarks ways --of tiny.toml:base --seeds 2"
    assert said["settings"] == {"of": "tiny.toml:base", "seeds": 2}
    assert [len(side["worst"]) for side in said["sides"].values()] == [2, 2]
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    assert len(trained) == 4
    run_here("ways", words.replace("--runs ", "--runs="), monkeypatch)
    again = json.loads(capsys.readouterr().out)
    assert (again["sides"], again["command"]) == (said["sides"], said["command"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")} == trained


def test_every_optimiser_is_timed_and_stands_beside_sgd(tiny_text: str, tmp_path: Path) -> None:
    place = tmp_path / "tiny.toml"
    place.write_text(tiny_text)
    sides = {name: optimisers.prepare(f"{place}:base", name, 256) for name in optimisers.OPTIMISERS}
    found = optimisers.measure(sides, 2)
    assert {name: len(took) for name, took in found["seconds"].items()} == {"sgd": 2, "adamw": 2, "muon": 2}
    assert all(second > 0 for took in found["seconds"].values() for second in took)
    assert found["over_sgd"] == {name: ratio(took, found["seconds"]["sgd"]) for name, took in found["seconds"].items()}
    assert "muon" in optimisers.told("tiny", 256, found)


def test_the_first_epoch_is_timed_cold_then_warm_in_turn(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caches: list[tuple[Path, bool]] = []

    def start(ladder: Ladder, rung: Rung, cache: Path) -> float:
        caches.append((cache, any(cache.iterdir())))
        (cache / "compiled").touch()
        return float(len(caches))

    monkeypatch.setattr(first, "first_epoch", start)
    monkeypatch.setattr(first, "measure_parts", lambda *_: {"help": [0.25]})
    run_here("first", "--of digits:base --rounds 2 --kept 0 --json", monkeypatch)
    said = json.loads(capsys.readouterr().out)
    assert [compiled for _, compiled in caches] == [False, True, False, True]
    assert said["first_epoch"] == {"cold": [1, 3], "warm": [2, 4]}
    assert said["ratio"] == (1 / 2 + 3 / 4) / 2
    assert said["rung"] == "digits:base"


@pytest.mark.parametrize("name", PLAN)
def test_every_kept_result_says_when_where_and_how(name: str) -> None:
    files = [*RESULTS.glob(f"{name}.json"), *RESULTS.glob(f"{name}-*.json")]
    assert files
    for said in (json.loads(file.read_text(encoding="utf-8")) for file in files):
        assert said["benchmark"] == name
        assert said["command"].startswith(f"python -m benchmarks {name}")
        assert said["trial"] in (True, False)
        assert said["date"]
        assert said["settings"]
        assert {"platform", "cores", "torch", "smallprint"} <= said["machine"].keys()


def test_written_results_lie_where_the_pages_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks._document.RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--write"])
    benchmark = Benchmark("example", "An example.")
    benchmark.tell(benchmark.read(), {"results": []}, "nothing")
    assert json.loads((tmp_path / "results" / "example.json").read_text())["benchmark"] == "example"
