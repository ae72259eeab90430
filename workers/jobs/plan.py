"""A request's search: its strategy and the order of its points."""

from dataclasses import dataclass, field

import numpy as np

from search.lattice import Lattice, LatticeError
from search.strategies import FixedStrategy, Strategy
from service.errors import InvalidRequest
from service.jobs.keys import weights_key
from service.schemas.request import Grid, Search
from service.settings import Settings


@dataclass
class Plan:
    """The strategy and each point's place in it; points outside get places after all others, as they come."""

    strategy: Strategy
    lattice_points: int
    places: dict[str, int] = field(default_factory=dict)

    def index(self, weights: tuple[float, ...]) -> int:
        """The point's place."""
        return self.places.setdefault(weights_key(weights), len(self.places))

    def __contains__(self, key: str) -> bool:
        return key in self.places


def plan_search(search: Search, ingredients: int, settings: Settings) -> Plan:
    """The plan of a request's search. Raises InvalidRequest: ``empty_lattice``, ``too_many_points``."""
    if isinstance(search, Grid):
        rows = _lattice(search, ingredients, settings).weights()
    else:
        rows = np.full((1, ingredients), 1 / ingredients)
    places = {weights_key(row): index for index, row in enumerate(rows.tolist())}
    return Plan(FixedStrategy(rows), len(rows), places)


def _lattice(search: Grid, ingredients: int, settings: Settings) -> Lattice:
    try:
        lattice = Lattice(ingredients, search.lower, search.upper, search.step, search.convex)
    except LatticeError as error:
        raise InvalidRequest(str(error), param="search", code="empty_lattice") from error
    if lattice.count() > settings.max_points:
        msg = f"the lattice has {lattice.count()} points, more than {settings.max_points}: take a greater step"
        raise InvalidRequest(msg, param="search", code="too_many_points")
    return lattice
