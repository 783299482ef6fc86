"""The scenes that a process prepares once for all its environments."""

import os

import numpy as np
import pytest

from sim.env import ArmEnv
from sim.sensing.scene_cache import SceneCache
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import load_task

CONFIG = RenderConfig(supersample=1, shadows=False)


def pictures(env, seed, steps=3):
    observation, _ = env.reset(seed=seed)
    taken = [observation["image_front"]]
    for _ in range(steps):
        observation, *_ = env.step(np.full(env.action_space.shape, 0.5, np.float32))
        taken.append(observation["image_front"])
    return np.array(taken)


def make(task="push"):
    return ArmEnv(task, observation="cameras", cameras="front", rendering=CONFIG)


def test_environments_share_meshes_and_not_what_they_draw():
    one, other = make(), make()
    alone = pictures(one, 3)
    pictures(other, 4)
    for env, seed in ((one, 3), (other, 4)):
        env.reset(seed=seed)
    mixed = [one._observe()["image_front"]]
    for _ in range(3):
        for env in (other, one):  # in turns, as in a worker process
            observation, *_ = env.step(np.full(env.action_space.shape, 0.5, np.float32))
        mixed.append(observation["image_front"])
    np.testing.assert_array_equal(alone[1:], np.array(mixed)[1:])
    scenes = one._images._scene, other._images._scene
    assert scenes[0] is scenes[1] or len(scenes[0].bodies) != len(scenes[1].bodies)
    one.close()
    other.close()


def test_a_urdf_that_was_written_anew_is_read_anew(tmp_path):
    text = '<robot name="r"><link name="{}"><visual><geometry><box size="1 1 1"/></geometry></visual></link></robot>'
    urdf = tmp_path / "r.urdf"
    urdf.write_text(text.format("first"))
    stage = SceneCache.of(urdf, 100)
    assert SceneCache.of(urdf, 100) is stage
    urdf.write_text(text.format("second"))
    os.utime(urdf, ns=(1, 1))  # whatever the file system's clock
    assert [link.name for link in SceneCache.of(urdf, 100).arm] == ["second"]


def test_another_shape_or_clutter_is_another_scene():
    env = make("pick_place")
    stage, nominal = env._images._scene_cache, env._nominal
    task = load_task("pick_place")
    box, cylinder = (task.bodies({**nominal, "object_shape": shape}) for shape in (0.0, 1.0))
    scenes = [stage.scene(bodies, cluttered) for bodies in (box, cylinder) for cluttered in (False, True)]
    assert len({id(scene._geometry) for scene in scenes}) == 4
    assert stage.scene(box, False)._geometry is scenes[0]._geometry
    env.close()


def test_photographs_that_are_missing_are_named(tmp_path):
    with pytest.raises(Exception, match="nowhere"):
        ArmEnv("push", observation="cameras", cameras="front", rendering=RenderConfig(photographs=tmp_path / "nowhere"))
