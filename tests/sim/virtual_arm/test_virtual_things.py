"""Several things on the virtual arm's table: what is asked for is what a trial is about, now and in the next."""

from __future__ import annotations

import numpy as np
import pytest

from robots.registry import load_robot
from robots.specs import SpecError
from sim.randomization.named_colours import COLOURS
from sim.virtual_arm.engines import ENGINES, make_virtual_arm
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.rasterised_lab import RasterRenderer
from tests.support.tiny_bundle import CAMERA

PANDA = load_robot("franka_panda")


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_asked_for_is_what_the_task_is_about(engine: str) -> None:
    arm = make_virtual_arm(engine, PANDA, (), HiddenReality(), "pick_place@5")
    arm.place((0.5, 0.0), seed=3)
    colours = dict(arm.appearance.colours)
    assert len(set(colours.values())) == len(colours) == 5
    names = {body: next(n for n, c in COLOURS.items() if c.holds(rgb)) for body, rgb in colours.items()}
    other = next(body for body in names if body != "object")
    before = {colours[body]: _pose(arm, body) for body in names}
    arm.ask((names[other],))
    after = arm.appearance.colours
    assert after["object"] == colours[other]
    for body, rgb in after.items():  # nothing on the table has moved or changed its colour
        np.testing.assert_allclose(_pose(arm, body), before[rgb], atol=1e-9)
    np.testing.assert_allclose(arm.achieved, before[colours[other]], atol=1e-9)
    for seed in range(3):
        arm.place(None, seed)
        assert COLOURS[names[other]].holds(arm.appearance.colours["object"])


def _pose(arm, body: str) -> np.ndarray:
    scene = arm.scene if hasattr(arm, "scene") else arm._world
    return scene.pose(body)[0].copy()


def test_a_task_about_one_thing_is_not_asked() -> None:
    arm = make_virtual_arm("mujoco", PANDA, (), HiddenReality(), "reach")
    with pytest.raises(SpecError, match="not about one of several things"):
        arm.ask(("red",))


def test_the_things_are_drawn_in_their_colours() -> None:
    arm = make_virtual_arm("mujoco", PANDA, (CAMERA,), HiddenReality(), "reach@4")
    arm.ask(("green",))
    arm.place((0.5, 0.0), seed=1)
    renderer = RasterRenderer(arm)
    image = renderer.draw(arm.snapshot(), CAMERA.name).astype(float) / 255.0
    flat = image.reshape(-1, 3)
    strong = flat[flat.max(1) - flat.min(1) > 0.25]
    found = {name for name, colour in COLOURS.items() for rgb in strong if colour.holds(rgb)}
    wanted = {name for name, c in COLOURS.items() for rgb in arm.appearance.colours.values() if c.holds(rgb)}
    assert wanted <= found
