"""Scanning a model that somebody brought: read without running it, judged rung by rung, answered.

Read: bounded -> pickle_machine -> pickles -> torch_files -> files; then layouts -> architectures,
facts -> suspects. Judged: finding, rungs, budget -> ladder -> samples, triggers; ranked: comparable
-> references, calibrate.
Answered: answer -> plain, plain_json, page, sarif -> outputs. All of it: scanning.
"""
