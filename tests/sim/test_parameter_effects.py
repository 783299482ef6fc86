"""Every parameter of `full` does something, where it should; and nothing where it should not."""

import re
from contextlib import closing
from functools import cache

import numpy as np
import pytest

from robots.registry import load_robot
from robots.rig import RIGS
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.tasks import TASKS, fitted_task, load_task

ARM = load_robot("franka_panda")
MOTION, OBJECT, MEASURED, PICTURE = "motion", "object", "measured", "picture"
SIGNALS = {MOTION, OBJECT, MEASURED, PICTURE}
FIRST_PICTURE = "first picture"
TOLD = "calibration"
SAME = 1e-7  # what differs by less is the solver's rounding


@cache
def env(task, actuator="position"):
    return ArmEnv(task, ARM, "nominal", observation=("q", "dq", "image_front"), actuator=actuator)


def free_motion(parameters, task="reach", actuator="position"):
    """Swing the arm about above a cube at rest."""
    e = env(task, actuator)
    # near home, or else turning the hand level takes the targets to the most that they may lead what is measured
    observation, _ = e.reset(seed=1, options={"parameters": {"start_spread": 0.01, **parameters}})
    rows = {signal: [] for signal in SIGNALS}
    for k in range(14):
        if k:
            observation, *_ = e.step(0.4 * np.array([np.sin(k / 2), np.cos(k / 3), 0.2]))
        rows[MOTION].append(e.world.q)
        rows[OBJECT].append(np.concatenate(e.world.pose("object")))
        rows[MEASURED].append(np.concatenate([observation["q"] - e.world.q, observation["dq"] - e.world.dq]))
        rows[PICTURE].append(observation["image_front"].astype(float))
    return {signal: np.array(values) for signal, values in rows.items()}


def random_camera(parameters):
    """Look at the arm at its start from a camera that may stand anywhere."""
    with closing(ArmEnv("reach", ARM, "nominal", ("q", "calibration_left", "image_left"), cameras="random")) as e:
        observation, _ = e.reset(seed=1, options={"parameters": parameters})
    told, image = (observation[f"{what}_left"].astype(float) for what in ("calibration", "image"))
    return {TOLD: told, PICTURE: image, MOTION: e.world.q}


def thrown_cube(parameters):
    """Let the cube fall askew, spinning, onto the table, and push it."""
    from sim.bullet import pybullet

    e = env("reach")
    e.reset(seed=1, options={"parameters": parameters})
    world = e.world
    world.place("object", (0.5, 0.0, 0.12), (0.1, 0.05, 0.0, 0.99))
    spin = {"linearVelocity": (0.2, 0.1, 0.0), "angularVelocity": (0.0, 0.0, 8.0)}
    pybullet.resetBaseVelocity(world.scenery.ids["object"], **spin, physicsClientId=world.client)
    rows = []
    for _ in range(60):
        world.pusher("object", (0.05, 0.0, 0.0))()
        world.step()
        rows.append(np.concatenate(world.pose("object")))
    return {OBJECT: np.array(rows)}


def grasp(parameters, task="pick_place"):
    """Pick the cube up as the expert does."""
    e = env(task)
    e.reset(seed=1, options={"parameters": parameters})
    rows = []
    for _ in range(60):
        ended = e.step(e.expert())[2:4]
        rows.append(np.concatenate(e.world.pose("object")))
        if any(ended):
            break
    return {OBJECT: np.array(rows)}


def two_cameras(parameters):
    """What the wrist camera sees, and what the first one does."""
    e = ArmEnv("pick_place", ARM, "nominal", observation=("q", "image_front", "image_wrist"), cameras="front_wrist")
    e.reset(seed=1, options={"parameters": parameters})
    seen = [e.step(0.4 * np.array([np.sin(k / 2), np.cos(k / 3), 0.2, 0.0, 0.0]))[0] for k in range(6)]
    e.close()
    return {
        PICTURE: np.array([each["image_wrist"] for each in seen], float),
        FIRST_PICTURE: np.array([each["image_front"] for each in seen], float),
        MOTION: np.array([each["q"] for each in seen]),
    }


def weak_arm(parameters):
    """An arm whose torque does not suffice: it sinks, onto the cube in the end."""
    return free_motion({"torque_scale": 0.25, **parameters})


def servo_motion(parameters):
    return free_motion(parameters, actuator="servo")


def insertion(parameters):
    """Lower the peg into the hole, and press it against a wall."""
    task = load_task("insert")
    task.hold_time = 60.0
    e = ArmEnv(task, ARM, "nominal")
    e.reset(seed=1, options={"parameters": parameters})
    rows = []
    for k in range(110):
        e.step(e.expert() if k < 90 else np.array([0.2, 0.0, 0.0]))
        rows.append(np.concatenate(e.world.pose("object")))
    e.close()
    return {OBJECT: np.array(rows)}


def clutter(parameters):
    """Whether and where posts stand, seen."""
    return free_motion(parameters, task="reach_clutter")


