.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := producer worker tests examples
# Tests wait for leases and time-outs: on two cores a third process uses what two leave. CI has other servers beside it.
JOBS ?= $(if $(CI),2,3)

.PHONY: help setup demo test check docs fix gpu bench chart image clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything that a developer needs

$(STAMP): pyproject.toml constraints.txt .ci/make-venv
	test -x $(BIN)/pip || .ci/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[worker,local,doctor,c2pa]' --group dev
	touch $@

demo: setup ## Prompts in, images out: a fleet of two CPU workers (MODEL=folder-or-repo)
	$(BIN)/python -m tests.demo $(if $(MODEL),--model '$(MODEL)') $(if $(REVISION),--revision '$(REVISION)')

# The longest first, so that none is left when all others are done.
test: setup ## Run the unit, integration and packaging tests, JOBS=3 files at a time
	$(BIN)/pytest -n $(JOBS) --no-loadscope-reorder tests/integration tests/packaging tests/unit

check: setup ## Lint, format, types, import rules, and that the documents say what the code does
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m tests.scripts.make_blocking_client --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m tests.scripts.make_reference --check
	$(BIN)/python -m tests.scripts.check_names

chart: setup ## Render, validate and test the Helm chart, and lint the Dockerfile
	$(BIN)/python -m pip install --quiet -c constraints.txt --group chart
	$(BIN)/pytest tests/chart
	$(BIN)/hadolint docker/worker.Dockerfile

image: setup ## Build both images with podman and test them in containers (root, Debian)
	docker/build-image
	$(BIN)/pytest tests/image

docs: setup ## Make the reference pages of docs/ from the code
	$(BIN)/python -m tests.scripts.make_reference

fix: setup ## Mend what ruff can mend, and make the blocking client from the asyncio one
	$(BIN)/python -m tests.scripts.make_blocking_client
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

gpu: setup ## Run the tests and the benchmark that need a CUDA device; without one both say skipped
	$(BIN)/pytest tests/gpu
	$(BIN)/python -m tests.benchmarks.gpu

bench: setup ## Run every benchmark; each ends with one JSON object
	@set -e; for file in tests/benchmarks/[a-z]*.py; do \
	  name=$$(basename $$file .py); echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name; \
	done

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) dist demo-output .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
