"""The policy bundle: everything a robot needs to run a policy, verifiable, in one folder or zip.

    manifest.json   specs, robot, cameras, task, provenance, SHA-256 of every other file
    policy.onnx     the policy with its normaliser and adapter inside the graph
    parity.npz      recorded observations and the actions they must give
    robot.urdf      the arm's description
    hulls.npz       convex hulls of the arm's links, by name, for the safety gate; absent without collision geometry
    weights.npz     the same weights by name, from which adaptation and transfer go on; optional

Loads with numpy and onnxruntime alone. Nothing in it is ever unpickled. `docs/bundle_format.md` is the format.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from policies.bundle.camera_mask import CAMERA_MASK, STD_OUTPUT, CameraMasking
from policies.bundle.contents import FORMAT_VERSION, BundleError, read_contents
from policies.bundle.graph_check import GraphNames, check_graph
from policies.bundle.input_watch import InputWatch
from policies.bundle.landmark_residuals import KEYPOINTS, LandmarkResiduals
from policies.bundle.things import Things, check_things
from robots.camera import CameraModel
from robots.host.writing import whole_file, whole_folder
from robots.model import RobotModel
from robots.registry import ARM_FILES, ROBOTS
from robots.shapes.hulls import arm_hulls
from robots.specs import ActionSpec, ObservationSpec, SpecError

PARITY_TOLERANCE = 1e-4
"""Largest deviation of a replayed action. Runtimes and processors add up float32 in different orders, which has changed
an action by up to 1.3e-5; a wrong result is off by far more, and 1e-4 of 4 cm is 4 µm."""
BEGIN = "begin"
"""Name of the parity array that marks the first record of an episode."""
COMPLETION = "completion"
"""Name of a memory (1,): for what share of the task's hold time success has lasted. At 1 the task is done."""
DONE = 0.999
"""Completion from which a task is done; 1, but for rounding."""


class PolicyOutput(NamedTuple):
    """What a policy computes from one observation."""

    action: np.ndarray
    """(n,) float32, normalised."""
    predicted_std: np.ndarray | None
    """(P,) of the positions that it locates [m], for one that takes any subset of its cameras; else None."""
    keypoints: np.ndarray | None
    """(C, K, 3) where it locates them in the images, see `KEYPOINTS`, for one that tells; else None."""


