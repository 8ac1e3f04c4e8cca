"""What goes wrong, in one line that names the key or file, the value, and what would be right.

BdbError
 ├── ParamsError     params.yaml, or an argument, asks for something that cannot be
 ├── RegistryError   a method is registered twice, or is not known
 ├── DataError       a raw data set is missing or damaged
 ├── ArtifactError   a file that bdb wrote is missing or damaged
 ├── SuspectError    a model that somebody brought cannot be read, or is refused
 └── CacheError      the cache cannot be written: that costs speed, never the run
"""

import difflib
import os
import sys
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_SHOWN = 60  # letters of a value
_LISTED = 30  # names
# Control and format characters, halves of surrogate pairs, private ones, those that are none.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


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


class SuspectError(BdbError):
    """A model that somebody brought cannot be read, or is refused."""


class CacheError(BdbError):
    """The cache cannot be written: that costs speed, never the run."""


class UndeclaredNeedError(Exception):
    """A method read what its class variables do not declare: a mistake in the method."""


@contextmanager
def accidents(code: int) -> Iterator[None]:
    """End the program with this code whatever happens within that nobody thought of.

    Python's own code for that is 1, which some commands answer with. Errors of a user's pass.
    """
    try:
        yield
    except BrokenPipeError:  # Who reads what is printed has left; so may the rest of it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        sys.exit(code)
    except (BdbError, OSError):
        raise
    except Exception:
        traceback.print_exc()
        sys.exit(code)


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is unknown, with the nearest known name, or with all of them if few."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name)[:_SHOWN], names, n=1)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    listed = f"known: {', '.join(names[:_LISTED]) or 'none'}{more}"
    hint = f"did you mean {near[0]!r}?" if near else listed
    return f"{what} {short(str(name))} is not known; {hint}"


def short(value: object) -> str:
    """A value as Python writes it, cut off where it gets long."""
    if isinstance(value, int) and value.bit_length() > 512:
        text = hex(value)  # decimal digits would take long, and Python refuses to write so many
    else:
        text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def line(error: BaseException) -> str:
    """What an error says, on one line that a terminal shows as it is."""
    return printable(" ".join(str(error).split()))


def printable(text: str) -> str:
    """The same, with whatever no terminal, table or picture can show as Python writes it."""
    return "".join(
        letter if unicodedata.category(letter) not in _UNPRINTABLE else ascii(letter)[1:-1]
        for letter in text
    )
