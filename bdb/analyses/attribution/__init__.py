"""Analyses of where in an image an answer comes from."""
