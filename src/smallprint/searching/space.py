"""Space: networks and recipes around a starting rung, each right in size before it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from smallprint.searching.genes import Asked, Gene, Trial
from smallprint.searching.goal import Goal
from smallprint.searching.networks import BLOCKS, SMALLEST, Traits
from smallprint.searching.recipes import OPTIMISERS, Terms, asked_recipe
from smallprint.searching.starts import starting_genes
from smallprint.searching.widths import Load, Scalable
from smallprint.spec.errors import SearchError, listing, nearest, shown
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.network import Network
from smallprint.spec.recipe import CrossEntropy, Recipe
from smallprint.spec.trace import Trace, trace

VERSION = "13"  # of what the genes mean; a test holds both together
START = "start"  # in place of a drawn network, or of a drawn recipe: the starting rung's own
_ABOVE = (1.0, 1.02, 1.05, 1.1)  # times the size: what falls below the floor by part of a width is looked for above it
_NOTHING = 1e-9  # in place of a bound of 0, which nothing keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What one trial answered, as a network and a recipe."""

    network: Network
    recipe: Recipe
    amount: float  # of the goal
    genes: Mapping[str, Gene]  # name -> answer


class Space:
    """Networks and recipes around a starting rung.

    Every combination of genes is a network that fits the data, leaves one value per class, keeps the contract's bounds
    on parameters, multiply-adds and epochs, and whose amount lies from `floor` to `ceiling`.
    """

    def __init__(
        self,
        ladder: Ladder,
        rung: Rung,
        goal: Goal,
        *,
        floor: float | None = None,
        ceiling: float | None = None,
        teachers: Sequence[str] | None = None,
    ) -> None:
        """Around `rung`; `teachers` names the rungs that may teach, None for all that can.

        Without a ceiling it is the starting rung's amount, or the contract's bound if that is less; without a floor it
        is the ceiling divided by the goal's span, or what the contract's other bounds allow divided by it.

        Raises:
            SearchError: no network of this space lies from floor to ceiling, or a rung cannot teach; with what can.
        """
        self.ladder = ladder
        self.rung = rung
        self.goal = goal
        self.version = VERSION
        self._shape, self._classes = ladder.facts.input_shape, len(ladder.facts.classes)
        self.teachers = self._chosen_teachers(teachers)
        self.epochs = self._epochs()  # fewest and most, at full length
        self._start_recipe = self._own_recipe()
        self._start = self._scalable(rung.network)
        self._smallest = self._scalable(SMALLEST.network(self._shape, self._classes))
        self.ceiling = self._checked_ceiling(ceiling)
        self.floor = self._checked_floor(floor)
        self._anchor = self._anchored()

    def suggest(self, trial: Trial) -> Drawn:
        """The network and recipe that a trial's answers mean: as near below its `size` as widths allow."""
        asked = Asked(trial)
        size = asked.log_even("size", self.floor, self.ceiling)
        forms: tuple[Scalable, ...] = ()
        if (block := asked.choice("network", (*BLOCKS, START))) != START:
            forms = self._forms(Traits.asked(asked, block, self._shape))
        recipe = self._start_recipe
        if (optimiser := asked.choice("recipe", (*OPTIMISERS, START))) != START:
            recipe = asked_recipe(asked, optimiser, self._terms())
        anchor, fitting_epochs = self._anchor
        for epochs in dict.fromkeys((recipe.epochs, fitting_epochs)):
            recipe = replace(recipe, epochs=epochs)
            if network := self._first_fitting((*forms, self._start, self._smallest), recipe, size):
                return self._told(network, recipe, asked.genes)
        return self._told(anchor, recipe, asked.genes)

    def scaled(self, target: float) -> Drawn:
        """The starting rung with all widths scaled to a target, its recipe as it is: the plain baseline.

        Raises:
            SearchError: it cannot be made as small as that.
        """
        network = self._start.fitted(self._load(self._start_recipe, target))
        if network is None:
            least = self.goal.said(self._amount(self._start.narrowest, self._start_recipe))
            raise SearchError(f"{self.rung.name} cannot be scaled to {self.goal.said(target)}: its least is {least}")
        return self._told(network, self._start_recipe, {"size": target, "network": START, "recipe": START})

    def starts(self) -> Sequence[Mapping[str, Gene]]:
        """Genes to begin with: the starting rung at several sizes, and what has worked elsewhere."""
        return starting_genes(
            sizes=(self.floor, self.ceiling), input_shape=self._shape, epochs=self.epochs, teachers=self.teachers
        )

    def _first_fitting(self, forms: Sequence[Scalable], recipe: Recipe, size: float) -> Network | None:
        """The first form that can have the size, in it; None if none can."""
        for form in forms:
            for times in _ABOVE:
                network = form.fitted(self._load(recipe, min(size * times, self.ceiling)))
                if network is not None and self.floor <= self._amount(network, recipe) <= self.ceiling:
                    return network
        return None

    def _forms(self, traits: Traits) -> tuple[Scalable, ...]:
        """What traits mean, then plainer and plainer forms for sizes that they cannot have."""
        networks = (each.network(self._shape, self._classes) for each in (traits, *traits.plainer()))
        return tuple(self._scalable(network) for network in networks)

    def _scalable(self, network: Network) -> Scalable:
        return Scalable(network, self._shape, self._classes)

    def _told(self, network: Network, recipe: Recipe, genes: Mapping[str, Gene]) -> Drawn:
        if self._trace(network).outputs != self._classes:  # a teacher answers with one value per class
            recipe = _untaught(recipe)
        return Drawn(network=network, recipe=recipe, amount=self._amount(network, recipe), genes=dict(genes))

    def _trace(self, network: Network) -> Trace:
        return trace(network, self._shape, self._classes)

    def _amount(self, network: Network, recipe: Recipe) -> float:
        return self.goal.amount(self._trace(network), recipe, train=self.ladder.facts.train)

    def _load(self, recipe: Recipe, target: float) -> Load:
        """What share of a target, and of what the contract allows, a network takes: the largest of these."""
        contract = self.ladder.contract
        parameters = contract.parameters.nearest_whole() if contract.parameters else None
        macs = contract.macs.nearest_whole() if contract.macs else None

        def load(network: Network) -> float:
            traced = self._trace(network)
            amount = self.goal.amount(traced, recipe, train=self.ladder.facts.train)
            shares = [(amount, target), (traced.parameters, parameters), (traced.macs, macs)]
            return max(took / max(most, _NOTHING) for took, most in shares if most is not None)

        return load

    def _terms(self) -> Terms:
        augment = self.rung.recipe.augment
        return Terms(
            side=min(self._shape[1:]),
            coloured=self._shape[0] == 3,
            images=self.ladder.facts.train,
            epochs=self.epochs,
            fill=augment[0].fill if augment else 0.0,
            teachers=self.teachers,
        )

    def _epochs(self) -> tuple[int, int]:
        """Fewest and most epochs of a drawn recipe: all that the contract allows, where time is not what counts."""
        contract = self.ladder.contract
        most = contract.epochs.nearest_whole() if contract.epochs else self.rung.recipe.epochs
        return (min(contract.last_epochs, most), most) if self.goal.name == "seconds" else (most, most)

    def _own_recipe(self) -> Recipe:
        """The starting rung's recipe, within this space."""
        own = self.rung.recipe
        recipe = replace(own, epochs=min(own.epochs, self.epochs[1]))
        return recipe if recipe.teacher in self.teachers else _untaught(recipe)

    def _chosen_teachers(self, chosen: Sequence[str] | None) -> tuple[str, ...]:
        """The rungs that teach; of those that may, the larger ones and the one that teaches the start already.

        What counts seconds has none: its own training would have to be counted too.
        """
        start = self.ladder.trace(self.rung).parameters
        able = {
            rung.name: self.ladder.trace(rung).parameters
            for rung in self.ladder.rungs
            if rung.name != self.rung.name
            and not rung.recipe.teacher
            and self.ladder.trace(rung).outputs == self._classes
        }
        if chosen is None:
            larger = [name for name, size in able.items() if size > start or name == self.rung.recipe.teacher]
            return () if self.goal.name == "seconds" else tuple(larger)
        for name in chosen:
            if name not in able:
                known = f"those that can: {listing(able)}" if able else "no other rung can"
                raise SearchError(f"{shown(name)} cannot teach {self.rung.name}; {known}" + nearest(name, able))
        return tuple(dict.fromkeys(chosen))

    def _least(self) -> tuple[float, Network]:
        """The smallest amount of this space, and what has it."""
        recipe = replace(self._start_recipe, epochs=self.epochs[0])
        networks = (self._smallest.narrowest, self._start.narrowest)
        return min(((self._amount(network, recipe), network) for network in networks), key=lambda both: both[0])

    def _checked_ceiling(self, said: float | None) -> float:
        clauses = {"parameters": self.ladder.contract.parameters, "macs": self.ladder.contract.macs}
        bound = clauses.get(self.goal.name)
        allowed = bound.nearest_whole() if bound else None
        if said is None:
            own = self._amount(self.rung.network, self._start_recipe)
            said = own if allowed is None else min(own, allowed)
        if not isfinite(said):
            raise SearchError(f"the ceiling is a number of {self.goal.unit}, not {said}")
        if allowed is not None and said > allowed:
            raise SearchError(
                f"the ceiling {self.goal.said(said)} is above what the contract allows: {self.goal.said(allowed)}"
            )
        least, network = self._least()
        if said < least:
            raise SearchError(
                f"no network is as small as the ceiling, {self.goal.said(said)}: "
                f"the smallest that is drawn here has {self.goal.said(least)} ({network.line})"
            )
        return said

    def _checked_floor(self, said: float | None) -> float:
        least, _ = self._least()
        if said is None:
            largest = max(amount for amount, _, _ in self._largest())
            floor = self.ceiling / self.goal.span
            return max(floor if floor < largest else largest / self.goal.span, least)
        if not 0 < said < self.ceiling:
            raise SearchError(
                f"the floor lies between 0 and the ceiling, {self.goal.said(self.ceiling)}; not {self.goal.said(said)}"
            )
        return max(said, least)

    def _largest(self) -> Sequence[tuple[float, Network, int]]:
        """The largest networks below the ceiling that keep the contract's bounds: amount, network, epochs.

        Raises:
            SearchError: none keeps them.
        """
        found: list[tuple[float, Network, int]] = []
        for epochs in dict.fromkeys(reversed(self.epochs)):
            recipe = replace(self._start_recipe, epochs=epochs)
            fitted = (form.fitted(self._load(recipe, self.ceiling)) for form in (self._start, self._smallest))
            found += [(self._amount(network, recipe), network, epochs) for network in fitted if network]
        if not found:
            raise SearchError(f"no network is as small as the contract asks for: {self.ladder.contract}")
        return found

    def _anchored(self) -> tuple[Network, int]:
        """A network from floor to ceiling, and the epochs with which it is: what is drawn where nothing else fits."""
        largest = self._largest()
        for amount, network, epochs in largest:
            if amount >= self.floor:
                return network, epochs
        nearest_amount = max(amount for amount, _, _ in largest)
        raise SearchError(
            f"no network has from {self.goal.said(self.floor)} to {self.goal.said(self.ceiling)} and keeps the "
            f"contract's bounds; the nearest has {self.goal.said(nearest_amount)}: lower the floor"
        )


def _untaught(recipe: Recipe) -> Recipe:
    """A recipe that learns from the labels alone."""
    return replace(recipe, loss=CrossEntropy(smoothing=recipe.loss.smoothing)) if recipe.teacher else recipe
