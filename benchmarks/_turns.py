"""Sides that take turns: each in a process of its own that waits while the others work; and what their turns say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from statistics import median
from types import TracebackType

Work = Callable[[], float]  # does a piece of work, and returns its seconds


class Side(AbstractContextManager["Side"]):
    """A process that makes ready, then works whenever it is asked to.

    `prepare`, a function of a module, is called there with the arguments and returns the work.

    Raises:
        RuntimeError: the process has died; it has said why on standard error.
    """

    def __init__(self, prepare: Callable[..., Work], *arguments: object) -> None:
        self._near, far = Pipe()
        self._process = get_context("spawn").Process(target=_serve, args=(far, prepare, arguments))
        self._process.start()
        far.close()  # so that the pipe ends with the process
        self._answer()

    def start(self) -> None:
        """Let it work; `seconds` waits for its end."""
        self._near.send(True)

    def seconds(self) -> float:
        """Of the work that was started."""
        return self._answer()

    def __call__(self) -> float:
        self.start()
        return self.seconds()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        else:
            self._near.send(False)
        self._process.join()

    def _answer(self) -> float:
        try:
            answer: float = self._near.recv()
        except EOFError:
            raise RuntimeError(f"a side of the benchmark has died ({self._process.name})") from None
        return answer


def _serve(pipe: Connection, prepare: Callable[..., Work], arguments: Sequence[object]) -> None:
    work = prepare(*arguments)
    pipe.send(0.0)
    while pipe.recv():
        pipe.send(work())


def in_turn(sides: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """What every side measured, one after the other, so many rounds."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            measured[name].append(work())
    return measured


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Of the seconds of two sides, round by round: median, lowest and highest."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
