# make demo    the embedded default: environment, workflow, and where the results lie
# make test    environment, lint, types, and the whole test suite
# make slurm   the workflow on a SLURM cluster of its own; root, and apt-get install slurm-wlm munge
# make reliability  killed runs, full disks, damaged files; minutes, and root for the full disks
# make evidence  the tests that take longer than seconds; minutes
# make benchmarks  speed and cost on this machine, in minutes; nothing else should run meanwhile
# make pages   the tables in README and docs that come from kept files
# make docs    these, the method catalogue, and the demo's table in README
# make clean   remove what runs have made, but for the boards that were kept

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What an environment is made from and has copies of; the packages are used where they lie.
INSTALLED := pyproject.toml constraints.txt bdb_first.py bdb_first.pth
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test lint types pytest slurm reliability evidence benchmarks pages docs clean

help:
	@grep '^# make' Makefile | cut -c3-

demo: $(VENV)/.engines
	$(BIN)/snakemake --cores all
	@cat results/summary.md
	@echo "board:  results/board.csv"
	@echo "report: results/report/index.html"

test: lint types pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

types: $(VENV)/.test
	$(BIN)/mypy

pytest: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

slurm: $(VENV)/.test
	$(BIN)/python -m pytest -m slurm -s tests/workflow/test_slurm.py

reliability: $(VENV)/.test
	$(BIN)/python -m pytest -m reliability -s tests/reliability

evidence: $(VENV)/.test
	$(BIN)/python -m pytest -m evidence --numprocesses 2 --dist loadfile

benchmarks: $(VENV)/.engines
	$(BIN)/python benchmarks/training.py --full airbench94
	$(BIN)/python benchmarks/triggers.py
	$(BIN)/python benchmarks/defenses.py
	$(BIN)/python benchmarks/majority.py
	$(BIN)/python benchmarks/engine.py
	$(MAKE) pages

pages: $(VENV)/.engines
	$(BIN)/bdb compare cifar10-airbench94 --beside preactresnet18 --into docs/truth.md
	$(BIN)/bdb compare cifar10-airbench94 --beside preactresnet18 --only-orders --into README.md
	$(BIN)/bdb population bdb/scan/population.csv --into docs/population.md
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/digits.py
	$(BIN)/python benchmarks/cifar10.py

docs: demo pages
	$(BIN)/bdb docs docs/methods.md --readme README.md
	$(BIN)/bdb schema workflow/schemas/params.schema.yaml

clean:
	rm -rf data/prepared data/poisoned $(filter-out results/boards,$(wildcard results/*)) logs .snakemake
	[ ! -d benchmarks ] || find benchmarks -mindepth 1 \( -name '*.tsv' -o -type d -empty \) -delete

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.engines: $(INSTALLED) | $(BIN)/python
	$(INSTALL) --editable '.[engines,analyses]'
	touch $@

$(VENV)/.test: $(INSTALLED) | $(BIN)/python
	$(INSTALL) --editable '.[engines,analyses,slurm,kubernetes,test]'
	touch $@ $(VENV)/.engines
