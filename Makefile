# Every target makes its own virtual environment: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt native/CMakeLists.txt $(wildcard native/src/*.[ch]pp native/src/kernels/*.[ch]pp)
PROMPT := The square root of 7 is 2.6457513110645906. Repeat that sentence three times, word for word.

.PHONY: demo test test-slow check bench docs native clean

demo: $(VENV)/.demo
	$(BIN)/foredraft generate --compare --explain --max-tokens 96 "$(PROMPT)"

test: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/python docs/generate_cli.py --check

bench: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python benchmarks/quick.py

docs: $(VENV)/.dev
	$(BIN)/python docs/generate_cli.py

# After a change in native/ alone: seconds instead of a whole installation.
native: $(VENV)/.dev
	$(BIN)/pip install -q nanobind scikit-build-core ninja
	$(BIN)/pip install -q --no-build-isolation --no-deps -e .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(BIN)/pip install -q -c constraints.txt -e '.[torch]'
	touch $@

$(VENV)/.dev: $(BIN)/python $(SOURCES)
	$(BIN)/pip install -q -c constraints.txt -e '.[torch,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
