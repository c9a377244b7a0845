# Bare `make` prints what there is to do. Every target sets up what it needs first; what is set up
# already costs a twentieth of a second. ARGS is passed on: make test ARGS="-k dedup -x".

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

bin := .venv/bin
ARGS ?=
# Over several processes, the tests of a file in one of them; ARGS="-n0" runs them in one.
spread := --numprocesses=auto --dist=loadfile

.PHONY: help
help:  ## Print this.
	@awk 'BEGIN { FS = ":.*## " } \
		/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: setup-run  ## Start the service with a demonstration: a receiver, and real events to it.
	@$(bin)/triggers serve --demo $(ARGS)

.PHONY: test
test: setup  ## Run the tests, without those that inject failures at length.
	$(bin)/pytest -m "not faults" --ignore=tests/external $(spread) $(ARGS)

.PHONY: check
check: setup  ## Look for faults without running anything: lint, format, types, layers.
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports

.PHONY: bench
bench: setup-run  ## Measure rate and latency of this machine, and judge them by the targets.
	@$(bin)/triggers bench $(ARGS)

.PHONY: faults
faults: setup  ## Inject failures for real (kill, power cut, full disk); takes long.
	$(bin)/pytest -m faults $(ARGS)

.PHONY: test-external
test-external: setup  ## Run the tests that need other programs; says which of those are missing.
	scripts/test-external $(ARGS)

.PHONY: format
format: setup  ## Format the code, and mend what the linter can mend.
	$(bin)/ruff check --fix-only
	$(bin)/ruff format

.PHONY: setup
setup:  ## Make or refresh .venv for all of these; PYTHON=python3.12 chooses the Python.
	@scripts/setup dev

.PHONY: setup-run
setup-run:
	@scripts/setup run

.PHONY: clean
clean:  ## Remove what set-up, tools and builds left behind; never a database.
	rm -rf .venv .make build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
