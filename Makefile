PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install dev demo test lint format types docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Create .venv and install rlm into it

dev: $(VENV)/.dev ## The same with what tests and checks need

demo: $(VENV)/.installed ## Run the main job with a scripted model: no key, no network, no Docker needed
	@$(BIN)/rlm demo

test: $(VENV)/.dev ## Run all tests; those of Docker where an engine answers (RLM_REQUIRE_DOCKER=1: fail without)
	@$(BIN)/python -m pytest -q $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types, strictly
	@$(BIN)/mypy

docs: $(VENV)/.installed ## Write docs/cli.md anew from the commands' help
	@$(BIN)/python -m rlm.commands.reference > docs/cli.md

clean: ## Remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist

# An environment is made once, and filled again only when the dependencies change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rlm needs Python 3.11 or later: make PYTHON=python3.12 …")'
	@echo "creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing rlm into $(VENV) …"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing rlm and its development tools into $(VENV) …"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed
