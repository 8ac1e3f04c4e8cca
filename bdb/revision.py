"""Which state of the project this is: the version, and the revision where there is git."""

from __future__ import annotations

import subprocess
from functools import cache

from bdb import __version__
from bdb.layout import PARAMS


def described() -> str:
    """The version, and in brackets the revision that provenance records, if there is one."""
    revision = git_revision()
    return f"{__version__} ({revision})" if revision else __version__


@cache
def git_revision() -> str | None:
    """The revision of the project's folder, with `+` where it has uncommitted changes.

    None where git does not keep its params.yaml: a folder that merely lies in some repository, as
    an unpacked archive may, has no revision of its own.
    """
    if _git("ls-files", "--error-unmatch", "--", str(PARAMS)) is None:
        return None
    return _git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """What git says, or None if it is not there or refuses."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip() or None
