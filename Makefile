# make demo | make test | make torch-free | make lint | make docs | make check (all of it, as CI does)
PYTHON ?= python3
BIN := .venv/bin
# Without --no-compile, pip compiles 15,000 modules on one core; most of them are never imported.
INSTALL := pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
DEVELOP := .venv/torch,test,lint,docs
EXPORT := $(BIN)/sleap-infer export --no-validate --overwrite
MODELS := sleap_infer/assets/models
ONNX := .venv-onnx/bin
EXPORTS := build/torch-free

.PHONY: demo test test-exhaustive torch-free lint style types-linux types-win32 types-darwin docs check

demo: .venv/torch
	$(BIN)/sleap-infer demo

test: $(DEVELOP)
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term --cov-fail-under=95

test-exhaustive: $(DEVELOP)
	$(BIN)/python -m pytest -n auto --dist worksteal --exhaustive

# The wheel with [onnx] in an environment of its own, which must stay without PyTorch, on models that .venv exports.
torch-free: $(DEVELOP)
	test -x $(ONNX)/python || $(PYTHON) -m venv .venv-onnx
	$(ONNX)/$(INSTALL) '.[onnx]'
	$(EXPORT) $(MODELS)/bottomup -o $(EXPORTS)/bottomup > /dev/null
	$(EXPORT) $(MODELS)/centroid $(MODELS)/centered_instance -o $(EXPORTS)/top_down > /dev/null
	$(EXPORT) --fused --self-contained $(MODELS)/centroid $(MODELS)/centered_instance -o $(EXPORTS)/fused > /dev/null
	$(ONNX)/python -I tests/torch_free.py $(EXPORTS)

lint: style types-linux types-win32 types-darwin

style: $(DEVELOP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/flake8 sleap_infer

types-linux types-win32 types-darwin: types-%: $(DEVELOP)
	$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$*

docs: $(DEVELOP)
	$(BIN)/mkdocs build --strict --quiet --site-dir site

check: lint test torch-free docs

.venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) -e '.[$*]'
	touch '$@'
