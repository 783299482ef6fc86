"""The control loop on a fake robot: it reaches, blends in, and refuses whatever it must not act on."""

from __future__ import annotations

import re

import numpy as np
import pytest

from policies.runtime.limits import default_limits
from policies.runtime.loop import ControlLoop, RefusalError
from policies.runtime.loop_limits import LoopLimits
from policies.runtime.safety_filter import SafetyFilter
from robots.observation import CameraFrame, ObservationBuilder, RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from tests.support.fakes import FakeClock, FakeRobot
from tests.support.grasp_bundle import grasp_bundle
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)


@pytest.fixture(scope="module")
def bundle():
    return tiny_bundle(gain=2.0)


def make(bundle, limits=None, safety=None, **robot):
    clock = FakeClock()
    fake = FakeRobot(HOME, clock, **robot)
    return ControlLoop(bundle, fake, limits or LoopLimits(), safety=safety, clock=clock), fake


def test_policy_reaches_its_goal(bundle):
    loop, robot = make(bundle)
    loop.start()
    for _ in range(60):
        step = loop.step()
        robot.advance(0.05)
    assert np.linalg.norm(PANDA.chain.pose(robot.q)[1] - GOAL) < 0.005
    assert step.reasons == ()
    assert step.period_error == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_array_equal(step.q_sent, robot.sent[-1])


def test_policy_reaches_its_goal_through_the_filter(bundle):
    loop, robot = make(bundle, safety=SafetyFilter(PANDA, default_limits(PANDA, 20.0), 0.05))
    loop.start()
    for _ in range(80):
        loop.step()
        robot.advance(0.05)
    assert np.linalg.norm(PANDA.chain.pose(robot.q)[1] - GOAL) < 0.005


def test_commands_blend_in_from_the_present_position(bundle):
    """With blending the first command is near the arm; without, it is a whole action away."""
    blended, robot = make(bundle, LoopLimits(blend=0.5))
    blended.start()
    first = blended.step()
    robot.advance(0.05)
    abrupt, other = make(bundle, LoopLimits(blend=0.0))
    abrupt.start()
    assert np.abs(first.q_sent - HOME).max() < 0.01 * np.abs(abrupt.step().q_sent - HOME).max()
    other.advance(0.05)
    for _ in range(40):
        blended.step(), abrupt.step()
        robot.advance(0.05), other.advance(0.05)
    np.testing.assert_allclose(robot.q_target, other.q_target, atol=5e-3)  # in the end blending changes nothing


@pytest.mark.parametrize(("limits", "lead"), [(LoopLimits(blend=0.0), 0.09), (LoopLimits(blend=0.0, lead=0.05), 0.05)])
def test_targets_run_ahead_of_a_held_arm_no_further_than_the_lead(bundle, limits, lead):
    loop, robot = make(bundle, limits)
    loop.start()
    for _ in range(40):
        sent = loop.step().q_sent
        robot.clock.now += 0.05  # somebody holds the arm
    assert np.abs(sent - HOME).max() == pytest.approx(lead)


def test_policy_gives_up_on_an_arm_that_does_not_move(bundle):
    loop, robot = make(bundle)
    loop.start()
    began = robot.clock.now

    def go_on():
        while robot.clock.now < began + 10.0:
            loop.step()
            robot.clock.now += 0.05  # its controller takes no commands

    with pytest.raises(RefusalError, match=r"the target of joint 'panda_joint\d' has been 0.090 rad") as refusal:
        go_on()
    assert refusal.value.key == "blocked"
    assert 2.0 < robot.clock.now - began < 3.0
    assert robot.stops
    assert not loop.running
    watched, robot = make(bundle, moves=False)  # as in shadow mode
    watched.start()
    for _ in range(100):
        watched.step()
        robot.clock.now += 0.05


def test_the_faster_a_joint_is_the_further_its_target_runs_ahead():
    leads = LoopLimits(lead=0.12, rest_lead=0.08).leads(np.array([0.0, -0.2, 2.0, np.nan]))
    np.testing.assert_allclose(leads, [0.08, 0.10, 0.12, 0.12])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"silent": True}, "none received"),
        ({"state_delay": 0.2}, "0.200 s old (limit 0.100 s)"),
        ({"frame_delay": 0.4}, "camera 'front': no frame for 0.400 s (limit 0.250 s)"),
        ({"image_shape": None}, "camera 'front': no frame received"),
        ({"image_shape": (84, 85, 3)}, "expected uint8 (84, 84, 3)"),
        ({"q": HOME * np.nan}, "expected 7 finite numbers"),
        ({"q": HOME + 4.0}, "expected within"),
    ],
)
def test_state_that_must_not_be_acted_on_stops_the_arm(bundle, broken, words):
    loop, robot = make(bundle)
    loop.start()
    for _ in range(3):
        loop.step()
        robot.advance(0.05)
    for name, value in broken.items():
        setattr(robot, name, value)
    sent = len(robot.sent)
    with pytest.raises(RefusalError, match=re.escape(words)) as refusal:
        loop.step()
    assert robot.stops == [str(refusal.value)]
    assert len(robot.sent) == sent
    assert not loop.running
    with pytest.raises(RefusalError, match="start it first"):
        loop.step()
    with pytest.raises((RefusalError, SpecError)):
        loop.start()


