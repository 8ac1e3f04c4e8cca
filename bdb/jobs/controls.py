"""Controls of attacks that change the victim's training: clean models trained as those victims are.

Where the control `none` stands on the grid, `none_<attack>` joins such an attack wherever that
stands: an instance of `none` whose `trained_as` names the attack.
"""

from __future__ import annotations

from collections.abc import Container

from bdb import layout
from bdb.jobs.catalogue import Catalogue
from bdb.method import METHOD
from bdb.params import Grid, Settings


def add(settings: Settings, catalogue: Catalogue) -> Settings:
    """The settings with the controls that their attacks call for; the same if none does.

    Args:
        settings: of params.yaml, globs expanded.
        catalogue: with the instances that they name.
    """
    attacks = settings.axis("attack")
    lenders = [name for name in attacks if departs(name, settings, catalogue)]
    if not lenders or layout.CLEAN_ATTACK not in attacks:
        return settings
    grids = tuple(_joined(grid, lenders) for grid in settings.grids)
    made = {
        layout.control_of(name): {METHOD: layout.CLEAN_ATTACK, "trained_as": name}
        for name in lenders
    }
    grid = grids if isinstance(settings.grid, tuple) else grids[0]
    return settings.model_copy(update={"grid": grid, "attacks": settings.attacks | made})


def departs(name: str, settings: Settings, catalogue: Catalogue) -> bool:
    """Whether an attack's victims are trained otherwise than usual, as `Attack.departs` says."""
    entry = catalogue.get("attack", name)
    chosen = entry.can("training_field")
    asked = chosen is None or settings.value(entry, chosen)
    return bool(entry.can("changes_training") and asked)


def _joined(grid: Grid, lenders: Container[str]) -> Grid:
    """A product with the controls of its attacks, behind `none` where that stands there."""
    added = [layout.control_of(name) for name in grid.attack if name in lenders]
    first = [name for name in grid.attack if name == layout.CLEAN_ATTACK]
    rest = [name for name in grid.attack if name != layout.CLEAN_ATTACK]
    return grid.model_copy(update={"attack": (*first, *added, *rest)}) if added else grid
