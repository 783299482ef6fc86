"""Camera policies for tasks with an object: labelled renders, perception noise, and a run from end to end."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import (
    TrainConfig,
    camera_contract,
    check_locatable,
    export_student,
    train_camera,
    untrained,
)
from policies.imitation.dagger import row_of
from policies.imitation.recipes import action_head_recipe, state_recipe
from policies.imitation.rollouts import Rollout, collect
from policies.models.filters.contact import outside_hand
from policies.models.filters.object_filter import HELD
from policies.models.restore import restore_student
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import FullLengthEnv
from policies.scoring.wrappers import EXPERT
from policies.transfer.camera_transfer import CompareCameraConfig, compare_camera
from robots.camera import CameraModel
from robots.registry import load_robot
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim.tasks import Task
from sim.tasks.recipe import PerceptionRecipe, StateRecipe
from sim.tasks.stack import Stack
from sim.workers.start import open_workers

PANDA = load_robot("franka_panda")
QUIET = lambda *_: None  # noqa: E731
SAMPLED = ("push", "pick_place", "stack")
"""Tasks that move an object and sample its states."""
TINY = StateRecipe(
    hidden=(32,),
    envs=4,
    rounds=2,
    round_steps=20,
    gradient_steps=20,
    last_gradient_steps=20,
    batch=32,
    validation_episodes=1,
)


@pytest.mark.parametrize("task", SAMPLED)
def test_labelled_renders_cover_the_task_and_have_true_labels(task: str) -> None:
    with closing(ArmEnv(task, "franka_panda", "nominal", "cameras", cameras="front")) as env:
        (renders,) = draw_renders(env, 120, seed=3)
        (again,) = draw_renders(env, 5, seed=3)
        spot = env.camera("front").project(renders.points[0].astype(float), np.eye(4))
    np.testing.assert_array_equal(renders.images[:5], again.images)
    np.testing.assert_allclose(renders.pixels[0], spot, atol=1e-3)  # the label is the object's position in the image
    ee_pos = np.array([PANDA.chain.pose(q)[1] for q in renders.q])
    thing = renders.points[:, 0]
    near = np.linalg.norm(thing - ee_pos, axis=1) < 0.06
    assert 0.2 <= near.mean() <= 0.8  # in a fifth of them, at least, nothing is where the hand is
    placed = np.linalg.norm(thing - renders.goal, axis=1)
    assert (placed < 0.05).sum() >= 3  # also what is nearly done is seen
    assert (placed > 0.10).sum() >= 10  # and what has just begun
    if task != "push":
        held = (np.linalg.norm(thing - ee_pos, axis=1) < 0.02) & (renders.opening[:, 0] < 0.03)
        assert held.sum() >= 8
        assert np.ptp(thing[held, 2]) > 0.05  # and carried, not only grasped
    else:
        assert not renders.opening.any()
    on_goal = np.linalg.norm((thing - renders.points[:, 1])[:, :2], axis=1) < 0.0225
    assert on_goal.any()  # where a mark or pad looks out from under the thing, and is to be found
    assert np.isfinite(renders.pixels).all()


def test_an_inexact_expert_keeps_the_hand_as_it_is_turned() -> None:
    turned = FullLengthEnv("pick_place", "franka_panda", "nominal", ("ee_pos",))
    yaw = []
    for make in (turned, replace(turned, exact=False)):
        with closing(make()) as env:
            yaw.append([env.reset(seed=seed)[0][EXPERT][3] for seed in range(8)])
    assert np.abs(yaw[0]).max() > 0.1
    assert not np.any(yaw[1])


@pytest.mark.slow
def test_collecting_includes_fingers_that_closed_on_nothing() -> None:
    arrays = ("ee_pos", "opening", "object_pos", "goal")
    make = FullLengthEnv("pick_place", "franka_panda", "nominal", arrays, exact=False)
    action_head = StateNetwork([("opening", (1,))], make.arm().action_spec.names, (8,))
    recipe = replace(TINY, envs=2, round_steps=15, disturbed_share=0.0, spell=2.0)
    rollout = Rollout(make, recipe, 0, 1, 10, tuple(action_head.actions), arrays)
    with open_workers(1) as workers:
        openings = [collect(workers, action_head, replace(rollout, closing=share), QUIET) for share in (0.0, 1.0)]
    usual, closed = (records["opening"].min() for records in openings)
    assert usual > 0.03  # in 0.6 s nobody has reached a cube
    assert closed < 0.005
    labels = openings[1][EXPERT][openings[1]["opening"][:, 0] < 0.005]
    assert (labels[:, -1] == 1.0).all()  # the expert opens them


@pytest.mark.parametrize("cameras", ["front", "front_side", "front_wrist"])
@pytest.mark.parametrize("task", SAMPLED)
def test_a_student_with_true_estimates_acts_as_its_action_head(task: str, cameras: str) -> None:
    small = PerceptionRecipe(channels=8)
    config = TrainConfig(Path("unused"), task=task, cameras=cameras, recipe=TINY, perception=small)
    torch.manual_seed(0)
    student = untrained(config).eval()
    rng = np.random.default_rng(1)
    q = torch.from_numpy((np.array(PANDA.home) + rng.normal(0, 0.1, (5, 7))).astype(np.float32))
    opening = torch.full((5, 1), 0.03)
    ways = torch.from_numpy(rng.normal(0, 0.1, (5, 6)).astype(np.float32))
    student.estimate = lambda *_: (ways, torch.full((5, 2), 0.01))  # type: ignore[method-assign]
    ee_pos = student.kinematics(q)
    records = {
        "ee_pos": ee_pos.numpy(),
        "opening": opening.numpy(),
        "held": np.zeros((5, 1), np.float32),
        "object_pos": (outside_hand(ee_pos, ee_pos + ways[:, :3]) if task == "push" else ee_pos + ways[:, :3]).numpy(),
        "goal": (ee_pos + ways[:, 3:]).numpy(),
    }
    image = torch.zeros(5, 84, 84, 3, dtype=torch.uint8)
    inputs = (q,) if task == "push" else (q, opening)
    inputs += (image,) * student.cameras
    inputs += (torch.ones(5, student.cameras),) if student.maskable else ()
    with torch.no_grad():
        head = student.action_head
        memory = [torch.zeros(5, *shape) for shape in student.memory.values()]
        found, *_ = student(*inputs, *memory)
        np.testing.assert_allclose(found, head.act(row_of(head, records)), atol=1e-5)


@pytest.mark.slow
def test_a_run_leaves_a_bundle_that_equals_its_network(tmp_path: Path) -> None:
    config = TrainConfig(
        tmp_path / "push",
        "push",
        randomise="nominal",
        cameras="front_side",
        workers=1,
        evaluation_episodes=1,
        recipe=TINY,
        perception=PerceptionRecipe(
            renders=100,
            steps=5,
            refiner_steps=(2, 2),
            held_out=50,
            geometry_steps=50,
            channels=8,
            forgetting_factors=(0.7, 0.98),
        ),
    )
    train_camera(config, QUIET)
    bundle = PolicyBundle.load(tmp_path / "push" / "bundle")
    assert bundle.check_parity() <= 1e-5
    assert bundle.observation.names == ("q", "image_front", "image_side")
    assert bundle.memory == {"completion": (1,), "places": (6,), "weights": (2,)}
    assert list(bundle.cameras) == ["front", "side"]
    metrics = json.loads((tmp_path / "push" / "metrics.json").read_text())
    assert metrics["evaluation"]["episodes"] == 1
    assert len(metrics["action_head"]["validation"]) == 1
    assert metrics["perception"]["object_pos_cm"] > 0
    with pytest.raises(ValueError, match="exists already"):
        train_camera(config, QUIET)


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a camera policy for reach, eight channels wide."""
    torch.manual_seed(1)
    student = untrained(TrainConfig(Path("unused"), cameras="front", perception=PerceptionRecipe(channels=8)))
    with closing(ArmEnv("reach", "franka_panda", "nominal", "cameras", cameras="front")) as env:
        renders = draw_renders(env, 4, seed=0)
    bundle = export_student("seer", student, camera_contract("reach", "franka_panda", "front"), renders, {})
    return bundle.save(tmp_path_factory.mktemp("bundles") / "seer")


