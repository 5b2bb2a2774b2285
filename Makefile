# `make demo` shows the main job, `make test` runs all tests; both set themselves up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-all lint format bench docs clean packages

help:
	@echo "make demo      a server grows, is cleaned up and shrinks: at most a minute after set-up"
	@echo "make test      linters, types and all tests; sets itself up, Debian packages included (as root)"
	@echo "make test-long the same tests with their full counts and times"
	@echo "make test-all  make test, make test-long and every other test target"
	@echo "make lint      ruff and mypy alone"
	@echo "make format    ruff's formatting, applied"
	@echo "make bench     every benchmark"
	@echo "make docs      what in docs/ is generated from the code"
	@echo "make clean     remove what was built"

$(READY): pyproject.toml constraints.txt tools/check_python.py
	@$(PYTHON) tools/check_python.py
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: $(READY)
	@$(BIN)/memory-watchdog demo

packages:
	@tools/debian-packages

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

format: $(READY)
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

test: packages lint
	@$(BIN)/python -m pytest -m "not long"

test-long: packages $(READY)
	@$(BIN)/python -m pytest -m long

test-all: test test-long

bench: $(READY)
	@tools/debian-packages prometheus-process-exporter
	@set -e; for name in $$($(BIN)/python -m benchmarks); do $(BIN)/python -m benchmarks.$$name; done

docs: $(READY)
	@$(BIN)/python -m tools.metrics_page > docs/metrics.md

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
