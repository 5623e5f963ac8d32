# The two commands that set everything up on a fresh machine are `make check` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The tests start many processes, which need not compile the same modules again and again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: check test lint slow docs stale clean

# Judges GradCAM on the embedded subject.
check: .venv/installed
	$(BIN)/pytest --xattr-method=xattr:gradcam

# Linters, types and the fast tests, on all cores.
test: lint
	$(BIN)/pytest -n auto --dist worksteal

# The slow tests as well; those marked gpu run where there is a CUDA device.
slow: .venv/installed-dev
	$(BIN)/pytest -n auto --slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages that the code writes, then the site, in which a link that leads nowhere is an error. `mkdocs serve`
# shows it while it is written.
docs: .venv/installed-docs
	$(BIN)/xattr-check reference --write docs/reference.md
	$(BIN)/python docs/make/counts.py
	$(BIN)/python docs/make/verdicts.py
	$(BIN)/python docs/make/kill_matrix.py
	$(BIN)/python docs/make/trust.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Which pages are older than the code that they report on, or not what `make docs` would write.
stale: .venv/installed
	$(BIN)/python docs/make/stale.py

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv .xattr build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
