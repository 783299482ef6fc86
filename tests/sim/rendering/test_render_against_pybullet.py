"""Our pictures of the reduced Panda against TinyRenderer's of the stock one, body by body."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet as p
import pybullet_data
import pytest
from scipy.spatial.transform import Rotation

from robots.camera import CameraModel, as_matrix
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene

URDF = Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"
HEIGHT, WIDTH, FOV = 480, 640, 45.0
NEAR, FAR = 0.05, 5.0
VIEWS = [
    ([0, -0.3, 0, -2.2, 0, 2.0, 0.79, 0, 0, 0.03, 0.03], (1.3, 0.7, 0.75), (0.3, 0, 0.3)),
    ([0.5, -0.6, 0.2, -1.8, 0.3, 1.5, 0, 0, 0, 0.03, 0.03], (1.0, -1.0, 0.6), (0.2, 0, 0.4)),
    ([-0.8, 0.4, -0.3, -1.5, -0.4, 2.4, 0.5, 0, 0, 0.0, 0.0], (0.2, -1.4, 0.9), (0.2, -0.1, 0.3)),
]


@pytest.fixture(scope="module")
def arm():
    client = p.connect(p.DIRECT)
    yield client, p.loadURDF(str(URDF), useFixedBase=True, physicsClientId=client)
    p.disconnect(client)


def link_numbers(client: int, arm: int) -> dict[str, int]:
    joints = range(p.getNumJoints(arm, physicsClientId=client))
    names = {p.getJointInfo(arm, i, physicsClientId=client)[12].decode(): i for i in joints}
    return {p.getBodyInfo(arm, physicsClientId=client)[0].decode(): -1, **names}


def tiny_renderer(client: int, arm: int, eye, target) -> tuple[np.ndarray, np.ndarray]:
    """Depth [m] and link numbers (-2 where there is nothing)."""
    view = p.computeViewMatrix(eye, target, (0, 0, 1))
    projection = p.computeProjectionMatrixFOV(FOV, WIDTH / HEIGHT, NEAR, FAR)
    _, _, _, depth, mask = p.getCameraImage(
        WIDTH,
        HEIGHT,
        view,
        projection,
        shadow=0,
        renderer=p.ER_TINY_RENDERER,
        flags=p.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX,
        physicsClientId=client,
    )
    metric = FAR * NEAR / (FAR - (FAR - NEAR) * np.reshape(depth, (HEIGHT, WIDTH)))
    mask = np.reshape(mask, (HEIGHT, WIDTH))
    return metric, np.where(mask < 0, -2, (mask >> 24) - 1)


@pytest.mark.parametrize(("q", "eye", "target"), VIEWS)
def test_silhouettes_and_depth_agree(arm, q, eye, target):
    client, panda = arm
    for joint, value in enumerate(q):
        p.resetJointState(panda, joint, value, physicsClientId=client)
    depth, links = tiny_renderer(client, panda, eye, target)

    meshes = load_urdf_visuals(URDF)
    numbers = link_numbers(client, panda)
    T_base_bodies = np.tile(np.eye(4), (len(meshes), 1, 1))
    for T, name in zip(T_base_bodies, meshes):
        if numbers[name] >= 0:
            state = p.getLinkState(panda, numbers[name], computeForwardKinematics=True, physicsClientId=client)
            T[:3, 3], T[:3, :3] = state[4], Rotation.from_quat(state[5]).as_matrix()
    camera = CameraModel.looking_at("front", eye, target, HEIGHT, WIDTH, FOV)
    K = np.array(camera.K)
    K[:2, 2] += 0.5, -0.5  # TinyRenderer samples pixel corners: half a pixel to the right and up
    frame = RenderedScene([Body(name, mesh) for name, mesh in meshes.items()]).render(
        T_base_bodies, replace(camera, K=as_matrix(K)), shadow=False
    )

    ours, theirs = frame.segmentation >= 0, links >= -1
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.995
    compared = 0
    for i, name in enumerate(meshes):
        ours, theirs = frame.segmentation == i, links == numbers[name]
        both = ours & theirs
        if theirs.sum() < 1000:  # of a link that is nearly hidden, most pixels are its rim
            continue
        compared += 1
        assert both.sum() / (ours | theirs).sum() > 0.98, name
        assert np.median(np.abs(frame.depth - depth)[both]) < 0.002, name
    assert compared >= 7
