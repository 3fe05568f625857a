# Everything that a developer runs. Each target sets up what it needs in .venv by itself: Python and make are enough.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
ROOTS := shared orchestrator worker gateway tests examples benchmarks
ARGS ?=

# A stamp names what is installed and is older than pyproject.toml when that has changed since.
MADE := $(VENV)/.stamp-made
BASE := $(VENV)/.stamp-base
TEST := $(VENV)/.stamp-test
LINT := $(VENV)/.stamp-lint

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format docs clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: $(BASE)  ## Run a workflow, kill its process half-way, and see it go on
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(TEST)  ## Run all tests (ARGS="-k name" for some)
	@$(BIN)/python -m pytest $(ARGS)

soak: $(TEST)  ## Simulate the whole engine under faults for an hour (ARGS="--minutes 10", ARGS="--seed 7 --watch")
	@$(BIN)/python -m tests.simulation $(or $(ARGS),--minutes 60)

lint: $(LINT)  ## Check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(LINT)  ## Format the code
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

docs: $(TEST)  ## Build the documentation into build/site
	@$(BIN)/zensical build --strict --config-file mkdocs.yml

clean:  ## Remove the virtual environment, caches and builds
	rm -rf $(VENV) build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(ROOTS) -name __pycache__ -type d -exec rm -rf {} +

# A virtual environment that is there already, and works, is kept.
$(MADE):
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		for python in $(PYTHON) python3.13 python3.12 python3.11 python3.14 python3 python; do \
			if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				echo "making $(VENV) with $$($$python --version)"; \
				$$python -m venv --clear $(VENV) && break; \
			fi; \
		done; \
	fi
	@$(BIN)/python -c '' 2>/dev/null || { \
		echo 'Tenuto needs Python 3.11 or newer, with its venv module (Debian: apt-get install python3 python3-venv).'; \
		echo 'If it is not on the PATH, name it: make PYTHON=/path/to/python3 ...'; \
		exit 2; \
	} >&2
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(BASE): $(MADE) pyproject.toml
	@echo 'installing tenuto into $(VENV)'
	@$(PIP) install --editable .
	@touch $@

$(TEST): $(MADE) pyproject.toml
	@echo 'installing tenuto and what its tests need into $(VENV)'
	@$(PIP) install --editable '.[all]' --group test
	@touch $@ $(BASE)

$(LINT): $(MADE) pyproject.toml
	@echo 'installing tenuto and the linters into $(VENV)'
	@$(PIP) install --editable '.[all]' --group test --group lint
	@touch $@ $(TEST) $(BASE)
