# `make demo` and `make test` need Python 3.10 or 3.11, make and git; everything else is installed into .venv.
PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3.10) $(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread a process: the two cores are shared by processes, and oversubscribed BLAS is slower.
export OMP_NUM_THREADS ?= 1

# The robot side alone, on ROS 2 Jazzy: no PyBullet, no torch, no simulator. The arms' URDFs come from PyBullet's data
# package, which holds files only and is lent from .venv.
JAZZY := .venv-jazzy
JAZZY_TESTS := tests/ros_nodes/test_safety_gate.py tests/ros_nodes/arm/test_controllers.py tests/ros_nodes/test_recorder.py \
	tests/ros_nodes/recording/test_bag.py

.PHONY: install demo check test test-fast test-robot test-jazzy build clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py setup.cfg
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 10), (3, 11)) else f"$(PYTHON) is Python {v[0]}.{v[1]}; PyBullet has wheels for 3.10 and 3.11 only: install one of them, or name it with make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[train,ros,ray,sbi,dev]'
	@touch $@

demo: install
	$(BIN)/sim2real demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

# What computes shares the cores, file by file; what waits for the clock then has them to itself.
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not ros and not real_time'
	$(BIN)/python -m pytest -m 'ros or real_time'

test-fast: install
	$(BIN)/python -m pytest -m 'not slow'

$(JAZZY)/.installed: $(INSTALLED)
	@test -x $(JAZZY)/bin/python || $(PYTHON) -m venv $(JAZZY)
	$(JAZZY)/bin/python -m pip install --quiet --editable '.[jazzy,dev]' onnx
	ln -sfn "$$($(BIN)/python -c 'import pybullet_data; print(pybullet_data.getDataPath())')" \
		"$$($(JAZZY)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pybullet_data"
	@touch $@

# The robot side alone on any Python from 3.10 to 3.13, on ROS 2 Kilted: make test-robot ROBOT_PYTHON=python3.13
ROBOT_PYTHON ?= $(PYTHON)
ROBOT = .venv-robot-$(shell $(ROBOT_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

test-robot: $(INSTALLED)
	@test -x $(ROBOT)/bin/python || $(ROBOT_PYTHON) -m venv $(ROBOT)
	$(ROBOT)/bin/python -m pip install --quiet --editable '.[ros,dev]' onnx
	ln -sfn "$$($(BIN)/python -c 'import pybullet_data; print(pybullet_data.getDataPath())')" \
		"$$($(ROBOT)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pybullet_data"
	$(ROBOT)/bin/python -c 'import importlib.util as u; assert not any(map(u.find_spec, ("torch", "pybullet", "mujoco")))'
	$(ROBOT)/bin/python -m pytest -q $(JAZZY_TESTS)

test-jazzy: $(JAZZY)/.installed
	$(JAZZY)/bin/python -c 'import importlib.util as u; assert not any(map(u.find_spec, ("torch", "pybullet", "mujoco")))'
	ROS_DISTRO=jazzy $(JAZZY)/bin/python -m pytest -q $(JAZZY_TESTS)

build: install
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(JAZZY) .venv-robot-* build dist install log *.egg-info .pytest_cache .mypy_cache .ruff_cache
