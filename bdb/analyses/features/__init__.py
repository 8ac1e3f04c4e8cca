"""Analyses of what a model makes of images, as a whole."""
