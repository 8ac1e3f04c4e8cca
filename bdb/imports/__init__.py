"""Victims that were made elsewhere: read without running anything, and put into bdb's own form."""
