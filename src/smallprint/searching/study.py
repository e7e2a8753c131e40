"""Study: the candidates of a search in Optuna's store, and its sampler, which draws the next."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from smallprint.results.runs import DiskError
from smallprint.searching.candidate import Candidate, Shown
from smallprint.searching.space import Space
from smallprint.spec.errors import SearchError
from smallprint.spec.ladder import Rung
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe

if TYPE_CHECKING:
    import optuna

FORMAT = "3"  # of what stands in the file; changes when an older file cannot be gone on with
_NAME, _CANDIDATE = "search", "candidate"  # of the study, and of what it keeps of each trial
_IDENTITY, _BEGUN = "identity", "begun"  # what the study keeps of itself: which search it is; all its starts are queued
_PATIENCE = 20.0  # seconds that another program may hold the file
_MUTATION = 0.15  # share of its parent's genes that a candidate loses
_FAR = 1e6  # in place of infinity
_REFUSED = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
)  # fmt: skip
_HOPELESS = 1.5  # whose error is so many times what is allowed tells the sampler only where not to look


class Study:
    """The candidates of one search, in an SQLite file that Optuna's own tools open, and the next ones.

    The sampler is Optuna's tree-structured Parzen estimator (J. Bergstra and others, "Algorithms for hyper-parameter
    optimization", NeurIPS 2011, section 4; multivariate, S. Falkner, A. Klein and F. Hutter, "BOHB", ICML 2018). What
    it makes small is a candidate's worth (see `Outlook`). Many candidates descend from a good one: they keep most of
    its genes, as in aging evolution (E. Real and others, "Regularized evolution for image classifier architecture
    search", AAAI 2019, arXiv 1802.01548), and the sampler draws the others. A candidate that stays behind ends as
    `PRUNED`, at the step of its last level; its constraint is how far it is from any hope.

    Raises:
        SearchError: the file is damaged, of another version, held by another program, or of another search; from
            every method.
        DiskError: nothing can be written there.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        """Open the file of a search, or begin one; `identity` is all by which it differs from other searches."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = path
        self._space: Space
        self._trials: dict[int, optuna.Trial] = {}  # of those in the race, by candidate's number
        self._reported: set[tuple[int, int]] = set()  # candidates' numbers, and the levels that Optuna knows of
        self._draw: Random
        with self._heard():
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{path.absolute()}", engine_kwargs={"connect_args": {"timeout": _PATIENCE}}
            )
            self._study = optuna.create_study(
                storage=storage, study_name=_NAME, load_if_exists=True, direction="minimize"
            )
            said = {"format": FORMAT, **identity}
            if self._study.user_attrs or self._study.get_trials(deepcopy=False):
                self._check(said)
            else:
                self._study.set_user_attr(_IDENTITY, said)  # as one: a process may end between two

    def fact(self, name: str, find: Callable[[], float]) -> float:
        """A number that is found once, at the search's beginning, and holds for all of it."""
        with self._heard():
            known: float | None = self._study.user_attrs.get(name)
        if known is None:
            known = find()
            with self._heard():
                self._study.set_user_attr(name, known)
        return known

    def begin(self, space: Space, *, seed: int) -> None:
        """Draw from a space from now on: its starting points first."""
        import optuna

        self._space = space
        with self._heard():
            # A study that goes on must not draw what it has drawn before.
            drawn = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = optuna.samplers.TPESampler(seed=seed + drawn, n_startup_trials=len(space.starts()))
            self._draw = Random(seed + drawn)
            if not self._study.user_attrs.get(_BEGUN):
                for genes in space.starts():
                    self._study.enqueue_trial(dict(genes), skip_if_exists=True)
                self._study.set_user_attr(_BEGUN, True)

    def candidates(self) -> list[Candidate]:
        """All that were drawn before, as they stood; those in the race are taken up again."""
        import optuna

        found: list[Candidate] = []
        state = optuna.trial.TrialState
        with self._heard():
            for trial in self._study.get_trials():
                said = trial.user_attrs.get(_CANDIDATE)
                if said:
                    found.append(_read(said))
                if trial.state == state.RUNNING and said and found[-1].fate == "racing":
                    self._take_up(trial)
                elif trial.state == state.RUNNING:  # its process ended while it was drawn, or told
                    self._study.tell(trial.number, state=state.PRUNED if said else state.FAIL)
        return found

    def ask(self, target: float | None = None, parent: Candidate | None = None) -> Candidate:
        """Draw the next candidate: the next starting point, if one is left.

        Else, where they are given, at about this amount, and with most genes of a parent; the sampler draws the rest.
        """
        import optuna

        with self._heard():
            starts = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
            if not starts and (target is not None or parent):
                kept = self._inherited(parent) if parent else {}
                self._study.enqueue_trial({**kept, **({} if target is None else {"size": target})})
            trial = self._study.ask()
            drawn = self._space.suggest(trial)
            rung = _rung(trial.number, drawn.network, drawn.recipe)
            candidate = Candidate(number=trial.number, rung=rung, amount=drawn.amount)
            self._trials[trial.number] = trial
            self._write(candidate)
        return candidate

    def keep(self, candidate: Candidate, worth: float) -> None:
        """A candidate that is still in the race has shown more."""
        shown = candidate.best_known
        assert shown, "there is nothing to keep"
        with self._heard():
            self._report(candidate, worth, shown.level)
            self._write(candidate)

    def tell(self, candidate: Candidate, worth: float = inf, excess: float = inf) -> None:
        """A candidate's race is over; with its worth, and how many times the errors that are allowed it makes."""
        import optuna

        with self._heard():
            if shown := candidate.best_known:
                self._report(candidate, worth, shown.level)
            self._write(candidate)
            trial = self._trials.pop(candidate.number)
            trial.set_constraint("hopeless", min(excess, _FAR) - _HOPELESS)
            if candidate.fate == "tested":
                self._study.tell(trial, worth)
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    @property
    def spent(self) -> float:
        """Seconds that the search has taken so far, from start to stop each time."""
        with self._heard():
            return float(self._study.user_attrs.get("seconds", 0.0))

    @spent.setter
    def spent(self, seconds: float) -> None:
        """Keep them."""
        with self._heard():
            self._study.set_user_attr("seconds", seconds)

    def _inherited(self, parent: Candidate) -> dict[str, Any]:
        """Most genes of a candidate, but not all."""
        genes = dict(self._study.get_trials(deepcopy=False)[parent.number].params)
        lost = [name for name in genes if self._draw.random() < _MUTATION]
        for name in lost or [self._draw.choice(list(genes))]:
            del genes[name]
        return genes

    def _check(self, identity: Mapping[str, str]) -> None:
        stored = self._study.user_attrs.get(_IDENTITY, {})
        for key, value in identity.items():
            if stored.get(key) != value:
                what = {"format": "written by another version", "space": "written by another version"}.get(
                    key, f"of another search: its {key} is {stored.get(key, 'not said')!r}, not {value!r}"
                )
                raise SearchError(
                    f"{self._path}: {what}; move that file away to begin anew, or search with other --runs"
                )

    def _take_up(self, before: optuna.trial.FrozenTrial) -> None:
        """Go on with a trial that another process began."""
        import optuna

        self._trials[before.number] = optuna.Trial(self._study, before._trial_id)
        self._reported.update((before.number, level) for level in before.intermediate_values)

    def _report(self, candidate: Candidate, worth: float, level: int) -> None:
        if (candidate.number, level) not in self._reported:
            self._reported.add((candidate.number, level))
            self._trials[candidate.number].report(worth, level)

    def _write(self, candidate: Candidate) -> None:
        # As one: a process may end between two.
        self._trials[candidate.number].set_user_attr(_CANDIDATE, _written(candidate))

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Turn what Optuna and its store raise into one sentence."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as fault:
            raise self._fault(fault) from None
        except RuntimeError as fault:
            if "version" not in str(fault):
                raise
            raise SearchError(f"{self._path}: of another version of Optuna: {fault}") from None

    def _fault(self, fault: BaseException) -> SearchError | DiskError:
        """What SQLite had against it, as an error that teaches."""
        cause: BaseException | None = fault
        while cause and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest says more of the same
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SearchError(f"{self._path}: another program holds it; close that first")
        if code in _REFUSED:
            return DiskError(f"{self._path}: cannot be written: {cause}; put that right and start again")
        return SearchError(f"{self._path}: damaged, or no study; move it away")


def _written(candidate: Candidate) -> dict[str, Any]:
    return {
        "number": candidate.number,
        "network": candidate.rung.network.line,
        "recipe": candidate.rung.recipe.sentences(),
        "amount": candidate.amount,
        "shown": [asdict(shown) for shown in candidate.shown],
        "fate": candidate.fate,
        "why": candidate.why,
        "twin_of": candidate.twin_of,
    }


def _read(said: Mapping[str, Any]) -> Candidate:
    rung = _rung(said["number"], Network.parse(said["network"]), Recipe.parse(said["recipe"]))
    shown = tuple(Shown(**{**one, "errors": tuple(one["errors"])}) for one in said["shown"])
    return Candidate(
        number=said["number"], rung=rung, amount=said["amount"], shown=shown, fate=said["fate"], why=said["why"],
        twin_of=said["twin_of"],
    )  # fmt: skip


def _rung(number: int, network: Network, recipe: Recipe) -> Rung:
    return Rung(name=f"candidate-{number}", target="", network=network, recipe=recipe)