def test_a_policy_from_poses_goes_to_the_goal_that_is_measured():
    bundle = tiny_bundle(camera=None, estimated=("goal", "object_pos", "object_quat"))
    clock = FakeClock()
    goal = np.array([0.45, 0.1, 0.4])
    robot = FakeRobot(HOME, clock, image_shape=None, poses={"goal": goal, "object": np.array([0.5, 0.0, 0.02])})
    loop = ControlLoop(bundle, robot, LoopLimits(), safety=None, poses=("goal", "object"), clock=clock)
    loop.start()
    for _ in range(60):
        loop.step()
        robot.advance(0.05)
    np.testing.assert_allclose(PANDA.chain.pose(robot.q)[1], goal, atol=5e-3)
    robot.pose_delay = 0.3
    with pytest.raises(RefusalError, match=r"pose 'goal': 0.300 s old \(limit 0.250 s\)") as refusal:
        loop.step()
    assert refusal.value.key == "pose_stale"
    robot.pose_delay, robot.poses = 0.0, {"goal": goal}
    with pytest.raises(RefusalError, match="pose 'object': none received"):
        loop.start()
    with pytest.raises(SpecError, match="'goal' is measured by a pose estimator alone; give its topic, goal:=<topic>"):
        ControlLoop(bundle, robot, LoopLimits(), safety=None, poses=("object",), clock=clock)


def test_action_that_is_not_finite_stops_the_arm():
    x = PANDA.chain.pose(HOME)[1][0]
    loop, robot = make(tiny_bundle((0.7, 0.0, 0.4), poison=x + 0.03))
    loop.start()

    def run() -> None:
        for _ in range(40):
            loop.step()
            robot.advance(0.05)

    with pytest.raises(RefusalError, match="not finite"):
        run()
    assert 2 < len(robot.sent) < 40
    assert np.isfinite(robot.sent).all()
    assert len(robot.stops) == 1


def test_nothing_is_sent_before_start(bundle):
    loop, robot = make(bundle)
    with pytest.raises(RefusalError, match="not running"):
        loop.step()
    assert robot.sent == []


def test_limits_have_no_off():
    for bad in (
        {"state_age": 0.0},
        {"frame_age": np.inf},
        {"blend": -1.0},
        {"lead": 0.0},
        {"lead": 0.3},
        {"rest_lead": 0.0},
    ):
        with pytest.raises(SpecError):
            LoopLimits(**bad)


def test_camera_that_cannot_show_what_the_policy_expects_is_refused(bundle):
    narrow = CAMERA.__class__.looking_at("front", (1.25, 0.0, 0.7), (0.45, 0.0, 0.1), 480, 640, 10.0)
    with pytest.raises(SpecError, match="outside this camera's view"):
        ControlLoop(bundle, FakeRobot(HOME, FakeClock()), LoopLimits(), safety=None, incoming={"front": narrow})


def test_warm_up_has_no_effect_and_refuses_nothing(bundle):
    """With or without it, the commands are the same; and a state that the step would refuse is left to the step."""
    warmed, robot = make(bundle)
    plain, other = make(bundle)
    warmed.warm_up_step()
    warmed.start()
    plain.start()
    for _ in range(5):
        warmed.warm_up_step()
        np.testing.assert_array_equal(warmed.step().q_sent, plain.step().q_sent)
        robot.advance(0.05)
        other.advance(0.05)
    assert len(robot.sent) == 5
    blind, _ = make(bundle, image_shape=None)
    blind.warm_up_step()
    silent, _ = make(bundle, silent=True)
    silent.warm_up_step()


def test_policy_with_a_gripper_needs_to_see_its_fingers():
    """It is given their opening and sends where they should go; without, or with an old one, it does not act."""
    loop, robot = make(grasp_bundle((0.5, 0.0)), opening=0.04, image_shape=None)
    loop.start()
    loop.step()
    assert robot.opening_sent == pytest.approx(0.04)  # still above the cube: open
    robot.opening = 0.02
    loop.step()
    assert robot.opening_sent == 0.0
    robot.opening_delay = 0.3
    with pytest.raises(RefusalError, match=r"finger positions 0\.300 s old \(limit 0\.250 s\)") as refusal:
        loop.step()
    assert refusal.value.key == "gripper_stale"
    assert robot.stops
    robot.opening = None
    with pytest.raises(RefusalError, match="no finger positions received"):
        loop.start()


def test_a_picture_made_ready_when_it_came_is_not_made_again(bundle):
    """The step takes what was made of it; what cannot be made ready is left to the step, which says why."""
    clock = FakeClock()
    robot = FakeRobot(HOME, clock)
    large = CAMERA.resized(420, 420)
    loop = ControlLoop(bundle, robot, LoopLimits(), safety=None, incoming={"front": large}, clock=clock)
    image = np.random.default_rng(0).integers(0, 256, (420, 420, 3), np.uint8)
    ready = loop.rectify("front", image)
    np.testing.assert_array_equal(ready, large.rectifier(CAMERA)(image))
    assert loop.rectify("front", image[:100]) is None
    builder = ObservationBuilder(bundle.observation, PANDA, bundle.cameras, {"front": large})
    for rectified, seen in ((None, ready), (np.zeros_like(ready), np.zeros_like(ready))):
        frame = CameraFrame(clock(), image, rectified=rectified)
        observation = builder.build(RobotState(clock(), HOME, np.zeros(7), {"front": frame}))
        np.testing.assert_array_equal(observation["image_front"], seen)
