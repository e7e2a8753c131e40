"""Side-by-side timings: python -m benchmarks NAME [--json]; without a name, what there is."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Hand over to the benchmark that is named."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked not in names:
        for name in names:
            caption = (import_module(f"benchmarks.{name}").__doc__ or "").split("\n")[0]
            print(f"python -m benchmarks {name:9}{caption}")
        sys.exit(2 if asked and not asked.startswith("-") else 0)
    del sys.argv[1]
    import_module(f"benchmarks.{asked}").main()


if __name__ == "__main__":
    main()
