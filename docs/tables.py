"""Writes the tables in README and docs from records, shipped ladders and benchmark results.

    python docs/tables.py            write them
    python docs/tables.py --check    say which would change; status 1 if any

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is one of TABLES, and words behind it are what
the function is given.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmark_tables import compared, epoch, speed, ways
from record_tables import fewest, progressive, published, records

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TABLES: dict[str, Callable[..., str]] = {
    "progressive": progressive,
    "published": published,
    "records": records,
    "fewest": fewest,
    "epoch": epoch,
    "speed": speed,
    "compared": compared,
    "ways": ways,
}


def rewritten(text: str, root: Path = ROOT) -> str:
    """A page with every table made anew from what lies in `root`."""
    return re.sub(
        r"(<!-- table: (\w+)((?: [\w-]+)*) -->\n)(?:(?!<!--).)*(<!-- end -->)",
        lambda found: found[1] + TABLES[found[2]](root, *found[3].split()) + "\n" + found[4],
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    changed = [
        page for page in PAGES if rewritten(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    for page in changed:
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