@dataclass(frozen=True)
class PolicyBundle:
    """A policy with its contract."""

    name: str
    """What people call it; shown in reports."""
    task: str
    """Name of the task it was trained for."""
    observation: ObservationSpec
    """What goes in."""
    action: ActionSpec
    """What comes out."""
    robot: RobotModel
    """The arm it drives."""
    cameras: dict[str, CameraModel]
    """The cameras it was trained with, by name."""
    onnx: bytes = field(repr=False)
    """The graph: inputs named as the observation's arrays, with a leading batch of 1; output `action`."""
    parity: Mapping[str, np.ndarray] = field(repr=False)
    """Arrays `observation.<name>` (N, …) and `action` (N, n); for a policy with a memory also `begin` (N,) bool: where
    an episode begins, and the memory is fresh."""
    provenance: dict = field(default_factory=dict)
    """How it came to be: configuration, seeds, versions, parameter space, parent, adaptation."""
    network: dict = field(default_factory=dict)
    """What `weights` belong to: the network's kind and sizes; empty without weights."""
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Weights by name, for further training; never needed to run the policy."""

    inputs: InputWatch = field(default_factory=lambda: InputWatch({}))
    """What its inputs held in training; the control loop refuses others."""
    memory: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of what the policy carries from one action to the next, by name: inputs of the graph, and its outputs
    `next_<name>`; all zeros when an episode begins."""
    masking: CameraMasking | None = None
    """Which cameras the policy can do without, and how unsure it may then be; None where it needs all."""
    landmarks: LandmarkResiduals | None = None
    """How far the arm's landmarks were from where they were expected in training; None where that is not known."""
    things: Things | None = None
    """What the policy can be asked for among several things; None where it is about one."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the manifest, which holds the hashes of all other files."""
        return hashlib.sha256(self._manifest_bytes).hexdigest()

    @property
    def arm(self) -> str:
        """Name or arm file by which `load_robot` finds the arm with its meshes, which a bundle lacks.

        Raises:
            BundleError: if the arm file of the training is not there.
        """
        config = self.provenance.get("config")
        file = config.get("robot") if isinstance(config, dict) else None
        if self.robot.name in (*ROBOTS, *ARM_FILES):
            return self.robot.name
        if isinstance(file, str) and file.endswith(".json") and Path(file).is_file():
            return file
        raise BundleError(
            f"bundle '{self.name}': its arm '{self.robot.name}' was described by '{file}', which is not there; "
            "simulation needs the file with its URDF and meshes: call from the folder in which you trained"
        )

    def check_placed(self) -> None:
        """Check that it is known where the cameras stand.

        Raises:
            SpecError: if some may stand anywhere, with the next step.
        """
        free = [name for name, camera in self.cameras.items() if camera.pose_range is not None]
        if free:
            raise SpecError(
                f"policy '{self.name}' was trained for cameras anywhere, and {', '.join(free)} have no place yet; "
                "write a bundle for those of your lab: sim2real rig place --bundle … --cameras rig.json --out …"
            )

    def fresh_memory(self) -> dict[str, np.ndarray]:
        """What the policy carries when an episode begins, float32 zeros by name; empty for most policies."""
        return {name: np.zeros(shape, np.float32) for name, shape in self.memory.items()}

    def act(
        self,
        observation: Mapping[str, np.ndarray],
        memory: dict[str, np.ndarray] | None = None,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """Compute the normalised action (n,) float32 for one observation.

        Args:
            observation: what is seen, by name.
            memory: what `fresh_memory` gave when the episode began; it is changed in place.
            mask: (C,) float32, 0 for cameras that do not count, where the policy can do without some; by default all
                count.

        Raises:
            SpecError: if observation or mask do not match the spec, or the policy has a memory and is given none.
        """
        self.observation.validate(observation)
        if mask is not None:
            if self.masking is None:
                raise SpecError(
                    f"policy '{self.name}' needs all its cameras, and was given a mask of them; leave it out"
                )
            self.masking.spec.check(mask)
        if self.memory and (memory is None or memory.keys() != self.memory.keys()):
            raise SpecError(
                f"policy '{self.name}' has a memory of {', '.join(self.memory)}, and was given "
                f"{', '.join(memory) if memory else 'none'}; pass what fresh_memory() gave when the episode began"
            )
        return self.infer(observation, memory or {}, mask).action

    @staticmethod
    def is_done(memory: Mapping[str, np.ndarray]) -> bool | None:
        """Whether the task is done, by the memory after an action; None for a policy that does not tell."""
        completion = memory.get(COMPLETION)
        return None if completion is None else bool(completion[0] > DONE)

    def infer(
        self, observation: Mapping[str, np.ndarray], memory: dict[str, np.ndarray], mask: np.ndarray | None = None
    ) -> PolicyOutput:
        """As `act`, for arrays that are known to be as specified."""
        feed = {name: observation[name][None] for name in self.observation.names}
        feed |= {name: memory[name][None] for name in self.memory}
        if self.masking is not None:
            feed[CAMERA_MASK] = (self.masking.all_cameras() if mask is None else mask)[None]
        found = dict(zip(self._outputs, self._session.run(self._outputs, feed)))
        for name in self.memory:
            memory[name] = found[f"next_{name}"][0]
        stds, keypoints = found.get(STD_OUTPUT), found.get(KEYPOINTS)
        return PolicyOutput(
            found["action"][0], None if stds is None else stds[0], None if keypoints is None else keypoints[0]
        )

    def check_parity(self) -> float:
        """Replay the recorded observations; return the largest deviation from the recorded actions.

        Raises:
            BundleError: if it is above `PARITY_TOLERANCE`.
        """
        actions = self.parity["action"]
        names, masks = self.observation.names, self.parity.get(f"observation.{CAMERA_MASK}")
        worst = 0.0
        begins = self.parity.get(BEGIN, np.ones(len(actions), bool))
        memory = self.fresh_memory()
        for i, expected in enumerate(actions):
            if begins[i]:
                memory = self.fresh_memory()
            seen = {name: self.parity[f"observation.{name}"][i] for name in names}
            action = self.act(seen, memory, None if masks is None else masks[i])
            deviation = float(np.abs(action - expected).max())
            if not np.isfinite(deviation):  # max() would keep the smaller number beside a NaN
                raise BundleError(
                    f"bundle '{self.name}': record {i} of parity.npz is replayed as {action}, expected finite numbers; "
                    "train or export the policy again"
                )
            worst = max(worst, deviation)
        if not worst <= PARITY_TOLERANCE:
            raise BundleError(
                f"bundle '{self.name}': replayed actions differ from the recorded ones by {worst:.2g}, "
                f"allowed {PARITY_TOLERANCE:.0e}; is this onnxruntime build supported on this processor?"
            )
        return worst

    def save(self, path: Path | str) -> Path:
        """Write the bundle to the folder or `.zip` at `path`, whole or not at all.

        Raises:
            BundleError: if something is there already.
            WriteError: if the disk is full or the place cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise BundleError(f"'{path}' exists already; choose another path or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        files = {"manifest.json": self._manifest_bytes, **self._payload}
        if path.suffix == ".zip":
            with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        else:
            with whole_folder(path) as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
        return path

    @classmethod
    def load(cls, path: Path | str) -> PolicyBundle:
        """Read and verify the bundle at `path`, a folder or a `.zip`.

        Raises:
            BundleError: if a file is missing or altered, the format is of another version, or the graph does not end.
        """
        path = Path(path)
        contents, where = read_contents(path), f"bundle '{path}'"
        manifest = contents.manifest
        try:
            hulls = contents.arrays("hulls.npz", where) if "hulls.npz" in contents.payload else {}
            for link, corners in hulls.items():
                if corners.ndim != 2 or corners.shape[1] != 3 or not _are_numbers(corners):
                    raise SpecError(
                        f"hull of link '{link}' is {corners.dtype} {corners.shape}, expected finite corners (V, 3)"
                    )
            bundle = cls(
                name=manifest.name,
                task=manifest.task,
                observation=ObservationSpec.from_dict(manifest.observation),
                action=ActionSpec.from_dict(manifest.action),
                robot=replace(
                    RobotModel.from_dict(manifest.robot, contents.payload["robot.urdf"].decode()), hulls=hulls
                ),
                cameras={camera.name: camera for camera in map(CameraModel.from_dict, manifest.cameras)},
                onnx=contents.payload["policy.onnx"],
                parity=contents.arrays("parity.npz", where),
                provenance=manifest.provenance,
                network=manifest.network,
                inputs=InputWatch.from_dict(manifest.inputs),
                memory=manifest.memory,
                masking=CameraMasking.from_dict(manifest.camera_mask),
                landmarks=LandmarkResiduals.from_dict(manifest.landmarks),
                things=Things.from_dict(manifest.things),
                weights=contents.weights(where),
            )
            bundle.__dict__["_manifest_bytes"] = contents.raw_manifest  # the hash is over the bytes on disk
            bundle.inputs.validate(bundle.observation)
            check_things(bundle.things, bundle.observation)
            if bundle.masking is not None:
                bundle.masking.validate(bundle.images)
            if bundle.landmarks is not None:
                bundle.landmarks.validate(bundle.images)
            _ = bundle.robot.chain, bundle.robot.tree  # the URDF is read here, not where the arm moves
            names = check_graph(bundle.onnx, contents.payload["parity.npz"], bundle.array_names, bundle.memory, where)
            bundle._check_graph(names)
        except (SpecError, UnicodeDecodeError) as error:
            again = "copy it again from where it was made, or export it again"
            raise BundleError(f"{'' if where in str(error) else f'{where}: '}{error}; {again}") from None
        return bundle

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the cameras whose images the policy takes, in order."""
        return tuple(each.name.removeprefix("image_") for each in self.observation.arrays if each.is_image)

    @property
    def array_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs but the memory: the observation's, and the mask of cameras if there is one."""
        return (*self.observation.names, *((CAMERA_MASK,) if self.masking else ()))

    @cached_property
    def _outputs(self) -> list[str]:
        following = [f"next_{name}" for name in self.memory]
        return [
            "action",
            *following,
            *((STD_OUTPUT,) if self.masking else ()),
            *((KEYPOINTS,) if self.landmarks else ()),
        ]

    @cached_property
    def _session(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a small network loses by waking more threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _payload(self) -> dict[str, bytes]:
        payload = {
            "policy.onnx": self.onnx,
            "parity.npz": _write_arrays(self.parity),
            "robot.urdf": self.robot.urdf_xml.encode(),
        }
        hulls = arm_hulls(self.robot)
        if hulls:
            payload["hulls.npz"] = _write_arrays(hulls)
        return {**payload, "weights.npz": _write_arrays(self.weights)} if self.weights else payload

    @cached_property
    def _manifest_bytes(self) -> bytes:
        manifest = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "task": self.task,
            "observation": self.observation.to_dict(),
            "action": self.action.to_dict(),
            "robot": self.robot.to_dict(),
            "cameras": [camera.to_dict() for camera in self.cameras.values()],
            "provenance": self.provenance,
            "network": self.network,
            "inputs": self.inputs.to_dict(),
            **({"memory": {name: list(shape) for name, shape in self.memory.items()}} if self.memory else {}),
            **({"camera_mask": self.masking.to_dict()} if self.masking else {}),
            **({"landmarks": self.landmarks.to_dict()} if self.landmarks else {}),
            **({"things": self.things.to_dict()} if self.things else {}),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in self._payload.items()},
        }
        return json.dumps(manifest, indent=2).encode()

    def _check_graph(self, graph: GraphNames) -> None:
        inputs, outputs = list(graph.inputs), list(graph.outputs)
        if sorted(inputs) != sorted([*self.array_names, *self.memory]):
            raise BundleError(
                f"bundle '{self.name}': policy.onnx takes {inputs}, the manifest's arrays are "
                f"{list(self.array_names)} and its memory {list(self.memory)}; export it again"
            )
        missing = [name for name in self._outputs if name not in outputs]
        if missing:
            raise BundleError(
                f"bundle '{self.name}': policy.onnx gives {outputs}, but no '{missing[0]}'; export it again"
            )
        keys = {f"observation.{name}" for name in self.array_names} | {"action"}
        keys |= {BEGIN} if self.memory else set()
        if set(self.parity) != keys or len(self.parity["action"]) == 0:
            raise BundleError(f"bundle '{self.name}': parity.npz holds {sorted(self.parity)}, expected {sorted(keys)}")
        records = len(self.parity["action"])
        shapes = {f"observation.{array.name}": array.shape for array in self.observation.arrays}
        shapes |= {f"observation.{CAMERA_MASK}": self.masking.spec.shape} if self.masking else {}
        shapes |= {"action": (self.action.size,)} | ({BEGIN: ()} if self.memory else {})
        for key, shape in shapes.items():
            found = self.parity[key]
            if found.shape != (records, *shape) or (found.dtype.kind == "f" and not np.isfinite(found).all()):
                raise BundleError(
                    f"bundle '{self.name}': parity.npz holds '{key}' of shape {found.shape}, expected "
                    f"{(records, *shape)} and finite numbers; export it again"
                )
        if graph.failed:
            raise BundleError(f"bundle '{self.name}': policy.onnx cannot be run ({graph.failed}); export it again")


def _are_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isfinite(array).all())


def _write_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    return buffer.getvalue()
