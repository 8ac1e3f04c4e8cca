"""Lets the package `bdb` be found before the standard library's module of the same name.

Installed beside `bdb_first.pth`, which imports it when Python starts. The package forwards the
debugger's names, so nothing that uses the standard library's module notices.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder


class PackageFirst:
    """A finder that answers for `bdb` alone, and only with a package."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The package `bdb`, wherever it stands on the path.

        A folder of that name without an `__init__.py`, as a clone of the project may be, is none:
        it has places to search, but no origin.
        """
        if name != "bdb":
            return None
        for folder in sys.path:
            spec = PathFinder.find_spec(name, [folder])
            if spec is not None and spec.submodule_search_locations is not None and spec.origin:
                return spec
        return None


if not any(finder is PackageFirst for finder in sys.meta_path):
    sys.meta_path.insert(0, PackageFirst)
