"""Analyses of what a model answers."""
