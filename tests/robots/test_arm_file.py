"""Arms that a user describes: what is read, what is asked for by name, and what is refused."""

import copy
import json

import numpy as np
import pytest

from robots.action import ActionResolver
from robots.arm_file import load_arm
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rotations import rotation_about
from robots.specs import ActionSpec, SpecError
from sim.env import ArmEnv
from sim.virtual_arm.hidden_arms import hidden_reality

BODY = '<inertial><mass value="0.4"/><inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/></inertial>'
BOX = '<{0}><origin xyz="0 0 0.03"/><geometry><box size="0.03 0.03 0.06"/></geometry></{0}>'
JOINTS = ("pan", "lift", "elbow", "flex", "roll")
AXES = {"pan": "0 0 1", "lift": "0 1 0", "elbow": "0 1 0", "flex": "0 1 0", "roll": "0 0 1", "jaw": "1 0 0"}


def small_arm():
    """A five-joint arm like hobby kits have, 0.45 m long, with a jaw that turns and a frame without mass."""
    links, joints, parent = [f'<link name="base">{BODY}</link>'], [], "base"
    for name, axis in AXES.items():
        links.append(f'<link name="{name}_link">{BODY}{BOX.format("visual")}{BOX.format("collision")}</link>')
        height = {"pan": 0.06, "lift": 0.04, "roll": 0.04, "jaw": 0.03}.get(name, 0.16)
        joints.append(
            f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{name}_link"/>'
            f'<origin xyz="0 0 {height}"/><axis xyz="{axis}"/>'
            '<limit lower="-2.4" upper="2.4" effort="8" velocity="4"/></joint>'
        )
        parent = parent if name == "jaw" else f"{name}_link"
    links.append('<link name="tip"/>')
    joints.append(
        '<joint name="tip_joint" type="fixed"><parent link="roll_link"/><child link="tip"/>'
        '<origin xyz="0 0 0.1"/></joint>'
    )
    return f'<robot name="small">{"".join(links)}{"".join(joints)}</robot>'.replace(
        '<parent link="jaw_link"/>', '<parent link="roll_link"/>'
    )


DESCRIPTION = {
    "name": "small",
    "urdf": "small.urdf",
    "ee_link": "tip",
    "home": {"pan": 0.0, "lift": 0.53, "elbow": 0.90, "flex": 1.71, "roll": 0.0},
    "fixed_joints": {"jaw": 0.5},
    "limits": {
        "source": "made up for this test",
        "ddq": dict.fromkeys(JOINTS, 20.0),
        "jerk": dict.fromkeys(JOINTS, 1000.0),
    },
    "landmarks": ["tip"],
    "table_area": {"x": [0.20, 0.30], "y": [-0.1, 0.1]},
}
DRIVES = {"gravity_compensation": 0, "command_delay": 0.02, "dead_band": 0.01, "backlash": 0.009, "grid": 0.0015}


@pytest.fixture
def write(tmp_path):
    def write(urdf_text=None, **changes):
        description = copy.deepcopy(DESCRIPTION)
        description.update(changes)
        (tmp_path / "small.urdf").write_text(urdf_text or small_arm())
        path = tmp_path / "small.json"
        path.write_text(json.dumps({key: value for key, value in description.items() if value is not None}))
        return path

    return write


def test_what_the_urdf_says_is_read_and_the_rest_comes_from_the_file(write):
    limits = {**DESCRIPTION["limits"], "tau": {"flex": 3.0}}
    arm = load_arm(write(limits=limits))
    assert arm.joint_names == JOINTS
    assert arm.base_link == "base"
    assert arm.limits.tau == (8.0, 8.0, 8.0, 3.0, 8.0)  # the file's word counts before the URDF's
    assert arm.limits.dq == (4.0,) * 5
    assert arm.limits.ddq == (20.0,) * 5
    assert arm.limits.source == "made up for this test"
    assert arm.table_area == ((0.20, 0.30), (-0.1, 0.1))


def test_every_command_that_names_an_arm_takes_a_file(write):
    path = write()
    assert load_robot(str(path)) == load_arm(path)
    with pytest.raises(SpecError, match=r"unknown robot 'smal'; known are .*franka_panda.*arm file"):
        load_robot("smal")


