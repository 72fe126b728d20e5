# make run    a node on this machine, nothing needed but Python 3.11
# make test   the tests, with the real programs of deploy/debian-packages.txt
# make check  what CI runs: lint, types, import rule, tests; a missing program is a failure
.PHONY: run test check lint types fmt clean bench packages help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CONFIG ?= deploy/dev/gateway.yaml
PYTEST_ARGS ?=

help:
	@sed -n 's/^# //p' Makefile | head -3

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
	$(BIN)/python -m pytest $(PYTEST_ARGS)

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
