# make demo   the whole benchmark on the synthetic phantom: a leaderboard in minutes
# make test   lint, types and tests; those of the leaderboard's page in a browser need Chromium
# make test-long   what takes minutes besides: the same claims on more heads, at more moments
# make pictures   docs/board.png and docs/phantom.png anew; needs Chromium
# make docs   the site, with the board: out/site/index.html
# make entries   hours: every published entry of the phantom anew, and the tables of baselines/README.md
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt
# Other Pythons that are here: each gets the core alone, and must score to the same byte.
found = $(firstword $(shell python$(1) -c 'import sys; print(sys.executable)' 2>/dev/null) \
  $(lastword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python$(1))))
OTHERS := $(foreach v,3.12 3.13,$(if $(call found,$(v)),$(v)))
SCORING := tests/benchmark/board/test_leaderboard.py tests/benchmark/board/test_shipped_entries.py \
  tests/benchmark/score/test_predictions.py

.PHONY: demo entries test test-long docs pictures lint clean $(OTHERS:%=scoring-%)

demo: .venv/baselines.stamp
	$(BIN)/ictmri demo --out out/demo

entries: .venv/baselines.stamp
	$(BIN)/ictmri reproduce --all --cohort ictmri-phantom --out out/baselines \
	  --entries benchmark/entries/ictmri-phantom --results baselines

test:
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint $(OTHERS:%=scoring-%)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

test-long: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal -m long

docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d out/doctrees . out/site

pictures: .venv/dev.stamp
	$(BIN)/python docs/pictures.py

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(OTHERS:%=scoring-%): scoring-%: .venv-%/core.stamp
	.venv-$*/bin/python -m pytest $(SCORING)

clean:
	rm -rf .venv .venv-3.* out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

# torch first and by name: the build that is there stays, whatever another package would pull in.
.venv/baselines.stamp: .venv/bin/python $(SOURCES)
	@echo 'installing ictmri[baselines] into .venv (torch, monai, ANTs: some 2 GB, about 3 minutes)'
	$(PIP) torch
	$(PIP) -e '.[baselines]'
	touch $@

.venv/docs.stamp: .venv/bin/python $(SOURCES)
	$(PIP) -e '.[docs]'
	touch $@

.venv/dev.stamp: .venv/bin/python $(SOURCES)
	$(PIP) torch
	$(PIP) -e '.[baselines,dev]'
	touch $@

.venv-%/core.stamp: .venv/bin/python $(SOURCES)
	$(call found,$*) -m venv --without-pip .venv-$*
	$(BIN)/python -m pip --python .venv-$*/bin/python install --quiet --disable-pip-version-check \
	  --no-compile -c constraints.txt -e . pytest hypothesis
	touch $@
