from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native import compiler
from smallprint.training.native.compiler import find_compiler
from smallprint.training.native.plan import Dropout, plan
from smallprint.training.native.source import write_source
from tests.training.native.oracle import kept, philox
from tests.training.native.snippets import aligned, call, compiled, lanes

DRIVER = Path(__file__).with_name("driver.c")
NETWORK = """
after conv3: batchnorm relu dropout=10%
conv3-5,pad=1,bias  conv3-5,pad=1,skip,times=2  maxpool3,stride=2,pad=1  dropout2d=10%  gelu  depthwise3,stride=2
avgpool2,stride=1  silu  maxpool  conv1-6  batchnorm  flatten  linear-12,bias  tanh  linear-10
"""
SHAPE = (2, 17, 19)


# --- dropout's draws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "counter", "key", "drawn"),
    [  # the known answers that come with its authors' library, Random123 (kat_vectors)
        (7, "00000000 00000000 00000000 00000000", "00000000 00000000", "5f6fb709 0d893f64 4f121f81 4f730a48"),
        (7, "ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "5207ddc2 45165e59 4d8ee751 8c52f662"),
        (7, "243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "4dfccaba 190a87f0 c47362ba b6b5242a"),
        (10, "00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (10, "ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (10, "243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_the_slow_philox_of_these_tests_has_the_known_answers(rounds: int, counter: str, key: str, drawn: str) -> None:
    words = [tuple(int(word, 16) for word in said.split()) for said in (counter, key, drawn)]
    assert philox(words[0], words[1], rounds) == words[2]  # type: ignore[arg-type]


_DRAW = """
void draw(const uint32_t *positions, const uint32_t *key, uint16_t *mask, int vectors, int index, int threshold)
{
  struct group g = {.positions = *(const U *)positions, .key = {key[0], key[1]}};
  draw_mask(&g, mask, vectors, index, threshold);
}
"""


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.999999])
def test_a_mask_is_that_of_the_slow_philox(rate: float, channels: bool) -> None:
    library, key = compiled(_DRAW), 0xFEDC_BA98_7654_3210
    count = lanes(library)
    dropout = Dropout(rate=rate, channels=channels, mask=0, index=3, shape=(5, 3, 2))
    positions = range(4_294_967_296 - count, 4_294_967_296)  # the last that fit the counter
    mask = np.zeros(dropout.vectors, np.uint16)
    drops = min(round(rate * 65536), 65535)
    call(
        library, "draw", aligned(np.array(positions, np.uint32)),
        np.array([key & 0xFFFFFFFF, key >> 32], np.uint32), mask, dropout.vectors, 3, drops,
    )  # fmt: skip
    drawn = (mask[:, None] >> np.arange(count) & 1).astype(bool)  # (vectors, lanes)
    expected = kept(dropout, positions, key)  # (lanes, C, H, W)
    np.testing.assert_array_equal(drawn.T, expected.transpose(0, 2, 1, 3).reshape(count, -1))


def test_masks_drop_their_share_and_do_not_follow_each_other() -> None:
    library = compiled(_DRAW)
    count, vectors = lanes(library), 4096
    masks = []
    for start, index in ((0, 0), (count, 0), (0, 1)):
        drawn = np.zeros(vectors, np.uint16)
        positions = aligned(np.arange(start, start + count, dtype=np.uint32))
        call(library, "draw", positions, np.array([1, 2], np.uint32), drawn, vectors, index, 65536 // 4)
        masks.append((drawn[:, None] >> np.arange(count) & 1).ravel())
    size = count * vectors
    for mask in masks:
        assert abs(mask.mean() - 0.75) < 5 * (0.25 * 0.75 / size) ** 0.5
        assert abs(np.corrcoef(mask[:-count], mask[count:])[0, 1]) < 5 / size**0.5
    assert abs(np.corrcoef(masks)[np.triu_indices(3, 1)]).max() < 5 / size**0.5


# --- memory and threads, watched --------------------------------------------------------------------------------------


@cache
def _built(folder: Path, *flags: str, paired: bool = False) -> Path | str:
    """The driver with some flags; or why it cannot be had."""
    for name, text in compiler._FIXED.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = find_compiler()
    source = write_source(plan(trace(Network.parse(NETWORK), SHAPE)), found.registers, paired=paired)
    (folder / "network.c").write_text(source, encoding="utf-8")
    shutil.copy(DRIVER, folder)
    program = folder / "driver"
    done = subprocess.run(
        [*found.command, *found.flags, "-O1", "-g", *flags, "driver.c", "network.c", "-o", program.name, "-lm"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"the compiler has no {' '.join(flags)}: {done.stderr[:200]}"
    return program


def _run(program: Path, threads: int) -> subprocess.CompletedProcess[str]:
    # Without address randomisation, which on newer kernels leaves the thread sanitizer no room.
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    return subprocess.run(
        [*fixed, str(program), str(threads)], capture_output=True, text=True, check=False, timeout=300
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "paired"), [("address,undefined", False), ("address,undefined", True), ("thread", False)]
)
def test_a_small_training_is_clean_under_the_sanitizers(flags: str, paired: bool, tmp_path: Path) -> None:
    program = _built(tmp_path, f"-fsanitize={flags}", "-fno-sanitize-recover=all", paired=paired)
    if isinstance(program, str):
        pytest.skip(program)
    for threads in (1, 2, 3):
        done = _run(program, threads)
        if "unexpected memory mapping" in done.stderr:
            pytest.skip("the thread sanitizer finds no room in this system's address space")
        assert done.returncode == 0, done.stderr[:3000]
        assert "Sanitizer" not in done.stderr
        losses = [float(line.split()[0]) for line in done.stdout.splitlines()]
        assert len(losses) == 4
        assert all(1 < loss < 6 for loss in losses[:3])
