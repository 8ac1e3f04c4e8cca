"""What others can use without bdb: a poisoned set as pictures, a model as weights, a whole run."""
