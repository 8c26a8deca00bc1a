# Two commands are all a stranger needs: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Everything that runs our code runs it from this checkout, without activation.
RUN    := $(BIN)/python -m

.PHONY: help demo test test-fast check format bench clean setup
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.'
	@touch $@

$(VENV)/.installed-dev: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed-dev  ## make .venv with everything a developer needs

demo: $(STAMP)  ## install what is needed, then find the best deployment of a real model
	$(BIN)/tierwise demo

test: setup  ## the whole suite
	$(RUN) pytest -n 2 --dist loadgroup

test-fast: setup  ## what a commit must pass, in under two minutes
	$(RUN) pytest -n 2 --dist loadgroup -m 'not slow'

check: setup  ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup  ## let ruff write what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## ratios measured side by side on this machine
	$(BIN)/python benchmarks/run.py

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
