"""PyBullet's renderers, chosen for an environment: they see what ours sees."""

import numpy as np
import pytest

from robots.camera import CameraModel
from sim.env import ArmEnv
from sim.rendering.appearance import RenderError
from sim.rendering.bullet_renderer import RENDERERS
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import load_task

OBSERVED = ("q", "image_front", "depth_front", "segmentation_front")


def seen(renderer, width=160, height=120):
    """The first observation of a pick_place whose camera is not square, has a shifted centre, and no faults."""
    task = load_task("pick_place")
    front = CameraModel.looking_at("front", (1.2, 0.4, 0.7), (0.45, 0.0, 0.1), height, width, 45.0)
    K = np.array(front.K)
    K[0, 2] += 5.0
    K[1, 2] -= 3.0
    vars(task)["cameras"] = (
        CameraModel("front", height, width, tuple(map(tuple, K)), T_base_camera=front.T_base_camera),
    )
    config = RenderConfig(renderer=renderer, supersample=1, shadows=False)
    env = ArmEnv(task, space="nominal", observation=OBSERVED, rendering=config)
    observation, _ = env.reset(seed=4)
    names = env.segmentation_names
    env.close()
    return observation, names


@pytest.fixture(scope="module")
def ours():
    return seen("numba")


@pytest.mark.parametrize("renderer", RENDERERS[1:])
def test_silhouettes_and_depths_are_ours_body_by_body(ours, renderer):
    refusal = ""
    try:
        theirs, names = seen(renderer)
    except RenderError as error:
        refusal = str(error)
    if refusal:  # a machine without EGL is told so, and what else draws
        assert renderer == "egl"
        assert "install libegl1 and a driver, or take 'tiny'" in refusal
        return
    mine, _ = ours
    compared = 0
    for number, _name in enumerate(names):
        a, b = mine["segmentation_front"] == number, theirs["segmentation_front"] == number
        if a.sum() < 60:
            continue
        compared += 1
        rim = 2.0 / np.sqrt(a.sum())  # of small bodies most pixels are their rim
        assert (a & b).sum() / (a | b).sum() > min(0.98, 1.0 - rim), names[number]
        assert np.median(np.abs(mine["depth_front"] - theirs["depth_front"])[a & b]) < 0.002, names[number]
    assert compared >= 8
    red = mine["segmentation_front"] == names.index("object/0")
    red &= theirs["segmentation_front"] == names.index("object/0")
    r, g, b = theirs["image_front"][red].mean(axis=0)
    assert r > 2 * max(g, b)


def test_an_unknown_renderer_is_refused():
    with pytest.raises(RenderError, match="unknown renderer 'povray'; known are numba, tiny, egl"):
        ArmEnv("reach", observation="cameras", rendering=RenderConfig(renderer="povray"))
