"""The virtual lab as a MuJoCo model: an arm from its URDF, a table with one coloured cube, the room round it."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from robots.camera import CameraModel
from robots.model import Gripper, RobotModel
from robots.shapes.visual_meshes import find_mesh, load_urdf_visuals
from robots.specs import SpecError
from robots.urdf import UrdfGeometry, UrdfJoint, UrdfLink
from sim.scene import RigidBody, Shape
from sim.virtual_arm.hidden_reality import HiddenReality, as_ball
from sim.virtual_arm.mujoco_gl import mujoco
from sim.virtual_arm.mujoco_textures import plaster, plywood, tiles

TIMESTEP = 0.001
"""Seconds: the servo rate of the arms this stands for."""
TRIANGLES_PER_LINK = 1500
"""Clean silhouettes at 320 × 240; the stock meshes have up to 20,000, and software rendering pays for each."""
ARM, SCENE = 1, 2
"""Collision bits: the arm meets the scene, not itself (the convex hulls of neighbouring links overlap)."""
HIDDEN_GROUP = 3
"""Group of the geoms that renderers leave out."""
TABLE_THICKNESS = 0.04
FLOOR_Z = -0.76
WALL_X, WALL_Y = -1.30, 2.20
KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def build_scene(
    robot: RobotModel, cameras: Sequence[CameraModel], hidden: HiddenReality, bodies: Sequence[RigidBody]
) -> mujoco.MjModel:
    """Compile the model; the base frame is the world frame and the table's top lies at z = 0.

    Bodies and joints keep the URDF's names; what stands on the table is named as in `bodies`, with a free joint of that
    name if it can move, as a `mocap` body if it cannot; position servos are named after their joints, the cameras
    (centred, undistorted) after themselves.

    Raises:
        SpecError: if the robot has no URDF file with meshes, or the hidden values do not fit its joints.
    """
    if robot.urdf_path is None:
        raise SpecError(
            f"robot '{robot.name}': the virtual arm needs the URDF file with its meshes, and this model has none "
            "(it comes from a bundle); use robots.registry.load_robot"
        )
    spec = mujoco.MjSpec()
    spec.modelname = f"virtual_{robot.name}"
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.compiler.degree = False
    spec.compiler.balanceinertia = True  # some URDFs' (the xArm's) break the triangle inequality by a rounding
    _add_room(spec, hidden)
    for each in bodies:
        _add_body(spec, each, hidden)
    _add_arm(spec, robot, hidden, {"world", *(body.name for body in bodies)})
    _add_servos(spec, robot, hidden)
    for camera in cameras:
        _add_camera(spec, camera, robot)
    return spec.compile()


def _add_room(spec: mujoco.MjSpec, hidden: HiddenReality) -> None:
    scene = hidden.scene
    rng = np.random.default_rng(20240607)  # one room for all experiments; trials vary light and cube
    _add_texture(spec, "table", plywood(scene.table_colour, 512, rng), (1, 1), specular=0.12)
    _add_texture(spec, "floor", tiles(scene.floor_colour, 256, rng), (5, 5), specular=0.05)
    _add_texture(spec, "wall", plaster(scene.wall_colour, 256, rng), (1, 1), specular=0.0)
    world = spec.worldbody
    x, y = scene.table_top
    solid = {"contype": SCENE, "conaffinity": ARM | SCENE}
    _add_box(
        world,
        "table",
        (x / 2 - 0.35, 0, -TABLE_THICKNESS / 2),
        (x, y, TABLE_THICKNESS),
        material="table",
        friction=(scene.object_friction, 0.005, 0.0001),
        **solid,
    )
    _add_box(world, "floor", (0, 0, FLOOR_Z - 0.05), (6, 6, 0.1), material="floor")
    _add_box(world, "wall", (WALL_X - 0.05, 0, 0.4), (0.1, 6, 2.4), material="wall")
    for side in (-1, 1):  # behind what a camera beside the arm shows
        _add_box(world, f"wall_{side}", (0.85, side * WALL_Y, 0.4), (4.4, 0.1, 2.4), material="wall")
    _add_box(world, "wall_front", (WALL_X + 4.35, 0, 0.4), (0.1, 6, 2.4), material="wall")
    # Furniture of a lab, muted, outside the place where the cube may stand
    _add_box(world, "skirting", (WALL_X + 0.01, 0, FLOOR_Z + 0.06), (0.02, 6, 0.12), rgba=(0.30, 0.30, 0.31, 1))
    _add_box(world, "cabinet", (-0.95, 0.72, -0.36), (0.5, 0.55, 0.8), rgba=(0.55, 0.56, 0.57, 1))
    _add_box(world, "controller", (-0.12, -0.62, 0.075), (0.30, 0.22, 0.15), rgba=(0.20, 0.21, 0.22, 1), **solid)
    _add_box(world, "carton", (-0.08, 0.60, 0.06), (0.24, 0.28, 0.12), rgba=(0.60, 0.50, 0.38, 1), **solid)
    _add_box(world, "paper", (0.52, 0.52, 0.001), (0.297, 0.21, 0.002), rgba=(0.88, 0.88, 0.86, 1))
    _add_light(world, "key", scene.key_light, (1.0, 0.98, 0.94), scene.key_direction, shadow=True)
    _add_light(world, "window", scene.window_light, (0.88, 0.95, 1.0), scene.window_direction)
    _add_light(world, "lamp", scene.lamp_light, (1.0, 0.88, 0.72), scene.lamp_direction)
    spec.visual.headlight.active = 1  # stands for the light that comes from everywhere
    spec.visual.headlight.ambient = [scene.ambient] * 3
    spec.visual.headlight.diffuse = [0, 0, 0]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.visual.map.znear = 0.05
    spec.visual.map.zfar = 12
    spec.visual.map.shadowclip = 1.3
    # A software renderer takes two thirds of the time that 512² shadows and sides of 4 × 4 parts cost it, and a third
    # of that of 1024² and 4 samples a pixel; the lens's blur and the policy's smaller image hide what is left of steps
    spec.visual.quality.shadowsize = 256
    spec.visual.quality.offsamples = 0
    spec.visual.quality.numquads = 1  # a box's side under lights from afar is of one brightness
    spec.stat.center = [0.4, 0, 0.2]
    spec.stat.extent = 1.0


def _add_body(spec: mujoco.MjSpec, rigid: RigidBody, hidden: HiddenReality) -> None:
    """Add what stands on the table; the first geom has the body's name."""
    free = rigid.mass > 0
    body = spec.worldbody.add_body(name=rigid.name, pos=[0.5, 0, 0.5], mocap=not free)
    if free:
        body.add_freejoint(name=rigid.name)
    volume = sum(_volume(shape) for shape in rigid.shapes)
    colour = hidden.scene.object_colours[0] if rigid.name == "object" else rigid.colour
    for k, shape in enumerate(rigid.shapes):
        body.add_geom(
            name=rigid.name if k == 0 else f"{rigid.name}_{k}",
            type=KINDS[shape.kind],
            size=_half_size(shape),
            pos=list(shape.position),
            rgba=[*colour, 1],
            mass=rigid.mass * _volume(shape) / volume,
            friction=[hidden.scene.object_friction, 0.005, 0.0001],
            contype=SCENE if rigid.solid else 0,
            conaffinity=(ARM | SCENE) if rigid.solid else 0,
        )


