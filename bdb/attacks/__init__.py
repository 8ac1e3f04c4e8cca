"""Attacks: one file each, and the poison that they make."""
