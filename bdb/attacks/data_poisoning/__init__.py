"""Attacks that change training samples or their labels, and leave the training alone."""
