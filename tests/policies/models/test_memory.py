"""Policies with a memory: what is carried from one action to the next, and when it is forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.models.recurrent_network import RecurrentNetwork
from policies.runtime.loop import ControlLoop
from policies.runtime.loop_limits import LoopLimits
from robots.observation import joint_array
from robots.registry import load_robot
from robots.specs import ActionSpec, ObservationSpec, SpecError
from tests.support.fakes import FakeClock, FakeRobot


@pytest.fixture(scope="module")
def bundle() -> PolicyBundle:
    torch.manual_seed(0)
    robot = load_robot("franka_panda")
    arrays = (joint_array("q", robot), joint_array("ee_pos", robot))
    network = RecurrentNetwork([(array.name, array.shape) for array in arrays], ("x", "y", "z"), 8, (16,))
    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.04,) * 3, 20.0)
    q = np.array(robot.home) + np.random.default_rng(0).uniform(-0.3, 0.3, (12, 7))
    records = {"q": q.astype(np.float32), "ee_pos": np.stack([robot.chain.pose(row)[1] for row in q], dtype=np.float32)}
    begin = np.arange(12) % 6 == 0
    contract = Contract("reach", ObservationSpec(arrays), action, robot, {})
    return export_bundle(
        "remembers", network, contract, records, network.architecture(), {}, None, network.memory, begin
    )


def observation(bundle: PolicyBundle, row: int) -> dict[str, np.ndarray]:
    return {name: bundle.parity[f"observation.{name}"][row] for name in bundle.observation.names}


def test_it_survives_a_file_and_acts_by_what_came_before(bundle: PolicyBundle, tmp_path: Path) -> None:
    loaded = PolicyBundle.load(bundle.save(tmp_path / "bundle"))
    assert loaded.memory == {"hidden": (8,), "cell": (8,)}
    assert loaded.check_parity() <= 1e-5
    memory = loaded.fresh_memory()
    first = loaded.act(observation(loaded, 0), memory)
    assert any(array.any() for array in memory.values())
    again = loaded.act(observation(loaded, 0), memory)
    assert np.abs(again - first).max() > 1e-4
    np.testing.assert_array_equal(loaded.act(observation(loaded, 0), loaded.fresh_memory()), first)


def test_without_its_memory_it_does_not_act(bundle: PolicyBundle) -> None:
    with pytest.raises(SpecError, match=r"has a memory of hidden, cell, and was given none; pass what fresh_memory"):
        bundle.act(observation(bundle, 0))
    with pytest.raises(SpecError, match="was given hidden"):
        bundle.act(observation(bundle, 0), {"hidden": np.zeros(8, np.float32)})


def test_records_out_of_order_are_found(bundle: PolicyBundle) -> None:
    never = {**bundle.parity, "begin": np.arange(12) == 0}
    with pytest.raises(BundleError, match="replayed actions differ"):
        replace(bundle, parity=never).check_parity()


def test_a_bundle_that_hides_its_memory_is_refused(bundle: PolicyBundle, tmp_path: Path) -> None:
    hidden = replace(bundle, memory={}).save(tmp_path / "hidden")
    with pytest.raises(BundleError, match=r"takes .*hidden.*cell.* and its memory \[\]"):
        PolicyBundle.load(hidden)
    more = replace(bundle, memory={**bundle.memory, "more": (2,)}).save(tmp_path / "more")
    with pytest.raises(BundleError, match=r"its memory .*more"):
        PolicyBundle.load(more)


def test_the_control_loop_forgets_when_it_starts_again(bundle: PolicyBundle) -> None:
    clock = FakeClock()
    robot = FakeRobot(np.array(bundle.robot.home), clock, image_shape=None)
    loop = ControlLoop(bundle, robot, LoopLimits(blend=0.0), safety=None, clock=clock)

    def act_twice() -> list[np.ndarray]:
        loop.warm_up()
        loop.start()
        found = [loop.step().action, loop.step().action]  # the arm stands still between them
        loop.stop("over")
        return found

    first, second = act_twice(), act_twice()
    assert np.abs(first[1] - first[0]).max() > 1e-4
    np.testing.assert_array_equal(first, second)
