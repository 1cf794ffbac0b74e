# Every target installs what it needs into a virtual environment, once for each pyproject.toml.
PYTHON ?= python3
NEWEST_PYTHON ?= python3.12
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# Compiled programs are kept between runs. The thresholds also admit the many small ones, which
# is where the tests spend their time.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0.1
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES := 0

# A worker keeps to tests that follow each other, which share programs, until it has none left.
PYTEST := -m pytest -n $(WORKERS) --dist worksteal
ALL := -m "slow or not slow"
# The slow tests open the site where there is a browser.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-oldest test-newest coverage mutate lint format types docs \
	check-site notebooks bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## draw a chain both ways and compare (options in ARGS)
	$(BIN)/python -m parallel_mcmc demo $(ARGS)

test: $(VENV)/.test ## run the fast tests and the doctests
	$(BIN)/python $(PYTEST) $(ARGS)

test-all: $(VENV)/.docs $(if $(BROWSER),$(VENV)/.site)
test-all: $(VENV)/.test ## also run the slow tests and the notebooks
	$(BIN)/python $(PYTEST) $(ALL) $(ARGS)

test-oldest: .venv-oldest/.test ## run the fast tests on the oldest supported versions
	.venv-oldest/bin/python $(PYTEST) $(ARGS)

test-newest: .venv-newest/.test ## run the fast tests on the newest versions (NEWEST_PYTHON)
	.venv-newest/bin/python $(PYTEST) $(ARGS)

coverage: $(VENV)/.test $(VENV)/.dev ## report the lines of the solver and the kernels that tests run
	$(BIN)/python $(PYTEST) tests/solver tests/kernels --cov=parallel_mcmc/solver \
		--cov=parallel_mcmc/kernels --cov-report=term-missing --cov-fail-under=95 $(ARGS)

mutate: $(VENV)/.test $(VENV)/.mutation ## mutation testing of the solver core (long; options in ARGS)
	$(BIN)/python scripts/mutate.py $(ARGS)

lint: $(VENV)/.dev ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.dev ## rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# With the packages of the test extra, since the package imports some of them where they are used.
types: $(VENV)/.test $(VENV)/.dev ## check the types of the package
	$(BIN)/pyright

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.docs ## build the site into site/, treating warnings as errors
	$(BIN)/mkdocs build --strict

check-site: docs $(VENV)/.site ## open every page of the site in Chromium, without a network
	$(BIN)/python scripts/check_site.py $(ARGS)

notebooks: $(VENV)/.test ## execute the notebooks in place (parts of their names in ARGS)
	$(BIN)/python scripts/execute_notebooks.py $(ARGS)

bench: $(VENV)/.test $(VENV)/.bench ## make the tables and figures of docs/performance.md (names in ARGS)
	$(BIN)/python benchmarks/run_all.py $(ARGS)

clean: ## remove environments, caches and built files
	rm -rf .venv .venv-oldest .venv-newest .cache .pytest_cache .ruff_cache .hypothesis site build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

EXTRAS := $(addprefix $(VENV)/.,test dev docs mutation site bench)
$(EXTRAS): $(VENV)/.%: $(VENV)/.runtime
	$(BIN)/python $(PIP_INSTALL) --editable ".[$*]"
	@touch $@

.venv-oldest/.test: pyproject.toml constraints/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP_INSTALL) --constraint constraints/oldest.txt --editable ".[test]"
	@touch $@

.venv-newest/.test: pyproject.toml
	$(NEWEST_PYTHON) -m venv .venv-newest
	.venv-newest/bin/python $(PIP_INSTALL) --upgrade --editable ".[test]"
	@touch $@
