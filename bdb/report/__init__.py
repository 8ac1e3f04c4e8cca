"""Board, plots and page: what a person reads."""
