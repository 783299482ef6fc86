"""Policies of several cameras, of one on the hand, and with fingers, through every method, `adapt` and `gap`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptation.visual import adapt, background_compositing, rig_calibration
from adaptation.visual.adapt import Candidate, adapt_bundle, locate_goals, swapped_cameras
from adaptation.visual.background_compositing import train_on_composites
from adaptation.visual.contrastive_translation import TranslationConfig
from adaptation.visual.feature_level import align_features
from adaptation.visual.image_level import match_histogram
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.methods import METHODS, SOURCE_ONLY, calibration_report
from adaptation.visual.rig_calibration import find_cameras, learn_geometry
from adaptation.visual.self_calibration import Sighting, arm_landmarks, calibrate, ee_poses, perturbed, project
from adaptation.visual.style_transfer import train_on_matched, train_on_style_transfer
from adaptation.visual.target import TargetData, TargetError
from policies.bundle import PolicyBundle
from policies.imitation.geometry import labels
from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.restore import restore_student
from robots.camera import CameraModel
from sim.datasets.labelled_renders import sample_geometry
from sim2real.command_line import main
from tests.support.camera_students import TINY, recorded_target, untrained_bundle

pytestmark = pytest.mark.slow  # a policy is trained for them, if only a little
QUIET = lambda *_: None  # noqa: E731
RIGS = {"reach": "front_side", "pick_place": "front_wrist"}
"""Two fixed cameras of a task without an object to move; one on the hand of a task with fingers."""


@pytest.fixture(scope="module", params=RIGS)
def inputs(request: pytest.FixtureRequest) -> AdaptationInputs:
    bundle = untrained_bundle(request.param, RIGS[request.param])
    small = AdaptationInputs(bundle, recorded_target(bundle), seed=0, renders=30)
    states = sample_geometry(bundle.task, small.robot, small.full_space, 300, 0, small.rig)
    small.__dict__["states"] = states  # fewer than an adaptation draws
    return small


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the geometry be trained for a moment."""
    monkeypatch.setattr(rig_calibration, "PerceptionRecipe", lambda: TINY)


@pytest.fixture
def student(inputs: AdaptationInputs) -> CameraStudent:
    return restore_student(inputs.bundle)


def weights(student: CameraStudent, part: str) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in getattr(student, part).state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_states_are_those_of_the_tasks_own_sampler(inputs: AdaptationInputs, student: CameraStudent) -> None:
    states = inputs.states
    measured, offsets = labels(student, states)
    ee_pos = student.kinematics(torch.from_numpy(states.q)).numpy()
    found = dict(zip(student.estimated, (offsets.numpy().reshape(len(states), -1, 3) + ee_pos[:, None]).swapaxes(0, 1)))
    np.testing.assert_allclose(found[GOAL], states.goal, atol=1e-5)
    np.testing.assert_allclose(states.T_base_ee[:, :3, 3], ee_pos, atol=0.02)  # true beside measured
    if student.fingers:
        assert measured.shape[1] == 8
        np.testing.assert_allclose(found[OBJECT], states.points[:, 0], atol=1e-5)
        assert np.ptp(states.opening) > 0.03  # open, and closed on the object
        held = np.linalg.norm(states.points[:, 0] - ee_pos, axis=1) < 0.02
        assert 0.05 < held.mean() < 0.6
    else:
        assert measured.shape[1] == 7


