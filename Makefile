PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the project's own environment does not need: fuzzers, and the search for known vulnerabilities.
TOOLS := .venv-tools
SECONDS ?= 60
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install dev demo test test-attacks test-slow fuzz audit lint format types docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Create .venv and install rlm into it

dev: $(VENV)/.dev ## The same with what tests and checks need

demo: $(VENV)/.installed ## Run the main job with a scripted model: no key, no network, no Docker needed
	@$(BIN)/rlm demo

test: $(VENV)/.dev ## Run all tests but the slow ones; those of Docker where an engine answers (RLM_REQUIRE_DOCKER=1: fail without)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not slow and not slow_attack" $(ARGS)

test-attacks: $(VENV)/.dev ## Run all attacks on the sandboxes
	@$(BIN)/python -m pytest -q -n 2 tests/attacks $(ARGS)

test-slow: $(VENV)/.dev ## Run the slow tests: faults, kills, evaluations from end to end, hostile pages
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m slow $(ARGS)

fuzz: $(TOOLS)/.installed ## Fuzz the frame decoders and the block parser with atheris, SECONDS=60 each
	@for target in frames blocks; do mkdir -p $(TOOLS)/corpus-$$target; \
	  $(TOOLS)/bin/python fuzz/fuzz_$$target.py -max_total_time=$(SECONDS) -max_len=4096 -dict=fuzz/$$target.dict \
	    -artifact_prefix=$(TOOLS)/ $(TOOLS)/corpus-$$target || exit 1; done

audit: $(TOOLS)/.audit ## Look the locked dependencies up among known vulnerabilities (needs a network)
	@$(TOOLS)/bin/pip-audit --progress-spinner off --disable-pip --require-hashes --requirement requirements.lock $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types, strictly
	@$(BIN)/mypy

docs: $(VENV)/.installed ## Write docs/cli.md anew from the commands' help, and the table of docs/providers.md from its data
	@$(BIN)/python -m rlm.commands.reference > docs/cli.md
	@$(BIN)/python -m rlm.commands.providers docs/providers.md

lock: ## Resolve the locked dependencies after a change of pyproject.toml; ARGS=--upgrade: all anew (needs uv)
	@$(LOCK) --extra dev --output-file requirements.lock
	@echo hatchling | $(LOCK) - --constraint requirements.lock --output-file requirements-run.lock

clean: ## Remove .venv and caches
	rm -rf $(VENV) $(TOOLS) .pytest_cache .mypy_cache .ruff_cache build dist

LOCK = uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --custom-compile-command "make lock" $(ARGS)

# $(call fill,LOCK,RANGES): rlm from here with exactly what the lock says, each file checked by its hash; on a Python
# that is newer than the locks, what the ranges of pyproject.toml allow.
define fill
@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then \
  $(PIP) --require-hashes --requirement $(1) && $(PIP) --no-deps --no-build-isolation --editable .; \
else \
  $(PIP) --editable '$(2)'; \
fi
endef

# An environment is made once, and filled again only when the dependencies change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rlm needs Python 3.11 or later: make PYTHON=python3.12 …")'
	@echo "creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml requirements-run.lock | $(BIN)/python
	@echo "installing rlm into $(VENV) …"
	$(call fill,requirements-run.lock,.)
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing rlm and its development tools into $(VENV) …"
	$(call fill,requirements.lock,.[dev])
	@touch $@ $(VENV)/.installed

$(TOOLS)/bin/python:
	@$(PYTHON) -m venv $(TOOLS) || { rm -rf $(TOOLS); exit 1; }

$(TOOLS)/.installed: | $(TOOLS)/bin/python
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4' || { \
	  echo "atheris has no wheel for this Python; the same targets under hypothesis: pytest tests/fuzz"; exit 1; }
	@touch $@

$(TOOLS)/.audit: | $(TOOLS)/bin/python
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'
	@touch $@
