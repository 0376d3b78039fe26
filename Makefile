# Everything a person does with this repository. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
COVERAGE_FLOOR := 90

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the virtual environment: hashed locks only, so nothing unlisted comes in ---------------------

$(READY): requirements/dev.txt pyproject.toml tests/bootstrap.sh
	PYTHON=$(PYTHON) bash tests/bootstrap.sh $(VENV)
	touch $@

.PHONY: venv
venv: $(READY) ## Make the virtual environment

.PHONY: lock
lock: $(READY) ## Resolve the dependencies anew into requirements/*.txt
	for name in runtime dev; do \
	  UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --upgrade --universal --no-strip-extras \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    $$([ $$name = dev ] && echo "--extra dev --constraints requirements/runtime.txt" || true) \
	    --output-file requirements/$$name.txt pyproject.toml; \
	done

# --- what is generated ---------------------------------------------------------------------------

.PHONY: crds
crds: $(READY) ## Render the CRDs from the models, here and in the chart
	$(BIN)/python -m weddingbackup.resources.schema --write

.PHONY: manifests
manifests: $(READY) crds ## Render the chart to manifests/install.yaml
	$(BIN)/python -m tests.chart --write

.PHONY: check-generated
check-generated: $(READY) ## Fail when what is generated is not what is committed
	$(BIN)/python -m weddingbackup.resources.schema --check
	$(BIN)/python -m tests.chart --check

# --- checks ---------------------------------------------------------------------------------------

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(READY) ## Formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=operator $(BIN)/lint-imports

.PHONY: test-unit
test-unit: $(READY) ## Unit tests alone: under a minute
	$(PYTEST) tests/unit

.PHONY: test-integration
test-integration: $(READY) ## Against real stores, a real PostgreSQL, a real API server
	$(PYTEST) tests/integration

.PHONY: test-e2e
test-e2e: $(READY) ## The operator in a real cluster
	$(PYTEST) tests/e2e

.PHONY: test
test: $(READY) lint check-generated ## All of it, with coverage; installs what it needs
	rm -f .coverage*
	$(PYTEST) --cov --cov-report= tests/unit
	$(PYTEST) --cov --cov-append --cov-report= tests/integration
	$(PYTEST) --cov --cov-append --cov-report= tests/e2e
	$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

# --- to look at -------------------------------------------------------------------------------------

.PHONY: image
image: $(READY) ## Build the container image
	$(BIN)/python -m tests.cluster.image

.PHONY: demo
demo: $(READY) ## One wedding: backed up to five clouds, lost, brought back, compared
	$(BIN)/python -m tests.demo up

.PHONY: demo-down
demo-down: $(READY) ## Remove all that the demo left running
	$(BIN)/python -m tests.demo down

.PHONY: bench
bench: $(READY) ## The engine beside restic and rustic, the broker beside boto3: an hour (builds rustic: needs cargo)
	$(BIN)/python -m tests.benchmarks.engine
	$(BIN)/python -m tests.benchmarks.broker

.PHONY: scale
scale: $(READY) ## What growth costs, from 10,000 to a million files: an hour, 16 GiB of disk
	$(BIN)/python -m tests.benchmarks.scale

CAMPAIGN_SEED ?= 20261205

.PHONY: campaign
campaign: $(READY) ## The long form of all random tests of the vault: about an hour; CAMPAIGN_SEED repeats one
	WEDDINGBACKUP_CAMPAIGN=1 WEDDINGBACKUP_CAMPAIGN_SEED=$(CAMPAIGN_SEED) \
	  $(PYTEST) -s --timeout=0 --hypothesis-seed=$(CAMPAIGN_SEED) --hypothesis-show-statistics \
	  tests/unit/vault -k "campaign or model"

.PHONY: clean
clean: ## Remove the virtual environment and build products
	rm -rf $(VENV) build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
