# `make demo` shows the main job, `make test` runs all tests; both set themselves up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The cgroup tests run on v2 here if its hierarchy's root (which has no cgroup.events) hands out memory and may be
# written; else in a virtual machine.
CGROUP2_VM ?= ../shared/tools/cgroup2-vm/cgroup2-vm
CGROUP2_HERE = $(shell cd /sys/fs/cgroup && [ ! -e cgroup.events ] && [ -w cgroup.subtree_control ] && \
	grep -sw memory cgroup.controllers)
CGROUP_TESTS := $(wildcard tests/integration/test_cgroups*.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-cgroup2 test-all lint format bench docs dashboards manifests clean packages

help:
	@echo "make demo      an MCP server grows, is cleaned up and shrinks: at most 90 seconds after set-up"
	@echo "make test      linters, types and all tests; sets itself up, Debian packages included (as root)"
	@echo "make test-long the same tests with their full counts and times"
	@echo "make test-cgroup2  the cgroup tests on cgroup v2, in a virtual machine where this one has v1: 3 minutes"
	@echo "make test-all  make test, make test-long and every other test target"
	@echo "make lint      ruff and mypy alone"
	@echo "make format    ruff's formatting, applied"
	@echo "make bench     every benchmark"
	@echo "make docs      what in docs/ is generated from the code"
	@echo "make dashboards  the Grafana dashboards, from the code beside them"
	@echo "make manifests what in deploy/kubernetes/monitoring is made from dashboards and alert rules"
	@echo "make clean     remove what was built"

$(READY): pyproject.toml kit/pyproject.toml constraints.txt tools/check_python.py
	@$(PYTHON) tools/check_python.py
	@echo "setting up $(VENV), about half a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]' --editable './kit[all]'
	@touch $@

demo: $(READY)
	@$(BIN)/python -m examples.mcp_server.demo

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
	@$(BIN)/python -m pytest -m "not long" --numprocesses 2 --dist loadfile

test-long: packages $(READY)
	@$(BIN)/python -m pytest -m long

test-cgroup2: $(READY)
	$(if $(CGROUP2_HERE)$(wildcard $(CGROUP2_VM)),,$(error no cgroup v2 to test on here and no $(CGROUP2_VM): set CGROUP2_VM))
	@$(if $(CGROUP2_HERE),$(BIN)/python,"$(CGROUP2_VM)" --share "$(CURDIR)" --pip-install constraints.txt --timeout 2400 \
		--env PYTHONPATH="$(CURDIR)/watchdog" --env PYTHONDONTWRITEBYTECODE=1 -- python3) \
		-m pytest -p no:cacheprovider $(CGROUP_TESTS)

test-all: test test-long test-cgroup2

bench: $(READY)
	@tools/debian-packages prometheus-process-exporter
	@set -e; for name in $$($(BIN)/python -m benchmarks); do $(BIN)/python -m benchmarks.$$name; done

docs: $(READY)
	@$(BIN)/python -m tools.metrics_page > docs/metrics.md

dashboards: $(READY)
	@$(BIN)/python -m dashboards.generate
	@$(BIN)/python -m tools.monitoring_manifests

manifests: $(READY)
	@$(BIN)/python -m tools.monitoring_manifests

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
