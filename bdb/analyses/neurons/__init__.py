"""Analyses of single channels and weights."""
