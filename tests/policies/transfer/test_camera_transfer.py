"""Transfer of a camera student: what its encoder brings to another camera, and how each mode holds it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.imitation.perception import fit_encoder
from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.surgery import carry_encoder
from policies.models.transfer_modes import ENCODER_KIND, MODES, restrain
from policies.transfer.camera_transfer import CompareCameraConfig, compare_camera
from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks import fitted_task
from sim.tasks.recipe import PerceptionRecipe
from tests.support.camera_students import HEAD

pytestmark = pytest.mark.slow  # a policy is trained for them, if only a little
QUIET = lambda *_: None  # noqa: E731
SIDE = CameraModel.looking_at("side", (0.5, 0.95, 0.6), (0.5, 0.0, 0.1), 84, 84, 46.0)
TINY = PerceptionRecipe(renders=250, steps=12, batch=16, channels=8, geometry_steps=40, geometry_batch=64, held_out=50)
SMALL_RUN = {
    "randomise": "nominal",
    "workers": 1,
    "threads": 1,
    "perception": TINY,
    "recipe": HEAD,
    "evaluation_episodes": 1,
}


def dots(count: int, seed: int) -> LabelledRenders:
    """Pictures of a bright dot on grey: renders that need no simulation."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(8, 75, (count, 1, 2)).astype(np.float32)
    y, x = np.mgrid[:84, :84]
    dot = np.exp(-((x - pixels[..., :1]) ** 2 + (y - pixels[..., 1:]) ** 2) / 18)
    images = np.repeat((60 + 180 * dot)[..., None], 3, axis=3).astype(np.uint8)
    zeros = np.zeros((count, 7), np.float32)
    return LabelledRenders(
        images,
        zeros,
        np.zeros((count, 1, 3), np.float32),
        pixels,
        np.zeros((count, 3), np.float32),
        np.zeros((count, 1), np.float32),
    )


def encoders() -> tuple[KeypointEncoder, KeypointEncoder]:
    torch.manual_seed(0)
    return KeypointEncoder(2, 84, 84, 8), KeypointEncoder(1, 84, 84, 8)


def test_heat_maps_are_carried_by_the_names_of_their_landmarks() -> None:
    source, target = encoders()
    surgery = carry_encoder(source, ("hand", "object"), target, ("object",))
    image = torch.randn(2, 3, 84, 84)
    source.eval()
    target.eval()
    torch.testing.assert_close(target.heat_maps(image)[:, 0], source.heat_maps(image)[:, 1])
    assert [piece.name for piece in surgery.left] == ["heat.weight[hand]"]
    assert surgery.share == 1.0
    with pytest.raises(BundleError, match=r"give --perception\.channels 8"):
        carry_encoder(source, ("hand", "object"), KeypointEncoder(1, 84, 84, 16), ("object",))


def test_crop_refiners_are_new() -> None:
    source, _ = encoders()
    target = KeypointEncoder(2, 84, 84, 8, refiners=1)
    surgery = carry_encoder(source, ("hand", "object"), target, ("object", "hand"))
    assert [piece.name for piece in surgery.new] == ["crop_refiner[object]", "geometry"]


def learn(mode: str, steps: int) -> tuple[KeypointEncoder, KeypointEncoder]:
    """Train a carried encoder a little; return it as it started and as it ended."""
    source, target = encoders()
    fresh = copy.deepcopy(target)
    surgery = carry_encoder(source, ("hand", "object"), target, ("object",))
    start = copy.deepcopy(target)
    restraint = restrain(mode, target, fresh, surgery, ENCODER_KIND)
    config = PerceptionRecipe(renders=64, steps=steps, batch=16, held_out=1)
    fit_encoder(target, dots(64, 0), config, 0, QUIET, restraint)
    return start, target


