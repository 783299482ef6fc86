"""Networks learn on the device that is asked for, by the same code on every device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adaptation.visual.contrastive_translation import TranslationConfig, learn_contrastive
from adaptation.visual.feature_level import adapt_batch_norm, align_features
from adaptation.visual.translation_networks import translate
from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.dagger import fit_round
from policies.imitation.detection import detect
from policies.imitation.geometry import fit_geometry
from policies.imitation.perception import fit_perception
from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.state_network import StateNetwork
from policies.reinforcement.algorithms import load_algorithm
from policies.reinforcement.columns import prepare_columns
from policies.reinforcement.demonstrations import Demonstrations, as_tensors, imitate
from policies.reinforcement.learner import build_model, keep_demonstrations, train_critic
from policies.reinforcement.practice import PracticeEnv
from policies.reinforcement.recipe import ReinforcementRecipe
from policies.training.device import CPU, available_devices, device_of, find_device
from policies.training.parallel import one_thread
from sim.tasks.recipe import PerceptionRecipe
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim2real.command_line import main
from tests.support.camera_students import HEAD
from tests.support.dots import dots
from tests.support.pretended_device import DEVICE, pretended_device

QUIET = lambda *_: None  # noqa: E731
TINY = PerceptionRecipe(renders=40, steps=6, batch=16, refiner_steps=(4,), geometry_steps=8, geometry_batch=16)


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Compute on `device`, with one thread: the pretended one is there in this thread alone."""
    with one_thread(), pretended_device() if device == DEVICE else nullcontext():
        yield


