"""Analyses of the loss around a model."""