@pytest.mark.parametrize("method", ["batch-norm", "coral", "histogram", "style-transfer", "background-compositing"])
def test_methods_use_the_images_of_all_cameras(method: str, inputs: AdaptationInputs, student: CameraStudent) -> None:
    before = weights(student, "encoder")
    encoder = student.encoder
    if method == "batch-norm":
        METHODS[method](student, inputs)
    elif method == "coral":
        align_features(encoder, inputs, "coral", steps=2)
    elif method == "histogram":
        train_on_matched(encoder, inputs, match_histogram, steps=2)
    elif method == "style-transfer":
        train_on_style_transfer(encoder, inputs, TranslationConfig(steps=1, batch=2, width=8), steps=2)
    else:
        train_on_composites(encoder, inputs, find_cameras(student, inputs), renders=80, steps=2)
    after = weights(student, "encoder")
    assert any(name.startswith("features") for name in changed(before, after))
    if method not in ("coral",):
        assert any(name.startswith("refiners") for name in changed(before, after))
    assert all(torch.isfinite(value).all() for value in after.values())


def test_each_cameras_own_background_is_behind_its_renders(
    inputs: AdaptationInputs, student: CameraStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple] = []
    monkeypatch.setattr(background_compositing, "fine_tune", lambda encoder, sets, *_: trained.append(sets))
    seen = {name: np.full_like(images, 40 + 80 * i) for i, (name, images) in enumerate(inputs.target.images.items())}
    plain = AdaptationInputs(inputs.bundle, replace(inputs.target, images=seen), 0)
    train_on_composites(student.encoder, plain, find_cameras(student, inputs), renders=16)
    ((first, second),) = trained
    np.testing.assert_array_equal(first.q, second.q)
    borders = [np.median(each.images[:8, :3].astype(float)) for each in (first, second)]
    assert borders[0] == pytest.approx(40, abs=15)
    if inputs.bundle.task == "reach":
        assert borders[1] == pytest.approx(120, abs=40)


def test_self_calibration_reports_every_camera_and_changes_the_geometry_alone(
    inputs: AdaptationInputs, student: CameraStudent
) -> None:
    encoder, geometry = weights(student, "encoder"), weights(student, "geometry")
    report = METHODS["self-calibration"](student, inputs)
    assert list(report["cameras"]) == list(inputs.bundle.cameras)
    json.dumps(report, allow_nan=False)
    assert changed(geometry, weights(student, "geometry"))
    assert not changed(encoder, weights(student, "encoder"))
    goals = locate_goals(student.eval(), inputs.bundle, inputs.target)
    assert goals.shape == (len(inputs.target), 3)
    assert np.isfinite(goals).all()


def test_a_camera_that_nothing_tells_about_is_reported_and_left(inputs: AdaptationInputs) -> None:
    away = CameraModel.looking_at("away", (2.0, 2.0, 1.0), (3.0, 3.0, 1.0), 84, 84, 30.0)
    points = arm_landmarks(inputs.robot, inputs.target.q)
    found = calibrate(away, points, Sighting(np.full((*points.shape[:2], 2), 40.0)))
    assert calibration_report(found) == {
        "unknown": "no landmark in its images tells where it is; it is left where it should be"
    }


KNOCK = np.array([0.03, -0.03, 0.03, 0.02, -0.015, 0.017, 0.0, 0.0, 0.0])
"""A turn of 3° and a shift of 3 cm."""


