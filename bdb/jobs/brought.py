"""Where a victim that was made elsewhere may stand on the grid, and what did not come with it."""

from __future__ import annotations

from pathlib import Path

from bdb.errors import ParamsError
from bdb.jobs.catalogue import Entry
from bdb.layout import Imported, Run
from bdb.params import Settings


def why_not(run: Run, attack: Entry, settings: Settings) -> str | None:
    """Why the run makes no sense, if its victim was made elsewhere and it does not."""
    if not attack.can("brought"):
        return None
    if not settings.value(attack, "path"):
        return f"{run.attack} by itself is no victim; `bdb import` makes an instance"
    of, seed = settings.value(attack, "of"), settings.value(attack, "reserved_by")
    if of != f"{run.dataset}/{run.model}":
        return f"{run.attack} is a victim of {of}"
    if "train_set" in settings.value(attack, "lacks"):
        return None
    is_seen = not settings.keeps_images
    if seed is None:
        reason = f"{run.attack} saw every image, so none is reserved: set clean_set.source: seen"
        return None if is_seen else reason
    unseen = f"{run.attack} did not see what seed {seed} reserves"
    if is_seen:
        return f"{unseen}: set clean_set.source: reserved"
    return None if run.seed == seed else f"{unseen}: it stands under that seed alone"


def lacks(attack: Entry, settings: Settings) -> frozenset[str]:
    """What no method can be given of an attack's victims: `train_set`, `triggered`."""
    if attack.can("brought"):
        return frozenset(settings.value(attack, "lacks"))
    return frozenset() if attack.can("gives_train_set") else frozenset({"train_set"})


def files(attack: Entry, settings: Settings) -> list[Path]:
    """What `bdb import` wrote of it; nothing of an attack that is made here.

    Raises:
        ParamsError: a file is missing.
    """
    if not attack.can("brought"):
        return []
    found = [*Imported.within(Path(settings.value(attack, "path")))]
    for path in found:
        if not path.is_file():
            raise ParamsError(f"attacks.{attack.name}.path: {path} is no file; `bdb import` it")
    return found