@pytest.mark.slow
def test_an_encoder_is_carried_by_the_names_of_landmarks(seer: Path, tmp_path: Path) -> None:
    small = PerceptionRecipe(channels=8)
    config = TrainConfig(tmp_path / "a", task="push", cameras="front", start=seer, recipe=TINY, perception=small)
    config.validate()
    student, bundle = untrained(config), PolicyBundle.load(seer)
    source = restore_student(bundle)
    surgery, restraint = replace(config, tune="features").begin_encoder(student)
    assert surgery is not None
    assert not any(float(scale.sum()) for scale in restraint.rate_scale(0.5).values())  # what was carried stands still
    for ours, theirs in zip(student.encoder.features.parameters(), source.encoder.features.parameters()):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        student.encoder.heat.weight[0], source.encoder.heat.weight[0]
    )  # the thing, first in both
    torch.testing.assert_close(student.encoder.heat.weight[2:], source.encoder.heat.weight[1:])  # the arm, behind it
    assert "heat.weight[mark]" in {piece.name for piece in surgery.new}
    with pytest.raises(BundleError, match="8 channels wide, the new one 32"):
        replace(config, perception=PerceptionRecipe()).validate()
    with pytest.raises(ValueError, match="tune is 'magic'"):
        replace(config, tune="magic").validate()


