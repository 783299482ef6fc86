"""Recordings whose camera, light, lens and noise are known, of this arm and of what is not this arm.

Half are drawn by our renderer, half by MuJoCo's scene with hidden textures, lights and lens. Shifts are relative to
the range that the simulation draws a parameter from: 2 to 4 times its end, or within 0.8 of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from adaptation.gap.camera_pose import AXES
from adaptation.visual.target import TargetData
from policies.bundle import PolicyBundle
from robots.camera import CameraModel, as_matrix
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim.randomization.parameters import CONSTANT, ParameterSpace
from sim.sensing.image_disturbance import ImageDisturbance, disturb
from sim.tasks import fitted_task
from sim.tasks.task import CAMERAS
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.mujoco_arm import MujocoArm
from sim.virtual_arm.mujoco_camera import VirtualCameras
from sim.virtual_arm.rasterised_lab import RasterRenderer

POSE, LENS = AXES[:6], AXES[6:]
LIGHT = {"exposure": "exposure", "white_balance": "white_balance", "tint": "tint", "gamma": "gamma"}
FACTORS = {**LIGHT, "blur": "blur", "noise": "shot_noise"}
"""Factors of images with the parameter whose shift is known."""
KINDS = (
    "camera",
    "light",
    "lens",
    "noise",
    "camera",
    "as simulated",
    "camera",
    "light",
    "lens",
    "noise",
    "foreign arm",
    "camera elsewhere",
    "white noise",
    "black",
    "foreign arm",
)
"""In turn; a quarter shows something else than the policy's arm before its cameras."""
UNLIKE = ("foreign arm", "white noise", "black")
OUT, IN = (2.0, 4.0), 0.8
"""Shift in units of the range's end: of the shifted factors, and largest of the others."""
FOREIGN = ("kuka_iiwa", "xarm6")
ELSEWHERE_DEG = 51.0
FRAMES, TRIAL = 60, 5


@dataclass(frozen=True)
class KnownRecording:
    """A recording and what is true of it."""

    kind: str
    engine: str
    target: TargetData
    shifted: Mapping[str, Mapping[str, bool]]
    """By camera and factor: whether the truth is outside the simulation's range."""


