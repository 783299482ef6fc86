"""How near an arm is to itself and to the boxes that it must keep out of.

Convex hulls of the links (`robots.shapes.hulls`), placed by pinocchio, their distances by coal's GJK. One
`CollisionModel` serves one thread. Robot side: numpy, pinocchio and coal.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from policies.runtime.limits import Box, SafetyError
from policies.runtime.native_libraries import coal_and_pinocchio
from robots.model import RobotModel
from robots.urdf import without_geometry

SELF_MARGIN = 0.01
"""Distance kept between two links [m]; MoveIt Servo slows down within the same."""
KEEP_OUT_MARGIN = 0.02
"""Distance kept between a link and a keep-out box [m]."""
NEIGHBOURS_TOUCH = 0.005
"""Links next but one to each other that are this near at home touch by their hulls' bulk [m]: not watched."""
MOST_EXTENT = 10.0
"""No corner of a link lies further from the link's frame [m]."""
LEAST_THICKNESS = 1e-5
"""A hull thinner than this is flat [m]."""
ROUNDING = 1e-6
"""What distances computed twice may differ by [m]."""


@dataclass(frozen=True)
class Approach:
    """The pair that has the least room."""

    first: str
    """A link."""
    second: str
    """A link, or `keep-out box <number>`."""
    distance: float
    """Between the two [m]; negative in contact."""

    @property
    def reason(self) -> str:
        """`keep_out` or `self_collision`."""
        return "keep_out" if self.second.startswith("keep-out") else "self_collision"

    def __str__(self) -> str:
        return f"'{self.first}' is {1e3 * self.distance:.0f} mm from '{self.second}'"


