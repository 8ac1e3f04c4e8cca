"""Metrics: arithmetic on tables, without torch but for image quality."""
