"""Several clean sets: every defense that needs one is run under each, as an instance of its own.

`ft` becomes `ft@seen-0.01` and `ft@seen-0.05`, on the grid, in paths and on the board. Where there
is one clean set, and of defenses that need none, names stay as they are.
"""

from __future__ import annotations

from bdb import layout
from bdb.jobs.catalogue import Catalogue
from bdb.jobs.sweeps import Variation
from bdb.method import METHOD
from bdb.params import Settings


def over_clean_sets(settings: Settings, catalogue: Catalogue) -> Settings:
    """The settings with the instances that several clean sets call for; the same under one.

    Args:
        settings: of params.yaml, globs expanded.
        catalogue: with the instances that they name.
    """
    if len(settings.clean_sets) == 1:
        return settings
    names = {name: _given(name, settings, catalogue) for name in settings.axis("defense")}
    made = {
        cell: {METHOD: settings.method("defense", name), **settings.fields("defense", name)}
        for name, cells in names.items()
        for cell in cells
        if cell != name
    }
    grids = tuple(
        grid.model_copy(update={"defense": tuple(c for name in grid.defense for c in names[name])})
        for grid in settings.grids
    )
    grid = grids if isinstance(settings.grid, tuple) else grids[0]
    spread = settings.model_copy(update={"grid": grid, "defenses": settings.defenses | made})
    spread._variations = tuple(
        each._replace(name=name, of=of)
        for each in settings.variations
        for name, of in _pairs(each, settings, catalogue)
    )
    return spread


def _given(name: str, settings: Settings, catalogue: Catalogue) -> list[str]:
    """The names of a defense's cells, one per clean set if it needs any."""
    if "clean_set" not in catalogue.get("defense", name).can("needs"):
        return [name]
    return [layout.given(name, each.name) for each in settings.clean_sets]


def _pairs(each: Variation, settings: Settings, catalogue: Catalogue) -> list[tuple[str, str]]:
    """A variation's cells and, under the same clean set, those that it is compared with."""
    if each.kind != "defense":
        return [(each.name, each.of)]
    varied, usual = (_given(name, settings, catalogue) for name in (each.name, each.of))
    return list(zip(varied, usual, strict=True))
