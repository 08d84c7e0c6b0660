# make demo   the whole benchmark on the synthetic phantom: a leaderboard in minutes
# make test   lint, types and tests; those of the leaderboard's page in a browser need Chromium
# make test-long   what takes minutes besides: the same claims on more heads, at more moments
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test test-long lint clean

demo: .venv/baselines.stamp
	$(BIN)/ictmri demo --out out/demo

test: .venv/dev.stamp lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

test-long: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal -m long

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

# torch first and by name: the build that is there stays, whatever another package would pull in.
.venv/baselines.stamp: .venv/bin/python $(SOURCES)
	$(PIP) torch
	$(PIP) -e '.[baselines]'
	touch $@

.venv/dev.stamp: .venv/bin/python $(SOURCES)
	$(PIP) torch
	$(PIP) -e '.[baselines,dev]'
	touch $@
