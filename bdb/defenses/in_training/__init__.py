"""Defenses that train in another way, on a training set that may be poisoned."""