class CollisionModel:
    """Distances of one arm's hulls from each other and from boxes, and whether a path keeps them."""

    def __init__(
        self,
        robot: RobotModel,
        hulls: Mapping[str, np.ndarray],
        keep_out: Sequence[Box] = (),
        self_margin: float = SELF_MARGIN,
        keep_out_margin: float = KEEP_OUT_MARGIN,
    ):
        """Prepare.

        Args:
            robot: the arm.
            hulls: corners (V, 3) of each link's hull, in the link's frame [m].
            keep_out: boxes in the base frame that no moving link may enter; what the arm is bolted to may.
            self_margin: distance kept between links [m].
            keep_out_margin: distance kept from the boxes [m].

        Raises:
            SafetyError: if there are no hulls, or none of what a joint moves, a margin is not positive, or links of
                the hulls are not the arm's, or pinocchio or coal cannot be imported.
        """
        coal, pinocchio = coal_and_pinocchio()
        self._pinocchio = pinocchio
        for name, margin in (("self_margin", self_margin), ("keep_out_margin", keep_out_margin)):
            if not 0 < margin <= 0.5:
                raise SafetyError(f"limit '{name}': {margin} m, expected within (0, 0.5]")
        unknown = sorted(set(hulls) - set(robot.tree.links))
        if unknown or not hulls:
            raise SafetyError(
                f"robot '{robot.name}': collision hulls of {unknown or 'no link'}; expected links of its URDF, "
                f"{', '.join(robot.tree.links)}; export the bundle again where the arm's meshes are"
            )
        for link, points in hulls.items():
            _check_hull(robot.name, link, points)
        self._model, self._placing = _pinocchio_model(pinocchio, robot)
        self._data = self._model.createData()
        self._n = len(robot.joint_names)
        self._geometry = pinocchio.GeometryModel()
        names: list[str] = []
        for link, points in hulls.items():
            frame = self._model.frames[self._model.getFrameId(link)]
            shape = coal.Convex.convexHull(_vectors(coal, points), False, "Qt")
            self._geometry.addGeometryObject(
                pinocchio.GeometryObject(link, frame.parentJoint, frame.parentJoint, frame.placement, shape)
            )
            names.append(link)
        _check_all_have_hulls(robot.name, self._model, {each.parentJoint for each in self._geometry.geometryObjects})
        base = self._model.frames[self._model.getFrameId(robot.base_link)].placement
        for number, box in enumerate(keep_out, 1):
            low, high = np.array(box.low), np.array(box.high)
            centre = base * pinocchio.SE3(np.eye(3), (low + high) / 2)
            shape = coal.Box(*(high - low))
            self._geometry.addGeometryObject(pinocchio.GeometryObject(f"keep-out box {number}", 0, 0, centre, shape))
            names.append(f"keep-out box {number}")
        home = np.array(robot.home)
        for pair in _pairs(self._model, self._geometry, names, len(hulls)):
            self._geometry.addCollisionPair(pinocchio.CollisionPair(*pair))
        self._distances = self._geometry.createData()
        self._results = self._distances.distanceResults
        self._drop_touching(home, len(hulls))
        self._names = [(names[pair.first], names[pair.second]) for pair in self._geometry.collisionPairs]
        self._margins = np.array([keep_out_margin if b.startswith("keep-out") else self_margin for _, b in self._names])
        self._required = self._margins.copy()
        self._weights = _weights(robot, hulls, self._names)
        self._seen = np.full(len(self._names), -np.inf)  # distance of each pair when it was last looked at,
        self._seen_at = np.tile(home, (len(self._names), 1))  # and the joint positions then

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What is watched."""
        return tuple(self._names)

    @property
    def margins(self) -> np.ndarray:
        """What is kept between each pair (pairs,) [m]."""
        return self._margins.copy()

    def distances(self, q: np.ndarray) -> np.ndarray:
        """Compute the distance of every pair [m] at `q` (n,) [rad]; negative in contact."""
        self._pinocchio.computeDistances(self._model, self._data, self._geometry, self._distances, self._placing(q))
        return np.array([result.min_distance for result in self._results])

    def nearest(self, q: np.ndarray) -> Approach | None:
        """Return the pair with the least room beyond its margin at `q` (n,) [rad]; None where nothing is watched."""
        if not self._names:
            return None
        distances = self.distances(q)
        worst = int((distances - self._margins).argmin())
        return Approach(*self._names[worst], float(distances[worst]))

    def start(self, q: np.ndarray) -> None:
        """Begin at `q` (n,) [rad]: an arm inside a margin may move away, and no nearer.

        Raises:
            SafetyError: if it is in contact already.
        """
        distances = self.distances(q)
        if (distances <= 0).any():
            worst = int(distances.argmin())
            approach = Approach(*self._names[worst], float(distances[worst]))
            raise SafetyError(f"collision: {approach}; bring the arm away with its own means")
        self._required = np.where(distances >= self._margins, self._margins, distances - ROUNDING)
        self._seen, self._seen_at = distances, np.tile(np.asarray(q, np.float64), (len(distances), 1))

    def obstacle(self, path: np.ndarray) -> Approach | None:
        """Return what comes too near on a `path` (m, n) [rad]; None if nothing does.

        A pair cannot near by more than its joints' steps times their levers. So each pair is looked at only where
        this bound, from where it was looked at last, no longer clears it: far ones hardly ever, none between two
        points of the path either.
        """
        if not self._names or len(path) == 0:
            return None
        room = self._seen - self._required - self._nearing(path, slice(None))  # (m, pairs), at least that much
        begin = 0
        while True:
            short = room[begin:] < 0
            rows = short.any(1)
            if not rows.any():
                return None
            begin += int(rows.argmax())
            pairs = np.flatnonzero(room[begin] < 0)
            self._look(path[begin], pairs)
            too_near = pairs[self._seen[pairs] < self._required[pairs]]
            if len(too_near):
                worst = int(too_near[(self._seen - self._required)[too_near].argmin()])
                return Approach(*self._names[worst], float(self._seen[worst]))
            left = self._seen[pairs] - self._required[pairs] - self._nearing(path[begin:], pairs)
            room[begin:, pairs] = left

    def _nearing(self, path: np.ndarray, pairs: slice | np.ndarray) -> np.ndarray:
        """Return by how much `pairs` can have neared (m, len(pairs)) [m] since they were looked at."""
        turned = np.abs(path[:, None, :] - self._seen_at[pairs][None])
        return np.einsum("mpn,pn->mp", turned, self._weights[pairs])

    def _look(self, q: np.ndarray, pairs: np.ndarray) -> None:
        self._pinocchio.updateGeometryPlacements(
            self._model, self._data, self._geometry, self._distances, self._placing(q)
        )
        for pair in pairs:
            result = self._pinocchio.computeDistance(self._geometry, self._distances, int(pair))
            self._seen[pair] = result.min_distance
        self._seen_at[pairs] = q

    def _drop_touching(self, q: np.ndarray, links: int) -> None:
        """Forget pairs of links next but one to each other whose hulls touch at home: bulk, not danger."""
        distances = self.distances(q)
        joints = [g.parentJoint for g in self._geometry.geometryObjects]
        for pair, distance in zip(list(self._geometry.collisionPairs), distances):
            near = pair.second < links and _apart(self._model, joints[pair.first], joints[pair.second]) <= 2
            if near and distance < NEIGHBOURS_TOUCH:
                self._geometry.removeCollisionPair(pair)
        self._distances = self._geometry.createData()
        self._results = self._distances.distanceResults


def _pinocchio_model(pinocchio: ModuleType, robot: RobotModel):
    """Return the arm with its fingers open, and what puts joint positions (n,) into the model's order."""
    whole = pinocchio.buildModelFromXML(without_geometry(robot.urdf_xml))
    moving = set(robot.joint_names)
    locked = [i for i in range(1, whole.njoints) if whole.names[i] not in moving]
    reference = pinocchio.neutral(whole)
    if robot.gripper is not None:
        for name, position in zip(robot.gripper.moving, robot.gripper.positions(robot.gripper.opened)):
            if whole.existJointName(name):
                reference[whole.joints[whole.getJointId(name)].idx_q] = position
    model = pinocchio.buildReducedModel(whole, locked, reference)
    joints = [model.joints[model.getJointId(name)] for name in robot.joint_names]
    plain = all(joint.nq == 1 for joint in joints) and [j.idx_q for j in joints] == list(range(len(joints)))

    def placing(q: np.ndarray) -> np.ndarray:
        if plain:
            return np.asarray(q, np.float64)
        placed = np.zeros(model.nq)
        for value, joint in zip(q, joints):
            if joint.nq == 2:  # a continuous joint is a point on the circle
                placed[joint.idx_q : joint.idx_q + 2] = np.cos(value), np.sin(value)
            else:
                placed[joint.idx_q] = value
        return placed

    return model, placing


