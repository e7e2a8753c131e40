from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from smallprint.spec.ladder_file import read_ladder
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "native.md").read_text(encoding="utf-8")
PAGES = {"native": GUIDE, "speed": (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")}
PICTURES = sorted(path for page in PAGES for path in (ROOT / "docs").glob(f"{page}-*.svg"))


def test_the_pictures_are_what_the_script_draws() -> None:
    told = subprocess.run(
        [sys.executable, "docs/drawings.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, f"run: python docs/drawings.py\n{told.stdout}{told.stderr}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_every_picture_is_shown_has_a_title_and_keeps_its_words_inside(picture: Path) -> None:
    assert f"]({picture.name})" in PAGES[picture.name.split("-")[0]]
    drawing = ET.parse(picture).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert drawing.findtext(f"{name}title")
    width, height = (float(drawing.attrib[side]) for side in ("width", "height"))
    for text in drawing.iter(f"{name}text"):
        assert 0 < float(text.attrib["x"]) < width
        assert 0 < float(text.attrib["y"]) < height


def test_the_guide_lists_the_stages_as_the_c_says_them() -> None:
    ladder = read_ladder("progressive")
    source = write_source(plan(ladder.trace(ladder.rung("dropout"))), registers=32)
    said = [line.removeprefix("// ") for line in source.splitlines() if line.startswith("// Stage")]
    shown = GUIDE.split("<!-- stages: progressive:dropout -->\n```\n")[1].split("\n```")[0]
    assert shown.splitlines() == said


def test_the_command_that_shows_the_c_works() -> None:
    command = GUIDE.split("```sh\n")[1].split("```")[0]
    done = subprocess.run(
        ["sh", "-c", command.replace("python -c", f"{sys.executable} -c")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "// Stage 0: 1 x 28 x 28, conv 3 x 3" in done.stdout
