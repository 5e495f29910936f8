# Each target sets up what it needs: a fresh clone, python3 and a network suffice.

VENV   := .venv
PYTHON := $(VENV)/bin/python
READY  := $(VENV)/.installed
# A worker a core; each keeps to one thread.
PYTEST := $(PYTHON) -m pytest --numprocesses=logical --maxprocesses=8
# The uv on the PATH, or a private one, fetched when first needed.
UV     := $(shell command -v uv || echo .uv/bin/uv)

.NOTPARALLEL:
.PHONY: help demo test check fix bench docs clean

help:
	@echo "make demo    map a real scene: pretrain, fine-tune, map (about two minutes, offline)"
	@echo "make test    the whole test suite"
	@echo "make check   format, lint, import contracts, types and the quick tests"
	@echo "make fix     format, and repair what the linter can"
	@echo "make bench   print the measured table"
	@echo "make docs    write the API pages and how-tos to build/docs"
	@echo "make clean   remove what the targets above made"

demo: $(READY)
	$(VENV)/bin/geofm demo

test: $(READY)
	$(PYTEST)

check: $(READY)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(VENV)/bin/lint-imports
	$(PYTHON) -m mypy
	$(PYTEST) -m "not slow and not gpu"

fix: $(READY)
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

bench: $(READY)
	$(PYTHON) tests/bench/run.py

docs: $(READY)
	$(PYTHON) tests/make_docs.py

clean:
	rm -rf $(VENV) .uv .peers runs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The stamp makes a second call instant; it is written last, so an interrupted
# installation is taken up again.
$(READY): pyproject.toml constraints.txt | $(UV)
	@test -x $(PYTHON) || $(UV) venv --quiet --python '>=3.11' $(VENV)
	$(UV) pip install --compile-bytecode --python $(PYTHON) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# A virtual environment of its own is allowed on externally managed Pythons
# (PEP 668), and so is --target, for systems without ensurepip.
.uv/bin/uv:
	@python3 -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install --quiet uv \
		|| { rm -rf .uv; python3 -m pip install --quiet --target .uv uv; } \
		|| { echo "geofm needs uv to set itself up: install it (https://docs.astral.sh/uv) and try again" >&2; exit 1; }
