"""The kinds of files that come from elsewhere: how one is made, what reads it, what may never be accepted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

from adaptation.calibration.recordings import arm_poses, read_camera, read_frames
from adaptation.identification.log_files import read_log
from adaptation.identification.log_inspection import complete
from adaptation.visual.target import load_target
from benchmarks.fuzzing.fuzz_dataset import DATASET, make_dataset, read_dataset
from evaluation.session.protocol import load
from evaluation.session.protocol_file import register_file
from evaluation.session.session_folder import begin_session
from evaluation.session.trials import Trial
from policies.bundle import PolicyBundle
from policies.reinforcement.demonstrations import Demonstrations
from policies.runtime.collision import CollisionModel
from policies.runtime.dry_run import check_confirmed
from policies.runtime.limits import read_limits_file
from robots.arm_file import load_arm
from robots.registry import load_robot
from robots.servos.calibration import read_calibration
from robots.shapes.hulls import arm_hulls, collision_hulls
from robots.shapes.meshes import sphere
from ros_nodes.arm.calibrated_cameras import read_calibrated
from ros_nodes.camera_player import read_camera_recording
from ros_nodes.motion_player import read_motion
from ros_nodes.recording.bag import Bag, repair_bag
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim.virtual_arm.hidden_reality import HiddenReality
from sim2real.command_line import main
from tests.support.servo_arm import CALIBRATION, OLD_CALIBRATION
from tests.support.tiny_bundle import CAMERA, tiny_bundle

ROBOT = load_robot("franka_panda")


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    make: Callable[[Path], object]
    """Writes a sound example into an empty folder."""
    targets: tuple[str, ...]
    """Files in it of which one is damaged."""
    read: Callable[[Path], object]
    """Reads it as the product does; a command's exit status, or an object."""
    sealed: bool = False
    """A hash or checksum covers the content: a changed one that reads as another object may never be accepted."""
    repack: Callable[[Path], None] | None = None
    """Makes the hashes fit again in every second file, so that the damage gets behind them."""


class CommandFailed(ValueError):
    """A command ended with a status other than 0 and one line."""


