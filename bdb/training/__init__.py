"""The one training loop, its recipes, randomness and devices."""
