"""The README's tree, commands and tables say what is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smallprint.spec.ladder_file import parse_ladder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "smallprint"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def _caption(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0].rstrip(".")


def _tree() -> dict[str, str]:
    """The README's tree: module -> caption."""
    block = re.search(r"```\nsrc/smallprint/\n(.*?)```", README, re.DOTALL)
    assert block, "the README has no tree"
    tree: dict[str, str] = {}
    rooms: list[str] = []
    for line in block[1].splitlines():
        found = re.fullmatch(r"([\s│├└─]+)([a-z_0-9]+(?:\.py|/))\s\s+(.*)", line)
        assert found, line
        rooms = rooms[: len(found[1]) // 4 - 1]
        tree["".join(rooms) + found[2]] = found[3]
        rooms += [found[2]] if found[2].endswith("/") else []
    return tree


def test_the_tree_is_the_package_with_the_captions_of_its_modules() -> None:
    expected = {module: _caption(PACKAGE / module) for module in MODULES}
    rooms = {
        f"{path.parent.relative_to(PACKAGE).as_posix()}/": _caption(path) for path in PACKAGE.glob("*/**/__init__.py")
    }
    tree = _tree()
    tree.pop("ladders/")
    assert tree == expected | rooms


def test_every_module_has_its_tests() -> None:
    missing = [
        m for m in MODULES if m != "__main__.py" and not (ROOT / "tests" / m).with_name(f"test_{Path(m).name}").exists()
    ]
    assert missing == []


def test_the_tests_are_run_by_the_very_command_of_the_readme() -> None:
    command = 'python -m pip install -c constraints.txt -e ".[test]" && pytest'
    assert command in README
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m pip install -c constraints.txt . && smallprint climb" in README


def test_every_table_comes_from_its_record() -> None:
    told = subprocess.run(
        [sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, f"run: python docs/tables.py\n{told.stdout}{told.stderr}"


@pytest.mark.parametrize("page", ["README.md", "docs/notation.md"])
def test_the_ladders_shown_in_the_pages_read(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert parse_ladder(block, name="shown").rungs


def test_links_to_files_of_the_repository_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_has_both_of_its_tables_filled() -> None:
    tables = re.findall(r"<!-- table: (\w+) -->\n(.+?)\n<!-- end -->", README, re.DOTALL)
    assert [name for name, _ in tables] == ["progressive", "epoch"]
    assert all(body.count("\n") >= 3 for _, body in tables)
