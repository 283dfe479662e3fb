# On a fresh machine: `make quickstart` and `make test`. Both first make a virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
# The tests of a file run in one process: what they share is made once.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: install quickstart test test-all check docs clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	# On all cores, where pip takes one. A few files of packages are templates, which do not compile.
	$(BIN)/python -m compileall -qq -j 0 .venv/lib src || true
	touch $@

quickstart: install
	rm -rf runs/quickstart
	$(BIN)/smat quickstart --out runs/quickstart

test: install
	$(PYTEST) -m "not slow"

# What `test` leaves out too, and full fuzzing.
test-all: install
	HYPOTHESIS_PROFILE=full $(PYTEST)

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf .venv runs site