@pytest.mark.slow
def test_what_a_carried_encoder_saves_is_counted_in_renders(seer: Path, tmp_path: Path) -> None:
    config = CompareCameraConfig(
        tmp_path / "compared",
        seer,
        "push",
        cameras="front",
        randomise="nominal",
        modes=("features",),
        seeds=1,
        renders=(60, 120),
        episodes=1,
        workers=1,
        recipe=TINY,
        perception=PerceptionRecipe(steps=4, batch=16, channels=8, geometry_steps=20),
    )
    report = compare_camera(config, QUIET)
    assert report["methods"]["scratch"]["steps"] == [60, 120]
    assert set(report["errors"]["features"]) == {"object_pos_cm", "goal_cm"}
    written = (tmp_path / "compared" / "action_head.pt").stat().st_mtime_ns
    assert compare_camera(config, QUIET)["methods"] == report["methods"]  # nothing is done twice
    assert (tmp_path / "compared" / "action_head.pt").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="forgetting_factors are"):
        replace(config, perception=replace(config.perception, forgetting_factors=(2.0, 2.0))).validate()


def test_a_task_without_a_sampler_and_fields_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"task 'insert': its state holds tip, and .* locates only object_pos and goal; .*, stack, reach_clutter$",
    ):
        TrainConfig(tmp_path / "a", task="insert").validate()
    unsampled = type("Unsampled", (Stack,), {"sample_state": Task.sample_state, "name": "unsampled"})()
    with pytest.raises(ValueError, match="task 'unsampled': it moves an object, and has no sample_state"):
        check_locatable(unsampled)
    sizes = [
        CameraModel.looking_at(f"c{side}", (1.2, 0.0, 0.7), (0.5, 0.0, 0.1), side, side, 45.0) for side in (84, 80)
    ]
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": [each.to_dict() for each in sizes]}))
    with pytest.raises(ValueError, match="cameras are c84 84 × 84, c80 80 × 80 px; a policy takes images of one size"):
        TrainConfig(tmp_path / "a", cameras=str(tmp_path / "rig.json")).validate()
    with pytest.raises(ValueError, match="evaluation_episodes is 0, expected at least 1"):
        TrainConfig(tmp_path / "a", evaluation_episodes=0).validate()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("task", SAMPLED)
def test_an_action_head_is_trained_with_perception_noise_and_longer_episodes(task: str) -> None:
    config = TrainConfig(Path("unused"), task, recipe=action_head_recipe(task, "franka_panda"))
    make = config.action_head_environment()
    assert make.perception_noise
    assert (HELD in make.names()) is (task != "push")
    of_state = state_recipe(task, "franka_panda")
    assert config.recipe.linger >= of_state.linger
    assert config.recipe.validation_episodes >= 3 * of_state.validation_episodes
    with closing(make()) as env:
        seen, _ = env.reset(seed=0)
        assert set(make.names()) <= set(seen)