def test_a_feature_extractor_changes_neither_weights_nor_statistics_of_its_features() -> None:
    start, end = learn("feature-extractor", 6)
    for name, value in start.features.state_dict().items():
        torch.testing.assert_close(end.features.state_dict()[name], value, rtol=0, atol=0)
    assert (end.heat.weight - start.heat.weight).abs().max() > 1e-4


@pytest.mark.parametrize("mode", ["fine-tune", "gradual-unfreeze", "l2-sp", "distil", "shrink-perturb"])
def test_other_modes_let_the_features_learn_in_the_end(mode: str) -> None:
    start, end = learn(mode, 9)
    weight = "1.0.weight"
    assert (end.features.state_dict()[weight] - start.features.state_dict()[weight]).abs().max() > 1e-5


def test_an_unknown_mode_lists_the_known() -> None:
    source, target = encoders()
    surgery = carry_encoder(source, ("hand", "object"), target, ("object",))
    with pytest.raises(ValueError, match=f"known are {', '.join(MODES)}"):
        restrain("magic", target, copy.deepcopy(target), surgery, ENCODER_KIND)


def test_views_are_drawn_by_the_camera_that_is_given() -> None:
    robot = load_robot("franka_panda")
    space = parameter_space(fitted_task("reach", robot, "front"), robot).preset("nominal")
    (own,) = sample_renders("reach", "franka_panda", space, 4, seed=3, workers=1, cameras="front")
    rig = Rig("own", (replace(SIDE, name="front"),))
    (side,) = sample_renders("reach", "franka_panda", space, 4, seed=3, workers=1, cameras=rig)
    np.testing.assert_array_equal(own.points, side.points)  # the same scenes
    np.testing.assert_allclose(side.pixels[0], SIDE.project(side.points[0]), atol=1e-3)
    assert np.abs(own.images.astype(int) - side.images).mean() > 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "front"
    train_camera(TrainConfig(out, cameras="front", **SMALL_RUN), QUIET)
    return out / "bundle"


@pytest.fixture(scope="module")
def camera_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cameras") / "side.json"
    path.write_text(json.dumps(SIDE.to_dict()))
    return path


def test_a_student_is_carried_to_another_camera_which_its_bundle_then_names(
    source: Path, camera_file: Path, tmp_path: Path
) -> None:
    config = TrainConfig(tmp_path / "side", cameras=str(camera_file), start=source, **SMALL_RUN)
    bundle = train_camera(config, QUIET)
    np.testing.assert_allclose(bundle.cameras["side"].T_base_camera, SIDE.T_base_camera)
    assert bundle.provenance["transfer"]["parent"] == PolicyBundle.load(source).hash
    carried = bundle.provenance["metrics"]["carried"]["carried"]
    assert "heat.weight[object]" in [name for name, _ in carried]
    assert bundle.check_parity() <= 1e-5


def test_a_file_that_is_no_camera_is_refused(source: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "camera.json"
    wrong.write_text("{}")
    config = TrainConfig(tmp_path / "run", cameras=str(wrong), perception=TINY, start=source)
    with pytest.raises(ValueError, match=r"rig '.*camera.json', camera '\?': 'name' is missing"):
        train_camera(config, QUIET)
    assert not (tmp_path / "run").exists()


def test_the_comparison_of_cameras_counts_pictures(source: Path, camera_file: Path, tmp_path: Path) -> None:
    config = CompareCameraConfig(
        tmp_path / "compared",
        source,
        cameras=str(camera_file),
        randomise="nominal",
        modes=("feature-extractor",),
        seeds=1,
        renders=(60, 120),
        episodes=2,
        workers=1,
        perception=TINY,
        recipe=HEAD,
    )
    report = compare_camera(config, QUIET)
    assert report["methods"]["scratch"]["steps"] == [60, 120]
    assert set(report["errors"]) == {"scratch", "feature-extractor"}
    assert (tmp_path / "compared" / "transfer.png").stat().st_size > 1_000
    assert compare_camera(config, QUIET)["methods"] == report["methods"]