def command(*words: str) -> int:
    """Run a real sub-command in this process; its one line becomes an exception."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(words)
    lines = said.getvalue().strip().splitlines()
    if status and len(lines) != 1:
        raise AssertionError(f"status {status} with {len(lines)} lines: {lines[-1:]}")
    if status:
        raise CommandFailed(lines[0])
    return status


def _bundle(folder: Path) -> None:
    tiny_bundle().save(folder / "bundle")


def _zip(folder: Path) -> None:
    tiny_bundle().save(folder / "bundle.zip")


def _rehash(folder: Path) -> None:
    manifest = folder / "bundle" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    for name in document["files"]:
        document["files"][name] = hashlib.sha256((folder / "bundle" / name).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(document))


def _check_bundle(path: Path) -> object:
    command("bundle", "check", str(path))
    bundle = PolicyBundle.load(path)
    return [bundle.robot.limits, bundle.robot.home, bundle.cameras, dict(bundle.parity), dict(bundle.robot.hulls or {})]


def _arm(folder: Path) -> None:
    points = sphere(0.05, 6)
    corners, faces = points.vertices, points.triangles
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    (folder / "link.obj").write_text("\n".join(lines) + "\n")
    triangles = corners[faces].astype("<f4")
    records = b"".join(bytes(12) + each.tobytes() + bytes(2) for each in triangles)
    (folder / "link.stl").write_bytes(bytes(80) + len(triangles).to_bytes(4, "little") + records)
    inertial = "<inertial><mass value='1'/><inertia ixx='1' iyy='1' izz='1' ixy='0' ixz='0' iyz='0'/></inertial>"
    shape = '<collision><geometry><mesh filename="link.{}"/></geometry></collision>'
    joint = (
        '<joint name="j{0}" type="revolute"><parent link="l{0}"/><child link="l{1}"/><origin xyz="0 0 0.3"/>'
        '<axis xyz="0 1 0"/><limit lower="-2" upper="2" velocity="2" effort="50"/></joint>'
    )
    links = [f'<link name="l{i}">{inertial}{shape.format(("obj", "stl")[i % 2])}</link>' for i in range(4)]
    joints = [joint.format(i, i + 1) for i in range(3)]
    text = f'<robot name="arm">{"".join(links)}{"".join(joints)}</robot>'.replace("'", '"')
    (folder / "arm.urdf").write_text(text)
    each = {f"j{i}": 10.0 for i in range(3)}
    limits = {"ddq": each, "jerk": each, "source": "made up"}
    home = {f"j{i}": 0.1 for i in range(3)}
    document = {"urdf": "arm.urdf", "ee_link": "l3", "home": home, "limits": limits, "landmarks": ["l2", "l3"]}
    (folder / "arm.json").write_text(json.dumps(document))


def _read_arm(folder: Path) -> object:
    robot = load_arm(folder / "arm.json")
    hulls = arm_hulls(robot)
    collision = CollisionModel(robot, hulls)
    collision.distances(np.array(robot.home))
    return [robot.limits, robot.home, dict(hulls), robot.chain.pose(np.array(robot.home))]


@lru_cache(maxsize=1)
def _small() -> PolicyBundle:
    return tiny_bundle(camera=None)


def _write(name: str, value: object) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(value, indent=1))


def _log(folder: Path) -> None:
    t = np.arange(40) * 0.01
    q = np.zeros((40, 7)) + t[:, None]
    np.savez(folder / "log.npz", t=t, q=q, q_cmd=q, joint_names=np.array(ROBOT.joint_names))
    head = ["t", *(f"q_{j}" for j in ROBOT.joint_names), *(f"q_cmd_{j}" for j in ROBOT.joint_names)]
    rows = [",".join(map(str, [a, *b, *b])) for a, b in zip(t, q)]
    (folder / "log.csv").write_text("\n".join([",".join(head), *rows]))


def _log_of(path: Path) -> object:
    return dataclasses.astuple(complete(read_log(path, ROBOT.joint_names), ROBOT))


def _demonstrations(folder: Path) -> None:
    rows = {"q": np.zeros((4, 7), np.float32)}
    ended, action = np.array([False, False, False, True]), np.zeros((4, 3), np.float32)
    Demonstrations(rows, rows, action, action, np.zeros(4), ended, ~ended & False).save(folder / "shown.npz")


def _target(folder: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 24, 24, 3), np.uint8)
    trial = np.repeat(np.arange(8), 5)
    np.savez(folder / "images.npz", image_front=images, q=rng.normal(size=(40, 7)).astype(np.float32), trial=trial)


def _frames(folder: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((12, 16, 3), 40 * i, np.uint8))
    frames = [{"file": f"{i}.png", "q": [0.1] * 7, "t": 0.1 * i} for i in range(3)]
    K = [[20.0, 0.0, 8.0], [0.0, 20.0, 6.0], [0.0, 0.0, 1.0]]
    (folder / "frames.json").write_text(json.dumps({"K": K, "frames": frames}))


def _read_frames(folder: Path) -> object:
    recording = read_camera_recording(folder)
    frames = read_frames(folder / "frames.json")
    return [recording.K, recording.q, arm_poses(frames, [frame["file"] for frame in frames], ROBOT)]


def _motion(folder: Path) -> None:
    t = np.arange(50) * 0.02
    q = np.array(ROBOT.home) + 0.01 * np.sin(t)[:, None]
    np.savez(folder / "motion.npz", t=t, q=q, joint_names=np.array(ROBOT.joint_names), robot=ROBOT.name)


def _plan(folder: Path) -> None:
    tiny_bundle(camera=None).save(folder / "tiny")
    head = 'name = "p"\ntask = "reach"\ntrials = 3\nseed = 1\ntimeout = 2.5\n'
    policy = '[[policies]]\nname = "a"\nbundle = "tiny"\n'
    area = "[workspace]\nx_low = 0.4\nx_high = 0.5\ny_low = 0.0\ny_high = 0.1\n"
    (folder / "plan.toml").write_text(head + policy + area)


def _registered(folder: Path) -> None:
    _plan(folder)
    register_file(folder / "plan.toml")


def _session(folder: Path) -> None:
    _registered(folder)
    registration = load(folder / "plan.registered.json")
    planned = registration.protocol.schedule()[0]
    with begin_session(folder / "run", registration, "sim", {"space": "full"}).store() as store:
        bundle = registration.protocol.policies[0].bundle
        initial = dict(planned.initial)
        store.add(Trial("p", planned.policy, bundle, planned.index, planned.seed, True, 1.0, initial))


def _config(folder: Path) -> None:
    (folder / "config.toml").write_text("detect = 0.15\nbaseline = 0.85\npower = 0.8\nalpha = 0.05\n")
    (folder / "config.json").write_text('{"detect": 0.15, "baseline": 0.85, "power": 0.8, "alpha": 0.05}')


def _bag(folder: Path) -> None:
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    state, header, stamp = (store.types[name] for name in ("sensor_msgs/msg/JointState", *_HEADER))
    kinds = ("sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray")
    layout = store.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    bag = Bag(folder / "bag")
    channels = [bag.add_topic(t, k) for t, k in zip(("/joint_states", "/forward_position_controller/commands"), kinds)]
    for i in range(30):
        q, none = np.full(7, 0.01 * i), np.zeros(0)
        at = header(stamp=stamp(sec=1, nanosec=i * 10**7), frame_id="")
        said = state(header=at, name=list(ROBOT.joint_names), position=q, velocity=none, effort=none)
        wanted = store.types[kinds[1]](layout=layout, data=q)
        for channel, message, kind in zip(channels, (said, wanted), kinds):
            bag.write(channel, 10**9 + i * 10**7, bytes(store.serialize_cdr(message, kind)))
        if i % 5 == 4:
            bag.flush()
    bag.close()


_HEADER = ("std_msgs/msg/Header", "builtin_interfaces/msg/Time")


def _repair(folder: Path) -> object:
    repaired = repair_bag(folder / "bag")
    found = _log_of(repaired.folder)
    shutil.rmtree(folder / "bag_repaired", ignore_errors=True)
    return found


def _session_report(path: Path) -> object:
    command("session", "status", str(path))
    return command("report", str(path))


MANIFEST = ("bundle/manifest.json",)
BUNDLE_FILES = tuple(f"bundle/{name}" for name in ("policy.onnx", "parity.npz", "robot.urdf", "hulls.npz"))
STATES = ("bag/bag_0.mcap",)


def _servo_calibration(folder: Path) -> None:
    (folder / "new.json").write_text(json.dumps(CALIBRATION))
    (folder / "old.json").write_text(json.dumps(OLD_CALIBRATION))


KINDS: dict[str, Kind] = {
    "bundle": Kind(_bundle, BUNDLE_FILES, lambda f: _check_bundle(f / "bundle"), sealed=True),
    "bundle behind its hashes": Kind(_bundle, BUNDLE_FILES, lambda f: _check_bundle(f / "bundle"), repack=_rehash),
    "manifest": Kind(_bundle, MANIFEST, lambda f: _check_bundle(f / "bundle")),
    "bundle zip": Kind(_zip, ("bundle.zip",), lambda f: _check_bundle(f / "bundle.zip"), sealed=True),
    "arm": Kind(_arm, ("arm.json", "arm.urdf", "arm.urdf", "link.obj", "link.stl"), _read_arm),
    "collision mesh": Kind(_arm, ("link.obj", "link.stl"), lambda f: dict(collision_hulls(f / "arm.urdf"))),
    "limits": Kind(
        _write("limits.json", {"panda_joint1": {"dq": 1.0, "tau": 20.0}}),
        ("limits.json",),
        lambda f: read_limits_file(f / "limits.json"),
    ),
    "camera": Kind(
        _write("camera.json", CAMERA.to_dict()),
        ("camera.json",),
        lambda f: [read_camera(f / "camera.json"), read_calibrated(str(f / "camera.json"), ["front"])],
    ),
    "servo calibration": Kind(
        _servo_calibration,
        ("new.json", "old.json"),
        lambda f: [read_calibration(f / name).servos for name in ("new.json", "old.json")],
    ),
    "parameter space": Kind(
        lambda f: parameter_space(load_task("reach"), ROBOT).to_json(f / "space.json"),
        ("space.json",),
        lambda f: ParameterSpace.from_json(f / "space.json").nominal(),
    ),
    "hidden reality": Kind(
        lambda f: HiddenReality().save(f / "hidden.json"),
        ("hidden.json",),
        lambda f: HiddenReality.load(f / "hidden.json"),
    ),
    "configuration": Kind(
        _config,
        ("config.toml", "config.json"),
        lambda f: [command("plan", "--config", str(f / name)) for name in ("config.toml", "config.json")],
    ),
    "protocol": Kind(_plan, ("plan.toml",), lambda f: command("session", "register", str(f / "plan.toml"))),
    "registered protocol": Kind(
        _registered, ("plan.registered.json",), lambda f: load(f / "plan.registered.json").protocol, sealed=True
    ),
    "session": Kind(
        _session, ("run/protocol.json", "run/session.json", "run/trials.sqlite"), lambda f: _session_report(f / "run")
    ),
    "joint log": Kind(_log, ("log.npz", "log.csv"), lambda f: [_log_of(f / n) for n in ("log.npz", "log.csv")]),
    "recording": Kind(_bag, STATES, lambda f: _log_of(f / "bag"), sealed=True),
    "recording to repair": Kind(_bag, STATES, _repair),
    "target": Kind(_target, ("images.npz",), lambda f: load_target(f / "images.npz", tiny_bundle())),
    "pictures": Kind(_frames, ("frames.json", "0.png", "1.png", "2.png"), _read_frames),
    "motion": Kind(_motion, ("motion.npz",), lambda f: read_motion(f / "motion.npz", ROBOT)),
    "demonstrations": Kind(_demonstrations, ("shown.npz",), lambda f: Demonstrations.load(f / "shown.npz", ["q"], 3)),
    "data set": Kind(make_dataset, DATASET, read_dataset),
    "dry run": Kind(
        lambda f: (f / "dry.json").write_text(json.dumps({"confirmed_by": "me", "bundle": _small().hash})),
        ("dry.json",),
        lambda f: check_confirmed(f / "dry.json", _small()),
    ),
}


def endless_graph() -> bytes:
    """The small bundle's graph with a loop without an end before its action."""
    zero = helper.make_tensor("value", TensorProto.FLOAT, [], [0.0])
    go = helper.make_tensor("value", TensorProto.BOOL, [], [True])
    scalars = {"i": TensorProto.INT64, "go_on": TensorProto.BOOL, "x": TensorProto.FLOAT}
    results = {"again": TensorProto.BOOL, "y": TensorProto.FLOAT}
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["again"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in scalars.items()],
        [helper.make_tensor_value_info(name, kind, []) for name, kind in results.items()],
    )
    graph = onnx.load_from_string(tiny_bundle().onnx)
    (last,) = (node for node in graph.graph.node if "action" in node.output)
    last.output[list(last.output).index("action")] = "before"
    graph.graph.node.extend(
        [
            helper.make_node("Constant", [], ["go"], value=go),
            helper.make_node("Constant", [], ["zero"], value=zero),
            helper.make_node("Loop", ["", "go", "zero"], ["end"], body=body),
            helper.make_node("Add", ["before", "end"], ["action"]),
        ]
    )
    return graph.SerializeToString()


def finite(value: object, depth: int = 8) -> bool:
    """Whether all numbers in a result are finite."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    if isinstance(value, float):
        return math.isfinite(value)
    if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        return all(finite(getattr(value, field.name), depth - 1) for field in dataclasses.fields(value))
    if depth and isinstance(value, Mapping):
        return all(finite(item, depth - 1) for item in value.values())
    if depth and isinstance(value, (list, tuple)):
        return all(finite(item, depth - 1) for item in value)
    return True


def digest(value: object, depth: int = 8) -> str:
    """A text that tells two results apart."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        return digest({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth - 1)
    if depth and isinstance(value, Mapping):
        return repr([(key, digest(item, depth - 1)) for key, item in value.items()])
    if depth and isinstance(value, (list, tuple)):
        return repr([digest(item, depth - 1) for item in value])
    return repr(value)
