# Everything a newcomer runs. Each target does its own set-up; nothing asks a question.
# Settings: ONCE=1 (demo: one round, then end) · ALLOW_MISSING=1 (tests: programs that cannot be installed are named, not
# failed) · JOBS=n (test processes) · PYTHON=/path (the Python that .venv is made of).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

BIN := .venv/bin
JOBS ?= 2
PART := scripts/part.sh
export PYTHON ALLOW_MISSING

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## see locks refuse a write: set up what it needs, then run it (ONCE=1 ends by itself)
	@scripts/setup.sh demo
	@$(BIN)/locklib demo $(if $(ONCE),--once)

.PHONY: test
test: ## all that a change must pass: set-up, lint and typing, tests with coverage, real clients
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory .lint
	@$(PART) "tests with coverage" 10 $(BIN)/python -m pytest -n $(JOBS) -m "not clients" --cov --cov-report=
	@$(PART) "branch coverage of core and stores" 0.1 $(BIN)/coverage report --skip-covered --show-missing \
		--include='src/locklib/core/*,src/locklib/stores/*' --fail-under=100
	@$(PART) "real clients" 2 $(BIN)/python -m pytest -n $(JOBS) -m clients

.PHONY: lint
lint: ## ruff, mypy, pyright on the public names, and the law of imports
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory .lint

.PHONY: .lint
.lint:
	@$(PART) "ruff" 0.1 $(BIN)/ruff check
	@$(PART) "ruff format" 0.1 $(BIN)/ruff format --check
	@$(PART) "law of imports" 0.1 $(BIN)/python scripts/import_law.py src
	@$(PART) "mypy" 0.4 $(BIN)/mypy
	@$(PART) "pyright" 0.3 env PATH="$(CURDIR)/$(BIN):$$PATH" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 \
		$(BIN)/pyright --verifytypes locklib --ignoreexternal # it looks for packages where the first python of PATH does

.PHONY: quick
quick: ## the tests alone, without coverage and real clients, ended by the first failure
	@scripts/setup.sh test
	@$(BIN)/python -m pytest -n $(JOBS) -m "not clients" -x -q

.PHONY: test-all
test-all: test ## make test, then the built wheel under each supported Python found here
	@scripts/test_wheel.sh

.PHONY: bench
bench: ## the figures: each a ratio, with its target
	@scripts/setup.sh test
	@$(BIN)/python -m bench

.PHONY: soak
soak: ## the long runs: processes under faults with their histories checked, and inputs by the million (about an hour)
	@scripts/setup.sh test
	@$(PART) "soak" 30 $(BIN)/python -m soak --report soak/results
	@$(PART) "fuzz" 20 $(BIN)/python -m fuzz --inputs 1000000 --report fuzz/results/report.md
	@$(PART) "processes and holds, in full" 10 env LOCKLIB_FULL=1 $(BIN)/python -m pytest -q \
		tests/test_processes_sqlite.py tests/test_i07_hold_processes.py

.PHONY: clean
clean: ## remove what set-up, tests and builds have made
	rm -rf .venv dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf tests/clients/node_modules bench/results soak/results fuzz/results fuzz/findings
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
