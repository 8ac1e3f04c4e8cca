"""One file per stage; each has one function that the CLI calls, and speaks through files only."""
