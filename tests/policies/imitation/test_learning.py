"""Training end to end, small: what comes out is a bundle that runs, adapts and refuses."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptation.visual.adapt import adapt_bundle, candidate_methods, locate_goals
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.methods import METHODS, SOURCE_ONLY
from adaptation.visual.target import TargetData
from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.imitation.recipes import action_head_recipe
from policies.models.camera_policy import CameraPolicy
from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder
from policies.models.restore import restore_student
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import sample_renders
from sim.env import ArmEnv
from sim.tasks import fitted_task
from sim.tasks.recipe import PerceptionRecipe
from sim.tasks.state_samples import sample_approach
from sim.workers.start import open_workers
from sim2real.command_line import main
from tests.support.simulated import run_simulated
from tests.support.tiny_bundle import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
PANDA = load_robot("franka_panda")
QUIET = lambda *_: None  # noqa: E731
SMALL = PerceptionRecipe(renders=3_000, steps=500, held_out=300, geometry_steps=1_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera policy without randomisation, which is learned in seconds."""
    out = tmp_path_factory.mktemp("runs") / "small"
    recipe = replace(action_head_recipe("reach", "franka_panda"), validation_episodes=16)
    small = {"recipe": recipe, "perception": SMALL, "evaluation_episodes": 1}
    train_camera(TrainConfig(out, cameras="front", randomise="nominal", threads=1, **small), QUIET)
    return out


def test_network_kinematics_are_the_chains() -> None:
    rng = np.random.default_rng(0)
    q = rng.uniform(PANDA.limits.q_low, PANDA.limits.q_high, (10, 7))
    p = ForwardKinematics(PANDA.chain)(torch.from_numpy(q.astype(np.float32))).numpy()
    np.testing.assert_allclose(p, [PANDA.chain.pose(each)[1] for each in q], atol=1e-5)


def test_map_coordinates_round_trip_and_cells_are_centred() -> None:
    encoder = KeypointEncoder(2, 84, 84)
    pixels = torch.tensor([[[0.0, 0.0], [80.0, 40.0]]])
    np.testing.assert_allclose(encoder.from_pixels(pixels), [[[-1, -1], [1, 0]]])
    np.testing.assert_allclose(encoder.to_pixels(encoder.from_pixels(pixels)), pixels)
    # a heat map with all its weight on one cell answers with that cell's centre
    logits = torch.full((1, 2, 21 * 21), -1e3)
    logits[0, 0, 0] = logits[0, 1, 10 * 21 + 20] = 0.0
    np.testing.assert_allclose(encoder.to_pixels(encoder.locate(logits)[..., :2]), pixels, atol=1e-4)


@pytest.mark.slow
def test_views_are_the_same_whatever_the_number_of_workers() -> None:
    space = parameter_space(fitted_task("reach", PANDA, "front"), PANDA).preset("full")
    with open_workers(1) as alone, open_workers(2) as both:
        (one,), (two,) = (
            sample_renders("reach", "franka_panda", space, 300, 5, each, cameras="front") for each in (alone, both)
        )
    assert len(one) == 300
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert len(np.unique(one.goal[:, 0])) == 300


@pytest.mark.slow
def test_a_small_student_reaches_what_it_sees(run: Path) -> None:
    bundle = PolicyBundle.load(run / "bundle")
    assert bundle.check_parity() <= 1e-5
    trials = run_simulated(bundle, "nominal", 20)
    assert np.mean([trial.success for trial in trials]) >= 0.8
    # and it is the picture that it follows: without one it fails
    blind = [trial for trial in run_simulated(blinded(bundle), "nominal", 10) if trial.success]
    assert len(blind) <= 3


def blinded(bundle: PolicyBundle) -> PolicyBundle:
    class Blind(PolicyBundle):
        def act(self, observation, memory=None):
            return super().act({**observation, "image_front": np.full_like(observation["image_front"], 90)}, memory)

    return Blind(**{name: getattr(bundle, name) for name in PolicyBundle.__dataclass_fields__})


