"""What goes wrong, in one line that names the key or file, the value, and what would be right.

BdbError
 ├── ParamsError     params.yaml, or an argument, asks for something that cannot be
 ├── RegistryError   a method is registered twice, or is not known
 ├── DataError       a raw data set is missing or damaged
 └── ArtifactError   a file that bdb wrote is missing or damaged
"""

import difflib
from collections.abc import Iterable


class BdbError(Exception):
    """An error that a user can act on; the CLI prints its one line and exits with 2."""


class ParamsError(BdbError):
    """The parameters ask for something that cannot be."""


class RegistryError(BdbError):
    """A method is registered twice, or is not known."""


class DataError(BdbError):
    """A raw data set is missing or damaged."""


class ArtifactError(BdbError):
    """A file that bdb wrote is missing or damaged."""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is unknown, with the nearest known name, or with all of them if few."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"{what} {str(name)!r} is not known; {hint}"
