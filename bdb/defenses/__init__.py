"""Defenses and detectors: one file each."""