def stacking(parameters):
    return grasp(parameters, "stack")


MOVES, SEES = {MOTION}, {PICTURE}
# parameter: (value, scenario, what must change there, what must not; other parameters that make it visible)
EFFECTS = {
    "object_mass": (0.2, thrown_cube, {OBJECT}, set(), {}),
    "object_inertia": (1.4, thrown_cube, {OBJECT}, set(), {}),
    "object_com_x": (0.1, thrown_cube, {OBJECT}, set(), {}),
    "object_com_y": (0.1, thrown_cube, {OBJECT}, set(), {}),
    "object_com_z": (0.1, thrown_cube, {OBJECT}, set(), {}),
    "object_friction": (0.4, thrown_cube, {OBJECT}, set(), {}),
    "object_rolling": (1e-4, thrown_cube, {OBJECT}, set(), {}),
    "object_spinning": (1e-3, thrown_cube, {OBJECT}, set(), {}),
    "object_restitution": (0.3, thrown_cube, {OBJECT}, set(), {}),
    "table_restitution": (0.9, thrown_cube, {OBJECT}, set(), {"object_restitution": 0.5}),
    "table_friction": (0.8, thrown_cube, {OBJECT}, set(), {}),
    "table_height": (0.01, free_motion, {OBJECT, PICTURE}, {MOTION, MEASURED}, {}),
    "finger_friction": (0.7, grasp, {OBJECT}, set(), {"object_friction": 0.4, "grip_scale": 0.05}),
    "grip_scale": (0.5, grasp, {OBJECT}, set(), {}),
    "base_tilt_x": (0.02, thrown_cube, {OBJECT}, set(), {}),
    "base_tilt_y": (0.02, thrown_cube, {OBJECT}, set(), {}),
    "arm_mass_scale": (1.1, free_motion, MOVES, {OBJECT}, {}),
    "link_mass": (1.2, free_motion, MOVES, {OBJECT}, {}),
    "link_com": (1.2, free_motion, MOVES, {OBJECT}, {}),
    "arm_inertia_scale": (1.25, weak_arm, MOVES, set(), {}),
    "payload_mass": (0.3, free_motion, MOVES, {OBJECT}, {}),
    "joint_damping": (0.5, weak_arm, MOVES, set(), {}),
    "joint_friction": (0.02, free_motion, MOVES, {OBJECT}, {}),
    "object_size": (0.05, free_motion, {OBJECT, PICTURE}, {MOTION, MEASURED}, {}),
    "object_shape": (1.0, free_motion, {PICTURE}, {MOTION, MEASURED}, {"object_force_noise": 0.3}),
    "clutter_count": (4.0, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {"clutter_seed": 1.0}),
    "clutter_seed": (2.0, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {"clutter_count": 4.0}),
    "table_cloth": (
        1.0,
        free_motion,
        SEES,
        {MOTION, OBJECT, MEASURED},
        {"clutter_seed": 1.0, "appearance_strength": 0.5},
    ),
    "object_aspect": (1.15, free_motion, {OBJECT, PICTURE}, {MOTION, MEASURED}, {}),
    "start_spread": (0.1, free_motion, MOVES, set(), {}),
    "position_gain": (15.0, free_motion, MOVES, {OBJECT}, {}),
    "joint_stiffness": (4.5, free_motion, MOVES, {OBJECT}, {"payload_mass": 0.3}),
    "torque_scale": (0.25, free_motion, MOVES, set(), {}),
    "speed_scale": (0.2, free_motion, MOVES, {OBJECT}, {}),
    "actuator_lag": (0.03, free_motion, MOVES, {OBJECT}, {}),
    "backlash": (0.003, free_motion, MOVES, {OBJECT}, {}),
    "command_quantum": (0.002, free_motion, MOVES, {OBJECT}, {}),
    "servo_dead_band": (0.02, servo_motion, MOVES, {OBJECT}, {}),
    "hold_probability": (0.5, free_motion, MOVES, {OBJECT}, {}),
    "gear_offset": (0.004, free_motion, MOVES, {OBJECT}, {}),
    "action_delay_steps": (1.5, free_motion, MOVES, {OBJECT}, {}),
    "joint_delay": (0.02, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "joint_jitter": (0.005, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "joint_drop": (0.2, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "encoder_noise": (0.002, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "encoder_quantum": (0.001, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "encoder_bias": (0.004, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "velocity_noise": (0.02, free_motion, {MEASURED}, {MOTION, OBJECT, PICTURE}, {}),
    "camera_delay": (0.06, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {}),
    "camera_jitter": (0.02, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {}),
    "camera_drop": (0.5, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {}),
    "rolling_shutter": (0.04, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {}),
    "knock_rate": (20.0, free_motion, MOVES | {OBJECT}, set(), {}),
    "ee_knock": (10.0, free_motion, MOVES, set(), {"knock_rate": 20.0}),
    "object_knock": (0.9, free_motion, {OBJECT}, set(), {"knock_rate": 20.0}),
    # restless in both cases, as for `object_shape`: what is asleep lets the arm's ticks be merged
    "object_force_noise": (0.5, free_motion, {OBJECT}, {MOTION}, {"object_force_noise": 0.3}),
    "appearance_strength": (1.0, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {"appearance_seed": 5.0}),
    "appearance_seed": (7.0, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {"appearance_strength": 1.0}),
    "motion_angle": (1.0, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {"motion_blur": 3.0}),
    "camera_wrist_lag": (0.03, two_cameras, SEES, {FIRST_PICTURE, MOTION}, {}),
    "pad_height": (0.08, grasp, set(), set(), {}),
    "base_size": (0.055, stacking, set(), set(), {}),
    "clearance": (0.002, insertion, {OBJECT}, set(), {}),
    "post_height": (0.2, clutter, SEES, {MOTION, MEASURED}, {}),
    "post_count": (2.0, clutter, SEES, {MOTION, MEASURED}, {}),
}
UNDER = {"surroundings_seed": 4.0}  # of the parameters that only `wild` varies
WILD = {
    "surroundings_seed": (4.0, {"table_marks": 9.0}),
    "table_marks": (9.0, UNDER),
    "table_pattern": (1.0, UNDER),
    "cloth_pattern": (1.0, {**UNDER, "table_cloth": 1.0}),
    "household_count": (6.0, UNDER),
    "light_harshness": (1.0, UNDER),
    "arm_repaint": (1.0, UNDER),
    "second_arm": (1.0, UNDER),
    "object_likeness": (0.8, UNDER),
    "hand_size": (0.3, UNDER),
    "cable_width": (0.05, UNDER),
}
EFFECTS |= {
    name: (value, free_motion, SEES, {MOTION, OBJECT, MEASURED}, others) for name, (value, others) in WILD.items()
}
VISUAL = {
    "exposure": 0.6,
    "white_balance": 0.3,
    "tint": 0.12,
    "gamma": 0.3,
    "vignetting": 0.35,
    "blur": 0.7,
    "motion_blur": 3.0,
    "shot_noise": 0.04,
    "read_noise": 0.01,
    "jpeg": 0.5,
    "camera_front_x": 0.03,
    "camera_front_y": 0.03,
    "camera_front_z": 0.03,
    "camera_front_pitch": 0.03,
    "camera_front_yaw": 0.03,
    "camera_front_roll": 0.03,
    "camera_front_focal": 1.05,
    "camera_front_cx": 1.5,
    "camera_front_cy": 1.5,
    "camera_front_k1": 0.1,
}
EFFECTS |= {
    f"camera_left_place_{key}": (value, random_camera, {TOLD, PICTURE}, {MOTION}, {})
    for key, value in {
        "azimuth": 0.5,
        "elevation": 0.9,
        "distance": 1.0,
        "aim_x": 0.05,
        "aim_y": 0.05,
        "roll": 0.1,
    }.items()
}
EFFECTS |= {name: (value, free_motion, SEES, {MOTION, OBJECT, MEASURED}, {}) for name, value in VISUAL.items()}
PER_JOINT = ("encoder_bias", "gear_offset", "link_mass", "link_com")


def family(name):
    """`encoder_bias_panda_joint3` -> `encoder_bias`; a camera's are those of another one that has the same."""
    for stem in PER_JOINT:
        if name.startswith(stem):
            return stem
    others = (re.sub("camera_[a-z]+_", f"camera_{camera}_", name, count=1) for camera in ("front", "wrist", "left"))
    return next((other for other in others if other in EFFECTS), name)


def test_no_parameter_is_forgotten():
    names = {
        family(name)
        for task in TASKS
        for rig in RIGS
        for name in parameter_space(fitted_task(task, ARM, rig), ARM).names
    }
    assert names == set(EFFECTS)


@pytest.mark.parametrize("name", EFFECTS)
def test_it_has_its_effect_and_no_other(name):
    value, scenario, changes, stays, others = EFFECTS[name]
    joints = {stem: f"{stem}_panda_joint3" for stem in PER_JOINT}
    nominal, changed = scenario(others), scenario({**others, joints.get(name, name): value})

    def difference(signal):
        a, b = nominal[signal], changed[signal]
        return np.inf if a.shape != b.shape else float(np.abs(a - b).max())

    for signal in changes:
        assert difference(signal) > 1e-5, f"{name} does not change {signal}"
    for signal in stays:
        assert difference(signal) < SAME, f"{name} changes {signal}"


def test_sizes_that_only_a_task_has_are_its_bodies_sizes():
    """The pad and the lower cube are seen in the goal: it stands on them."""
    for task, name, rise in (("pick_place", "pad_height", 1.0), ("stack", "base_size", 1.0)):
        e = env(task)
        goals = []
        for value in (0.045, 0.055):
            e.reset(seed=3, options={"parameters": {name: value}})
            goals.append(e.task.desired_goal(e.world)[2])
        assert goals[1] - goals[0] == pytest.approx(0.01 * rise, abs=1e-6)
