"""The virtual lab drawn by our own rasteriser, for machines without an OpenGL that MuJoCo can use.

The same room, lights and textures as in `sim.virtual_arm.mujoco_scene`, none of which occur in training.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import cv2
import numpy as np

from robots.shapes.meshes import Mesh, cuboid, cylinder, sphere
from sim.rendering.appearance import Appearance
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene
from sim.virtual_arm.interface import Snapshot, VirtualArm
from sim.virtual_arm.mujoco_gl import mujoco
from sim.virtual_arm.mujoco_scene import HIDDEN_GROUP

TEXTURE_SIZE = 256
SUPERSAMPLE = 1


class RasterRenderer:
    """Draws every visible geom of the arm's MuJoCo model."""

    name = "sim2real rasteriser"

    def __init__(self, arm: VirtualArm):
        """Copy the model's shapes, colours and textures into a scene."""
        self._cameras = {name: camera.drawn for name, camera in arm.cameras.items()}
        self._model = copy.copy(arm.model)
        self._data = mujoco.MjData(self._model)
        model = self._model
        self._geoms = [g for g in range(model.ngeom) if model.geom_group[g] != HIDDEN_GROUP]
        bodies, self._textures, pool = [], [], _texture_pool(model)
        for g in self._geoms:
            material = model.geom_matid[g]
            textures = model.mat_texid[material] if material >= 0 else np.array([-1])
            texture = int(textures.max())
            name = f"{mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, g) or 'shell'}_{g}"
            r, green, b = (1.0, 1.0, 1.0) if texture >= 0 else model.geom_rgba[g, :3]
            # What lies flat under everything else only receives shadows
            flat = model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX and model.geom_size[g, :2].min() > 0.5
            bodies.append(Body(name, _mesh(model, g), colour=(r, green, b), casts_shadow=not flat))
            self._textures.append((texture, _repeats_per_metre(model, g, material) if texture >= 0 else 1.0))
        self._scene = RenderedScene(bodies, pool)
        self._appearance = self._nominal_appearance(arm)
        for camera in self._cameras:
            self.draw(arm.snapshot(), camera)  # the first image compiles the kernels

    def draw(self, snapshot: Snapshot, camera: str) -> np.ndarray:
        """Return RGB uint8, height × width × 3 of the camera called `camera`, as it is drawn."""
        self._data.qpos[:] = snapshot.qpos
        self._data.mocap_pos[:], self._data.mocap_quat[:] = snapshot.mocap[:, :3], snapshot.mocap[:, 3:]
        mujoco.mj_kinematics(self._model, self._data)
        poses = np.tile(np.eye(4), (len(self._geoms), 1, 1))
        poses[:, :3, :3] = self._data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        poses[:, :3, 3] = self._data.geom_xpos[self._geoms]
        colours = self._appearance.colours.copy()
        for name, colour in snapshot.appearance.colours.items():
            colours[self._geoms.index(int(self._model.geom(name).id))] = colour
        light = snapshot.appearance.light
        appearance = replace(
            self._appearance,
            colours=colours,
            light_colours=self._appearance.light_colours * light,
            ambient=self._appearance.ambient * light,
        )
        T_base_ee = np.eye(4)
        T_base_ee[:3, :3] = self._data.site("ee").xmat.reshape(3, 3)
        T_base_ee[:3, 3] = self._data.site("ee").xpos
        drawn = self._cameras[camera]
        return self._scene.render(poses, drawn, appearance, supersample=SUPERSAMPLE, T_base_ee=T_base_ee).rgb

    def close(self) -> None:
        """Nothing to free."""

    def _nominal_appearance(self, arm: VirtualArm) -> Appearance:
        model, nominal = self._model, self._scene.nominal_appearance
        textures, scales = zip(*self._textures)
        wall = np.array(arm.hidden.scene.wall_colour, np.float32)
        return replace(
            nominal,
            light_directions=-model.light_dir.astype(np.float32),
            light_colours=model.light_diffuse.astype(np.float32),
            ambient=model.vis.headlight.ambient.astype(np.float32),
            textures=np.array(textures, np.int32),
            texture_scales=np.array(scales, np.float32),
            background=np.stack([0.8 * wall, 0.7 * wall]),
        )


def _mesh(model: mujoco.MjModel, g: int) -> Mesh:
    """Return a geom's triangles in the geom's own frame."""
    if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX:
        x, y, z = 2 * model.geom_size[g]
        mesh = cuboid((x, y, z))
        return replace(mesh, uv=mesh.uv + max(x, y, z) / 2)  # textures start at a corner, as MuJoCo's do
    if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_CYLINDER:
        radius, half, _ = model.geom_size[g]
        return cylinder(radius, 2 * half)
    if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_SPHERE:
        return sphere(model.geom_size[g, 0])
    k = model.geom_dataid[g]
    vertices = slice(model.mesh_vertadr[k], model.mesh_vertadr[k] + model.mesh_vertnum[k])
    faces = slice(model.mesh_faceadr[k], model.mesh_faceadr[k] + model.mesh_facenum[k])
    return Mesh.from_triangles(model.mesh_vert[vertices], model.mesh_face[faces])


def _repeats_per_metre(model: mujoco.MjModel, g: int, material: int) -> float:
    return float(model.mat_texrepeat[material, 0] / (2 * model.geom_size[g].max()))


def _texture_pool(model: mujoco.MjModel) -> np.ndarray:
    pool = []
    for k in range(model.ntex):
        height, width, channels = model.tex_height[k], model.tex_width[k], model.tex_nchannel[k]
        start = model.tex_adr[k]
        pixels = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
        pool.append(cv2.resize(pixels, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_AREA))
    return np.array(pool)
