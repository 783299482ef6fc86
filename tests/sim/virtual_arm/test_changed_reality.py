"""A knocked camera and another light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robots.registry import load_robot
from robots.rig import load_rig
from sim.virtual_arm.changed_reality import change_light, knock_camera
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.real_camera import real_cameras

RIG = load_rig("front_side", load_robot("franka_panda")).cameras


@pytest.mark.parametrize("seed", range(3))
def test_the_first_camera_is_as_far_off_as_it_was_knocked(seed: int) -> None:
    reality = HiddenReality()
    knocked = knock_camera(reality, 0.03, 3.0, np.random.default_rng(seed))
    before, after = (np.array(real_cameras(RIG, each)["front"].model.T_base_camera) for each in (reality, knocked))
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) == pytest.approx(0.03)
    turned = Rotation.from_matrix(before[:3, :3].T @ after[:3, :3])
    assert np.degrees(turned.magnitude()) == pytest.approx(3.0)
    beside = [np.array(real_cameras(RIG, each)["side"].model.T_base_camera) for each in (reality, knocked)]
    assert np.linalg.norm(beside[1][:3, 3] - beside[0][:3, 3]) == pytest.approx(0.03)
    assert replace(knocked, camera=reality.camera) == reality


def test_nothing_moves_without_a_knock() -> None:
    same = knock_camera(HiddenReality(), 0.0, 0.0, np.random.default_rng(0))
    assert same.camera.position_offset == HiddenReality().camera.position_offset
    assert same.camera.rotation_offset_deg == pytest.approx(HiddenReality().camera.rotation_offset_deg)


def test_light_changes_within_its_bounds_and_nothing_else_does() -> None:
    reality = HiddenReality()
    for seed in range(20):
        changed = change_light(reality, np.random.default_rng(seed))
        for name in ("key", "window", "lamp"):
            ratio = getattr(changed.scene, f"{name}_light") / getattr(reality.scene, f"{name}_light")
            assert 0.5 <= ratio <= 2.0
            assert ratio != 1.0
            old, new = (np.array(getattr(each.scene, f"{name}_direction")) for each in (reality, changed))
            assert new[2] == pytest.approx(old[2])
            assert np.linalg.norm(new) == pytest.approx(np.linalg.norm(old))
        assert changed.camera == reality.camera
        assert changed.scene.table_colour == reality.scene.table_colour
    assert HiddenReality.from_dict(changed.to_dict()) == changed
