"""Stack: many seeds of one network trained in one computation, for a GPU; the door of this room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smallprint.results.runs import Arrays, Epoch, Precision
from smallprint.spec.errors import RunError
from smallprint.spec.recipe import Augment, CrossEntropy, Distilled, Ema, Recipe, Sgd
from smallprint.spec.schedule import Clock, Constant, Plateau, Watched
from smallprint.spec.trace import Trace
from smallprint.training import machine
from smallprint.training.checkpoint import pack, unpack
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws, doubt
from smallprint.training.native.initial import initial_state
from smallprint.training.native.plan import plan
from smallprint.training.native.state import State, judged
from smallprint.training.stack.batches import Images
from smallprint.training.stack.engine import Engine
from smallprint.training.stack.memory import bytes_needed, traffic
from smallprint.training.stack.update import Update
from smallprint.training.teacher import Teacher
from smallprint.training.trainer import answers

__all__ = ["PRECISIONS", "Stack", "bytes_needed", "shared", "traffic"]

# Shapes: K members, S steps of an epoch, T training images, N test images, O outputs, U numbers of an update.
PRECISIONS: Mapping[Precision, torch.dtype] = MappingProxyType({"float32": torch.float32, "bfloat16": torch.bfloat16})


class Stack:
    """Trainings of one network, each with its own seed and recipe, as one computation.

    A member trains as `Trainer(way="pytorch")` would train it alone, up to rounding: from the same weights, with the
    same order, changes and dropout. Its checkpoints are a trainer's, so a seed begun here can go on alone, and the
    other way round. All members stand at the same epoch. One whose loss is no longer a number leaves after its epoch
    and disturbs nobody.

    Members are counted from 0, in the order of the seeds, and keep their numbers when others leave. The seconds of
    an epoch are shared out evenly: those of all members add up to the time that passed. `bfloat16` is the precision
    of convolutions and matrix products, and of what is stored between them; batch norm's sums, the loss and the update
    stay in 32 bits.
    """

    def __init__(
        self, trace: Trace, recipes: Sequence[Recipe], dataset: Dataset, seeds: Sequence[int],
        *, device: str = "cuda", precision: Precision = "float32", teachers: Sequence[Teacher] = (),
    ) -> None:  # fmt: skip
        assert len(recipes) == len(seeds) > 0, "one recipe for each seed"
        assert len({shared(recipe) for recipe in recipes}) == 1, "recipes of one stack differ in numbers alone"
        taught = isinstance(recipes[0].loss, Distilled)
        assert len(teachers) == (len(seeds) if taught else 0), "a teacher for each seed that learns from one"
        self.trace, self.plan, self.dataset, self.teachers = trace, plan(trace), dataset, tuple(teachers)
        self.recipes, self.seeds, self.precision = tuple(recipes), tuple(seeds), precision
        self.epochs: list[list[Epoch]] = [[] for _ in seeds]
        self.members = tuple(range(len(seeds)))  # that are still in training
        self._images = Images(dataset, torch.device(device))
        self._left: dict[int, tuple[State, NDArray[np.float32]]] = {}  # numbers and logits of those that left
        self._start([initial_state(self.plan, seed) for seed in seeds], 0)

    def __iter__(self) -> Iterator[tuple[Epoch | None, ...]]:
        """Train epoch by epoch: an Epoch for each member, None for those that have left."""
        total, planned = len(self.dataset.train_labels_N), self.recipes[0].epochs
        with ThreadPoolExecutor(machine.cores()) as pool:  # draws the next epoch while the device trains
            ahead: dict[tuple[int, int], Future[Draws]] = {}

            def draw(member: int, epoch: int) -> Future[Draws]:
                key = member, epoch
                if key not in ahead:
                    ahead[key] = pool.submit(Draws.of, self.seeds[member], epoch, total, self.recipes[member])
                return ahead[key]

            while self.members and self.done < planned:
                started, done = perf_counter(), self.done
                numbers, learning_rates = self._schedule()
                draws = [drawn.result() for drawn in [draw(member, done) for member in self.members]]
                if hard := self.recipes[0].hard(done):
                    pairs = zip(draws, self._train_losses(), strict=True)
                    draws = [drawn.by_doubt(doubt(loss_N), hard) for drawn, loss_N in pairs]
                self._engine.begin(draws, numbers)
                ahead.clear()
                if done + 1 < planned:
                    for member in self.members:
                        draw(member, done + 1)
                batch = self._engine.batch
                for first in range(0, total, batch):
                    self._engine.train(min(batch, total - first))
                yield self._measured(learning_rates, started)

    @property
    def done(self) -> int:
        """Epochs that the members in training have behind them."""
        return len(self.epochs[self.members[0]]) if self.members else 0

    def weights(self, member: int) -> Arrays:
        """The judged weights and running statistics of a member, by name."""
        averaged = bool(self.recipes[member].average and self.epochs[member])
        return judged(self.plan, self._state(member), averaged=averaged)

    def answers(self, member: int) -> Arrays:
        """What a member's judged weights say of each test image; see `Trainer.answers`."""
        if member in self._left:
            return answers(self._left[member][1], self.dataset.test_labels_N)
        return answers(self._logits()[self.members.index(member)].cpu().numpy(), self.dataset.test_labels_N)

    def checkpoint(self, member: int) -> bytes:
        """All that a member needs to go on after its last whole epoch, here or in a `Trainer`."""
        return pack(self.epochs[member], self._state(member))

    def restore(self, checkpoints: Sequence[bytes]) -> None:
        """Go back to where checkpoints were taken, one for each member, all after the same epoch.

        Raises:
            RunError: a checkpoint is damaged, of another network, or of another epoch than the others.
        """
        assert len(checkpoints) == len(self.seeds), "one checkpoint for each member"
        unpacked = [unpack(checkpoint, self.plan) for checkpoint in checkpoints]
        standing = {len(epochs) for epochs, _ in unpacked if not _diverged(epochs)}
        if len(standing) > 1:
            found = ", ".join(map(str, sorted(standing)))
            raise RunError(f"members of a stack go on together; these checkpoints were taken after epochs {found}")
        self.epochs = [epochs for epochs, _ in unpacked]
        self.members, self._left = tuple(range(len(unpacked))), {}
        self._start([state for _, state in unpacked], max(standing, default=1))
        self._leave({member for member in self.members if _diverged(self.epochs[member])})

    def drop(self, *members: int) -> None:
        """Train some members no more; what they were up to now can still be asked for.

        What is left is made ready anew, which takes as long as a few steps.
        """
        assert set(members) <= set(self.members), "members that are still in training"
        self._leave(set(members))

    def _start(self, states: Sequence[State], done: int) -> None:
        """Bring the members' numbers, after so many epochs, to the device."""
        recipes = [self.recipes[member] for member in self.members]
        taken = done * recipes[0].steps(len(self.dataset.train_labels_N))
        precision = PRECISIONS[self.precision]
        self.__dict__.pop("_engine", None)  # the last one's graphs hold memory that this one needs
        teachers = [self.teachers[member] for member in self.members] if self.teachers else []
        self._engine = Engine(
            self.trace, self.plan, recipes, self._images, states, taken, precision=precision, teachers=teachers
        )
        self._known = _Known()

    def _leave(self, leaving: set[int]) -> None:
        if not leaving:
            return
        logits = self._logits()
        for row, member in enumerate(self.members):
            if member in leaving:
                self._left[member] = self._state(member), logits[row].cpu().numpy()
        staying = [row for row, member in enumerate(self.members) if member not in leaving]
        states = [self._state(self.members[row]) for row in staying]
        self.members = tuple(self.members[row] for row in staying)
        if staying:
            known = self._known.of(staying)
            self._start(states, self.done)
            self._known = known

    def _state(self, member: int) -> State:
        if member in self._left:
            return self._left[member][0]
        self._known.states = self._known.states or self._engine.states()
        return self._known.states[self.members.index(member)]

    def _logits(self) -> Tensor:
        """Of the test images, (K, N, O)."""
        if self._known.logits is None:
            self._known.logits = self._engine.logits(self._images.test_NCHW)
        return self._known.logits

    def _train_logits(self) -> Tensor:
        """Of the training images as they are, (K, T, O)."""
        if self._known.trained is None:
            self._known.trained = self._engine.logits(self._images.train_TCHW)
        return self._known.trained

    def _train_losses(self) -> NDArray[np.float64]:
        """Of the training images as they are, (K, T)."""
        return self._engine.losses(self._train_logits(), self._images.labels_T).cpu().numpy()

    def _schedule(self) -> tuple[NDArray[np.float64], list[float]]:
        """What the update needs in every step of the coming epoch, (S, U, K), and the last learning rates (K,)."""
        done, steps = self.done, self.recipes[0].steps(len(self.dataset.train_labels_N))
        known: dict[tuple[Recipe, tuple[Watched, ...]], tuple[list[tuple[float, ...]], float]] = {}
        asked = []
        for member in self.members:
            recipe = self.recipes[member]
            watched = (Watched(e.train_loss, e.train_accuracy, e.test_accuracy) for e in self.epochs[member])
            history = tuple(watched) if isinstance(recipe.schedule, Plateau) else ()
            asked.append((recipe, history))
            if asked[-1] not in known:
                clocks = [Clock(done * steps + index, steps, recipe.epochs) for index in range(steps)]
                rates = [recipe.schedule.at(clock, recipe.optimiser.rates, history) for clock in clocks]
                numbers = [Update.numbers(recipe, *of_step) for of_step in zip(rates, clocks, strict=True)]
                known[asked[-1]] = numbers, rates[-1].lr
        return np.array([known[key][0] for key in asked]).transpose(1, 2, 0), [known[key][1] for key in asked]

    def _measured(self, learning_rates: Sequence[float], started: float) -> tuple[Epoch | None, ...]:
        """Test, and count the epoch."""
        self._known = _Known()
        train_loss, train_correct = self._engine.totals()
        if self.recipes[0].hard(self.done):
            seen_loss, seen_correct = self._engine.judged(self._train_logits(), self._images.labels_T)
            sound = np.isfinite(train_loss)
            train_loss, train_correct = (
                np.where(sound, seen_loss, train_loss),
                np.where(sound, seen_correct, train_correct),
            )
        test_loss, test_correct = self._engine.judged(self._logits(), self._images.test_labels_N)
        trained, tested = len(self.dataset.train_labels_N), len(self.dataset.test_labels_N)
        seconds = (perf_counter() - started) / len(self.members)
        found: list[Epoch | None] = [None] * len(self.seeds)
        for row, member in enumerate(self.members):
            epoch = Epoch(
                epoch=len(self.epochs[member]) + 1,
                learning_rate=learning_rates[row],
                train_loss=float(train_loss[row]) / trained,
                train_correct=int(train_correct[row]),
                train_total=trained,
                test_loss=float(test_loss[row]) / max(1, tested),
                test_correct=int(test_correct[row]),
                test_total=tested,
                seconds=seconds,
            )
            self.epochs[member].append(epoch)
            found[member] = epoch
        self._leave({member for member in self.members if _diverged(self.epochs[member])})
        return tuple(found)


