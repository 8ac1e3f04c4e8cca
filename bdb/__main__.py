"""`python -m bdb`: what the workflow's rules call."""

from bdb.cli import main

if __name__ == "__main__":
    main()
