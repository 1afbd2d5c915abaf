# Every target sets itself up: a .venv with the locked packages and this project in it.
PYTHON ?= python3
SOURCE ?= synthetic
ROOT ?=
PRESET ?= quick
BIN := .venv/bin
# Waiting threads that spin make everything slow beside any other work on the machine.
export OMP_WAIT_POLICY ?= PASSIVE
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help report test evidence bench run lab clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v[:2] in [(3, 11), (3, 12), (3, 13)] or sys.exit("expected Python 3.11, 3.12 or 3.13, got %d.%d; pass PYTHON=python3.11" % v[:2])'
	@echo "Setting up .venv (once; about two minutes, 7 GB)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

report: $(READY)  ## run the notebooks and write results/report/index.html (SOURCE=… ROOT=… PRESET=…)
	@$(BIN)/fer report --preset $(PRESET) --source "$(SOURCE)" --root "$(ROOT)"

test: $(READY)  ## ruff and pytest
	@$(BIN)/ruff check .
	@$(BIN)/pytest

evidence: $(READY)  ## run one notebook at the sizes the README quotes (NB=02)
	@$(BIN)/fer run $(NB) --preset evidence

bench: $(READY)  ## time this library beside its peers (needs a quiet machine)
	@$(BIN)/fer run 90 --preset evidence

run: $(READY)  ## run one notebook (NB=02 PRESET=quick)
	@$(BIN)/fer run $(NB) --preset $(PRESET)

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab --notebook-dir .

clean:  ## remove the environment and caches (data and results stay)
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