def test_a_knocked_second_camera_is_found_and_the_geometry_takes_it(
    inputs: AdaptationInputs, student: CameraStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, rng = inputs.bundle, np.random.default_rng(0)
    first, nominal = inputs.rig.cameras
    knocked = perturbed(nominal, KNOCK)
    frames = 250
    states = sample_geometry(bundle.task, inputs.robot, inputs.full_space.preset("nominal"), frames, 5, inputs.rig)
    trial = np.arange(frames) // 10
    q, opening = states.q, states.opening if student.fingers else None
    T = ee_poses(bundle.robot, q)
    # what stands still does so within a trial; an object that is moved may be anywhere
    bodies = len(inputs.task.landmarks)
    points = np.hstack([states.points[:, :bodies], arm_landmarks(bundle.robot, q, opening)]).astype(float)
    still = [k for k, name in enumerate(inputs.task.landmarks) if not (inputs.task.moves_object and name == "object")]
    points[:, still] = points[::10][trial][:, still]
    target = TargetData(dict.fromkeys(bundle.cameras, np.zeros((frames, 1, 1, 3), np.uint8)), q, trial, opening)

    def located(camera: CameraModel) -> torch.Tensor:
        """Exact projections with noise, as an encoder would output them."""
        pixels = project(camera, points, T)
        inside = ((pixels > 0) & (pixels < camera.width - 1)).all(-1)
        noisy = pixels + rng.normal(0, 0.4, pixels.shape)
        pixels = np.where(inside[..., None], noisy, rng.uniform(0, 83, pixels.shape)).astype(np.float32)
        spread = np.where(inside, 2.0, 15.0)[..., None].astype(np.float32) * 2 / camera.width
        places = student.encoder.from_pixels(torch.from_numpy(pixels))
        return torch.cat([places, torch.from_numpy(spread)], dim=2)

    outputs = torch.cat([located(first), located(knocked)], dim=1)
    monkeypatch.setattr(rig_calibration, "detect", lambda *_: outputs)
    shown = AdaptationInputs(bundle, target, 0)
    shown.__dict__["states"] = inputs.states
    found = find_cameras(student, shown)
    assert list(found) == list(bundle.cameras)

    def errors(camera: CameraModel) -> np.ndarray:
        """Distances [px] between where what stands still is, and where `camera` would show it, while it does."""
        pixels, true = (project(each, points[:, still], T) for each in (camera, knocked))
        inside = ((true > 0) & (true < camera.width - 1)).all(-1)
        return np.linalg.norm(pixels - true, axis=-1)[inside]

    before, after = (np.median(errors(camera)) for camera in (nominal, found[nominal.name].camera))
    assert before > 4
    assert after < 0.2 * before
    assert calibration_report(found[nominal.name])["turn_deg"] > 1.0
    posterior = found[nominal.name]
    assert (np.abs(posterior.mean - KNOCK) < 3 * np.sqrt(np.diag(posterior.covariance))).all()
    assert np.linalg.norm(found[first.name].mean[:6]) < 0.02  # nobody touched the first one
    learn_geometry(student, shown, found)
    measured = torch.from_numpy(target.measured)
    goal = student.estimated.index(GOAL)
    with torch.no_grad():
        offsets = student.locate(outputs, measured)[:, 3 * goal : 3 * goal + 3]
    assert torch.isfinite(offsets).all()


@pytest.fixture(scope="module")
def adapted(inputs: AdaptationInputs) -> PolicyBundle:
    """A bundle as `adapt` writes it, of a student that nothing was changed in."""
    candidate = Candidate("batch-norm", restore_student(inputs.bundle).eval(), {})
    return adapt._pack(inputs.bundle, candidate, inputs.target, {})


def test_an_adapted_bundle_has_the_whole_contract_of_its_parent(
    inputs: AdaptationInputs, adapted: PolicyBundle, tmp_path: Path
) -> None:
    parent = inputs.bundle
    assert adapted.check_parity() <= 1e-5
    for name in ("task", "observation", "action", "robot", "cameras", "memory", "network"):
        assert getattr(adapted, name) == getattr(parent, name), name
    assert {f"observation.{name}" for name in parent.observation.names} <= set(adapted.parity)
    assert adapted.provenance["adaptation"]["parent"] == parent.hash
    assert adapted.masking == parent.masking
    assert (adapted.landmarks is None) == (parent.landmarks is None)
    for name, (low, high) in parent.landmarks.ranges.items() if parent.landmarks and adapted.landmarks else ():
        assert adapted.landmarks.ranges[name][0] <= low
        assert adapted.landmarks.ranges[name][1] >= high
    again = PolicyBundle.load(adapted.save(tmp_path / "adapted"))
    restored, before = restore_student(again), restore_student(parent)
    assert not changed(weights(before, "encoder"), weights(restored, "encoder"))
    for name, seen in adapted.inputs.ranges.items():  # of images alone, and never narrower
        assert (np.array(seen.low) <= np.array(parent.inputs.ranges[name].low)).all()


def test_source_only_is_kept_where_nothing_beats_it(inputs: AdaptationInputs) -> None:
    outcome = adapt_bundle(inputs.bundle, inputs.target, SOURCE_ONLY, 0, QUIET)
    assert outcome.method == SOURCE_ONLY
    assert outcome.bundle is inputs.bundle
    paired = replace(inputs.target, simulated=inputs.target.images)
    outcome = adapt_bundle(inputs.bundle, paired, f"{SOURCE_ONLY}, batch-norm", 0, QUIET)
    assert list(outcome.report["candidates"]) == [SOURCE_ONLY, "batch-norm"]
    assert outcome.report["criterion"] == "action agreement"
    assert outcome.report["candidates"][SOURCE_ONLY]["action_difference"] == 0.0


def test_an_unknown_method_is_refused_among_known_ones(inputs: AdaptationInputs) -> None:
    with pytest.raises(ValueError, match="unknown method 'magic'; known are auto, source-only"):
        adapt_bundle(inputs.bundle, inputs.target, "batch-norm,magic", 0, QUIET)


def test_targets_that_do_not_fit_the_rig_are_refused(inputs: AdaptationInputs) -> None:
    bundle, target = inputs.bundle, inputs.target
    first, second = target.images
    wrong = {
        f"camera '{second}'": replace(target, images={first: target.images[first]}),
        f"39 images of camera '{second}' but 40": replace(
            target, images={first: target.images[first], second: target.images[second][1:]}
        ),
    }
    if target.opening is not None:
        wrong["opening is nothing, expected"] = replace(target, opening=None)
    for words, each in wrong.items():
        with pytest.raises(TargetError, match=words) as refused:
            adapt_bundle(bundle, each, "auto", 0, QUIET)
        assert "\n" not in str(refused.value)


def test_the_camera_whose_channels_are_swapped_is_named(inputs: AdaptationInputs) -> None:
    first, second = inputs.bundle.cameras
    red = np.zeros((40, 84, 84, 3), np.uint8) + np.array([120, 60, 20], np.uint8)
    parity = {**inputs.bundle.parity, f"observation.image_{first}": red, f"observation.image_{second}": red}
    target = replace(inputs.target, images={first: red, second: red[..., ::-1]})
    assert swapped_cameras(replace(inputs.bundle, parity=parity), target) == [second]


def test_gap_and_adapt_run_from_the_command_line(
    inputs: AdaptationInputs, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = inputs.bundle.save(tmp_path / "bundle")
    np.savez(tmp_path / "images.npz", **inputs.target.arrays, trial=inputs.target.trial)
    files = ["--bundle", str(bundle), "--target", str(tmp_path / "images.npz")]
    out = tmp_path / "gap.html"
    assert main(["gap", *files, "--out", str(out), "--views", "20", "--workers", "1"]) == 0
    page = out.read_text()
    assert ">covered<" not in page  # an encoder that was not trained locates nothing
    assert capsys.readouterr().out.count("not told: the arm's landmarks are located") == len(inputs.bundle.cameras)
    for camera in inputs.bundle.cameras:
        assert f"<h2>Camera {camera}</h2>" in page
    monkeypatch.setattr("adaptation.visual.inputs.STATES", 100)
    assert main(["adapt", *files, "--out", str(tmp_path / "adapted"), "--method", "self-calibration"]) == 3
    report = json.loads((tmp_path / "adapted.report.json").read_text())
    assert list(report["candidates"]["self-calibration"]["cameras"]) == list(inputs.bundle.cameras)
    assert "keep the bundle you have" in capsys.readouterr().out
    assert main(["adapt", *files, "--out", str(tmp_path / "adapted"), "--topics", "front"]) == 1
    assert "--topics: 'front', expected <camera>=<topic>" in capsys.readouterr().err