def _vectors(coal: ModuleType, points: np.ndarray):
    vectors = coal.StdVec_Vec3s()
    vectors.extend(list(np.asarray(points, np.float64)))
    return vectors


def _apart(model, a: int, b: int) -> int:
    """Return how many joints lie between two of the model's bodies."""
    path_a, path_b = list(model.supports[a]), list(model.supports[b])
    return len(set(path_a) ^ set(path_b))


def _check_hull(robot: str, link: str, points: np.ndarray) -> None:
    """Raise `SafetyError` unless `points` span a finite volume: coal crashes on NaN, and a flat hull guards nothing."""
    usable = points.ndim == 2 and points.shape[1] == 3 and len(points) >= 4 and points.dtype.kind == "f"
    if usable and np.isfinite(points).all() and np.abs(points).max() < MOST_EXTENT:
        spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
        if spread[-1] > LEAST_THICKNESS:
            return
    raise SafetyError(
        f"robot '{robot}': the hull of link '{link}', {points.shape} {points.dtype}, spans no finite volume; export "
        "the bundle again where the arm's meshes are"
    )


def _check_all_have_hulls(robot: str, model, covered: set[int]) -> None:
    """Raise `SafetyError` if a joint moves links that have a mass and no hull: they would collide unseen."""
    for joint in range(1, model.njoints):
        if joint not in covered and model.inertias[joint].mass > 0:
            raise SafetyError(
                f"robot '{robot}': no collision hull of any link that joint '{model.names[joint]}' moves; export the "
                "bundle again where the arm's meshes are"
            )


def _pairs(model, geometry, names: list[str], links: int) -> list[tuple[int, int]]:
    joints = [g.parentJoint for g in geometry.geometryObjects]
    pairs = [(a, b) for a, b in itertools.combinations(range(links), 2) if _apart(model, joints[a], joints[b]) > 1]
    pairs += [(a, b) for b in range(links, len(names)) for a in range(links) if joints[a] > 0]
    return pairs


def _weights(robot: RobotModel, hulls: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return bounds (pairs, n) on how much two hulls can near each other when a joint turns by 1 rad or slides by 1 m.

    Only joints between the two count; each moves the farther hull by at most the sum of all offsets beyond the joint
    and that hull's own radius.
    """
    tree, n = robot.tree, len(robot.joint_names)
    offsets = np.linalg.norm(tree.T_fixed[:, :3, 3], axis=1)
    q_most = np.maximum(np.abs(robot.limits.q_low), np.abs(robot.limits.q_high))
    fingers = robot.gripper.positions(robot.gripper.opened) if robot.gripper else ()
    farthest = np.abs([*q_most, *fingers])
    for i in np.flatnonzero(tree.kind == 2):
        offsets[i] += farthest[tree.joint[i]]

    def lever(link: str) -> np.ndarray:
        """(n,) how far the hull's points reach beyond each joint that carries it; 0 for joints that do not."""
        levers = np.zeros(n)
        i, far = tree.links.index(link), float(np.linalg.norm(hulls[link], axis=1).max())
        while i >= 0:
            joint = tree.joint[i]
            if 0 <= joint < n:
                levers[joint] = far if tree.kind[i] == 1 else 1.0
            far += offsets[i]
            i = tree.parent[i]
        return levers

    levers = {link: lever(link) for link in hulls}
    rows = []
    for first, second in pairs:
        a, b = levers[first], levers.get(second, np.zeros(n))
        between = (a > 0) != (b > 0)  # a joint that carries both does not move one against the other
        rows.append(np.where(between, np.maximum(a, b), 0.0))
    return np.array(rows).reshape(-1, n)
