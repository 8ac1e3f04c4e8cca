"""`python -m bdb`: what the workflow's rules call."""

import sys

from bdb.errors import BdbError
from bdb.jobs import work

if __name__ == "__main__":
    try:
        is_done = work.link(sys.argv[1:])
    except (BdbError, OSError):
        is_done = False  # The command line will say what is wrong.
    if not is_done:
        from bdb.cli import main

        main()