class Recorder:
    """Makes recordings for the cameras of one policy."""

    def __init__(self, bundle: PolicyBundle, space: ParameterSpace):
        """Record for `bundle`; shifts are relative to the ranges of `space`."""
        self.bundle, self.space = bundle, space
        self.rig = Rig(bundle.name, tuple(bundle.cameras.values()))
        self.robot = replace(load_robot(bundle.arm), landmarks=bundle.robot.landmarks)

    def record(self, kind: str, engine: str, seed: int) -> KnownRecording:
        """Draw and make one recording of a `kind`; `engine` is ours or mujoco."""
        rng = np.random.default_rng(seed)
        effects, outside = self._effects(kind, rng)
        camera_shifts = {camera.name: self._camera_shift(kind, rng) for camera in self.rig.cameras}
        if kind == "camera elsewhere":
            turn = np.radians(ELSEWHERE_DEG) * rng.choice([-1.0, 1.0])
            camera_shifts = {camera.name: self._orbit(camera, turn) for camera in self.rig.cameras}
        if engine == "mujoco":
            q, opening, images = self._mujoco(kind, camera_shifts, seed, rng)
        else:
            q, opening, images = self._ours(kind, camera_shifts, seed, rng)
        if kind == "white noise":
            images = {name: rng.integers(0, 256, each.shape).astype(np.uint8) for name, each in images.items()}
        elif kind == "black":
            images = {name: rng.integers(0, 4, each.shape).astype(np.uint8) for name, each in images.items()}
        else:
            images = {name: np.stack([disturb(i, effects, rng) for i in each]) for name, each in images.items()}
        target = TargetData(images, q, np.arange(len(q)) // TRIAL, opening)
        shifted = {}
        for camera in self.rig.cameras:
            far = {}
            for axis, value in zip(AXES, camera_shifts[camera.name]):
                low, high = self.space[f"camera_{camera.name}_{axis}"].range
                far[f"camera_{camera.name}_{axis}"] = not low <= value + (axis == "focal") <= high
            shifted[camera.name] = outside | far
        return KnownRecording(kind, engine, target, shifted)

    def _effects(self, kind: str, rng: np.random.Generator) -> tuple[ImageDisturbance, dict[str, bool]]:
        """Draw disturbances, and which of their factors are outside the range."""
        chosen = {
            "light": [rng.choice(list(LIGHT))],
            "lens": ["blur"] if rng.random() < 0.5 else [],
            "noise": ["noise"],
        }.get(kind, [])
        values = {}
        for factor, parameter in FACTORS.items():
            low, high = self.space[parameter].range
            sign = rng.choice([-1.0, 1.0]) if low < 0 else 1.0
            share = rng.uniform(*OUT) if factor in chosen else IN * rng.random()
            values[parameter] = float(sign * share * high)
        return ImageDisturbance(**values), {factor: factor in chosen for factor in FACTORS}

    def _camera_shift(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """Draw the camera's parameters (9,), in the order of `AXES`, relative to the nominal camera."""
        ends = np.array([self.space[f"camera_{self.rig.cameras[0].name}_{axis}"].range[1] for axis in AXES])
        ends[AXES.index("focal")] -= 1.0
        shift = IN * rng.uniform(-1, 1, len(AXES)) * ends
        of = {"camera": POSE, "lens": LENS}.get(kind, ())
        for axis in rng.choice(of, 2, replace=False) if of else ():
            i = AXES.index(axis)
            shift[i] = rng.choice([-1.0, 1.0]) * rng.uniform(*OUT) * ends[i]
        return shift

    def _orbit(self, camera: CameraModel, turn: float) -> np.ndarray:
        """Return the parameters of a camera that is turned about the vertical through the table's middle."""
        middle = np.array([0.5, 0.0, 0.0])
        around = Rotation.from_rotvec([0.0, 0.0, turn])
        T = camera.pose()
        shift = middle + around.apply(T[:3, 3] - middle) - T[:3, 3]
        turned = Rotation.from_matrix(T[:3, :3].T @ around.as_matrix() @ T[:3, :3]).as_rotvec()
        return np.concatenate([turned, shift, np.zeros(3)])

    def _states(self, arm: RobotModel, rig: Rig, seed: int, rng: np.random.Generator):
        task = fitted_task(self.bundle.task, arm, rig)
        space = parameter_space(task, arm).narrowed(0.0)
        full = parameter_space(task, arm).preset("full")
        looks = {"appearance_strength": 0.3, "appearance_seed": float(rng.integers(2**31))}
        fixed = [replace(full[n], distribution=CONSTANT, operator="=", nominal=v) for n, v in looks.items()]
        with closing(ArmEnv(task, arm, space.with_params(*fixed), CAMERAS, cameras=rig)) as env:
            return draw_renders(env, FRAMES, seed)

    def _ours(self, kind, shifts, seed, rng) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        arm = load_robot(rng.choice(FOREIGN)) if kind == "foreign arm" else self.robot
        rig = Rig("moved", tuple(moved(camera, shifts[camera.name]) for camera in self.rig.cameras))
        views = self._states(arm, rig, seed, rng)
        q = _as_wide(views[0].q, len(self.robot.joint_names))
        return q, views[0].opening, {c.name: view.images for c, view in zip(rig.cameras, views)}

    def _mujoco(self, kind, shifts, seed, rng) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Show states in MuJoCo's scene, with hidden textures, lights, encoder errors and lens."""
        arm = load_robot(rng.choice(FOREIGN)) if kind == "foreign arm" else self.robot
        states = self._states(arm, self.rig, seed, rng)[0]
        still = hidden_reality(arm, None)
        exact = {"position_offset": (0.0,) * 3, "rotation_offset_deg": (0.0,) * 3}
        clean = {"shot_noise": 0.0, "read_noise": 0.0, "blur": 0.0}
        still = replace(still, camera=replace(still.camera, **exact, **clean))
        # the lens's shift is an error of the calibration that images are rectified by
        places = tuple(moved(camera, np.r_[shifts[camera.name][:6], np.zeros(3)]) for camera in self.rig.cameras)
        lab = MujocoArm(arm, places, still)
        lab.place(None, seed)
        cameras = VirtualCameras(lab, RasterRenderer(lab))
        rectify = {
            camera.name: _mistaken(lab.cameras[camera.name].model, camera, shifts[camera.name][6:]).rectifier(camera)
            for camera in self.rig.cameras
        }
        fingers = arm.gripper.joint_names if arm.gripper is not None else ()
        n = len(arm.joint_names)
        offset = np.array(still.arm.encoder_offset)[:n]
        images: dict[str, list[np.ndarray]] = {camera.name: [] for camera in self.rig.cameras}
        snapshot = lab.snapshot()
        for q, opening in zip(states.q, states.opening):
            qpos = snapshot.qpos.copy()
            for name, value in zip((*arm.joint_names, *fingers), (*(q - offset), *[opening[0]] * len(fingers))):
                qpos[lab.model.joint(name).qposadr[0]] = value
            for name, made in images.items():
                made.append(rectify[name](cameras.take(name, replace(snapshot, qpos=qpos), rng)))
        q = _as_wide(states.q, len(self.robot.joint_names))
        return q, states.opening, {name: np.stack(each) for name, each in images.items()}


def moved(camera: CameraModel, shift: np.ndarray) -> CameraModel:
    """Return a fixed camera changed by `shift` (9,), in the order of `AXES`."""
    T, K = np.array(camera.pose()), np.array(camera.K)
    T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(shift[:3]).as_matrix()
    T[:3, 3] += shift[3:6]
    K[0, 0], K[1, 1] = K[0, 0] * (1 + shift[6]), K[1, 1] * (1 + shift[6])
    K[:2, 2] += shift[7:9]
    return replace(camera, K=as_matrix(K), T_base_camera=as_matrix(T))


def _mistaken(real: CameraModel, nominal: CameraModel, lens: np.ndarray) -> CameraModel:
    """Return the calibration of `real` by which images rectified to `nominal` have a `lens` (3,) that is off."""
    K = np.array(real.K)
    fx, fy = K[0, 0] / (1 + lens[0]), K[1, 1] / (1 + lens[0])
    K[0, 2] -= lens[1] * fx / nominal.fx
    K[1, 2] -= lens[2] * fy / nominal.fy
    K[0, 0], K[1, 1] = fx, fy
    return replace(real, K=as_matrix(K))


def _as_wide(q: np.ndarray, n: int) -> np.ndarray:
    """Return joints (N, n) of an arm that may have more or fewer."""
    return np.pad(q, ((0, 0), (0, max(0, n - q.shape[1]))))[:, :n].astype(np.float32)


def load_space(bundle: PolicyBundle, preset: str) -> ParameterSpace:
    """Return the parameters of the bundle's task at `preset`."""
    robot = load_robot(bundle.arm)
    rig = Rig(bundle.name, tuple(bundle.cameras.values()))
    return parameter_space(fitted_task(bundle.task, robot, rig), robot).preset(preset)
