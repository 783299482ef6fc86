# Needs make, git and a Python from 3.10 to 3.13; install.sh says what else. Everything is installed into $(VENV).
VENV ?= .venv
# Empty: install.sh chooses. PyBullet has wheels for 3.10 and 3.11, and is built for others: make PYTHON=python3.13
PYTHON ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := -m pip install --quiet --constraint constraints.txt --editable
# One thread a process: the two cores are shared by processes, and oversubscribed BLAS is slower.
export OMP_NUM_THREADS ?= 1
# Hundreds of processes import the project, which is compiled to bytecode once.
unexport PYTHONDONTWRITEBYTECODE

# The robot side alone: no PyBullet, no torch, no simulator. The arms' URDFs come from PyBullet's data package, which
# holds files only and is lent from $(VENV).
ROBOT_TESTS := tests/ros_nodes/test_safety_gate.py tests/ros_nodes/arm/test_controllers.py \
	tests/ros_nodes/test_recorder.py tests/ros_nodes/recording/test_bag.py
# On ROS 2 Jazzy
JAZZY := .venv-jazzy
# On ROS 2 Kilted and any Python from 3.10 to 3.13: make test-robot ROBOT_PYTHON=python3.13
ROBOT_PYTHON ?= $(BIN)/python
ROBOT = .venv-robot-$(shell $(ROBOT_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.PHONY: install demo check test test-fast test-clock test-slow test-robot test-jazzy docs bench build clean

install: $(INSTALLED)

$(INSTALLED): install.sh constraints.txt pyproject.toml setup.py setup.cfg
	sh install.sh $(VENV) train,datasets,ros,ray,speech,sbi,bench,docs,dev $(PYTHON)
	@touch $@

demo: install
	$(BIN)/sim2real demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & typed=$$!; $(BIN)/python -m pytest -q tests/test_architecture.py tests/test_dependencies.py && wait $$typed

# Quick tests come first, then slow ones, which share the cores file by file; what waits for the clock has them to itself.
test: check test-fast test-slow test-clock

PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
# The files with a test so marked: importing all takes each process 10 s of its core
marked = $$(grep -rlE 'mark\.($(1))\b' tests --include='test_*.py' | sort)

test-fast: install
	$(BIN)/python -m pytest -q $(PARALLEL) -m 'not slow and not ros and not real_time'

test-slow: install
	$(BIN)/python -m pytest $(PARALLEL) -m 'slow and not ros and not real_time' $(call marked,slow)

test-clock: install
	$(BIN)/python -m pytest -m 'ros or real_time' $(call marked,ros|real_time)

test-jazzy: install
	@test -x $(JAZZY)/bin/python || $(BIN)/python -m venv $(JAZZY)
	@# The constraints on ROS are Kilted's
	grep -v '^ros-' constraints.txt > $(JAZZY)/constraints.txt
	$(JAZZY)/bin/python -m pip install --quiet --constraint $(JAZZY)/constraints.txt --editable '.[jazzy,dev]' onnx
	$(call robot_side,$(JAZZY))
	ROS_DISTRO=jazzy $(JAZZY)/bin/python -m pytest -q $(ROBOT_TESTS)

test-robot: install
	@test -x $(ROBOT)/bin/python || $(ROBOT_PYTHON) -m venv $(ROBOT)
	$(ROBOT)/bin/python $(PIP_INSTALL) '.[ros,dev]' onnx
	$(call robot_side,$(ROBOT))
	$(ROBOT)/bin/python -m pytest -q $(ROBOT_TESTS)

define robot_side
	$(1)/bin/python -c 'import importlib.util as u; assert not any(map(u.find_spec, ("torch", "pybullet", "mujoco")))'
	ln -sfn "$$($(BIN)/python -c 'import pybullet_data; print(pybullet_data.getDataPath())')" \
		"$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pybullet_data"
endef

docs: install
	$(BIN)/mkdocs build --strict

# The benchmarks that need no data sets, in their short form
bench: install
	for name in sim_speed parts/render_speed learning latency faults limits statistics; do \
		$(BIN)/python benchmarks/$$name.py --quick || exit; done

build: install
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(JAZZY) .venv-robot-* .python build dist install log site *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
