"""smallprint as a person starts it: a process of its own, timed from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

_PATIENCE = 20  # seconds for a process to end once it is asked to


@contextmanager
def started(
    *words: str | Path, cache: Path | None = None, output: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """smallprint with these words, and with a user's cache of its own if one is given; ended with the block.

    Where the cache is another one, the data sets that were downloaded into the old one are not in it: they are to be
    said with `--data` or `$SMALLPRINT_DATA`.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    command = [sys.executable, "-m", "smallprint", *map(str, words)]
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def whole(*words: str | Path, cache: Path | None = None) -> tuple[float, str]:
    """Seconds from the start of the process to its end, and what it printed.

    Raises:
        RuntimeError: it did not end well; with its message.
    """
    begun = perf_counter()
    with started(*words, cache=cache) as process:
        printed, complaint = process.communicate()
        seconds = perf_counter() - begun
    if process.returncode:
        raise _ended(words, complaint)
    return seconds, printed


def until_line(pattern: str, *words: str | Path, cache: Path | None = None) -> float:
    """Seconds from the start of the process to the first line in which the pattern is found; then it is ended.

    Raises:
        RuntimeError: it ended without such a line.
    """
    begun = perf_counter()
    with started(*words, cache=cache) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if re.search(pattern, line):
                return perf_counter() - begun
        raise _ended(words, process.stderr.read())


def _ended(words: tuple[str | Path, ...], complaint: str) -> RuntimeError:
    return RuntimeError(f"smallprint {' '.join(map(str, words))} ended early:\n{complaint.strip()}")
