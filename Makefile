# metakg: `make demo`, `make test`, `make check`. Every target makes the environment it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
METAKG := $(BIN)/metakg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-slow check format lint types docs clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/core: pyproject.toml
	$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/core
	$(BIN)/python -m pip install -q -e ".[dev]"
	@touch $@

demo: $(VENV)/core ## Make a data set, rank it for new users and new items, recommend, and say why
	$(METAKG) demo

$(VENV)/serve: pyproject.toml $(VENV)/core
	$(BIN)/python -m pip install -q -e ".[serve]"
	@touch $@

serve: $(VENV)/serve ## Open the demo's bookshop to a browser, at http://127.0.0.1:8000
	test -d demo/bundle || $(METAKG) demo
	$(METAKG) serve demo/bundle --log-level warning

test: $(VENV)/dev ## Run the tests on all cores (a few minutes)
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(VENV)/dev ## Run the long tests too
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 1800

format: $(VENV)/dev ## Rewrite the code in house format
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

lint: $(VENV)/dev ## Check format and lint rules
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks

types: $(VENV)/dev ## Check types, strictly
	$(BIN)/mypy

check: lint types docs test ## Everything CI checks: format, lint, types, imports, documentation, tests

docs: pyproject.toml $(VENV)/core ## Build the documentation site into site/
	$(BIN)/python -m pip install -q -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean: ## Remove what the targets made
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
