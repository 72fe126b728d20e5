# make run    a node on this machine, nothing needed but Python 3.11
# make test   the tests, with the real programs of deploy/debian-packages.txt
# make fuzz   octets led by coverage for FUZZ_SECONDS (60) a target, see tests/fuzz/run_atheris.py
# make check  what CI runs: lint, types, import rule, tests; a missing program is a failure
.PHONY: run test fuzz check lint types fmt clean bench packages help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CONFIG ?= deploy/dev/gateway.yaml
PYTEST_ARGS ?=
PYTEST_JOBS ?= 3
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(notdir $(wildcard tests/fuzz/corpus/*))

help:
	@sed -n 's/^# //p' Makefile | head -4

.venv/bin/python:
	@deploy/dev/make-venv "$(PYTHON)"

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/installed

run: .venv/installed
	@exec $(BIN)/mxgw run --config $(CONFIG)

packages:
	@deploy/dev/install-packages deploy/debian-packages.txt

test: .venv/installed-dev packages
	@deploy/dev/run-tests $(PYTEST_JOBS) $(PYTEST_ARGS)

.venv/installed-fuzz: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@touch $@ .venv/installed-dev .venv/installed

fuzz: .venv/installed-fuzz
	set -e; for target in $(FUZZ_TARGETS); do \
	  $(BIN)/python tests/fuzz/run_atheris.py $$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0; done

lint: .venv/installed-dev
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

fmt: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint types
	$(BIN)/python -m pytest -q tests/architecture
	MXGW_REQUIRE_REAL=1 $(MAKE) test

bench:
	@echo "see bench/: ./setup, then ./measure"; ls bench

clean:
	rm -rf .venv state build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .test
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
