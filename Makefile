# The two commands that set everything up on a fresh machine are `make check` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: check test lint slow docs clean

# Judges GradCAM on the embedded subject.
check: .venv/installed
	$(BIN)/pytest --xattr-method=xattr:gradcam

# Linters, types and the fast tests, on all cores.
test: lint
	$(BIN)/pytest -n auto

# The slow tests as well; those marked gpu run where there is a CUDA device.
slow: .venv/installed-dev
	$(BIN)/pytest -n auto --slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The reference of checks, methods and subjects, from their docstrings and declarations.
docs: .venv/installed
	$(BIN)/xattr-check reference --write docs/reference.md

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .xattr build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
