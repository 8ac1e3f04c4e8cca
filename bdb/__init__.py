"""Benchmark of backdoor learning: poison, train, defend, evaluate, report.

Python's standard library has a module of this name too, the base of its debugger. Where both are
on the path this package is imported (`bdb_first.py` sees to that in an installed environment),
and it hands out the debugger's names as well, so that `pdb` and all that use it go on working.
"""

from typing import Any

__version__ = "0.1.0"

# What `from bdb import *` has always given; the last from here, the others from `__getattr__`.
__all__ = ["Bdb", "BdbQuit", "Breakpoint", "__version__"]


def __getattr__(name: str) -> Any:
    """A name of the standard library's `bdb`."""
    if name.startswith("__"):
        raise AttributeError(name)
    from bdb._debugger import module

    return getattr(module(), name)
