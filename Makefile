# Everything here sets itself up: an environment is created and filled on first use, and again when pyproject.toml or
# the locked versions change. Another interpreter: make test PYTHON=python3.12 (its environment: .venv-3.12, or VENV=...).
PYTHON ?= python3
MINOR := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(MINOR))
RESULTS ?= results
PYTEST_ARGS ?= -n auto --dist loadfile

CONSTRAINTS := $(wildcard constraints-$(MINOR).txt)
PIP_INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))
STAMP = $(VENV)/.stamp-$(MINOR)

.DEFAULT_GOAL := help
.PHONY: help venv check test test-all demo benchmark benchmark-large clean
.DELETE_ON_ERROR:

help: ## Show this list
	@echo "make TARGET [PYTHON=python3.12] [VENV=folder] [RESULTS=folder] [PYTEST_ARGS='-k name']"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

venv: $(STAMP)-dev ## Create the environment with everything that check and test need

check: $(STAMP)-dev ## Linter, formatter and type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: $(STAMP)-dev ## Run the tests
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-all: $(STAMP)-dev ## Run all tests, the exhaustive ones too: long fuzzing, every kill (an hour)
	MDSENS_FUZZ=20000 $(VENV)/bin/python -m pytest $(PYTEST_ARGS) -m ""

demo: $(STAMP)-run ## One packing's sensitivity and the 40-start ensemble, with figures
	$(VENV)/bin/mdsens sensitivity workflows/sensitivity.toml -o $(RESULTS)
	$(VENV)/bin/mdsens ensemble workflows/ensemble.toml -o $(RESULTS)
	@echo "Results and figures are in $(abspath $(RESULTS)):"
	@find $(RESULTS) -maxdepth 1 -type f | sort

benchmark: $(STAMP)-benchmark ## Print the benchmark's table
	$(VENV)/bin/python -m benchmarks measure benchmarks/accuracy.toml -o $(RESULTS)

benchmark-large: $(STAMP)-benchmark ## Measure speed beside LAMMPS up to a million particles (45 minutes; goes on where it stopped)
	$(VENV)/bin/python -m benchmarks measure benchmarks/large.toml -o $(RESULTS)

clean: ## Remove this environment, caches and build leftovers (results stay)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# The environment itself. A stamp carries the minor version, so a changed interpreter starts a fresh environment.
$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "mdsens needs Python 3.11 or newer, but '$(PYTHON)' is $(if $(MINOR),Python $(MINOR),not a Python interpreter); choose another one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(STAMP)-run: $(STAMP)-venv pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e .
	@touch $@

$(STAMP)-dev: $(STAMP)-venv pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e ".[test,check]"
	@touch $@ $(STAMP)-run

$(STAMP)-benchmark: $(STAMP)-run
	$(PIP_INSTALL) -e ".[benchmark]"
	@touch $@
