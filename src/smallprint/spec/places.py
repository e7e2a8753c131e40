"""Where the keys of a TOML file stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]  # of a key: ("rung", 0, "recipe", "epochs")


def places(text: str) -> dict[KeyPath, tuple[int, int]]:
    """Where each table and key of a ladder file stands: its line, and the first line of its text."""
    return dict(_walk(text))


def _walk(text: str) -> Iterator[tuple[KeyPath, tuple[int, int]]]:
    # tomllib keeps no positions. Keys it finds inside inline tables fall back to the table's line.
    table: KeyPath = ()
    rung, closing = -1, ""
    for line, source in enumerate(text.split("\n"), start=1):
        if closing:
            closing = "" if closing in source else closing
        elif found := re.match(r"\s*(\[{1,2})([^\[\]]+)\]", source):
            keys = [key.strip(" \t\"'") for key in found[2].split(".")]
            rung += found[1] == "[[" and keys == ["rung"]
            table = ("rung", rung, *keys[1:]) if keys[0] == "rung" else tuple(keys)
            yield table, (line, line)
        elif found := re.match(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=\s*(.*)", source):
            value = found[2]
            quote = value[:3] if value[:3] in ('"""', "'''") else ""
            if quote and quote not in value[3:]:
                closing = quote
            yield (*table, found[1]), (line, line + (1 if closing and value[3:] in ("", "\r") else 0))
