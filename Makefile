# Everything runs in a virtual environment of its own, .venv, which the first target that needs it creates.
#   make test PYTHON=python3.12        another Python for that environment
#   make test ARGS="-k normal.3"       arguments for pytest
#   make test NUMVAE_DATA=~/data       also the tests on MNIST and Frey faces

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint notebooks bench clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed  ## train on drawn digits and leave a page of pictures
	@rm -rf runs/demo
	$(BIN)/numvae train --latent 2 --hidden 200,100 --lr 0.003 --epochs 40 --out runs/demo
	@echo "The page: $(CURDIR)/runs/demo/index.html"

# One BLAS thread for each of the workers, or they would fight over the cores.
test: $(VENV)/.installed-test  ## prove every gradient: the whole suite
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev  ## style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

notebooks: $(VENV)/.installed-notebooks  ## execute the lessons anew, and write the exercises
	OPENBLAS_NUM_THREADS=1 $(BIN)/python notebooks/execute.py
	$(BIN)/numvae learn notebooks --overwrite notebooks/exercises

bench: $(VENV)/.installed  ## time one training step beside the frameworks that are installed
	$(BIN)/python benchmarks/training_step.py $(ARGS)

clean:  ## remove the environment, caches and build products; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks derivations notebooks numvae tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "numvae needs Python 3.11 or newer, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "$(PYTHON) cannot create a virtual environment; on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing numvae into $(VENV) (about a minute the first time)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing numvae[$*] into $(VENV) (about a minute the first time)"
	@$(PIP) install --editable '.[$*]'
	@touch $@
