# make demo | make test | make lint | make docs | make check (all of it, as CI does)
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs check golden

demo: .venv/torch
	$(BIN)/sleap-infer demo

test: .venv/torch,test
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=95

lint: .venv/torch,test,lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/torch,docs
	$(BIN)/mkdocs build --strict --quiet --site-dir site

check: lint test docs

.venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e '.[$*]'
	touch '$@'
