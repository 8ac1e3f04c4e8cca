"""Attacks that change the weights of a model that somebody else has trained."""
