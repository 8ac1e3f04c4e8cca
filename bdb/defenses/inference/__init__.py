"""Defenses that filter or transform inputs."""
