"""Detectors that say of a model whether it is backdoored."""
