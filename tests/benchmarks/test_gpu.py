from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu

TINY = (
    "--device cpu --rung digits:quiet-end --seeds 1,2 --images 150 --epochs 2 --steps 1 --accuracy 3 --alone 2 --copy 1"
)


def _run(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
    gpu.main()


def test_the_same_code_runs_on_the_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, f"{TINY} --json")
    found = json.loads(capsys.readouterr().out)
    assert [(line["way"], line["precision"], line["seeds"]) for line in found["timed"]] == [
        ("eager", "float32", 1), ("stack", "float32", 1), ("stack", "float32", 2),
        ("stack", "bfloat16", 1), ("stack", "bfloat16", 2),
    ]  # fmt: skip
    one, two = found["timed"][1:3]
    assert two["traffic"] == 2 * one["traffic"]
    for line in found["timed"]:
        epoch = max(line["draw"], found["steps_per_epoch"] * line["step"]) + line["upload"] + line["test"]
        assert line["runs_per_hour"] == pytest.approx(3600 * line["seeds"] / (2 * epoch))
        assert line["share_of_bandwidth"] == pytest.approx(line["traffic"] / line["step"] / found["bandwidth"])
    for part in found["accuracy"]:
        assert [len(part[way]["correct"]) for way in ("stacked", "alone")] == [3, 2]
        assert all(0 <= correct <= part["of"] == 359 for correct in part["stacked"]["correct"])
        assert 0 <= part["same_mean_p"] <= 1
    told = gpu.told(found)
    assert "3 seeds: mean" in told
    assert "2 seeds: mean" in told


def test_what_does_not_fit_into_memory_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "_room", lambda device: 2e8)
    _run(monkeypatch, "--device cpu --rung digits:quiet-end --seeds 1,4096 --images 64 --steps 1 --copy 1")
    told = capsys.readouterr().out
    assert "left out: 4096 seeds in float32 need" in told
    assert "eager" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, "--seeds 1")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("this benchmark needs a GPU")
    assert said.err.count("\n") == 1
