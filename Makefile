# make demo | make test | make torch-free | make lint | make docs | make check (all of it, as CI does)
PYTHON ?= python3
BIN := .venv/bin
INSTALL := pip install --quiet --disable-pip-version-check -c constraints.txt
EXPORT := $(BIN)/sleap-infer export --no-validate --overwrite
MODELS := sleap_infer/assets/models
ONNX := .venv-onnx/bin
EXPORTS := build/torch-free

.PHONY: demo test test-exhaustive torch-free lint docs check golden

demo: .venv/torch
	$(BIN)/sleap-infer demo

test: .venv/torch,test
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term --cov-fail-under=95

test-exhaustive: .venv/torch,test
	$(BIN)/python -m pytest -n auto --dist worksteal --exhaustive

# The wheel with [onnx] in an environment of its own, which must stay without PyTorch, on models that .venv exports.
torch-free: .venv/torch,test
	test -x $(ONNX)/python || $(PYTHON) -m venv .venv-onnx
	$(ONNX)/$(INSTALL) '.[onnx]'
	$(EXPORT) $(MODELS)/bottomup -o $(EXPORTS)/bottomup > /dev/null
	$(EXPORT) $(MODELS)/centroid $(MODELS)/centered_instance -o $(EXPORTS)/top_down > /dev/null
	$(EXPORT) --fused --self-contained $(MODELS)/centroid $(MODELS)/centered_instance -o $(EXPORTS)/fused > /dev/null
	$(ONNX)/python -I tests/torch_free.py $(EXPORTS)

lint: .venv/torch,test,lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

docs: .venv/torch,docs
	$(BIN)/mkdocs build --strict --quiet --site-dir site

check: lint test torch-free docs

.venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) -e '.[$*]'
	touch '$@'
