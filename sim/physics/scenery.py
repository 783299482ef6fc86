"""Builds the table and a task's bodies in a PyBullet client, anew for every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sim.bullet import pybullet
from sim.physics.physics_urdf import WorldError
from sim.scene import RigidBody, Shape

SHAPE_STEP = 1e-4
"""Sizes are rounded to this [m], so that collision shapes, which PyBullet never frees, can be shared."""
GEOMETRIES = {"box": pybullet.GEOM_BOX, "cylinder": pybullet.GEOM_CYLINDER, "sphere": pybullet.GEOM_SPHERE}
NOTHING: Mapping[str, list[float]] = {}


class Scenery:
    """The bodies beside the arm."""

    def __init__(self, client: int):
        """Start with none in `client`."""
        self._client = client
        self._built: list[RigidBody] = []
        self._shapes: dict[tuple, int] = {}
        self.ids: dict[str, int] = {}
        """PyBullet's numbers by name."""
        self.com: dict[str, tuple[float, float, float]] = {}
        """Centres of mass in the bodies' frames [m]."""
        self._contacts: dict[int, tuple[float, ...]] = {}  # by PyBullet's number, as they are set
        self.builds = 0
        """How many bodies have been built so far; PyBullet leaks about 1 kB for each."""
        # without a visual shape PyBullet tessellates one from the collision shape, which takes 0.3 ms for a cylinder;
        # nothing is converted faster than a single triangle
        self._nothing_to_see = pybullet.createVisualShape(
            pybullet.GEOM_MESH,
            vertices=[[0.0, 0.0, 0.0], [1e-4, 0.0, 0.0], [0.0, 1e-4, 0.0]],
            indices=[0, 1, 2],
            physicsClientId=client,
        )

    def rebuild(self, bodies: Sequence[RigidBody]) -> None:
        """Build all `bodies`, what never moves first; from the front on, keep what stands still and has the same shape.

        PyBullet's order of bodies, which decides on the last bits of a result, is thus always the same.
        """
        wanted = sorted(bodies, key=lambda body: body.mass > 0)
        kept = 0
        for old, new in zip(self._built, wanted):
            if new.mass > 0 or (old.name, old.shapes, old.solid, old.mass) != (new.name, new.shapes, new.solid, 0.0):
                break
            kept += 1
        for body in reversed(self._built[kept:]):
            body_id = self.ids.pop(body.name)
            pybullet.removeBody(body_id, physicsClientId=self._client)
            del self._contacts[body_id]
        for body in wanted[:kept]:
            self._set_contact(self.ids[body.name], body)
        for body in wanted[kept:]:
            self.ids[body.name] = self._build(body)
        self.builds += len(wanted) - kept
        self._built = wanted
        self.com = {body.name: body.com for body in wanted}

    def _build(self, body: RigidBody) -> int:
        body_id = pybullet.createMultiBody(
            body.mass,
            self._shape(body.shapes) if body.solid else -1,
            self._nothing_to_see,
            baseInertialFramePosition=body.com,
            physicsClientId=self._client,
        )
        if body_id < 0:
            raise WorldError(f"body '{body.name}': PyBullet cannot build {body.shapes}")
        more = {}
        if body.inertia_scale != 1.0:
            inertia = pybullet.getDynamicsInfo(body_id, -1, physicsClientId=self._client)[2]
            more["localInertiaDiagonal"] = [body.inertia_scale * v for v in inertia]
        self._set_contact(body_id, body, more)
        return body_id

    def _set_contact(self, body_id: int, body: RigidBody, more: Mapping[str, list[float]] = NOTHING) -> None:
        contact = body.friction, body.rolling_friction, body.spinning_friction, body.restitution
        if self._contacts.get(body_id) == contact:
            return
        self._contacts[body_id] = contact
        pybullet.changeDynamics(
            body_id,
            -1,
            lateralFriction=body.friction,
            rollingFriction=body.rolling_friction,
            spinningFriction=body.spinning_friction,
            restitution=body.restitution,
            linearDamping=0.0,
            angularDamping=0.0,
            frictionAnchor=1,  # without it a body at rest creeps by 0.4 mm/s at this solver residual
            physicsClientId=self._client,
            **more,
        )

    def _shape(self, shapes: tuple[Shape, ...]) -> int:
        steps = [[round(v / SHAPE_STEP) for v in (*s.size, *s.position)] for s in shapes]
        key = tuple((s.kind, *counts) for s, counts in zip(shapes, steps))
        if key in self._shapes:
            return self._shapes[key]
        kinds, halves, radii, lengths, places = [], [], [], [], []
        for s, counts in zip(shapes, steps):
            *size, x, y, z = [SHAPE_STEP * count for count in counts]
            kinds.append(GEOMETRIES[s.kind])
            halves.append([v / 2 for v in size] if s.kind == "box" else [0.0, 0.0, 0.0])
            radii.append(0.0 if s.kind == "box" else size[0])
            lengths.append(size[1] if s.kind == "cylinder" else 0.0)
            places.append([x, y, z])
        shape = pybullet.createCollisionShapeArray(
            shapeTypes=kinds,
            halfExtents=halves,
            radii=radii,
            lengths=lengths,
            collisionFramePositions=places,
            physicsClientId=self._client,
        )
        self._shapes[key] = shape
        return shape
