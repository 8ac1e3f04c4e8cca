"""Image classifiers that take floats in [0, 1] and normalise inside."""