def shared(recipe: Recipe) -> Recipe:
    """What the recipes of one stack have in common: two can be stacked if this is equal.

    They may differ in the learning rate, momentum, betas, eps, weight decay, schedule, label smoothing, the decay of
    the average, the strength of each stage of augmentation, and the temperature and share of a teacher.
    """
    optimiser = recipe.optimiser
    kind = Sgd(lr=1, momentum=0.5, nesterov=optimiser.nesterov) if isinstance(optimiser, Sgd) else type(optimiser)(lr=1)
    stages = tuple(
        Augment(
            rotate=float(stage.warps), brightness=float(stage.recolours),
            interpolation=stage.interpolation, fill=stage.fill,
        )
        for stage in recipe.augment
    )  # fmt: skip
    return replace(
        recipe, optimiser=kind, schedule=Constant(), augment=stages,
        loss=Distilled(teacher=recipe.loss.teacher) if isinstance(recipe.loss, Distilled) else CrossEntropy(),
        average=Ema(decay=0.5) if recipe.average else None,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class _Known:
    """What has been asked for since the last step."""

    states: list[State] | None = None
    logits: Tensor | None = None  # of the test images, (K, N, O)
    trained: Tensor | None = None  # of the training images, (K, T, O)

    def of(self, rows: Sequence[int]) -> _Known:
        """The same of some members."""
        return _Known(
            states=None if self.states is None else [self.states[row] for row in rows],
            logits=None if self.logits is None else self.logits[rows],
            trained=None if self.trained is None else self.trained[rows],
        )


def _diverged(epochs: Sequence[Epoch]) -> bool:
    return bool(epochs) and epochs[-1].diverged
