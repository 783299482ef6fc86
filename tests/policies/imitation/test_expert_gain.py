"""The expert's gain, chosen in the space that its pupil is trained on."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import pytest

from policies.bundle import PolicyBundle
from policies.imitation.expert_gain import tune_expert_gain
from policies.imitation.state_run import StateRunConfig, resume_state, train_state
from policies.scoring.evaluator import FullLengthEnv
from policies.scoring.wrappers import EXPERT
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.randomization.parameters import CONSTANT, Param
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe
from sim.vector.vector_env import ArmVectorEnv

QUIET = lambda *_: None  # noqa: E731


def late(delay: float):
    """The nominal space with a delay of `delay` actions."""
    space = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("nominal")
    doc = "Delay between observation and motion."
    return space.with_params(
        Param("action_delay_steps", delay, "=", CONSTANT, "actions", "timing", doc, at_least=0, at_most=20)
    )


@pytest.mark.slow
def test_a_late_arm_asks_for_a_slower_expert() -> None:
    best = {}
    for delay in (0.0, 4.0):
        with closing(ArmVectorEnv(FullLengthEnv("reach", space=late(delay)), 8, 1)) as arms:
            best[delay], rewards = tune_expert_gain(arms, "reach", 8)
        assert rewards[best[delay]] == max(rewards.values())
        assert set(rewards) == set(load_task("reach").expert_gains)
    assert best[4.0] < best[0.0]


@pytest.mark.slow
def test_the_pace_scales_what_the_expert_asks_for() -> None:
    with closing(ArmVectorEnv(FullLengthEnv("reach", space="nominal"), 1, 1)) as arms:
        asked = {}
        for gain in (0.5, 1.0):
            arms.call("set_expert_gain", gain)
            seen, _ = arms.reset(seed=3)
            while np.abs(seen[EXPERT]).max() > 0.3:  # until nothing is cut off at the action's limits
                seen, *_ = arms.step(seen[EXPERT])
            way = seen["goal"] - seen["ee_pos"]
            asked[gain] = np.linalg.norm(seen[EXPERT]) / np.linalg.norm(way)
    assert asked[0.5] == pytest.approx(0.5 * asked[1.0], rel=0.05)


def test_a_task_whose_expert_has_one_pace_is_refused(tmp_path) -> None:
    config = StateRunConfig(tmp_path / "run", task="push", tune_expert=True)
    with pytest.raises(ValueError, match=r"'push' has one gain only; tuning is possible for .*reach"):
        train_state(config, QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_tunes_once_and_its_bundle_says_so(tmp_path) -> None:
    recipe = StateRecipe(
        hidden=(16,),
        envs=4,
        rounds=2,
        round_steps=20,
        gradient_steps=20,
        last_gradient_steps=20,
        batch=32,
        validation_episodes=2,
    )
    config = StateRunConfig(
        tmp_path / "run", randomise="nominal", evaluation_episodes=2, recipe=recipe, workers=1, tune_expert=True
    )

    def kill(stage: str, share: float, text: str) -> None:
        if text.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_state(config, kill)
    found = json.loads((tmp_path / "run" / "expert.json").read_text())
    (tmp_path / "run" / "expert.json").write_text(json.dumps({**found, "gain": 0.4}))  # is it read, or found anew?
    resume_state(tmp_path / "run", QUIET)
    assert PolicyBundle.load(tmp_path / "run" / "best").provenance["expert"]["gain"] == 0.4
    assert found["gain"] == pytest.approx(float(max(found["rewards"], key=lambda p: found["rewards"][p])))
