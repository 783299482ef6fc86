# `make demo` and `make test` need Python 3.10 or 3.11, make and git; everything else is installed into .venv.
PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3.10) $(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread a process: the two cores are shared by processes, and oversubscribed BLAS is slower.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo check test test-fast build clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py setup.cfg
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 10), (3, 11)) else f"$(PYTHON) is Python {v[0]}.{v[1]}; PyBullet has wheels for 3.10 and 3.11 only: install one of them, or name it with make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[train,ros,ray,dev]'
	@touch $@

demo: install
	$(BIN)/sim2real demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

test: check
	$(BIN)/python -m pytest

test-fast: install
	$(BIN)/python -m pytest -m 'not slow'

build: install
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist install log *.egg-info .pytest_cache .mypy_cache .ruff_cache
