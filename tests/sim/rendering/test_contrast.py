"""What a task is about can be told from what it lies on."""

import itertools
from contextlib import closing

import numpy as np
import pytest

from sim.env import ArmEnv
from sim.rendering.contrast import STANDS_OUT, contrasting_colour, tones, within_hues

RED = np.array([0.85, 0.15, 0.12])


def test_a_texture_has_a_dark_and_a_light_tone() -> None:
    checker = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8)))[..., None] * (250, 200, 150)
    plain = np.full((64, 64, 3), 51)
    dark, light = tones(np.array([checker, plain], np.uint8))[0]
    np.testing.assert_allclose(dark, 0.0)
    np.testing.assert_allclose(light, np.array([250, 200, 150]) / 255)
    np.testing.assert_allclose(tones(np.array([plain], np.uint8)), 0.2)
    assert tones(np.full((1, 1, 1, 3), 255, np.uint8)).shape == (1, 2, 3)


def test_a_colour_that_stands_out_stays_and_another_gets_the_next_hue_that_does() -> None:
    u = np.array([0.3, 0.5, 0.5])
    alone = contrasting_colour(RED, 1.0, u, [])
    assert contrasting_colour(RED, 1.0, u, [1.0 - np.array(alone)]) == alone
    other = contrasting_colour(RED, 1.0, u, [np.array(alone)])
    assert np.linalg.norm(np.subtract(other, alone)) >= STANDS_OUT
    assert max(other) == pytest.approx(max(alone))  # as bright


def test_hues_come_round_the_circle() -> None:
    magenta, orange, blue = (0.9, 0.1, 0.6), (0.9, 0.5, 0.1), (0.1, 0.2, 0.8)
    assert within_hues(magenta, RED, 0.3)
    assert within_hues(orange, RED, 0.3)
    assert not within_hues(blue, RED, 0.3)
    assert within_hues(blue, RED, 1.0)


def test_little_spread_strays_little_whatever_lies_behind() -> None:
    rng = np.random.default_rng(0)
    drawn = [contrasting_colour(RED, 0.1, rng.random(3), [RED]) for _ in range(50)]
    assert np.abs(drawn - RED).max() < 0.25


@pytest.mark.parametrize("task", ["reach", "push", "pick_place", "stack"])
def test_under_full_things_and_marks_stand_out(task: str) -> None:
    with closing(ArmEnv(task, space="full", observation="cameras", cameras="front")) as env:
        nearest = []
        for seed in range(60):
            env.reset(seed=seed)
            appearance, scene = env._images._appearance, env._images._scene
            colours = {scene.groups[g]: appearance.colours[b] for b, g in enumerate(scene.group_of_body)}
            texture = appearance.textures[scene.index("table")]
            table = colours["table"] * (scene.texture_tones[texture] if texture >= 0 else np.ones((1, 3)))
            things = [colours[name] for name in env.task.landmarks]
            nearest.append(min(np.linalg.norm(thing - table, axis=1).min() for thing in things))
            nearest += [np.linalg.norm(a - b) for a, b in itertools.pairwise(things)]
            nominal = {body.name: body.colour for body in env.task.bodies(env.parameters)}
            for name, spread in env.task.hues.items():  # one is never taken for another
                assert within_hues(colours[name], nominal[name], spread + 1e-3)
                assert not any(within_hues(colours[name], nominal[each], spread) for each in nominal if each != name)
    assert np.quantile(nearest, 0.05) >= STANDS_OUT
    assert min(nearest) > 0.6 * STANDS_OUT  # where no hue does better