def close(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(
            other.state_dict()[name], value, rtol=2e-2, atol=1e-2
        )  # Adam turns the rounding of a small gradient into a step


def test_what_a_machine_has_is_found_and_an_unknown_device_is_refused() -> None:
    assert find_device("cpu") == CPU
    assert find_device("auto").type == available_devices()[0]
    with pytest.raises(ValueError, match="device is 'tpu', expected auto, cpu, cuda, mps"):
        find_device("tpu")


@pytest.mark.parametrize("name", [n for n in ("cuda", "mps") if n not in available_devices()])
@pytest.mark.parametrize("words", [["--observation", "state"], [], ["--algorithm", "sac"]])
def test_a_device_that_is_missing_is_named_before_any_work(
    name: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *words, "--device", name, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"device is '{name}', but torch" in said
    assert "here; choose one of these or auto" in said
    assert not out.exists()


@pytest.mark.parametrize("name", [n for n in ("cuda", "mps") if n not in available_devices()])
def test_an_adaptation_names_a_device_that_is_missing_before_it_reads_anything(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--bundle", str(tmp_path / "none"), "--target", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main(["adapt", *words, "--device", name]) == 1
    assert f"device is '{name}', but torch" in capsys.readouterr().err


def test_the_pretended_device_is_like_a_gpu() -> None:
    with pretended_device():
        there = torch.arange(6.0).to(DEVICE).requires_grad_()
        (there[torch.tensor([1, 2])].square().sum() * torch.tensor(2.0)).backward()
        assert there.grad is not None
        assert there.grad.device == DEVICE
        np.testing.assert_array_equal(there.grad.cpu().numpy(), [0, 4, 8, 0, 0, 0])
        with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
            there + torch.ones(6)
        with pytest.raises((RuntimeError, TypeError)):
            there.detach().numpy()


def test_an_encoder_learns_and_locates_on_every_device() -> None:
    torch.manual_seed(0)
    fresh, renders = KeypointEncoder(1, 84, 84, 8, refiners=1, cross_view_priors=1), (dots(40, 0), dots(40, 1))
    learned, points = [], []
    for device in (CPU, DEVICE):
        encoder = copy.deepcopy(fresh)
        with on(device):
            encoder.to(device)
            fit_perception(encoder, renders, TINY, 0, QUIET)
            assert device_of(encoder) == device
            points.append(detect(encoder, *(each.images for each in renders)))
            learned.append(encoder.to(CPU))
    close(*learned)
    torch.testing.assert_close(*points, rtol=2e-2, atol=2e-2)
    assert (learned[0].heat.weight - fresh.heat.weight).abs().max() > 1e-4


def test_the_geometry_learns_where_the_encoder_is_and_comes_back() -> None:
    torch.manual_seed(0)
    fresh = untrained(TrainConfig(Path("nowhere"), cameras="front_side", perception=TINY, recipe=HEAD))
    points, measured = torch.randn(50, 2 * fresh.encoder.heat.out_channels, 3), torch.randn(50, 7)
    learned = []
    for device in (CPU, DEVICE):
        student = copy.deepcopy(fresh)
        with on(device):
            student.encoder.to(device)
            fit_geometry(student, points, measured, torch.randn(50, 3).clone() * 0.1, TINY, 0, QUIET)
        assert device_of(student.geometry) == CPU
        learned.append(student.geometry)
    for each in learned:
        assert (each[0].weight - fresh.geometry[0].weight).abs().max() > 1e-4
        assert all(bool(value.isfinite().all()) for value in each.state_dict().values())


@pytest.mark.parametrize("device", [CPU, DEVICE], ids=str)
def test_a_round_of_imitation_learns_on_every_device(device: torch.device) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = StateNetwork([("ee_pos", (3,)), ("goal", (3,))], ("x", "y", "z"), (16,), judges=True)
    places = {name: rng.normal(size=(200, 3)).astype(np.float32) for name in ("ee_pos", "goal")}
    records = {**places, "expert": np.tanh(places["goal"] - places["ee_pos"]), "near": rng.random((200, 1)) < 0.5}
    with on(device):
        network.to(device)
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        first = fit_round(network, optimiser, records, HEAD, 0, 0, QUIET)
        for _ in range(3):
            last = fit_round(network, optimiser, records, HEAD, 0, 0, QUIET)
    assert last < 0.95 * first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_reinforcement_learns_on_an_accelerator(name: str) -> None:
    recipe = ReinforcementRecipe(steps=40, segment=40, envs=2, hidden=(16,), batch=20, rollout=10, random_steps=10)
    algorithm, rng = load_algorithm(name), np.random.default_rng(0)
    arms = Sb3ArmVectorEnv(PracticeEnv("reach", space="nominal"), 2, 1)
    seen = (("q", (7,)), ("dq", (7,)), ("ee_pos", (3,)), ("goal", (3,)))
    arrays = {each: rng.normal(size=(40, *shape)).astype(np.float32) for each, shape in seen}
    actions, ends = rng.uniform(-1, 1, (40, 3)).astype(np.float32), np.arange(40) == 39
    shown = Demonstrations(arrays, arrays, actions, actions, np.zeros(40, np.float32), np.zeros(40, bool), ends)
    with pretended_device() as device:
        model = build_model(algorithm, recipe, arms, seen, (), len(shown), device)
        assert model.device == device
        prepare_columns(model, as_tensors(shown.observation))
        keep_demonstrations(model, recipe, shown, [each for each, _ in seen])
        first = imitate(model, algorithm, shown, [each for each, _ in seen], 1, 20, 0)
        assert imitate(model, algorithm, shown, [each for each, _ in seen], 40, 20, 0) < first
        if algorithm.off_policy:
            train_critic(model, 2, 10)
        model.learn(20)
        assert device_of(model.policy) == device
    arms.close()


def test_adaptation_learns_on_every_device() -> None:
    torch.manual_seed(0)
    fresh, source, frames = KeypointEncoder(1, 84, 84, 8), dots(24, 0), dots(24, 1).images
    inputs: Any = SimpleNamespace(source=(source,), images=(frames,), seed=0)
    learned, pictures = [], []
    for device in (CPU, DEVICE):
        encoder = copy.deepcopy(fresh)
        with on(device):
            encoder.to(device)
            adapt_batch_norm(encoder, encoder, [frames])
            for term in ("coral", "adversarial"):
                align_features(encoder, inputs, term, steps=2)
            generator = learn_contrastive(source.images, frames, TranslationConfig(2, 2, width=4), 0, device)
            assert device_of(generator) == device
            pictures.append(translate(generator, frames[:2]).astype(int))
            learned.append(encoder.to(CPU))
    close(*learned)
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