@pytest.mark.slow
def test_the_run_says_where_it_came_from(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["randomise"] == "nominal"
    assert config["perception"]["renders"] == 3_000
    provenance = PolicyBundle.load(run / "bundle").provenance
    assert provenance["config"] == config
    assert provenance["versions"]["torch"] == importlib.metadata.version("torch")
    left = {path.name for path in run.iterdir()}
    assert {"bundle", "config.json", "metrics.json", "metrics.csv", "curve.png", "perception.csv"} < left


@pytest.mark.slow
def test_a_run_is_not_overwritten(run: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        train_camera(TrainConfig(run), QUIET)


@pytest.mark.slow
def test_the_student_comes_back_from_its_bundle(run: Path) -> None:
    bundle = PolicyBundle.load(run / "bundle")
    student = restore_student(bundle)
    act, fresh = CameraPolicy(student, ("q", "image_front")), bundle.parity["begin"]
    for i in range(6):
        if fresh[i]:
            act.begin(1)
        action = act({name: bundle.parity[f"observation.{name}"][i : i + 1] for name in ("q", "image_front")})
        np.testing.assert_allclose(action[0], bundle.parity["action"][i], atol=1e-5)
    with pytest.raises(BundleError, match="no weights"):
        restore_student(tiny_bundle())


@pytest.fixture(scope="module")
def still_target() -> TargetData:
    """Frames of the domain that the small policy was trained in: nothing to adapt to."""
    space = parameter_space(fitted_task("reach", PANDA, "front"), PANDA).preset("nominal")
    with open_workers(2) as workers:
        (renders,) = sample_renders("reach", "franka_panda", space, 120, 77, workers, cameras="front")
    return TargetData({"front": renders.images}, renders.q, np.repeat(np.arange(12), 10))


@pytest.mark.slow
def test_adaptation_refuses_when_nothing_wins(run: Path, still_target: TargetData) -> None:
    # every frame is of another scene, so no candidate can make the goal stand still
    bundle = PolicyBundle.load(run / "bundle")
    outcome = adapt_bundle(bundle, still_target, "auto", 0, QUIET)
    assert outcome.method == SOURCE_ONLY
    assert outcome.bundle is bundle
    assert set(outcome.report["candidates"]) == set(candidate_methods(6))


@pytest.mark.slow
def test_with_simulated_pictures_of_the_same_moments_actions_judge(run: Path, still_target: TargetData) -> None:
    bundle = PolicyBundle.load(run / "bundle")
    paired = adapt_bundle(bundle, replace(still_target, simulated=still_target.images), "batch-norm", 0, QUIET)
    assert paired.report["criterion"] == "action agreement"
    apart = {name: found["action_difference"] for name, found in paired.report["candidates"].items()}
    assert apart["source-only"] == 0.0  # the target is the simulation: nobody acts more as it does there than itself
    assert apart["batch-norm"] > 0
    assert paired.method == SOURCE_ONLY


@pytest.mark.slow
def test_an_adaptation_that_hurts_is_refused(run: Path) -> None:
    # Negative transfer: the images are of the source's own domain, but the base joint was read with the wrong sign. No
    # place of the camera explains such frames. (An encoder that is off by a constant looks like a camera that moved.)
    bundle = PolicyBundle.load(run / "bundle")
    right, goals = recorded_trials()
    target = replace(right, q=right.q * np.float32([-1, 1, 1, 1, 1, 1, 1]))
    student = restore_student(bundle)
    hurt = copy.deepcopy(student)
    METHODS["self-calibration"](hurt, AdaptationInputs(bundle, target, 0))
    before, after = (
        np.median(np.linalg.norm(locate_goals(each, bundle, right) - goals, axis=1)) for each in (student, hurt.eval())
    )
    assert after > before + 0.01
    outcome = adapt_bundle(bundle, target, "auto", 0, QUIET)
    assert outcome.method == SOURCE_ONLY
    assert not outcome.report["candidates"]["self-calibration"]["beats_source_only"]


def recorded_trials(trials: int = 12, frames: int = 8) -> tuple[TargetData, np.ndarray]:
    """Frames of an arm that moves about while the goal of each trial stands still, and the goals (N, 3) [m]."""
    env = ArmEnv("reach", "franka_panda", "nominal", "cameras", cameras="front")
    rng = np.random.default_rng(3)
    rows = []
    for trial in range(trials):
        env.reset(seed=100 + trial)
        goal = env.task.desired_goal(env.world)
        for _ in range(frames):
            seen = env.place_arm(sample_approach(env.robot, env.world.ee_pos, goal, rng))
            rows.append((seen["image_front"], seen["q"], trial, goal))
    env.close()
    images, q, trial, goals = (np.stack(column) for column in zip(*rows))
    return TargetData({"front": images}, q.astype(np.float32), trial), goals


@pytest.mark.slow
def test_unknown_methods_and_misfits_are_refused(run: Path, still_target: TargetData) -> None:
    bundle = PolicyBundle.load(run / "bundle")
    with pytest.raises(ValueError, match="unknown method 'magic'; known are auto, source-only, self-calibration"):
        adapt_bundle(bundle, still_target, "magic", 0, QUIET)
    small = replace(still_target, images={"front": still_target.images["front"][:, ::2, ::2]})
    with pytest.raises(ValueError, match=r"uint8 \(42, 42, 3\), the policy takes"):
        adapt_bundle(bundle, small, "auto", 0, QUIET)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--out", "x", "--task", "juggle"], "juggle"),
        (["train", "--out", "x", "--randomise", "tame"], "unknown preset 'tame'; known are nominal, mild, full, wild"),
        (["train", "--out", "x", "--perception.steps", "0"], "steps is 0, expected a positive number"),
        (["train", "--out", "tests"], "'tests' exists already"),
        (["adapt", "--bundle", "nowhere", "--target", "x", "--out", "y"], "bundle 'nowhere' does not exist"),
        (["evaluate", "--bundles", "nowhere", "--out", "y"], "bundle 'nowhere' does not exist"),
        (["policy-node", "--speed", "3"], "unknown option '--speed'"),
        (["fly"], "unknown command 'fly'; known are demo, train"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) != 0
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1, said
    assert message in said
    assert not (ROOT / "x").exists()
    assert not (ROOT / "y").exists()


@pytest.mark.slow
def test_a_process_that_refuses_says_nothing_else(tmp_path: Path) -> None:
    refused = [sys.executable, "-m", "sim2real", "train", "--out", str(tmp_path / "x"), "--randomise", "tame"]
    done = subprocess.run(refused, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("demo", "--out"),
        ("train", "--out"),
        ("adapt", "--out"),
        ("evaluate", "--out"),
        ("virtual-arm", "--fault"),
        ("policy-node", "--shadow"),
        ("safety-gate", "--dq-scale"),
        ("play-camera", "--source"),
    ],
)
def test_help_explains_every_option(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert option in capsys.readouterr().out