def _half_size(shape: Shape | UrdfGeometry) -> list[float]:
    """Return what MuJoCo calls the size."""
    if shape.kind == "box":
        return [v / 2 for v in shape.size]
    return [shape.size[0], shape.size[1] / 2, 0.0] if shape.kind == "cylinder" else [shape.size[0], 0.0, 0.0]


def _volume(shape: Shape) -> float:
    """Return [m³]."""
    if shape.kind == "box":
        return math.prod(shape.size)
    r = shape.size[0]
    return math.pi * r * r * shape.size[1] if shape.kind == "cylinder" else 4 / 3 * math.pi * r**3


def _add_arm(spec: mujoco.MjSpec, robot: RobotModel, hidden: HiddenReality, taken: Set[str]) -> None:
    """Add one body a link, in the URDF's own frames; a link whose name is `taken` gets another."""
    assert robot.urdf_path is not None
    path = Path(robot.urdf_path)
    links = robot.urdf.links
    visuals = load_urdf_visuals(path, TRIANGLES_PER_LINK)
    shells = {name: _add_shells(spec, name, mesh) for name, mesh in visuals.items()}
    hulls = {name: _add_hulls(spec, link, path) for name, link in links.items()}
    spec.add_material(name="arm", specular=0.35, shininess=0.4)

    def add(parent: mujoco.MjsBody, name: str, p: np.ndarray, R: np.ndarray, joint: UrdfJoint | None = None):
        called = f"{name}_link" if name in taken else name
        body = parent.add_body(name=called, pos=p, quat=_quat(R), gravcomp=hidden.arm.gravity_compensation)
        if joint is not None:
            _add_joint(body, joint, robot, hidden)
        _add_inertia(body, links[name], hidden)
        for mesh, rgba in shells.get(name, []):
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh, rgba=[*rgba, 1], contype=0, conaffinity=0, mass=0
            ).material = "arm"
        for solid, p_hull, R_hull in hulls[name]:
            body.add_geom(
                **solid,
                pos=p_hull,
                quat=_quat(R_hull),
                group=HIDDEN_GROUP,
                contype=ARM,
                conaffinity=SCENE,
                mass=0,
            )
        if name == robot.ee_link:
            body.add_site(name="ee")
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[0.02, 0, 0],
                pos=[0, 0, -0.10],
                mass=hidden.arm.tool_mass,
                contype=0,
                conaffinity=0,
                group=HIDDEN_GROUP,
            )
        return body

    bodies = {robot.base_link: add(spec.worldbody, robot.base_link, np.zeros(3), np.eye(3))}
    for joint in robot.urdf.descend(robot.base_link):
        bodies[joint.child] = add(bodies[joint.parent], joint.child, joint.p, joint.R, joint)