def test_the_virtual_arm_has_its_drives(write):
    ideal, given = hidden_reality(load_arm(write())).arm, hidden_reality(load_arm(write(drives=DRIVES))).arm
    assert (ideal.backlash, ideal.grid) == (0.0, 0.0)
    assert {name: getattr(given, name) for name in DRIVES} == DRIVES
    assert given.kp == ideal.kp
    soft = hidden_reality(load_arm(write(drives={**DRIVES, "stiffness": 12}))).arm
    assert soft.kp == (12.0,) * 5


def test_a_bundle_keeps_it(write):
    arm = load_arm(write(drives=DRIVES))
    data = json.loads(json.dumps(arm.to_dict()))
    assert RobotModel.from_dict(data, arm.urdf_xml) == arm


def test_joints_that_nobody_drives_are_welded_where_they_stand(write):
    arm = load_arm(write())
    tree = arm.tree
    jaw = tree.links.index("jaw_link")
    poses = tree.poses(np.zeros(5))
    relative = np.linalg.inv(poses[tree.links.index("roll_link")]) @ poses[jaw]
    assert relative[:3, :3] == pytest.approx(rotation_about(np.array([1.0, 0.0, 0.0]), 0.5), abs=1e-9)
    assert relative[:3, 3] == pytest.approx((0.0, 0.0, 0.03), abs=1e-9)


def test_it_reaches_under_full_randomisation(write):
    """Five joints, a hand that cannot keep every orientation, and a table area of its own."""
    env = ArmEnv("reach", str(write()), "mild", observation=("q", "image_front"))
    successes = 0
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        goal = env.task.desired_goal(env.world)
        assert 0.20 <= goal[0] <= 0.30
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(env.expert())
            ended = terminated or truncated
        successes += info["is_success"]
    env.observation_spec.validate(observation)
    env.close()
    assert successes >= 5


def test_tasks_that_need_a_gripper_say_so(write):
    with pytest.raises(SpecError, match=r"'stack' needs a gripper, but robot 'small' has none"):
        ArmEnv("stack", str(write()))


