"""Scanning a model that somebody brought: read without running it, judged rung by rung, answered.

files -> suspects -> ladder -> answer -> text, page, sarif; `pickles` stands at the door.
"""