def _add_joint(body: mujoco.MjsBody, joint: UrdfJoint, robot: RobotModel, hidden: HiddenReality) -> None:
    name = joint.name
    if joint.kind == "fixed":
        return
    added = body.add_joint(
        name=name,
        axis=joint.axis,
        type=mujoco.mjtJoint.mjJNT_SLIDE if joint.kind == "prismatic" else mujoco.mjtJoint.mjJNT_HINGE,
    )
    if name in robot.joint_names:
        i, arm, limits = robot.joint_names.index(name), hidden.arm, robot.limits
        added.range = [limits.q_low[i], limits.q_high[i]]
        added.limited = True
        added.armature, added.frictionloss = arm.armature[i], arm.friction[i]
        added.damping = [arm.damping[i], 0, 0] if np.ndim(added.damping) else arm.damping[i]
        added.actgravcomp = True  # the motors carry the compensation, within their torque limits
        added.actfrcrange = [-limits.tau[i], limits.tau[i]]
        added.actfrclimited = True
    elif (gripper := robot.gripper) is not None and name in gripper.moving:
        k, weight = gripper.moving.index(name), _finger_weight(gripper)
        added.range = sorted(float(gripper.positions(end)[k]) for end in (gripper.closed, gripper.opened))
        added.limited = True
        added.armature = 0.1 * weight
        added.damping = [10.0 * weight, 0, 0] if np.ndim(added.damping) else 10.0 * weight


def _finger_weight(gripper: Gripper) -> float:
    """Return the factor from a sliding finger's inertia, stiffness and damping to those of one of a gripper's joints:
    by the square of its lever, and for as many fingers as hang on it.
    """
    return 2.0 / len(gripper.joint_names) * gripper.lever(0.5 * (gripper.opened + gripper.closed)) ** 2


def _couple_fingers(spec: mujoco.MjSpec, gripper: Gripper) -> None:
    """Make the followers move along with the gripper's first joint."""
    first = gripper.joint_names[0]
    for name in gripper.followers:
        spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=name,
            name2=first,
            data=[0.0, gripper.ratio(name), *[0.0] * (mujoco.mjNEQDATA - 2)],
        )


def _add_servos(spec: mujoco.MjSpec, robot: RobotModel, hidden: HiddenReality) -> None:
    """Force = kp (u − q) − kd dq; the velocity command is folded into u by `MujocoArm`."""
    arm, n = hidden.arm, len(robot.joint_names)
    for name in ("kp", "kd", "friction", "damping", "armature", "encoder_offset"):
        if len(getattr(arm, name)) != n:
            raise SpecError(
                f"hidden reality: arm.{name} has {len(getattr(arm, name))} values, '{robot.name}' has {n} joints"
            )
    gains = [(joint, arm.kp[i], arm.kd[i]) for i, joint in enumerate(robot.joint_names)]
    if robot.gripper is not None:
        weight = _finger_weight(robot.gripper)
        gains += [(joint, 1000.0 * weight, 50.0 * weight) for joint in robot.gripper.joint_names]
        _couple_fingers(spec, robot.gripper)
    for joint, kp, kd in gains:
        spec.add_actuator(
            name=joint,
            target=joint,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            gainprm=[kp, *[0] * 9],
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            biasprm=[0, -kp, -kd, *[0] * 7],
        )


