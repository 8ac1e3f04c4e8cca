"""Analyses of images: of the trigger and of the poisoned set."""
