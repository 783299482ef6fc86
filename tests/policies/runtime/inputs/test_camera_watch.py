"""A camera that fails in motion: the policy goes on without it where it can, says so, and stops where it cannot."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.camera_mask import CameraMasking
from policies.bundle.input_watch import InputWatch, Range
from policies.runtime.loop import ControlLoop, LoopStep, RefusalError
from policies.runtime.loop_limits import LoopLimits
from robots.registry import load_robot
from robots.specs import SpecError
from tests.support.fakes import FakeClock
from tests.support.two_cameras import TwoCameraRobot, two_camera_bundle

HOME = np.array(load_robot("franka_panda").home)


@pytest.fixture(scope="module")
def bundle() -> PolicyBundle:
    return two_camera_bundle()


def running(bundle: PolicyBundle, steps: int = 30) -> tuple[ControlLoop, TwoCameraRobot]:
    clock = FakeClock()
    robot = TwoCameraRobot(HOME, clock)
    loop = ControlLoop(bundle, robot, LoopLimits(), safety=None, clock=clock)
    loop.start()
    run(loop, robot, steps)
    return loop, robot


def run(loop: ControlLoop, robot: TwoCameraRobot, steps: int = 10) -> list[LoopStep]:
    found = []
    for _ in range(steps):
        found.append(loop.step())
        robot.advance(0.05)
    return found


@pytest.mark.parametrize(
    ("age", "words"), [(0.3, "no frame for 0.300 s (limit 0.250 s)"), (np.inf, "no frame received")]
)
def test_a_policy_goes_on_without_a_silent_camera(bundle: PolicyBundle, age: float, words: str) -> None:
    loop, robot = running(bundle)
    assert loop.cameras.warning == ""
    robot.silent_for["side"] = age
    steps = run(loop, robot)
    assert [step.masked for step in steps] == [("side",)] + [()] * 9
    assert robot.stops == []
    assert loop.cameras.warning == (
        f"camera 'side': {words}; is the camera driver running? Going on with 'front', predicted error of goal "
        "1.9 cm instead of 0.9"
    )
    assert all(step.frame_age < 0.01 for step in steps)  # of the cameras that count
    robot.silent_for.clear()
    assert not any(step.masked for step in run(loop, robot))
    assert loop.cameras.counting == ("front",)  # until it is started anew
    loop.stop("by a person")
    loop.start()
    run(loop, robot)
    assert (loop.cameras.counting, loop.cameras.warning) == (("front", "side"), "")


def test_a_policy_that_would_be_too_unsure_stops(bundle: PolicyBundle) -> None:
    loop, robot = running(bundle)
    robot.silent_for["front"] = 0.3
    said = r"camera 'front': no frame for .* With 'side' alone the predicted error of goal is 5.9 cm, allowed is 2.6"
    sent = len(robot.sent)
    with pytest.raises(RefusalError, match=said) as refusal:
        loop.step()
    assert refusal.value.key == "camera_stale"
    assert (len(robot.sent), robot.stops) == (sent, [str(refusal.value)])
    assert loop.cameras.warning == ""
    with pytest.raises(RefusalError, match="camera 'front': no frame for"):
        loop.start()  # nor does it start without a camera


def test_the_last_camera_is_not_masked(bundle: PolicyBundle) -> None:
    loop, robot = running(bundle)
    robot.silent_for["side"] = 0.3
    run(loop, robot, 3)
    robot.silent_for["front"] = 0.3
    with pytest.raises(RefusalError, match=r"camera 'front': no frame for 0\.300 s") as refusal:
        loop.step()
    assert refusal.value.key == "camera_stale"


def test_a_policy_that_needs_all_cameras_stops_as_ever(bundle: PolicyBundle) -> None:
    loop, robot = running(replace(bundle, masking=None, onnx=without_mask(bundle)))
    robot.frozen.add("side")  # which nothing shows to be wrong
    run(loop, robot, 20)
    robot.silent_for["side"] = 0.3
    with pytest.raises(RefusalError, match=re.escape("camera 'side': no frame for 0.300 s (limit 0.250 s)")):
        loop.step()


def without_mask(bundle: PolicyBundle) -> bytes:
    import onnx

    model = onnx.load_from_string(bundle.onnx)
    for values, name in ((model.graph.input, "camera_mask"), (model.graph.output, "predicted_std")):
        values.remove(next(value for value in values if value.name == name))
    kept = [node for node in model.graph.node if not {"seen", "predicted_std"} & {*node.output}]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model.SerializeToString()


def test_a_covered_lens_is_masked_and_an_odd_joint_is_not(bundle: PolicyBundle) -> None:
    usual = Range((100.0, 100.0, 100.0, 1.0, 1.0), (150.0, 150.0, 150.0, 10.0, 10.0))
    wide = Range((-3.0,) * 7, (3.0,) * 7)
    inputs = InputWatch({"q": wide, "image_front": usual, "image_side": usual})
    loop, robot = running(replace(bundle, inputs=inputs), 3)
    robot.grey["side"] = 0
    loop.warm_up_step()  # has no effect
    assert loop.cameras.counting == ("front", "side")
    run(loop, robot)
    assert loop.cameras.warning.startswith("input 'image_side': mean of ")
    robot.q = HOME + np.array([4.0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(RefusalError, match="'q'"):
        loop.step()


def test_a_picture_that_stands_still_while_the_arm_moves_is_masked(bundle: PolicyBundle) -> None:
    loop, robot = running(bundle, 3)
    robot.frozen.add("side")
    run(loop, robot, 20)
    assert loop.cameras.warning.startswith("camera 'side': the same picture again and again while the arm moves")
    still, other = running(bundle, 100)  # at the goal
    other.frozen.add("side")
    run(still, other, 20)
    assert still.cameras.counting == ("front", "side")


def test_a_bundle_with_a_mask_is_saved_and_verified(bundle: PolicyBundle, tmp_path: Path) -> None:
    loaded = PolicyBundle.load(bundle.save(tmp_path / "two"))
    assert loaded.masking == bundle.masking
    assert loaded.check_parity() <= 1e-5
    seen = {name: bundle.parity[f"observation.{name}"][0] for name in bundle.observation.names}
    np.testing.assert_array_equal(loaded.act(seen), loaded.act(seen, mask=np.ones(2, np.float32)))
    with pytest.raises(SpecError, match=r"'camera_mask': shape \(3,\), expected \(2,\)"):
        loaded.act(seen, mask=np.ones(3, np.float32))
    with pytest.raises(SpecError, match="policy 'tiny' needs all its cameras"):
        replace(bundle, masking=None).act(seen, mask=np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("masking", "words"),
    [
        (CameraMasking(("side", "front"), ("goal",), (0.01,), (0.02,)), "is of the cameras side, front, expected all"),
        (CameraMasking(("front", "side"), ("goal",), (0.01,), (-0.02,)), r"limits is \[-0.02\], expected one positive"),
        (None, "policy.onnx takes .*camera_mask"),
    ],
)
def test_a_mask_that_makes_no_sense_is_refused(
    bundle: PolicyBundle, masking: CameraMasking | None, words: str, tmp_path: Path
) -> None:
    wrong = replace(bundle, masking=masking)
    with pytest.raises(BundleError, match=words):
        PolicyBundle.load(wrong.save(tmp_path / "wrong"))


def test_the_limit_is_what_one_state_in_twenty_had_with_all_cameras() -> None:
    found = CameraMasking.of(("front", "side"), ("goal",), np.linspace(0.0, 0.1, 101)[:, None])
    assert found.usual == pytest.approx((0.05,))
    assert found.limits == pytest.approx((0.095,))
