"""Transfer: what surgery carries, how each mode holds it, and the comparison with training from scratch."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.state_run import StateRunConfig, train_state
from policies.models.state_network import StateNetwork
from policies.models.surgery import action_gain, operate
from policies.models.transfer_modes import restrain, state_kind
from policies.training.descent import scaled_step
from policies.training.run_folder import RunError
from policies.transfer.learning_curves import Curve, compare_curves, steps_to
from policies.transfer.state_transfer import (
    CompareConfig,
    TransferConfig,
    compare_state,
    evaluate_unchanged,
    transfer_state,
)
from robots.specs import ActionSpec
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import WorkersError
from sim2real.command_line import main
from sim2real.transfer import comparison_table

pytestmark = pytest.mark.slow  # a policy is trained for them, if only a little
QUIET = lambda *_: None  # noqa: E731
REACH = [("q", (7,)), ("ee_pos", (3,)), ("goal", (3,))]
PICK = [("q", (7,)), ("ee_pos", (3,)), ("opening", (1,)), ("object_pos", (3,)), ("goal", (3,))]
ONE = dict.fromkeys(("x", "y", "z"), 1.0)
TINY = StateRecipe(
    hidden=(32, 32),
    envs=4,
    rounds=2,
    round_steps=40,
    gradient_steps=80,
    last_gradient_steps=120,
    batch=64,
    learning_rate=3e-3,
    validation_episodes=4,
)


def networks() -> tuple[StateNetwork, StateNetwork]:
    torch.manual_seed(0)
    source = StateNetwork(REACH, ("x", "y", "z"), (16, 16))
    source.fit_normaliser(torch.randn(100, source.centre.numel()))
    target = StateNetwork(PICK, ("x", "y", "z", "gripper"), (16, 16))
    target.fit_normaliser(torch.randn(100, target.centre.numel()))
    return source, target


def test_a_carried_policy_does_at_first_exactly_what_it_did() -> None:
    source, target = networks()
    surgery = operate(source, target, ONE, same_arm=True)
    q, ee_pos, goal = torch.randn(5, 7), torch.randn(5, 3), torch.randn(5, 3)
    before = source(q, ee_pos, goal)
    after = target(q, ee_pos, torch.randn(5, 1), torch.randn(5, 3), goal)
    np.testing.assert_allclose(after[:, :3].detach(), before.detach(), atol=1e-5)
    np.testing.assert_array_equal(after[:, 3].detach(), 0.0)
    new = {piece.name for piece in surgery.new}
    assert "body.0.weight[opening]" in new
    assert "body.0.weight[goal - object_pos]" in new
    assert "body.4.weight[gripper]" in new
    carried = {piece.name: piece.shape for piece in surgery.carried}
    assert carried["body.0.weight[goal - ee_pos]"] == (16, 3)
    assert carried["body.2.weight"] == (16, 16)
    assert 0.5 < surgery.share < 1.0


def test_what_joints_see_is_new_on_another_arm() -> None:
    source, target = networks()
    surgery = operate(source, target, ONE, same_arm=False)
    assert "body.0.weight[q]" in {piece.name for piece in surgery.new}
    assert "body.0.weight[q]" in {piece.name for piece in surgery.left}
    np.testing.assert_array_equal(target.layers[0].weight[:, target.columns()["q"]].detach(), 0.0)


def test_the_same_speed_is_asked_for_at_another_rate_and_scale() -> None:
    slow = ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), 20.0)  # 0.8 m/s
    fast = ActionSpec("ee_delta", ("x", "y", "z", "gripper"), (0.01, 0.02, 0.04, 1.0), 40.0)  # 0.4, 0.8, 1.6 m/s
    assert action_gain(slow, fast) == {"x": 2.0, "y": 1.0, "z": 0.5}
    with pytest.raises(BundleError, match="commands ee_delta, the task joint_delta"):
        action_gain(slow, ActionSpec("joint_delta", ("a",), (0.1,), 20.0))


def test_networks_that_do_not_fit_are_refused() -> None:
    source, _ = networks()
    with pytest.raises(BundleError, match="hidden layers"):
        operate(source, StateNetwork(PICK, ("x", "y", "z"), (8,)), ONE, same_arm=True)
    with pytest.raises(BundleError, match="share no actions"):
        operate(source, StateNetwork(REACH, ("a",), (16, 16)), {}, same_arm=True)


def test_what_has_another_name_in_the_new_task_is_carried_to_it() -> None:
    source, target = networks()
    surgery = operate(source, target, ONE, same_arm=True, now={"goal": "object_pos"})
    q, ee_pos, goal = torch.randn(5, 7), torch.randn(5, 3), torch.randn(5, 3)
    before = source(q, ee_pos, goal)
    after = target(q, ee_pos, torch.randn(5, 1), goal, torch.randn(5, 3))  # what was the goal is now the object
    np.testing.assert_allclose(after[:, :3].detach(), before.detach(), atol=1e-5)
    carried = {piece.name for piece in surgery.carried}
    assert {"body.0.weight[object_pos - ee_pos]", "body.0.weight[near(object_pos - ee_pos)]"} <= carried
    assert "body.0.weight[goal - ee_pos]" in {piece.name for piece in surgery.new}
    with pytest.raises(BundleError, match="the source sees no goa; it sees q, ee_pos, goal"):
        operate(source, target, ONE, same_arm=True, now={"goa": "object_pos"})
    with pytest.raises(BundleError, match="the task has no thing"):
        operate(source, target, ONE, same_arm=True, now={"goal": "thing"})
    with pytest.raises(BundleError, match="two of the source's columns would be called 'ee_pos'"):
        operate(source, target, ONE, same_arm=True, now={"goal": "ee_pos"})


def descend(mode: str, round_: int, steps: int = 20) -> tuple[StateNetwork, StateNetwork, dict[str, torch.Tensor]]:
    """Train a carried network towards nonsense; return it as it started, as it ended, and what was carried."""
    source, network = networks()
    fresh = copy.deepcopy(network)
    surgery = operate(source, network, ONE, same_arm=True)
    start = copy.deepcopy(network)
    restraint = restrain(mode, network, fresh, surgery, state_kind(network))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    row, labels = torch.randn(64, network.centre.numel()), torch.randn(64, 4)
    for _ in range(steps):
        loss = F.mse_loss(network.body(network.normalise(row)), labels)
        extra = restraint.penalty(network, row, round_)
        optimiser.zero_grad()
        (loss if extra is None else loss + extra).backward()
        scaled_step(optimiser, network, restraint.rate_scale(round_))
    return start, network, dict(surgery.masks)


def moved(before: StateNetwork, after: StateNetwork, name: str, where: torch.Tensor) -> float:
    change = (dict(after.named_parameters())[name] - dict(before.named_parameters())[name]).detach().abs()
    return float(change[where > 0].max())


def test_a_feature_extractor_keeps_what_it_carried_and_learns_the_rest() -> None:
    before, after, masks = descend("features", 0)
    first = masks["body.0.weight"]
    assert moved(before, after, "body.0.weight", first) == 0.0
    assert moved(before, after, "body.2.weight", masks["body.2.weight"]) == 0.0
    assert moved(before, after, "body.0.weight", 1 - first) > 0.01
    assert moved(before, after, "body.4.weight", masks["body.4.weight"]) > 0.01


def test_layers_thaw_one_a_round_from_the_top() -> None:
    for round_, thawed in ((0, ["body.4.weight"]), (1, ["body.2.weight"]), (2, ["body.0.weight"])):
        before, after, masks = descend("gradual-unfreeze", round_)
        for name in thawed:
            assert moved(before, after, name, masks[name]) > 0.0
    before, after, masks = descend("gradual-unfreeze", 0)
    assert moved(before, after, "body.2.weight", masks["body.2.weight"]) == 0.0
    before, after, masks = descend("gradual-unfreeze", 1)
    assert moved(before, after, "body.0.weight", masks["body.0.weight"]) == 0.0


def test_fine_tuning_moves_what_was_carried_less_than_training_would() -> None:
    before, after, masks = descend("all", 0)
    mask = masks["body.2.weight"]
    assert (
        0.0 < moved(before, after, "body.2.weight", mask) <= 0.3 * 20 * 1e-2 * 1.1
    )  # Adam: a step is the rate at most


def test_l2_sp_stays_nearer_than_no_penalty_would(monkeypatch: pytest.MonkeyPatch) -> None:
    distance = {}
    for weight in (0.0, 10.0):
        monkeypatch.setattr("policies.models.transfer_modes.L2_SP", weight)
        before, after, masks = descend("l2-sp", 0, steps=60)
        name = "body.2.weight"
        change = dict(after.named_parameters())[name] - dict(before.named_parameters())[name]
        distance[weight] = float((masks[name] * change).norm().detach())
    assert distance[10.0] < 0.5 * distance[0.0]


def test_distilling_starts_from_fresh_weights_and_ends_nearer_to_the_sources_features() -> None:
    source, network = networks()
    fresh = copy.deepcopy(network)
    surgery = operate(source, network, ONE, same_arm=True)
    restraint = restrain("distil", network, fresh, surgery, state_kind(network))
    for key, value in fresh.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value)
    row = torch.randn(64, network.centre.numel())
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        loss = restraint.penalty(network, row, 0)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    later = restraint.penalty(network, row, 1)
    assert later is not None
    assert float(later.detach()) == pytest.approx(0.5 * float(restraint.penalty(network, row, 0).detach()), rel=1e-5)


def test_shrinking_goes_half_the_way_back_to_fresh_weights_and_then_holds_nothing() -> None:
    source, network = networks()
    fresh = copy.deepcopy(network)
    surgery = operate(source, network, ONE, same_arm=True)
    carried = copy.deepcopy(network)
    restraint = restrain("shrink-perturb", network, fresh, surgery, state_kind(network))
    for name, mask in surgery.masks.items():
        now, was, new = (dict(each.named_parameters())[name] for each in (network, carried, fresh))
        torch.testing.assert_close(now, torch.where(mask > 0, 0.5 * (was + new), new))
    goal = network.columns()["goal - ee_pos"]
    torch.testing.assert_close(network.spread[goal], source.spread[source.columns()["goal - ee_pos"]])  # as it saw it
    assert restraint.rate_scale(0) == {}
    assert restraint.penalty(network, torch.zeros(1, network.centre.numel()), 0) is None


def test_the_share_of_steps_is_what_the_curves_say() -> None:
    steps = np.array([100, 200, 300, 400])
    scratch = np.array([[0.0, 0.2, 0.4, 0.6]] * 3)
    twice = np.array([[0.2, 0.6, 0.8, 0.9]] * 3)
    worse = np.array([[0.0, 0.1, 0.1, 0.2]] * 3)
    cpu = np.ones((3, 4))
    found = compare_curves(
        [Curve("scratch", steps, scratch, cpu), Curve("a", steps, twice, cpu), Curve("b", steps, worse, cpu)]
    )
    assert found["level"] == pytest.approx(0.6)
    assert found["methods"]["a"]["share_of_scratch"] == pytest.approx(0.5)
    assert found["methods"]["a"]["share_low"] == pytest.approx(0.5)
    assert found["methods"]["b"]["share_of_scratch"] is None
    assert found["methods"]["scratch"]["share_of_scratch"] == pytest.approx(1.0)
    assert steps_to(0.3, steps, scratch) == pytest.approx(250)


def test_where_scratch_learns_nothing_the_share_is_an_upper_bound() -> None:
    steps, cpu = np.array([100, 200, 400]), np.ones((2, 3))
    nothing, some = np.zeros((2, 3)), np.array([[0.0, 0.2, 0.5]] * 2)
    found = compare_curves([Curve("scratch", steps, nothing, cpu), Curve("a", steps, some, cpu)])
    assert found["share_is_bound"]
    assert found["level"] == pytest.approx(0.1)
    assert found["methods"]["scratch"]["steps_to_level"] is None
    assert found["methods"]["a"]["share_of_scratch"] == pytest.approx(150 / 400)
    assert not compare_curves([Curve("scratch", steps, some, cpu)])["share_is_bound"]


def test_the_share_is_told_at_every_level_that_scratch_gets_to() -> None:
    steps, cpu = np.array([100, 200, 300, 400]), np.ones((3, 4))
    scratch = np.array([[0.0, 0.4, 0.6, 0.85]] * 3)
    early = np.array([[0.4, 0.6, 0.7, 0.75], [0.4, 0.6, 0.7, 0.75], [0.5, 0.7, 0.8, 0.85]])
    found = compare_curves([Curve("scratch", steps, scratch, cpu), Curve("early", steps, early, cpu)])
    half, most = found["methods"]["early"]["levels"]  # scratch never gets to 0.9
    assert (half["level"], most["level"]) == (0.5, 0.8)
    assert half["steps"] == pytest.approx(100 + 100 * (0.5 - 1.3 / 3) / 0.2)
    assert half["share"] == pytest.approx(half["steps"] / 250)
    assert half["low"] == pytest.approx(100 / 250)  # three times the third seed
    assert half["high"] == pytest.approx(150 / 250)  # three times the first
    assert most["share"] is None
    assert most["low"] == pytest.approx(300 / 380)
    assert most["high"] is None
    lines = comparison_table({**found, "unchanged": None})
    assert any("0.50" in line and "0.80" in line and "0.850" in line for line in lines)
    assert lines[-1].split("  ")[1].strip() == "early"
    assert lines[-1].count("∞") >= 3  # nor to 0.8 for certain, nor to scratch's last success


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reach"
    train_state(StateRunConfig(out, randomise="nominal", evaluation_episodes=4, recipe=TINY, workers=1), QUIET)
    return out / "best"


@pytest.mark.slow
def test_a_policy_is_carried_to_another_arm_and_says_where_it_came_from(source: Path, tmp_path: Path) -> None:
    told = []
    config = TransferConfig(
        tmp_path / "kuka",
        robot="kuka_iiwa",
        randomise="nominal",
        evaluation_episodes=8,
        recipe=TINY,
        workers=1,
        source=source,
    )
    bundle = transfer_state(config, QUIET, told.append)
    assert bundle.robot.name == "kuka_iiwa"
    assert bundle.provenance["transfer"]["parent"] == PolicyBundle.load(source).hash
    assert bundle.check_parity() <= 1e-5
    assert "body.0.weight[q] 32×7" in [str(piece) for piece in told[0].new]


@pytest.mark.slow
def test_a_transfer_resumes_in_its_mode_and_runs_again_from_its_file(source: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, share: float, text: str = "") -> None:
        if text.startswith("round 2"):
            raise KeyboardInterrupt

    recipe = replace(TINY, rounds=2)
    whole = TransferConfig(
        tmp_path / "whole", randomise="nominal", evaluation_episodes=4, recipe=recipe, workers=1, source=source,
        tune="features",
    )  # fmt: skip
    expected = transfer_state(whole, QUIET, QUIET)
    with pytest.raises(KeyboardInterrupt):
        transfer_state(replace(whole, out=tmp_path / "killed"), interrupt, QUIET)
    assert main(["train", "--resume", str(tmp_path / "killed")]) == 0
    again = ["--config", str(tmp_path / "whole" / "config.json"), "--out", str(tmp_path / "again")]
    assert main(["transfer", *again]) == 0
    for name in ("killed", "again"):
        found = PolicyBundle.load(tmp_path / name / "best")
        assert found.provenance["transfer"]["tune"] == "features"
        assert all((found.weights[key] == expected.weights[key]).all() for key in expected.weights)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert TransferConfig.from_dict({**config, "out": str(whole.out), "name": ""}) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tune": "magic"}, "known are features"),
        ({"tune": "last:9"}, "expected last:1 to last:"),
        ({"recipe": replace(TINY, hidden=(8,))}, "hidden layers"),
    ],
)
def test_what_cannot_be_carried_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, change: dict, message: str
) -> None:
    config = TransferConfig(tmp_path / "run", **{"recipe": TINY, "source": source, "workers": 1, **change})
    with pytest.raises(ValueError, match=message):
        transfer_state(config, QUIET, QUIET)
    assert not (tmp_path / "run").exists()


def test_a_comparison_checks_its_cluster_and_its_device_first(source: Path, tmp_path: Path) -> None:
    config = CompareConfig(tmp_path / "compared", source, task="reach", recipe=TINY)
    with pytest.raises(WorkersError, match=r"Ray at '127\.0\.0\.1:1'"):
        replace(config, ray="127.0.0.1:1").validate()
    with pytest.raises(ValueError, match="device is 'tpu'"):
        replace(config, device="tpu").validate()


@pytest.mark.slow
def test_the_comparison_writes_curves_and_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    config = CompareConfig(
        tmp_path / "compared",
        source,
        task="reach",
        randomise="nominal",
        modes=("all",),
        seeds=2,
        budgets=2,
        episodes=4,
        workers=1,
        recipe=replace(TINY, round_steps=10, gradient_steps=20),
    )
    report = compare_state(config, QUIET)
    carried, scratch = (np.array(report["methods"][method]["success"]) for method in ("all", "scratch"))
    assert carried.shape == scratch.shape == (2, 2)
    assert carried[:, 0].mean() >= scratch[:, 0].mean()  # the same task again: it can do it already
    elsewhere = replace(config, task="pick_place").run("check", 0)
    assert evaluate_unchanged(PolicyBundle.load(source), elsewhere) is None  # fingers and a turn would be new
    unchanged = report["unchanged"]  # nothing is new in the network: the source can be judged without training
    assert unchanged["episodes"] == 4
    assert unchanged["low"] <= unchanged["success"] <= unchanged["high"]
    assert (tmp_path / "compared" / "transfer.png").stat().st_size > 1_000
    with pytest.raises(RunError, match="another recipe"):
        compare_state(replace(config, episodes=5), QUIET)
    again = compare_state(config, QUIET)  # every run is complete: nothing is run
    assert again["methods"] == report["methods"]
    assert json.loads((tmp_path / "compared" / "transfer.json").read_text())["level"] == report["level"]
