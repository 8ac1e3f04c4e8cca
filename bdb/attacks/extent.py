"""Whether a trigger fits into an image: known from fields and size alone, so without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Extent = Mapping[str, Mapping[str, float]]


def misfit(extent: Extent, fields: Mapping[str, Any], height: int, width: int) -> str | None:
    """What does not fit, in words that begin with the fields' names; None if everything does.

    Args:
        extent: for `side` (the shorter one) or `width`, the pixels that a unit of each field takes.
        fields: of the attack.
        height: of the images, in pixels.
        width: likewise.
    """
    room = {"side": min(height, width), "width": width}
    for along, factors in extent.items():
        needed = sum(factor * fields[name] for name, factor in factors.items())
        if needed > room[along]:
            names = sorted(factors)
            values = " + ".join(f"{fields[name]:g}" for name in names)
            return (
                f"{' + '.join(names)}: {values} needs images of {needed:g} pixels a side, "
                f"but these are {height} x {width}"
            )
    return None