LIMITS, HOME = DESCRIPTION["limits"], DESCRIPTION["home"]
NO_JERK = {key: value for key, value in LIMITS.items() if key != "jerk"}
WRONG = {
    "unknown field": ({"homes": {}}, r"unknown field 'homes'; known are name, urdf"),
    "no ee_link": ({"ee_link": None}, r"ee_link missing"),
    "unknown ee_link": ({"ee_link": "hand"}, r"no link 'hand'; its links are base"),
    "no urdf": ({"urdf": "other.urdf"}, r"other\.urdf' not found in .*is the path right"),
    "no package": ({"urdf": "package://small/small.urdf"}, r"not found in .*is the description package sourced"),
    "no jerk": ({"limits": NO_JERK}, r"has jerk of pan, jerk of lift, jerk of elbow.*datasheet"),
    "one ddq": (
        {"limits": {**LIMITS, "ddq": dict.fromkeys(JOINTS[1:], 20.0)}},
        r"neither it nor the URDF has ddq of pan;",
    ),
    "no source": ({"limits": {**LIMITS, "source": " "}}, r"limits has no 'source'"),
    "zero limit": (
        {"limits": {**LIMITS, "tau": {"lift": 0.0}}},
        r"joint 'lift': limit tau is 0\.0, expected",
    ),
    "unknown joint": (
        {"limits": {**LIMITS, "tau": {"lfit": 1.0}}},
        r"limits\.tau names joint 'lfit'; the arm's",
    ),
    "unknown limit": ({"limits": {**LIMITS, "torque": {}}}, r"unknown limit 'torque'; known are q_low"),
    "home lacks": ({"home": {"pan": 0.0}}, r"home lacks joint 'lift'"),
    "home outside": (
        {"home": {**HOME, "pan": 3.0}},
        r"home of joint 'pan' is 3, expected in \[-2\.4",
    ),
    "text for a number": (
        {"home": {**HOME, "pan": "0"}},
        r"home of joint 'pan' is '0', expected a number",
    ),
    "moving jaw": ({"fixed_joints": {}}, r"joint 'jaw' moves, but is neither .* put it into 'fixed_joints'"),
    "turning gripper": (
        {"fixed_joints": {}, "gripper": {"joint_names": ["jaw"], "opened": 1, "closed": 0, "force": 5}},
        r"gripper joint 'jaw' is revolute: give 'gap'",
    ),
    "gripper without force": (
        {"fixed_joints": {}, "gripper": {"joint_names": ["jaw"], "gap": [[0, 0], [1, 0.1]]}},
        r"gripper has joint_names, gap; expected joint_names, force and either opened and closed or gap",
    ),
    "gripper without mount": (
        {"gripper": {"joint_names": ["jaw"], "force": 5, "gap": [[0, 0], [1, 0.1]], "urdf": "small.urdf"}},
        r"urdf and mount for a URDF of its own",
    ),
    "gap of one row": (
        {"fixed_joints": {}, "gripper": {"joint_names": ["jaw"], "force": 5, "gap": [[0, 0.1]]}},
        r"travel is .*expected two rows or more",
    ),
    "frame on no link": ({"frames": {"tcp": {"link": "palm", "xyz": [0, 0, 0]}}}, r"fixed to link 'palm', which"),
    "home under the table": ({"home": {**HOME, "lift": 1.4}}, r"at home the hand .* is at z = -0"),
    "area": ({"table_area": {"x": [0.3, 0.2], "y": [0, 1]}}, r"table_area is .*expected"),
    "no number": ({"drives": {**DRIVES, "grid": "fine"}}, r"drives: grid is 'fine', expected a number"),
    "play of a turn": ({"drives": {**DRIVES, "backlash": 6.28}}, r"drives: backlash is 6.28, expected in \[0, 0.2\]"),
    "half of the drives": ({"drives": {"backlash": 0.01}}, r"drives: 'gravity_compensation' is missing; required are"),
    "out of reach": ({"table_area": {"x": [0.5, 0.9], "y": [-0.1, 0.1]}}, r"does not get there"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_files_are_refused(write, case):
    changes, message = WRONG[case]
    path = write(**changes)
    with pytest.raises(SpecError, match=message):
        ArmEnv("reach", str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (BODY + BOX.format("visual"), BOX.format("visual"), r"link 'pan_link' has no <inertial>.*1 kg"),
        ('<box size="0.03 0.03 0.06"/>', '<mesh filename="lost.stl"/>', r"link 'pan_link': .*'lost\.stl' not found"),
        ('effort="8"', 'effort="0"', r"joint 'pan': limit tau is 0\.0"),
        ('lower="-2.4" ', "", r"neither it nor the URDF has q_low of pan;"),
        ("</robot>", "", r"is no XML"),
    ],
)
def test_bad_urdfs_are_refused(write, old, new, message):
    with pytest.raises(SpecError, match=message):
        load_arm(write(small_arm().replace(old, new, 1)))


def test_installed_description_packages_are_found(write, tmp_path, monkeypatch):
    path = write()
    share = tmp_path / "prefix" / "share" / "small_description" / "urdf"
    share.mkdir(parents=True)
    (share / "small.urdf").write_text(small_arm())
    description = {**DESCRIPTION, "urdf": "package://small_description/urdf/small.urdf"}
    path.write_text(json.dumps(description))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    assert load_arm(path).urdf_path == str(share / "small.urdf")


def test_five_joints_hold_a_point_whose_orientation_they_cannot(write):
    """The flex joint is near its limit at home: what it cannot turn must not pull the tip off the point."""
    arm = load_arm(write(home={"pan": 0.0, "lift": 0.53, "elbow": 0.5, "flex": 2.3, "roll": 0.0}))
    resolver = ActionResolver(ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), 20.0), arm)
    q = np.array(arm.home)
    resolver.reset(q)
    goal = arm.chain.pose(q)[1] + np.array([-0.05, 0.06, 0.03])
    left = []
    for _ in range(200):
        way = goal - arm.chain.pose(q)[1]
        left.append(float(np.linalg.norm(way)))
        q = resolver.resolve(np.clip(0.2 * way / 0.04, -1, 1), q)
    assert max(left[60:]) < 1e-3
    assert np.abs(np.diff(left[100:])).max() < 1e-6
    assert q.max() <= 2.4
