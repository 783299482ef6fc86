"""A policy that sees by two fixed cameras: its renders, its bundle, and who refuses it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, check_cameras, train_camera
from policies.imitation.perception import fit_perception
from policies.models.camera_policy import CameraPolicy
from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.restore import restore_student
from policies.scoring.mujoco import evaluate_in_mujoco
from robots.registry import load_robot
from robots.rig import RIGS, Rig, load_rig
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim.tasks import fitted_task
from sim.tasks.recipe import PerceptionRecipe
from tests.support.camera_students import HEAD

PANDA = load_robot("franka_panda")
FRONT, SIDE = load_rig("front_side", PANDA).cameras
QUIET = lambda *_: None  # noqa: E731
TINY = PerceptionRecipe(
    renders=250, steps=8, batch=16, channels=8, refiner_steps=(6, 4), geometry_steps=40, geometry_batch=64, held_out=50
)


def test_views_of_two_cameras_are_of_the_same_moments() -> None:
    with closing(ArmEnv("reach", "franka_panda", "full", "cameras")) as env:
        front, side = draw_renders(env, 3, seed=3)
        front_again, _ = draw_renders(env, 3, seed=3)
        # the last moment is still the environment's
        pixels = [env.camera(name).project(front.points[-1]) for name in ("front", "side")]
        moment = env.world.q
    np.testing.assert_array_equal(front.images, front_again.images)
    for renders, expected in zip((front, side), pixels):
        np.testing.assert_allclose(renders.pixels[-1], expected, atol=1e-3)
        np.testing.assert_array_equal(renders.q, front.q)
        np.testing.assert_array_equal(renders.goal, front.goal)
    assert np.abs(front.q[-1] - moment).max() < 0.05  # as measured
    assert np.abs(front.images.astype(int) - side.images).mean() > 5
    eye = np.array([camera.pose()[:3, 3] for camera in (FRONT, SIDE)]) - front.points[:, 0].mean(0)
    crossing = np.degrees(np.arccos(eye[0] @ eye[1] / np.linalg.norm(eye, axis=1).prod()))
    assert 50 < crossing < 110  # or else nothing is triangulated


def test_refiners_trained_in_parallel_with_the_encoder_are_the_same() -> None:
    with closing(ArmEnv("reach", "franka_panda", "full", "cameras")) as env:
        renders = draw_renders(env, 60, seed=3)
    before, learned, checks = torch.get_num_threads(), [], []
    try:
        for threads in (1, 2):
            torch.manual_seed(0)
            encoder = KeypointEncoder(7, 84, 84, 8, refiners=2, cross_view_priors=1)
            fresh = {name: value.clone() for name, value in encoder.state_dict().items()}
            torch.set_num_threads(threads)
            shares: list[float] = []
            fit_perception(
                encoder, renders, TINY, 5, lambda share, text, told=shares: told.append(share), background=checks.append
            )
            assert not any(module.training for refiner in encoder.refiners for module in refiner.modules())
            assert shares == sorted(shares)
            learned.append(encoder.state_dict())
    finally:
        torch.set_num_threads(before)
    assert len(checks) == 2  # what else there is to do was done, once each
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name], value, rtol=0, atol=0)
    for part in ("features.1", "heat", "refiners.0", "refiners.1"):  # all of it has learned
        weights = [name for name in fresh if name.startswith(part) and name.endswith("weight")]
        assert weights
        assert any(not torch.equal(fresh[name], learned[0][name]) for name in weights)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    out = tmp_path_factory.mktemp("runs") / "two"
    config = TrainConfig(out, workers=1, threads=1, perception=TINY, recipe=HEAD, evaluation_episodes=1)
    train_camera(config, QUIET)
    return PolicyBundle.load(out / "bundle")


@pytest.mark.slow
def test_a_bundle_of_two_cameras_runs_and_comes_back(bundle: PolicyBundle) -> None:
    assert bundle.cameras == {"front": FRONT, "side": SIDE}
    assert bundle.check_parity() <= 1e-5
    found = evaluate_in_mujoco(bundle, 1)  # in images of both cameras of the virtual lab
    assert (found.episodes, found.randomise) == (1, "MuJoCo")
    both = bundle.parity["observation.camera_mask"].all(axis=1)
    rows = np.flatnonzero(bundle.parity["begin"] & both)[:5]
    q, front, side = (bundle.parity[f"observation.{name}"][rows] for name in bundle.observation.names)
    act, swapped = (CameraPolicy(restore_student(bundle), bundle.observation.names) for _ in range(2))
    action = act({"q": q, "image_front": front, "image_side": side})
    np.testing.assert_allclose(action, bundle.parity["action"][rows], atol=1e-5)
    other = swapped({"q": q, "image_front": side, "image_side": front})
    assert np.abs(other - action).max() > 1e-4  # each picture has its place
    figures = bundle.provenance["metrics"]["perception"]
    assert len(figures["keypoint_px"]) == 2 * len(bundle.network["landmarks"])
    assert figures["keypoint_px"][-1] is None  # the arm's base is in no picture of the side camera
    assert [each["mask"] for each in figures["masked"]] == [[1.0, 0.0], [0.0, 1.0]]
    assert all(each["goal_cm"] > 0 and 0 <= each["usable"] <= 1 for each in figures["masked"])
    assert bundle.masking is not None
    assert bundle.masking.cameras == ("front", "side")
    assert bundle.masking.usual < bundle.masking.limits


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cameras": "eyes"}, "unknown camera rig 'eyes'; known are front, front_side, front_wrist, wrist"),
        ({"cameras": "absent.json"}, "rig 'absent.json' cannot be read"),
        (
            {"perception": PerceptionRecipe(refiner_steps=(20, 0))},
            r"refiner_steps are \(20, 0\), expected positive",
        ),
        ({"perception": PerceptionRecipe(refiner_steps=(5,) * 9)}, "refiner_steps are for 9 keypoints, there are 7"),
        ({"perception": PerceptionRecipe(object_weight=0.0)}, "object_weight is 0.0, expected a positive number"),
    ],
)
def test_what_makes_no_sense_is_refused(config: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train_camera(TrainConfig(tmp_path / "run", **config), QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rig", RIGS)
def test_the_images_of_every_rig_fit_a_student(rig: str) -> None:
    check_cameras(fitted_task("reach", PANDA, rig))


@pytest.mark.parametrize("rig", RIGS)
def test_an_action_head_is_trained_with_every_rigs_parameters(rig: str) -> None:
    space = TrainConfig(Path("unused"), cameras=rig).space()
    with closing(TrainConfig(Path("unused"), cameras=rig).action_head_environment().arm()) as env:
        assert env.parameter_space.names == space.names


def test_cameras_of_several_sizes_or_odd_ones_are_refused() -> None:
    small, odd = FRONT.resized(42, 42), FRONT.resized(63, 63)
    for cameras in ((small, SIDE), (odd,)):
        task = fitted_task("reach", PANDA, Rig("mixed", cameras))
        with pytest.raises(ValueError, match=r"cameras are front .* px; a policy takes images of one size with even"):
            check_cameras(task)
