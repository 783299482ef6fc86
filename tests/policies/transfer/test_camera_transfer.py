"""Transfer of a camera student: what its encoder brings to another camera, and how each mode holds it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.action_time import warn_if_slow
from policies.imitation.camera_run import TrainConfig, camera_contract, train_camera, untrained
from policies.imitation.perception import fit_encoder
from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.restore import restore_student
from policies.models.surgery import carry_encoder
from policies.models.transfer_modes import TUNINGS, encoder_kind, restrain
from policies.transfer.camera_transfer import CompareCameraConfig, compare_camera
from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import sample_renders
from sim.tasks import fitted_task
from sim.tasks.recipe import PerceptionRecipe
from sim.workers.start import open_workers
from tests.support.camera_students import HEAD
from tests.support.dots import dots

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
    restraint = restrain(mode, target, fresh, surgery, encoder_kind(target))
    config = PerceptionRecipe(renders=64, steps=steps, batch=16, held_out=1)
    fit_encoder(target, dots(64, 0), config, 0, QUIET, restraint)
    return start, target


def test_a_feature_extractor_changes_neither_weights_nor_statistics_of_its_features() -> None:
    start, end = learn("features", 6)
    for name, value in start.features.state_dict().items():
        torch.testing.assert_close(end.features.state_dict()[name], value, rtol=0, atol=0)
    assert (end.heat.weight - start.heat.weight).abs().max() > 1e-4


@pytest.mark.parametrize("mode", ["all", "gradual-unfreeze", "l2-sp", "distil", "shrink-perturb"])
def test_other_modes_let_the_features_learn_in_the_end(mode: str) -> None:
    start, end = learn(mode, 9)
    weight = "1.0.weight"
    assert (end.features.state_dict()[weight] - start.features.state_dict()[weight]).abs().max() > 1e-5


def test_an_unknown_mode_lists_the_known() -> None:
    source, target = encoders()
    surgery = carry_encoder(source, ("hand", "object"), target, ("object",))
    with pytest.raises(ValueError, match=f"known are {', '.join(TUNINGS)}"):
        restrain("magic", target, copy.deepcopy(target), surgery, encoder_kind(target))


def test_views_are_drawn_by_the_camera_that_is_given() -> None:
    robot = load_robot("franka_panda")
    space = parameter_space(fitted_task("reach", robot, "front"), robot).preset("nominal")
    rig = Rig("own", (replace(SIDE, name="front"),))
    with open_workers(1) as workers:
        (own,), (side,) = (
            sample_renders("reach", "franka_panda", space, 4, 3, workers, cameras=each) for each in ("front", rig)
        )
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
        modes=("features",),
        seeds=1,
        renders=(60, 120),
        episodes=2,
        workers=1,
        perception=TINY,
        recipe=HEAD,
    )
    report = compare_camera(config, QUIET)
    assert report["methods"]["scratch"]["steps"] == [60, 120]
    assert set(report["errors"]) == {"scratch", "features"}
    assert (tmp_path / "compared" / "transfer.png").stat().st_size > 1_000
    assert compare_camera(config, QUIET)["methods"] == report["methods"]


def test_a_policy_is_trained_on_published_weights_and_carried_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, file = torchvision.models.resnet18(weights=None), tmp_path / "resnet18.pth"
    torch.save(network.state_dict(), file)
    run = {**SMALL_RUN, "cameras": "front", "encoder": "resnet18"}
    config = TrainConfig(tmp_path / "run", weights=str(file), tune="features", **run)
    bundle = train_camera(config, QUIET)
    assert bundle.provenance["transfer"] == {"weights": str(file), "encoder": "resnet18", "tune": "features"}
    assert bundle.provenance["metrics"]["action_milliseconds"] > 0
    assert bundle.check_parity() <= 1e-5
    backbone = restore_student(bundle).encoder.backbone
    assert backbone is not None
    torch.testing.assert_close(backbone.stages[2].layer3[1].conv2.weight, network.layer3[1].conv2.weight)
    with pytest.raises(
        BundleError, match="the source's encoder is resnet18, the new one small; give --encoder resnet18"
    ):
        TrainConfig(tmp_path / "next", start=tmp_path / "run" / "bundle", **{**run, "encoder": "small"}).validate()
    TrainConfig(tmp_path / "next", start=tmp_path / "run" / "bundle", **run).validate()


def test_an_encoder_that_is_too_slow_is_named_before_anything_is_drawn(caplog: pytest.LogCaptureFixture) -> None:
    config = TrainConfig(Path("unused"), cameras="front", perception=TINY)
    contract = camera_contract(config.task, config.robot, config.cameras)
    warn_if_slow(untrained(config), contract)
    assert "takes" not in caplog.text
    hasty = replace(contract, action=replace(contract.action, rate_hz=1e6))
    assert warn_if_slow(untrained(config), hasty) > 0
    assert "encoder 'small' takes" in caplog.text
    assert "will not hold 1e+06 Hz here" in caplog.text
