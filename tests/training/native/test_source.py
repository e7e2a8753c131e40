from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.trace import Shape, trace
from smallprint.training.native import compiler
from smallprint.training.native.compiler import Compiler, NativeError, find_compiler
from smallprint.training.native.plan import Plan, plan
from smallprint.training.native.source import write_source

EVERYTHING = """
every conv3: pad=1
after conv3: batchnorm relu dropout=5%
conv3-6,bias  conv3-6,skip,times=2  maxpool3,stride=2,pad=1  dropout2d=10%  gelu
avgpool2,stride=1  conv5-8,stride=2,pad=same,bare  silu  batchnorm  depthwise3,pad=1,bias  conv1-8,groups=4
tanh  leakyrelu=0.1  maxpool  maxpool4,pad=2  flatten  linear-12,bias  linear-12,skip,times=2  batchnorm  linear-10
"""


def _plan(text: str, shape: Shape = (1, 18, 18)) -> Plan:
    return plan(trace(Network.parse(text), shape))


def test_the_same_network_has_the_same_text_however_it_is_written() -> None:
    first = write_source(_plan("after conv3: relu; conv3-4 conv3-4 gap conv1-10"), 32)
    assert write_source(_plan("conv3-4 relu conv3-4,pad=0 relu gap conv1-10,stride=1"), 32) == first
    assert write_source(_plan("conv3-4 relu conv3-5 relu gap conv1-10"), 32) != first


def test_the_sizes_are_those_of_the_plan() -> None:
    planned = _plan(EVERYTHING)
    text = write_source(planned, 32)
    said = {name: int(size) for name, size in re.findall(r"^  \.(\w+) = (\d+),$", text, re.MULTILINE)}
    assert said["parameters"] == planned.parameters
    assert said["running"] == planned.running
    assert said["outputs"] == 10
    assert said["stages"] == len(planned.stages)
    assert said["norms"] == len(planned.norms)
    assert said["masks"] >= planned.masks
    assert (said["channels"], said["height"], said["width"]) == (1, 18, 18)
    assert said["logits"] + 10 <= said["stored"]
    assert said["scratch"] >= 18 * 18  # augmentation works there too


def test_records_of_maxpools_stand_behind_what_stages_store_and_draw() -> None:
    planned = _plan("conv3-4 dropout=5% maxpool conv3-6,pad=1 maxpool3,stride=1 maxpool gap")
    said = dict(re.findall(r"^  \.(\w+) = (\d+),$", write_source(planned, 32), re.MULTILINE))
    pooled = 4 * 8 * 8  # winners; for each a mask for every place of its window, and what the dropout said of it
    assert int(said["stored"]) == int(said["logits"]) + 6 + pooled
    assert int(said["masks"]) == planned.masks + pooled * 5


@pytest.mark.parametrize("flags", [(), ("-mno-avx512f",), ("-mno-avx",)], ids=["wide", "avx", "sse"])
@pytest.mark.parametrize("name", ["network.c", "runtime.c"])
def test_the_c_compiles_without_a_warning(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    try:
        found = Compiler.of(find_compiler().command, *flags)
    except NativeError:
        pytest.skip(f"the compiler of this machine does not know {flags}")
    for file, text in compiler._FIXED.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    (tmp_path / "network.c").write_text(write_source(_plan(EVERYTHING), found.registers), encoding="utf-8")
    strict = ("-Wall", "-Wextra", "-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Werror")
    done = subprocess.run(
        [*found.command, *found.flags, "-O1", *strict, "-c", name, "-o", "/dev/null"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", [("progressive", "dropout"), ("six-models", "basic")])
def test_a_wide_network_has_no_more_text_than_a_narrow_one_of_as_many_layers(place: tuple[str, str]) -> None:
    ladder = read_ladder(place[0])
    text = write_source(plan(ladder.trace(ladder.rung(place[1]))), 32)
    assert text.count("\n") < 12_000