def _add_camera(spec: mujoco.MjSpec, camera: CameraModel, robot: RobotModel) -> None:
    fixed = camera.T_base_camera is not None
    T = np.array(camera.T_base_camera if fixed else camera.T_ee_camera)
    body = spec.worldbody if fixed else spec.body(robot.ee_link)
    body.add_camera(
        name=camera.name,
        pos=T[:3, 3],
        quat=_quat(T[:3, :3] @ np.diag([1.0, -1.0, -1.0])),  # OpenGL's axes: y up, looking along -z
        fovy=math.degrees(2 * math.atan(camera.height / (2 * camera.fy))),
    )
    largest = spec.visual.global_
    largest.offwidth = max(largest.offwidth, camera.width)
    largest.offheight = max(largest.offheight, camera.height)


def _add_inertia(body: mujoco.MjsBody, link: UrdfLink, hidden: HiddenReality) -> None:
    body.explicitinertial = True
    if link.name in hidden.arm.inertia:
        values = hidden.arm.inertia[link.name]
        body.mass, body.ipos, body.fullinertia = values.mass, values.com, values.inertia
        return
    inertial = link.inertial
    if inertial is None or not inertial.mass:
        body.mass, body.inertia = 1e-4, [1e-8] * 3  # frames without a body: MuJoCo wants something to hold on to
        return
    body.mass, body.ipos = inertial.mass, inertial.p
    body.inertia = as_ball(inertial.mass).inertia[:3]


def _add_shells(spec: mujoco.MjSpec, link: str, mesh) -> list[tuple[str, np.ndarray]]:
    """Add a link's visual mesh, one MuJoCo mesh a colour; return their names and colours."""
    shells = []
    colours, index = np.unique(np.round(mesh.colours, 3), axis=0, return_inverse=True)
    for k, colour in enumerate(colours):
        chosen = np.flatnonzero(index.reshape(-1) == k)
        used, faces = np.unique(mesh.triangles[chosen], return_inverse=True)
        name = f"{link}_shell{k}"
        added = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        added.uservert = mesh.vertices[used].astype(np.float64).ravel()
        added.userface = faces.reshape(-1).astype(np.int32)
        added.usernormal = mesh.normals[chosen].astype(np.float64).ravel()
        added.userfacenormal = np.arange(3 * len(chosen), dtype=np.int32)
        shells.append((name, np.array(colour) * 0.93))  # painted metal is not as white as (1, 1, 1)
    return shells


def _add_hulls(spec: mujoco.MjSpec, link: UrdfLink, urdf: Path) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Add a link's collision meshes, of which MuJoCo takes the convex hull; return each shape and its pose."""
    hulls: list[tuple[dict, np.ndarray, np.ndarray]] = []
    for k, collision in enumerate(link.collisions):
        shape = collision.geometry
        if shape is None or not (shape.kind == "mesh" or shape.kind in KINDS):
            continue
        if shape.kind == "mesh":
            added = spec.add_mesh(name=f"{link.name}_hull{k}", file=str(find_mesh(shape.filename, urdf)))
            added.scale, added.maxhullvert = shape.size, 64
            solid = {"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": added.name}
        else:
            solid = {"type": KINDS[shape.kind], "size": _half_size(shape)}
        hulls.append((solid, collision.p, collision.R))
    return hulls


def _add_box(body, name: str, pos, size, **rest) -> None:
    rest.setdefault("contype", 0)
    rest.setdefault("conaffinity", 0)
    material = rest.pop("material", None)
    geom = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=list(pos), size=[v / 2 for v in size], **rest)
    if material is not None:
        geom.material = material


def _add_texture(spec: mujoco.MjSpec, name: str, pixels: np.ndarray, repeat: tuple[int, int], specular: float) -> None:
    texture = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        height=pixels.shape[0],
        width=pixels.shape[1],
        nchannel=3,
    )
    texture.data = pixels.tobytes()
    material = spec.add_material(name=name, texrepeat=list(repeat), specular=specular, shininess=0.2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_light(world, name: str, strength: float, tint, direction, shadow: bool = False) -> None:
    world.add_light(
        name=name,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.4 - 2 * direction[0], -2 * direction[1], -2 * direction[2]],
        dir=list(direction),
        diffuse=[strength * v for v in tint],
        specular=[0.4 * strength] * 3,
        ambient=[0, 0, 0],
        castshadow=shadow,
    )


def _quat(R: np.ndarray) -> np.ndarray:
    """Turn a rotation (3, 3) into MuJoCo's quaternion, w first (4,)."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(R).ravel())
    return quat
