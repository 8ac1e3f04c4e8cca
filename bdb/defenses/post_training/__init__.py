"""Defenses that repair a model."""
