"""Attacks whose attacker trains the victim."""
