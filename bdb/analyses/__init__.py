"""Analyses: a picture and the numbers behind it, one file each."""
