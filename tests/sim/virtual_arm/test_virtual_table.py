"""Every task's scene on the virtual arm, in both engines: what its expert and its judge see is what stands there."""

from __future__ import annotations

import numpy as np
import pytest

from robots.action import ActionResolver
from robots.registry import load_robot
from robots.rig import load_rig
from robots.specs import SpecError
from sim.tasks import TASKS, load_task
from sim.virtual_arm.engines import ENGINES, make_virtual_arm
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.hidden_reality import HiddenScene
from sim.virtual_arm.interface import Judgement, VirtualArm
from sim.virtual_arm.rasterised_lab import RasterRenderer
from sim.virtual_arm.table import CLEAR, VirtualTable

PANDA = load_robot("franka_panda")
RIG = load_rig("front", PANDA).cameras


def build(task: str, engine: str) -> VirtualArm:
    return make_virtual_arm(engine, PANDA, RIG, hidden_reality(PANDA), task)


def scene_of(arm: VirtualArm):
    return getattr(arm, "scene", None) or arm._world  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_scene_stands_where_it_is_put_and_stays(task: str, engine: str) -> None:
    arm = build(task, engine)
    scene, bodies = scene_of(arm), arm._table.bodies  # type: ignore[attr-defined]
    for seed, xy in ((1, (0.48, 0.05)), (2, (0.55, -0.08))):
        arm.place(xy, seed)
        placed = load_task(task).placed_body
        before = {body.name: scene.pose(body.name)[0].copy() for body in bodies}
        assert before[placed][:2] == pytest.approx(xy, abs=1e-6)
        others = [name for name in before if name not in (placed, "object")]
        assert all(np.hypot(*(before[name][:2] - xy)) >= CLEAR for name in others)
        goal = arm.goal
        arm.advance(1.0)
        for name, at in before.items():
            held = task == "insert" and name == "object"
            # a peg hangs in the fingers of an arm that sags and has a bracket that nobody entered
            assert scene.pose(name)[0] == pytest.approx(at, abs=0.02 if held else 2e-3), name
        assert arm.goal == pytest.approx(goal, abs=2e-3)
        if "reach" not in task:
            assert not load_task(task).is_success(arm.achieved, arm.goal)
    drawn = RasterRenderer(arm).draw(arm.snapshot(), "front")
    assert drawn.std() > 20


@pytest.mark.parametrize("engine", ENGINES)
def test_an_expert_pushes_the_cube_to_its_mark(engine: str) -> None:
    """The task's own expert on an arm with another engine's contacts, a delay, soft servos and a heavier cube."""
    arm = build("push", engine)
    arm.place((0.5, 0.1), 5)
    task, scene = arm._table.task, scene_of(arm)  # type: ignore[attr-defined]
    resolver = ActionResolver(task.action, PANDA)
    resolver.reset(arm.read().q[:7])
    away = np.linalg.norm(arm.achieved - arm.goal)
    for _ in range(250):
        arm.command(resolver.resolve(task.expert(scene), arm.read().q[:7]))
        arm.advance(task.action.dt)
        if task.is_success(arm.achieved, arm.goal):
            break
    assert away > 0.09
    assert task.is_success(arm.achieved, arm.goal)
    assert arm.judge() == Judgement(near=True, released=True, failed=False)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_draws_its_scene_itself_where_no_place_is_given(task: str, engine: str) -> None:
    arm = build(task, engine)
    scene, bodies = scene_of(arm), [body.name for body in arm._table.bodies]  # type: ignore[attr-defined]
    laid = []
    for seed in (1, 2, 1):
        arm.place(None, seed)
        laid.append(np.array([scene.pose(name)[0] for name in bodies]))
        goal = arm.goal
        assert all(low <= at <= high for at, (low, high) in zip(goal[:2], load_task(task).workspace[:2]))
        judged = arm.judge()
        assert not judged.near
        assert not judged.failed
    np.testing.assert_allclose(laid[0], laid[2], atol=1e-9)
    assert np.abs(laid[0] - laid[1]).max() > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_what_fell_off_the_table_has_failed(engine: str) -> None:
    arm = build("push", engine)
    arm.place((0.5, 0.1), 5)
    assert not arm.judge().failed
    scene_of(arm).place("object", (0.5, 0.1, -0.4))
    assert arm.judge().failed


def test_what_the_object_weighs_and_measures_is_hidden_reality(monkeypatch) -> None:
    arm = build("stack", "mujoco")
    assert 2 * arm.model.geom("object").size[0] == pytest.approx(HiddenScene.object_size)
    assert float(arm.model.body("object").mass[0]) == pytest.approx(HiddenScene.object_mass)
    assert arm.model.geom("base").size[0] != arm.model.geom("object").size[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_table_is_set_up_as_the_lab_chose_and_the_cube_is_off_by_as_much(engine: str) -> None:
    sizes = {"pad_height": 0.02, "object_size": 0.03, "unheard_of": 1.0}
    arm = make_virtual_arm(engine, PANDA, (), hidden_reality(PANDA), "pick_place", sizes)
    arm.place((0.5, 0.1), 5)
    edge = 0.03 + HiddenScene.object_size - 0.04
    assert arm._table.sizes == pytest.approx({"pad_height": 0.02, "object_size": edge})  # type: ignore[attr-defined]
    assert 2 * arm.model.geom("object").size[0] == pytest.approx(edge)
    assert scene_of(arm).pose("pad")[0][2] == pytest.approx(0.02)
    assert arm.goal[2] == pytest.approx(0.02 + edge / 2)


def test_a_cube_that_goes_onto_a_like_one_has_a_hue_that_tells_them_apart() -> None:
    hidden = hidden_reality(PANDA)
    own, others = (VirtualTable(task, PANDA, hidden).object_colours for task in ("stack", "pick_place"))
    assert set(others) == set(hidden.scene.object_colours)
    assert set(own) == {colour for colour in others if colour[0] > max(colour[1:])}  # none green or blue


def test_what_cannot_be_is_refused() -> None:
    kuka = load_robot("kuka_iiwa")
    with pytest.raises(SpecError, match="task 'stack' needs a gripper, but robot 'kuka_iiwa' has none"):
        make_virtual_arm("mujoco", kuka, (), hidden_reality(kuka), "stack")
    with pytest.raises(SpecError, match="unknown task 'juggle'; known are reach, push"):
        build("juggle", "pybullet")
