"""Which copy of the package runs: in a project's folder that has its own, that one alone."""

from __future__ import annotations

import os
from pathlib import Path

from bdb.errors import BdbError

_HERE = Path(__file__).parents[1]


def is_other() -> bool:
    """Whether this folder has a package of its own, and another one is running."""
    own = Path("bdb")
    return (own / "__init__.py").is_file() and not os.path.samefile(own, _HERE)


def refuse_other() -> None:
    """Refuse to mix two copies: jobs would run the one, and what plans them the other.

    Raises:
        BdbError: this folder has a package of its own, and another one is running.
    """
    if is_other():
        raise BdbError(
            f"{_HERE} is running, but {Path('bdb').absolute()} lies here: "
            "`pip install -e .` in this folder, so that there is one copy"
        )
