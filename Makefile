# Every target makes its own virtual environment: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt native/CMakeLists.txt $(wildcard native/src/*.[ch]pp native/src/kernels/*.[ch]pp)
PROMPT := The square root of 7 is 2.6457513110645906. Repeat that sentence three times, word for word.
# The engine and its tests alone, which needs cmake and no Python.
CHECKED := -DFOREDRAFT_PYTHON=OFF -DFOREDRAFT_TESTS=ON

.PHONY: audit tables demo test test-slow check check-native check-native-fast check-aarch64 bench docs native clean

demo: $(VENV)/.demo
	$(BIN)/foredraft generate --compare --explain --max-tokens 96 "$(PROMPT)"

test: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile --ignore tests/native
	$(BIN)/python -m pytest -q tests/native

test-slow: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/python docs/generate_cli.py --check
	$(BIN)/python docs/generate_options.py --check
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python benchmarks/exactness.py page --check
	$(BIN)/python benchmarks/simulate_check.py page --check
	$(BIN)/python benchmarks/guide.py --check
	$(BIN)/python docs/build_site.py --pages

# What is below Python, as it is shipped.
check-native-fast:
	cmake -S native -B build/checks $(CHECKED)
	cmake --build build/checks -j 2
	cd build/checks && ctest --output-on-failure

# The same with every access to memory and every undefined operation watched; then the module with Python around it.
check-native: $(VENV)/.dev
	$(BIN)/pip install -q nanobind
	cmake -S native -B build/sanitized $(CHECKED) -DFOREDRAFT_PYTHON=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
	  -DFOREDRAFT_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1
	cmake --build build/sanitized -j 2
	cd build/sanitized && ctest --output-on-failure
	native/tests/sanitized_python.sh $(BIN)/python build/sanitized

# Another processor, emulated: the tests, and the same bits as here. native/aarch64.cmake says what to install.
check-aarch64:
	cmake -S native -B build/checks $(CHECKED)
	cmake --build build/checks -j 2 --target digest
	cmake -S native -B build/aarch64 $(CHECKED) -DCMAKE_TOOLCHAIN_FILE=aarch64.cmake
	cmake --build build/aarch64 -j 2
	cd build/aarch64 && ctest --output-on-failure
	build/checks/tests/digest > build/checks/digest.txt
	qemu-aarch64-static -L /usr/aarch64-linux-gnu build/aarch64/tests/digest > build/aarch64/digest.txt
	diff build/checks/digest.txt build/aarch64/digest.txt

bench: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/python benchmarks/quick.py

# docs/measured.md and the pages beside it, from the raw steps of benchmark runs.
tables: $(VENV)/.dev
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/exactness.py page
	$(BIN)/python benchmarks/simulate_check.py page
	$(BIN)/python benchmarks/guide.py

# The whole audit, which goes on where it was: `make audit`, or with more prompts `make audit SUITE=FILE.jsonl`.
SUITE ?= builtin
AUDITED ?= smollm2
DRAFTERS ?= all
audit: $(VENV)/.dev
	$(BIN)/foredraft models pull smollm2
	$(BIN)/foredraft audit -m $(AUDITED) --drafters $(DRAFTERS) --suite $(SUITE) --out benchmarks/results/audit/$(notdir $(AUDITED))

# The generated pages, then the site: build/site/index.html.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_options.py
	$(BIN)/pip install -q -c constraints.txt 'zensical>=0.0.39'
	$(BIN)/python docs/build_site.py

# After a change in native/ alone: seconds instead of a whole installation.
native: $(VENV)/.dev
	$(BIN)/pip install -q nanobind scikit-build-core ninja
	$(BIN)/pip install -q --no-build-isolation --no-deps -e .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(BIN)/python $(SOURCES)
	$(BIN)/pip install -q -c constraints.txt -e '.[torch,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
