"""Defenses that find or cleanse poisoned training samples, and train again."""
