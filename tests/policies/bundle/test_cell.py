"""What a lab must set up for a policy, as its bundle says."""

from dataclasses import replace
from pathlib import Path

import pytest

from policies.bundle import PolicyBundle
from policies.bundle.cell import cell_lines, cell_sizes
from policies.bundle.provenance import inherited
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes.virtual_arm import read_setup
from sim.catalogue import describe_cell, parameter_space
from sim.randomization.space_file import state
from sim.tasks import fitted_task
from tests.support.grasp_bundle import grasp_bundle

PANDA = load_robot("franka_panda")


@pytest.fixture
def placing() -> PolicyBundle:
    """A policy that was trained for a pad 2 cm high and cubes of 2.5 to 3 cm."""
    task = fitted_task("pick_place", PANDA, None)
    known = {"pad_height": 0.02, "object_size": [0.025, 0.03]}
    space = state(parameter_space(task, PANDA), known)
    return replace(grasp_bundle((0.5, 0.0)), provenance={"cell": describe_cell(task, PANDA, space)})


def test_it_has_the_sizes_that_training_was_told(placing: PolicyBundle) -> None:
    assert cell_sizes(placing) == pytest.approx({"pad_height": 0.02, "object_size": 0.0275})
    shown = cell_lines(placing)
    assert "pad_height: 20 mm" in shown
    assert any(line.startswith("object_size: 28 mm (trained with 25 to 30)") for line in shown)


def test_the_virtual_lab_is_set_up_by_it(placing: PolicyBundle, tmp_path: Path) -> None:
    placing.save(tmp_path / "bundle")
    assert read_setup(str(tmp_path / "bundle"), "", "", "").sizes == cell_sizes(placing)
    assert read_setup("", "", "", "").sizes == {}


def test_a_table_that_the_virtual_lab_has_not_is_refused(placing: PolicyBundle, tmp_path: Path) -> None:
    cell = placing.provenance["cell"] | {"table_height": -0.05}
    replace(placing, provenance={"cell": cell}).save(tmp_path / "bundle")
    with pytest.raises(SpecError, match=r"trained for a table at -0\.05 m; the virtual arm stands on its table"):
        read_setup(str(tmp_path / "bundle"), "", "", "")


def test_an_adapted_policy_has_its_parents_and_an_old_one_none() -> None:
    assert inherited({"parent": {"parent": {"cell": 3}}}, "cell") == 3
    assert inherited({"cell": 2, "parent": {"cell": 3}}, "cell") == 2
    assert inherited({"parent": "a hash"}, "cell") is None
    old = grasp_bundle((0.5, 0.0))
    assert cell_sizes(old) == {}
    assert cell_lines(old) == []
